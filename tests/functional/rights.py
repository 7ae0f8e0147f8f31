"""The designer's policy, held against recorded calls: it refuses what IAM would refuse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from comfy_aws import permissions
from comfy_aws.endpoint_plan import TAG
from comfy_aws.permissions import DESIGNER

SERVICES = {
    "s3": "s3", "sqs": "sqs", "sagemaker": "sagemaker", "sagemaker-runtime": "sagemaker",
    "application-autoscaling": "application-autoscaling", "cloudwatch": "cloudwatch",
    "logs": "logs", "ecr": "ecr", "service-quotas": "servicequotas", "pricing": "pricing",
}  # fmt: skip
"""IAM's prefix for boto3's name of a service."""
SAME_AS = {
    "s3:ListObjectsV2": "s3:ListBucket", "s3:DeleteObjects": "s3:DeleteObject",
    "s3:CreateMultipartUpload": "s3:PutObject", "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject", "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "s3:HeadObject": "s3:GetObject", "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:HeadBucket": "s3:ListBucket", "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
}  # fmt: skip
HERE = "us-east-1:123456789012"


class Recorder:
    """Hears every call of a session: its operation and its parameters."""

    def __init__(self, session: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        for service, prefix in SERVICES.items():

            def hear(params: Any, model: Any, prefix: str = prefix, **_: Any) -> None:
                name = f"{prefix}:{model.name}"
                self.calls.append((SAME_AS.get(name, name), dict(params)))

            session.client(service).meta.events.register("provide-client-params.*.*", hear)

    def refused(self, bucket: str) -> set[str]:
        """The permissions that the calls needed and the designer's policy lacks."""
        return {text for call in self.calls if (text := refusal(bucket, *call))}


def bucket_or_key(asked: dict[str, Any]) -> str:
    [first, *_] = asked.get("Delete", {}).get("Objects", [{}])
    key = asked.get("Key") or first.get("Key")
    return f"arn:aws:s3:::{asked['Bucket']}" + (f"/{key}" if key else "")


def queue(asked: dict[str, Any]) -> str:
    name = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
    return f"arn:aws:sqs:{HERE}:{name}"


def of_sagemaker(asked: dict[str, Any]) -> str:
    kinds = {"EndpointName": "endpoint", "EndpointConfigName": "endpoint-config",
             "ModelName": "model"}  # fmt: skip
    named = next((key for key in kinds if key in asked), "")
    arn = f"arn:aws:sagemaker:{HERE}:{kinds[named]}/{asked[named]}" if named else "*"
    return str(asked.get("ResourceArn", arn))


def alarm(asked: dict[str, Any]) -> str:
    if "MetricName" in asked and "AlarmName" not in asked:
        return "*"  # metrics have no name that IAM knows
    return f"arn:aws:cloudwatch:{HERE}:alarm:{asked.get('AlarmName') or asked['AlarmNames'][0]}"


def log_group(asked: dict[str, Any]) -> str:
    return f"arn:aws:logs:{HERE}:log-group:{asked['logGroupName']}:log-stream:"


def repository(asked: dict[str, Any]) -> str:
    return f"arn:aws:ecr:{HERE}:repository/{asked['repositoryName']}"


RESOURCES = {
    "logs": log_group,
    "ecr": repository,
    "s3": bucket_or_key,
    "sqs": queue,
    "sagemaker": of_sagemaker,
    "cloudwatch": alarm,
}
SCALING = "arn:aws:application-autoscaling:{}:scalable-target/any"


def resource_of(action: str, asked: dict[str, Any]) -> str:
    """The resource that AWS would hold a call against."""
    service = action.partition(":")[0]
    if service == "application-autoscaling" and not action.endswith("DescribeScalableTargets"):
        return SCALING.format(HERE)
    return RESOURCES.get(service, lambda _: "*")(asked)


Context = dict[str, Any]
"""IAM's condition keys in force for a call; those with several values are lists."""


def context_of(action: str, asked: dict[str, Any], tags: Iterable[str]) -> Context:
    """What AWS tells IAM of a call.

    Args:
        tags: those of the resource that is there already, as ``key=value``.
    """
    given = asked.get("Tags") if isinstance(asked.get("Tags"), list) else None
    context: Context = {f"aws:ResourceTag/{k}": v for k, _, v in (t.partition("=") for t in tags)}
    if given:
        context |= {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in given}
        context["aws:TagKeys"] = [tag["Key"] for tag in given]
    if action.startswith("application-autoscaling:"):
        context["application-autoscaling:service-namespace"] = asked["ServiceNamespace"]
    return context


def holds(conditions: dict[str, dict[str, Any]], context: Context) -> bool:
    return all(
        _holds(operator, context.get(key), wanted)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, value: Any, wanted: Any) -> bool:
    if operator == "Null":
        return (value is None) == (wanted == "true")
    patterns = [wanted] if isinstance(wanted, str) else wanted
    if operator == "ForAllValues:StringEquals":
        return all(each in patterns for each in value or [])
    match = {"StringEquals": str.__eq__, "StringLike": fnmatchcase}[operator]
    return value is not None and any(match(value, pattern) for pattern in patterns)


def asked_for(operation: str, asked: dict[str, Any], tags: Iterable[str]) -> Iterator[
    tuple[str, str, Context]
]:  # fmt: skip
    """The permissions that one call needs: its own, and those of what AWS does along with it."""
    context = context_of(operation, asked, tags)
    yield operation, resource_of(operation, asked), context
    name = operation.partition(":")[2]
    if operation.startswith("sagemaker:Create") and asked.get("Tags"):
        tagging = {**context, "sagemaker:TaggingAction": name}
        yield "sagemaker:AddTags", resource_of(operation, asked), tagging
    if "ExecutionRoleArn" in asked:
        passed = {"iam:PassedToService": "sagemaker.amazonaws.com"}
        yield "iam:PassRole", asked["ExecutionRoleArn"], passed


def refusal(
    bucket: str,
    operation: str,
    asked: dict[str, Any],
    *,
    images: str = "w",
    tags: Iterable[str] = (f"{TAG}=endpoint",),
) -> str:
    """Why the designer's policy would refuse a call; empty when it would not.

    Args:
        tags: of what is called; those of our own endpoints if not said otherwise.
    """
    names = permissions.names_of(
        region="us-east-1", account="123456789012", bucket=bucket,
        execution_role="*", repository=images,
    )  # fmt: skip
    document = permissions.resolved(permissions.policy(DESIGNER), names)
    for action, resource, context in asked_for(operation, asked, tags):
        if not any(
            action in statement["Action"]
            and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and holds(statement.get("Condition", {}), context)
            for statement in document["Statement"]
        ):
            return f"{action} on {resource}"
    return ""
