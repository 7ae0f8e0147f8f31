"""What the product may do at AWS: the statements of its two roles. Pure.

The one source of both: `comfy-aws iam-policy` prints the statements with the names of an account,
and tools/policies.py writes them into deploy/stack.yaml. An account's names stand as
CloudFormation's own placeholders, such as ``${AWS::Region}``.

IAM takes 6,144 characters of a managed policy, so statements of the same resource are one. A `*`
as resource is left only where the service knows no narrower one; endpoints may have any name, so
those that the product has not made are kept out by its tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from comfy_aws import layout
from comfy_aws.endpoint_plan import SCALE_TAGS, TAG, log_group, wake_name
from comfy_aws.errors import ConfigError

BUCKET: Final = "arn:${AWS::Partition}:s3:::${BucketName}"
_HERE: Final = "${AWS::Region}:${AWS::AccountId}"
QUEUES: Final = f"arn:${{AWS::Partition}}:sqs:{_HERE}:comfy-aws-*"
ENDPOINT_LOGS: Final = f"arn:${{AWS::Partition}}:logs:{_HERE}:log-group:{log_group('*')}"
_ENDPOINTS, _CONFIGS, _MODELS = (
    f"arn:${{AWS::Partition}}:sagemaker:{_HERE}:{kind}/*"
    for kind in ("endpoint", "endpoint-config", "model")
)
_SCALING: Final = "sagemaker.application-autoscaling.amazonaws.com"
_SCALING_ROLE: Final = (
    f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/aws-service-role/{_SCALING}/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_ALARMS: Final = f"arn:${{AWS::Partition}}:cloudwatch:{_HERE}:alarm:"
METRICS: Final = "PromptOnAws"
"""CloudWatch's namespace of what workers count, such as JobsFailed by bucket."""
_PLACEHOLDER: Final = re.compile(r"\$\{([^}]+)\}")
_PARTITIONS: Final = {
    "cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc", "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b", "eu-isoe-": "aws-iso-e", "us-isof-": "aws-iso-f",
}  # fmt: skip
"""By the beginnings of their regions' names; `aws` has all others."""


@dataclass(frozen=True)
class Grant:
    """One statement that allows `actions` on `resources`."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, str | tuple[str, ...]]] = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """As IAM's JSON has it."""
        made: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        if self.conditions:
            made["Condition"] = {
                operator: {
                    key: value if isinstance(value, str) else list(value)
                    for key, value in keys.items()
                }
                for operator, keys in self.conditions.items()
            }
        return made


def objects(*prefixes: str) -> tuple[str, ...]:
    """The objects below prefixes of the bucket."""
    return tuple(f"{BUCKET}/{prefix}*" for prefix in prefixes)


# Without ListBucket, S3 answers 403 in place of 404 for an object that is not there. No condition
# on s3:prefix: a request for one object has none, and would get the 403 again.
_LIST: Final = "s3:ListBucket"

EXECUTION: Final = (
    Grant("Bucket", (_LIST,), (BUCKET,)),
    Grant(
        "ReadObjects",
        ("s3:GetObject",),
        objects(
            layout.BLOBS,
            layout.ARCHIVES,
            layout.ENVIRONMENTS,
            layout.FAULTS,
            layout.TEMPLATES,
            layout.JOBS,
        ),
    ),
    Grant(
        "WriteObjects",  # none that was published: what a node pack does, it does as this role
        ("s3:PutObject", "s3:AbortMultipartUpload"),
        objects(layout.ARCHIVES, layout.ENVIRONMENTS, layout.FAULTS, layout.JOBS, layout.ASYNC),
    ),
    Grant("SendEvents", ("sqs:SendMessage",), (QUEUES,)),
    Grant(
        "PullImage",
        (
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ),
        ("${Repository.Arn}",),
    ),
    Grant("SignInToRegistry", ("ecr:GetAuthorizationToken",), ("*",)),
    Grant(
        "WriteLogs",
        (
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
        ),
        (ENDPOINT_LOGS,),
    ),
    Grant(
        "PutMetrics",
        ("cloudwatch:PutMetricData",),
        ("*",),
        {"StringLike": {"cloudwatch:namespace": ("/aws/sagemaker/*", "AWS/SageMaker", METRICS)}},
    ),
)
"""What SageMaker runs the worker as: the worker's own calls, and SageMaker's on its behalf."""

