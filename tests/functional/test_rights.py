"""What a designer calls at AWS, recorded, is what its policy lets it do, on the very resources."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from comfy_aws import permissions
from comfy_aws.endpoint_plan import TAG, WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.models import EndpointSpec
from comfy_aws.permissions import DESIGNER
from tests.functional.localstack_support import WORKER
from tests.functional.parts import model_node

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


def refusal(bucket: str, operation: str, asked: dict[str, Any], images: str = "w") -> str:
    """Why the designer's policy would refuse a call; empty when it would not."""
    names = permissions.names_of(
        region="us-east-1", account="123456789012", bucket=bucket,
        execution_role="arn:aws:iam::123456789012:role/r", repository=images,
    )  # fmt: skip
    document = permissions.resolved(permissions.policy(DESIGNER), names)
    resource = resource_of(operation, asked)
    for statement in document["Statement"]:
        wanted = statement.get("Condition", {}).get("StringEquals", {})
        tag = wanted.get(f"aws:RequestTag/{TAG}")
        tagged = tag is None or {"Key": TAG, "Value": tag} in asked.get("Tags", [])
        matches = any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        if operation in statement["Action"] and tagged and matches:
            return ""
    return f"{operation} on {resource}"


def test_a_designer_stays_within_its_rights(parts):
    recorder = Recorder(parts.session)
    parts.catalog.model("a.safetensors", b"x" * 1234)
    parts.publish("Rights", {"1": model_node("a.safetensors")})
    events = parts.queues.ensure("comfy-aws-rights", retention=3600)
    parts.queues.receive(events, wait=0)
    parts.queues.delete(events)
    environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
    worker = WorkerImage(parts.state.image_uri, parts.state.role_arn, environment)
    endpoints = Endpoints(parts.sagemaker, worker, parts.store.bucket)
    endpoints.create(EndpointSpec(name="rights"))
    endpoints.wait("rights", timeout=60, every=0.1)
    endpoints.list()
    parts.sagemaker.invoke_async("rights", "rights-1", body=b"{}")
    endpoints.delete("rights")
    parts.templates.delete("Rights")

    called = {operation for operation, _ in recorder.calls}
    assert {"s3:PutObject", "s3:DeleteObject", "sqs:CreateQueue"} <= called
    assert {"sagemaker:CreateEndpoint", "sagemaker:InvokeEndpointAsync"} <= called
    assert {"application-autoscaling:PutScalingPolicy", "cloudwatch:PutMetricAlarm"} <= called
    refused = {text for call in recorder.calls if (text := refusal(parts.store.bucket, *call))}
    assert refused == set()


def test_what_a_designer_may_not(parts):
    bucket = parts.store.bucket
    for operation, asked in [
        ("s3:GetObject", {"Bucket": "another", "Key": "blobs/sha256/aa/aa"}),
        ("s3:DeleteObject", {"Bucket": bucket, "Key": "jobs/a/result.json"}),
        ("s3:PutObject", {"Bucket": bucket, "Key": "deploy/source.zip"}),
        ("sqs:ReceiveMessage", {"QueueUrl": "https://sqs/123456789012/another"}),
        ("sagemaker:CreateEndpoint", {"EndpointName": "e", "Tags": []}),
        ("cloudwatch:DeleteAlarms", {"AlarmNames": ["another"]}),
    ]:
        assert refusal(bucket, operation, asked), operation
