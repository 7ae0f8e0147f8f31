"""SageMaker with its scaling, alarms and logs: endpoints and their asynchronous invocations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

INLINE_BODY: Final = 128_000
"""Largest body, in bytes, that InvokeEndpointAsync takes in place of an InputLocation."""


@dataclass(frozen=True)
class Accepted:
    """SageMaker's answer to an accepted invocation."""

    inference_id: str
    output: str
    failure: str


class SageMaker:
    """Models, endpoint configurations, endpoints and their invocations.

    The control-plane methods take SageMaker's own request members, which `endpoints.py` plans
    as data.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _control(self) -> SageMakerClient:
        client: SageMakerClient = self._session.client("sagemaker")
        return client

    @property
    def _runtime(self) -> SageMakerRuntimeClient:
        client: SageMakerRuntimeClient = self._session.client("sagemaker-runtime")
        return client

    @property
    def _scaling(self) -> ApplicationAutoScalingClient:
        client: ApplicationAutoScalingClient = self._session.client("application-autoscaling")
        return client

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one control-plane operation by its method name, such as ``create_model``."""
        with mapped(f"sagemaker:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(self._control, operation)(**request)
        return answer

    def scale(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one Application Auto Scaling operation by its method name."""
        with mapped(f"application-autoscaling:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(self._scaling, operation)(**request)
        return answer

    def alarm(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one CloudWatch operation by its method name, such as ``put_metric_alarm``."""
        client = self._session.client("cloudwatch")
        with mapped(f"cloudwatch:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer

    def log(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one CloudWatch Logs operation by its method name, such as ``create_log_group``."""
        client = self._session.client("logs")
        with mapped(f"logs:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer

    def metric(
        self, endpoint: str, name: str, *, variant: str = "", since: float, now: float
    ) -> list[tuple[float, float]]:
        """The highest values of an endpoint's metric, oldest first: (time, value) a minute.

        CloudWatch gives 1,440 at most, a day.

        Args:
            variant: for the metrics that are told of each variant rather than of the endpoint.
        """
        dimensions = {"EndpointName": endpoint, **({"VariantName": variant} if variant else {})}
        client = self._session.client("cloudwatch")
        with mapped("cloudwatch:GetMetricStatistics", endpoint):
            answer = client.get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName=name,
                Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
                StartTime=datetime.fromtimestamp(since, timezone.utc),
                EndTime=datetime.fromtimestamp(now + 60, timezone.utc),
                Period=60,
                Statistics=["Maximum"],
            )
        return sorted(
            (point["Timestamp"].timestamp(), float(point["Maximum"]))
            for point in answer["Datapoints"]
        )

    def endpoints(self, name_contains: str = "") -> Iterator[dict[str, Any]]:
        """Summaries of the region's endpoints, newest first."""
        extra: dict[str, Any] = {"NameContains": name_contains} if name_contains else {}
        with mapped("sagemaker:ListEndpoints"):
            for page in self._control.get_paginator("list_endpoints").paginate(**extra):
                for entry in page["Endpoints"]:
                    yield dict(entry)

    def invoke_async(
        self,
        endpoint: str,
        inference_id: str,
        *,
        body: bytes = b"",
        input_location: str = "",
        timeout: int = 3600,
        ttl: int = 21600,
    ) -> Accepted:
        """Queue one invocation, with `body` inline or from `input_location`.

        Args:
            timeout: seconds the container may take, 1 to 3600.
            ttl: seconds the request may wait, 60 to 21600.
        """
        request: dict[str, Any] = {
            "EndpointName": endpoint, "ContentType": "application/json",
            "Accept": "application/json", "InferenceId": inference_id,
            "InvocationTimeoutSeconds": timeout, "RequestTTLSeconds": ttl,
        }  # fmt: skip
        request |= {"Body": body} if body else {"InputLocation": input_location}
        with mapped("sagemaker:InvokeEndpointAsync", endpoint):
            answer = self._runtime.invoke_endpoint_async(**request)
        return Accepted(
            answer["InferenceId"],
            answer.get("OutputLocation", ""),
            answer.get("FailureLocation", ""),
        )


def seconds(moment: datetime | None) -> float:
    """A botocore time as seconds since the epoch; 0 for none."""
    return moment.timestamp() if moment else 0.0


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def _named(request: dict[str, Any]) -> str:
    for key in ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId", "logGroupName"):
        if key in request:
            return str(request[key])
    return ""
