"""sagemaker-runtime: InvokeEndpointAsync as AWS has it, and the refusal of what is not it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from comfy_aws.localstack import validation
from comfy_aws.localstack.endpoints import Endpoint
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.jobs import DEFAULT_TIMEOUT_SECONDS, DEFAULT_TTL_SECONDS, Invocation
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity

_ASYNC: Final = "InvokeEndpointAsync"


def _refused(message: str) -> Refused:
    return Refused("ValidationError", message, 400)


def invoke(
    fleet: Fleet, identity: Identity, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Answer POST /endpoints/NAME/async-invocations: 202, then the queue does the rest.

    Args:
        path: the raw path.
        headers: names in lower case.

    Raises:
        Refused: as AWS would.
    """
    _, _, name, action = (path + "///").split("/")[:4]
    name = unquote(name)
    if action == "invocations":
        _refuse_sync(fleet, identity, name)
    if action != "async-invocations":
        raise Refused("UnknownOperationException", f"There is no {path} here.", 404)
    shape = validation.input_shape("sagemaker-runtime", _ASYNC)
    wish = _parameters(shape, name, headers, body)
    validation.check(shape, wish, "ValidationError")
    endpoint = _serving(fleet, identity, name)
    if not endpoint.deployment.async_config:
        raise _refused(f"Endpoint {name} does not support asynchronous inference.")
    _check_input(wish)
    accepted = endpoint.queue.accept(_invocation(endpoint, identity, wish))
    answer = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": str(uuid.uuid4()),
        "X-Amzn-SageMaker-OutputLocation": accepted.output_uri,
    }
    if accepted.failure_uri:
        answer["X-Amzn-SageMaker-FailureLocation"] = accepted.failure_uri
    return 202, answer, json.dumps({"InferenceId": accepted.inference_id}).encode()


def _parameters(shape: Any, name: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    wish: dict[str, Any] = {"EndpointName": name}
    for member, inner in shape.members.items():
        if inner.serialization.get("location") != "header":
            continue
        value = headers.get(inner.serialization["name"].lower())
        if value is not None:
            wish[member] = _number(value) if inner.type_name == "integer" else value
    if body:
        wish["Body"] = body
    return wish


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text  # not an integer: the check says so


def _serving(fleet: Fleet, identity: Identity, name: str) -> Endpoint:
    endpoint = fleet.find(name)
    if endpoint is None or not endpoint.status.takes_jobs:
        # AWS has the same answer for an endpoint that is not there yet and one that never was.
        raise _refused(f"Endpoint {name} of account {identity.account} not found.")
    return endpoint


def _refuse_sync(fleet: Fleet, identity: Identity, name: str) -> None:
    endpoint = _serving(fleet, identity, name)
    kind = "asynchronous" if endpoint.deployment.async_config else "real-time"
    raise _refused(
        f"Endpoint {name} is an {kind} endpoint: InvokeEndpoint is not supported. "
        "Use InvokeEndpointAsync on an endpoint with AsyncInferenceConfig."
    )


def _check_input(wish: Mapping[str, Any]) -> None:
    location, body = wish.get("InputLocation"), wish.get("Body")
    if (location is None) == (body is None):
        raise _refused("Exactly one of InputLocation and Body must be given.")
    if location is not None and not location.startswith("s3://"):
        raise _refused(f"InputLocation must be an S3 URI, not '{location}'.")


def _invocation(endpoint: Endpoint, identity: Identity, wish: Mapping[str, Any]) -> Invocation:
    unique = str(uuid.uuid4())
    output = (endpoint.deployment.async_config or {}).get("OutputConfig") or {}
    default = f"s3://{identity.bucket}/async-endpoint-outputs/{endpoint.name}"
    folder = (output.get("S3OutputPath") or default).rstrip("/")
    extension = wish.get("S3OutputPathExtension", "").strip("/")
    if extension:
        folder = f"{folder}/{extension}"
    topics = output.get("NotificationConfig") or {}
    failures = (output.get("S3FailurePath") or "").rstrip("/")
    return Invocation(
        endpoint=endpoint.name,
        inference_id=wish.get("InferenceId") or unique,
        output_uri=f"{folder}/{wish.get('Filename') or unique + '.out'}",
        failure_uri=f"{failures}/{unique}-error.out" if failures else "",
        input_location=wish.get("InputLocation", ""),
        body=wish.get("Body"),
        content_type=wish.get("ContentType", ""),
        accept=wish.get("Accept", ""),
        custom_attributes=wish.get("CustomAttributes", ""),
        success_topic=topics.get("SuccessTopic") or "",
        error_topic=topics.get("ErrorTopic") or "",
        timeout_seconds=wish.get("InvocationTimeoutSeconds", DEFAULT_TIMEOUT_SECONDS),
        ttl_seconds=wish.get("RequestTTLSeconds", DEFAULT_TTL_SECONDS),
    )
