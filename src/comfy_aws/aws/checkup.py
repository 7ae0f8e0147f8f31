"""What is only looked at when a connection is tried: a bucket's rules, quotas, rights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session

_UNSET: Final = frozenset(
    {
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
    }
)
"""S3's words for a bucket that has no such configuration."""


@dataclass(frozen=True)
class BucketRules:
    """How a bucket is kept: closed to the public, encrypted, and reached by TLS alone.

    `expiring`: after how many days its lifecycle rules delete the objects below a prefix, which is
    "" for all; 0 where a rule names a date.
    `clears_uploads`: whether uploads that were never finished go some day.
    """

    private: bool
    encrypted: bool
    tls_only: bool
    expiring: Mapping[str, int]
    clears_uploads: bool

    def expires(self, prefix: str) -> bool:
        return any(prefix.startswith(each) for each in self.expiring)

    def keeps(self, prefix: str, days: int) -> bool:
        """Whether objects below a prefix are there for so many days."""
        return all(days <= each for name, each in self.expiring.items() if prefix.startswith(name))


@dataclass(frozen=True)
class Quota:
    """A quota in force, and the code by which more is asked for."""

    value: float
    code: str


class Checkup:
    """Reads, and leaves nothing behind."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def bucket_region(self, bucket: str) -> str:
        """Where the bucket lies. Raises AwsNotFound, AwsDenied."""
        with mapped("s3:HeadBucket", bucket):
            answer = self._session.client("s3").head_bucket(Bucket=bucket)
        return str(answer.get("BucketRegion") or "")

    def bucket_rules(self, bucket: str) -> BucketRules:
        """How the bucket is kept. Raises AwsDenied."""
        s3 = self._session.client("s3")
        with mapped("s3:GetBucketPublicAccessBlock", bucket):
            block = _or_nothing(lambda: s3.get_public_access_block(Bucket=bucket))
        with mapped("s3:GetEncryptionConfiguration", bucket):
            encryption = _or_nothing(lambda: s3.get_bucket_encryption(Bucket=bucket))
        with mapped("s3:GetBucketPolicy", bucket):
            policy = _or_nothing(lambda: s3.get_bucket_policy(Bucket=bucket))
        with mapped("s3:GetLifecycleConfiguration", bucket):
            cycle = _or_nothing(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket))
        rules = [each for each in cycle.get("Rules", []) if each.get("Status") == "Enabled"]
        blocked = block.get("PublicAccessBlockConfiguration", {})
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy",
                 "RestrictPublicBuckets")  # fmt: skip
        return BucketRules(
            private=all(blocked.get(name) for name in names),
            encrypted=bool(encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules")),
            tls_only=_refuses_plain(json.loads(policy.get("Policy") or "{}")),
            expiring={
                _prefix(each): each["Expiration"].get("Days", 0)
                for each in rules
                if "Expiration" in each
            },
            clears_uploads=any(
                not _prefix(each) for each in rules if "AbortIncompleteMultipartUpload" in each
            ),
        )

    def begin_and_abort(self, bucket: str, key: str) -> None:
        """Begin an upload in parts, look at it, and give it up."""
        s3 = self._session.client("s3")
        with mapped("s3:CreateMultipartUpload", bucket):
            upload = s3.create_multipart_upload(Bucket=bucket, Key=key)
        named = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}
        try:
            with mapped("s3:ListParts", bucket):
                s3.list_parts(**named)
        finally:
            with mapped("s3:AbortMultipartUpload", bucket):
                s3.abort_multipart_upload(**named)

    def endpoint_quota(self, instance_type: str) -> Quota | None:
        """How many instances of a type may stand behind endpoints; None when it is not listed."""
        wanted = f"{instance_type} for endpoint usage"
        client = self._session.client("service-quotas")
        with mapped("servicequotas:ListServiceQuotas", instance_type):
            pages = client.get_paginator("list_service_quotas").paginate(
                ServiceCode="sagemaker", PaginationConfig={"PageSize": 100}
            )
            for page in pages:
                for quota in page["Quotas"]:
                    if quota["QuotaName"] == wanted:
                        return Quota(float(quota["Value"]), str(quota["QuotaCode"]))
        return None

    def denied(
        self,
        principal: str,
        actions: Sequence[str],
        resources: Sequence[str],
        context: Mapping[str, str | tuple[str, ...]],
    ) -> dict[str, list[str]]:
        """The actions that IAM's simulator would refuse, each with the resources.

        Args:
            principal: ARN of a user or a role.
            context: values of condition keys, such as a resource's tag; of several allowed values
                the first stands for all, apart from the keys of tags, of which there may be many.
        """
        entries = [_entry(key, value) for key, value in context.items()]
        request: dict[str, Any] = {
            "PolicySourceArn": principal, "ActionNames": list(actions),
            "ResourceArns": list(resources), "ContextEntries": entries,
        }  # fmt: skip
        found: dict[str, list[str]] = {}
        with mapped("iam:SimulatePrincipalPolicy", principal):
            client = self._session.client("iam")
            for page in client.get_paginator("simulate_principal_policy").paginate(**request):
                for result in page["EvaluationResults"]:
                    if result["EvalDecision"] != "allowed":
                        resource = result.get("EvalResourceName", "*")
                        found.setdefault(result["EvalActionName"], []).append(resource)
        return found


def _entry(key: str, value: str | tuple[str, ...]) -> dict[str, Any]:
    values = [value] if isinstance(value, str) else list(value)
    if key == "aws:TagKeys":
        return {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": "stringList"}
    return {"ContextKeyName": key, "ContextKeyValues": values[:1], "ContextKeyType": "string"}


def _or_nothing(call: Any) -> dict[str, Any]:
    """The answer; an empty one where S3 says that nothing of the kind is configured."""
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = call()
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") in _UNSET:
            return {}
        raise
    return answer


def _prefix(rule: Mapping[str, Any]) -> str:
    """What a lifecycle rule is about, in any of the three ways in which that is written."""
    chosen = rule.get("Filter", {})
    return str(
        rule.get("Prefix") or chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or ""
    )


def _refuses_plain(policy: Mapping[str, Any]) -> bool:
    """Whether a bucket policy denies every request that does not come by TLS."""
    statements = policy.get("Statement", [])
    for each in [statements] if isinstance(statements, dict) else statements:
        conditions = {key.lower(): value for key, value in each.get("Condition", {}).items()}
        secure = {key.lower(): value for key, value in conditions.get("bool", {}).items()}
        if (
            each.get("Effect") == "Deny"
            and str(secure.get("aws:securetransport")).lower() == "false"
            and each.get("Action") in ("s3:*", ["s3:*"], "*", ["*"])
            and each.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        ):
            return True
    return False