DESIGNER: Final = (
    Grant(
        "Bucket",
        (
            _LIST,
            "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration",
        ),
        (BUCKET,),
    ),
    Grant(
        "ReadObjects",
        ("s3:GetObject",),
        objects(
            layout.BLOBS,
            layout.ENVIRONMENTS,
            layout.FAULTS,
            layout.MODELS,
            layout.TEMPLATES,
            layout.JOBS,
            layout.ASYNC,
        ),
    ),
    Grant(
        "WriteObjects",
        (
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ),
        objects(layout.BLOBS, layout.MODELS, layout.TEMPLATES, layout.JOBS),
    ),
    Grant("DeleteArchives", ("s3:DeleteObject",), objects(layout.ARCHIVES)),
    Grant(
        "EventQueues",
        (
            "sqs:CreateQueue",
            "sqs:DeleteMessage",
            "sqs:DeleteQueue",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",  # to itself, to end a long poll
        ),
        (QUEUES,),
    ),
    Grant(
        "DescribeEndpoints",
        ("sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:ListTags"),
        (_ENDPOINTS, _CONFIGS),
    ),
    Grant(
        "CreateEndpoints",
        ("sagemaker:CreateEndpoint", "sagemaker:CreateEndpointConfig", "sagemaker:CreateModel"),
        (_ENDPOINTS, _CONFIGS, _MODELS),
        {"StringEquals": {f"aws:RequestTag/{TAG}": "endpoint"}},
    ),
    Grant(
        "TagWhatIsCreated",  # and nothing else: a tag on another's endpoint would open it
        ("sagemaker:AddTags",),
        (_ENDPOINTS, _CONFIGS, _MODELS),
        {
            "StringEquals": {
                "sagemaker:TaggingAction": ("CreateEndpoint", "CreateEndpointConfig", "CreateModel")
            }
        },
    ),
    Grant(
        "TagOwnEndpoints",  # with what `endpoint scale` changes, and never with the tag that opens
        ("sagemaker:AddTags",),
        (_ENDPOINTS,),
        {
            "StringEquals": {f"aws:ResourceTag/{TAG}": "endpoint"},
            "ForAllValues:StringEquals": {"aws:TagKeys": SCALE_TAGS},
            "Null": {"aws:TagKeys": "false"},  # "for all" holds for none, too
        },
    ),
    Grant(
        "OwnEndpoints",
        (
            "sagemaker:DeleteEndpoint",
            "sagemaker:DeleteEndpointConfig",
            "sagemaker:DeleteModel",
            "sagemaker:InvokeEndpointAsync",
            "sagemaker:UpdateEndpointWeightsAndCapacities",
        ),
        (_ENDPOINTS, _CONFIGS, _MODELS),
        {"StringEquals": {f"aws:ResourceTag/{TAG}": "endpoint"}},
    ),
    Grant(
        "PassExecutionRole",
        ("iam:PassRole",),
        ("${ExecutionRole.Arn}",),
        {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    ),
    Grant(
        "Scaling",
        (
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:RegisterScalableTarget",
        ),
        (f"arn:${{AWS::Partition}}:application-autoscaling:{_HERE}:scalable-target/*",),
        {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}},
    ),
    Grant(
        "ScalingRole",
        ("iam:CreateServiceLinkedRole",),
        (_SCALING_ROLE,),
        {"StringEquals": {"iam:AWSServiceName": _SCALING}},
    ),
    Grant(
        "ScalingAlarms",
        ("cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"),
        (
            f"{_ALARMS}{wake_name('*')}",
            f"{_ALARMS}TargetTracking-endpoint/*",
        ),
    ),
    Grant(
        "See",
        (
            "application-autoscaling:DescribeScalableTargets",
            # Asked for all alarms of the region, also by the scaling; refused, an endpoint would
            # never sleep.
            "cloudwatch:DescribeAlarms",
            "cloudwatch:GetMetricStatistics",
            "pricing:GetProducts",
            "sagemaker:ListEndpoints",
            "servicequotas:ListServiceQuotas",
        ),
        ("*",),
    ),
    Grant("SeeImages", ("ecr:DescribeImages",), ("${Repository.Arn}",)),
    Grant(
        "Logs",
        ("logs:CreateLogGroup", "logs:FilterLogEvents", "logs:PutRetentionPolicy"),
        (ENDPOINT_LOGS,),  # whose * covers what IAM appends for a stream
    ),
)
"""What ComfyUI with the extension, and the command line, may do; deploying needs more."""

ROLES: Final = {"designer": DESIGNER, "execution": EXECUTION}


def policy(grants: Iterable[Grant]) -> dict[str, Any]:
    """A policy document with placeholders."""
    return {"Version": "2012-10-17", "Statement": [grant.statement() for grant in grants]}


def resolved(value: Any, names: Mapping[str, str]) -> Any:
    """A document with every placeholder replaced by its name in `names`.

    Raises:
        ConfigError: a placeholder has no name.
    """
    if isinstance(value, dict):
        return {key: resolved(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, names) for item in value]
    if not isinstance(value, str):
        return value

    def name(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise ConfigError(f"The policy names {match[0]}, which is not known.")
        return names[match[1]]

    return _PLACEHOLDER.sub(name, value)


def names_of(
    *, region: str, account: str, bucket: str, execution_role: str, repository: str
) -> dict[str, str]:
    """What the placeholders stand for in one account.

    Args:
        execution_role: ARN.
        repository: name of the worker image's repository in this account and region.
    """
    partition = partition_of(region)
    return {
        "AWS::Partition": partition,
        "AWS::Region": region,
        "AWS::AccountId": account,
        "BucketName": bucket,
        "ExecutionRole.Arn": execution_role,
        "Repository.Arn": f"arn:{partition}:ecr:{region}:{account}:repository/{repository}",
    }


def partition_of(region: str) -> str:
    """The part of AWS that a region belongs to, as ARNs name it."""
    return next((p for start, p in _PARTITIONS.items() if region.startswith(start)), "aws")
