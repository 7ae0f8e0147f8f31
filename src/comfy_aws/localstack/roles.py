"""What a worker may do here: what the execution role grants (`permissions.py`), and nothing else.

Workers have keys of their own. The object store is told the grants in its own words and checks
them; it knows no right to delete apart from that to write. All else the front checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import parse_qs

from comfy_aws.localstack.refusals import Protocol, Refused
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


def check(
    service: str, path: str, headers: Mapping[str, str], body: bytes, protocol: Protocol
) -> None:
    """Hold a worker's request against the execution role.

    Args:
        service: as the signature's scope names it.
        headers: names in lower case.

    Raises:
        Refused: the role does not grant it.
    """
    action = f"{_IAM_NAMES.get(service, service)}:{_operation(path, headers, body)}"
    if action in _ANYBODYS or _is_granted(action, body):
        return
    code, status = ("AccessDenied", 403) if service == "sqs" else ("AccessDeniedException", 400)
    if protocol in (Protocol.QUERY, Protocol.REST_JSON):
        code, status = "AccessDenied", 403
    raise Refused(code, f"The execution role is not authorized to perform: {action}", status)


def _is_granted(action: str, body: bytes) -> bool:
    resources = [each for grant in EXECUTION if action in grant.actions for each in grant.resources]
    if not action.startswith("sqs:"):
        return bool(resources)
    queue = str(json.loads(body or b"{}").get("QueueUrl", "")).rpartition("/")[2]
    return any(fnmatchcase(queue, each.rpartition(":")[2]) for each in resources)


def _operation(path: str, headers: Mapping[str, str], body: bytes) -> str:
    """The operation's name, in whichever of AWS's protocols it is asked for."""
    if target := headers.get("x-amz-target", ""):
        return target.partition(".")[2]
    if match := _CBOR.fullmatch(path):
        return match[1]
    if path.endswith("/async-invocations"):
        return "InvokeEndpointAsync"
    return parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
