"""Service Quotas for endpoints: how many instances of a type there may be, told and held.

`quotas.json` in the stack's home, such as ``{"ml.g5.xlarge": 0}``, sets those of single types; it
is read at every question, so that a refusal can be rehearsed on a stack that runs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from comfy_aws import prices
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity, read_json

USUAL: Final = 100
"""Instances of each type; this machine's memory ends earlier."""

_PAGE: Final = 20


class Quotas:
    """The account's quotas for SageMaker's endpoints."""

    def __init__(self, identity: Identity, path: Path) -> None:
        self._identity = identity
        self._path = path

    def of(self, instance_type: str) -> int:
        """How many instances of a type may stand behind endpoints."""
        return int((read_json(self._path) or {}).get(instance_type, USUAL))

    def check(self, instance_type: str, now: int, more: int) -> None:
        """Raises Refused when `more` instances would be too many."""
        limit = self.of(instance_type)
        if now + more > limit:
            raise Refused(
                "ResourceLimitExceeded",
                f"The account-level service limit '{instance_type} for endpoint usage' is {limit} "
                f"Instances, with current utilization of {now} Instances and a request delta of "
                f"{more} Instances. Please use AWS Service Quotas to request an increase for this "
                "quota. If AWS Service Quotas is not available, contact AWS support to request an "
                "increase for this quota.",
            )

    def answer(self, target: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """One request to Service Quotas. Raises Refused for all but ListServiceQuotas."""
        if target.partition(".")[2] != "ListServiceQuotas":
            raise Refused("UnknownOperationException", f"{target} is unknown.", 404)
        wish: dict[str, Any] = json.loads(body or b"{}")
        if wish.get("ServiceCode") != "sagemaker":
            raise Refused(
                "NoSuchResourceException",
                "The request failed because the specified service does not exist.",
            )
        listed = prices.listed()
        start, size = int(wish.get("NextToken") or 0), int(wish.get("MaxResults") or _PAGE)
        answer: dict[str, Any] = {
            "Quotas": [self._quota(each.name) for each in listed[start : start + size]]
        }
        if start + size < len(listed):
            answer["NextToken"] = str(start + size)
        head = [("Content-Type", "application/x-amz-json-1.1")]
        return 200, head, json.dumps(answer).encode()

    def _quota(self, instance_type: str) -> dict[str, Any]:
        name = f"{instance_type} for endpoint usage"
        code = f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"
        here = f"{self._identity.region}:{self._identity.account}"
        return {
            "ServiceCode": "sagemaker",
            "ServiceName": "Amazon SageMaker",
            "QuotaArn": f"arn:aws:servicequotas:{here}:sagemaker/{code}",
            "QuotaCode": code,
            "QuotaName": name,
            "Value": float(self.of(instance_type)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
