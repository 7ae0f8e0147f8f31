"""What a worker may do here: what the execution role grants (`permissions.py`), and nothing else.

Workers have keys of their own. The object store is told the grants in its own words and checks
them; it knows no right to delete apart from that to write. Of all else the front checks the action,
and of queues the name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import parse_qs

from comfy_aws.localstack import refusals
from comfy_aws.localstack.refusals import Protocol
from comfy_aws.localstack.signing import SignedRequest
from comfy_aws.permissions import BUCKET, EXECUTION

_WORDS: Final = {"s3:ListBucket": "List", "s3:GetObject": "Read", "s3:PutObject": "Write"}
"""SeaweedFS's, by IAM's."""

_IAM_NAMES: Final = {"monitoring": "cloudwatch"}
_CBOR: Final = re.compile(r"/service/\w+/operation/(\w+)")
_ANYBODYS: Final = frozenset({"sts:GetCallerIdentity"})


def object_actions() -> list[str]:
    """The grants on objects of any bucket, as SeaweedFS has them: ``Read:*/templates/*``."""
    return list(_object_actions())


def _object_actions() -> Iterator[str]:
    for grant in EXECUTION:
        for action in filter(_WORDS.__contains__, grant.actions):
            for resource in grant.resources:
                yield f"{_WORDS[action]}:*{resource.removeprefix(BUCKET)}"


def check(request: SignedRequest, service: str, protocol: Protocol) -> None:
    """Raises Refused unless the execution role grants what a worker asks.

    Args:
        service: as the signature's scope names it.
    """
    action = f"{_IAM_NAMES.get(service, service)}:{_operation(request)}"
    if action not in _ANYBODYS and not _is_granted(action, request.body):
        raise refusals.denied(service, protocol, action)


def _is_granted(action: str, body: bytes) -> bool:
    resources = [each for grant in EXECUTION if action in grant.actions for each in grant.resources]
    if not action.startswith("sqs:"):
        return bool(resources)
    queue = str(json.loads(body or b"{}").get("QueueUrl", "")).rpartition("/")[2]
    return any(fnmatchcase(queue, each.rpartition(":")[2]) for each in resources)


def _operation(request: SignedRequest) -> str:
    """The operation's name, in whichever of AWS's protocols it is asked for."""
    path = request.target.partition("?")[0]
    if target := request.headers.get("x-amz-target", ""):
        return target.partition(".")[2]
    if match := _CBOR.fullmatch(path):
        return match[1]
    if path.endswith("/async-invocations"):
        return "InvokeEndpointAsync"
    return parse_qs(request.body.decode(errors="replace")).get("Action", [""])[0]
