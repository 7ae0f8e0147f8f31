"""The two roles grant what the product calls, and nothing else.

Every call of a seam names its operation; CALLS says what IAM asks for it. A new call is entered
there, and in src/comfy_aws/permissions.py if the roles lack it.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import boto3
import pytest

from comfy_aws import layout, permissions
from comfy_aws.errors import ConfigError
from comfy_aws.permissions import DESIGNER, EXECUTION, Grant

SOURCE = Path(__file__).resolve().parents[2] / "src" / "comfy_aws"
# What AWS asks for a call, where it is not just the action of the same name.
CALLS = {
    "s3:HeadObject": {"s3:GetObject"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:CreateMultipartUpload": {"s3:PutObject"},
    "s3:ListParts": {"s3:ListMultipartUploadParts"},
    "sts:GetCallerIdentity": set(),
    "sagemaker:CreateModel": {"sagemaker:CreateModel", "sagemaker:AddTags", "iam:PassRole"},
    "sagemaker:CreateEndpointConfig": {"sagemaker:CreateEndpointConfig", "sagemaker:AddTags"},
    "sagemaker:CreateEndpoint": {"sagemaker:CreateEndpoint", "sagemaker:AddTags"},
    # The caller must be able to do what it has Auto Scaling do, and to let it have its role.
    "application-autoscaling:RegisterScalableTarget": {
        "application-autoscaling:RegisterScalableTarget", "iam:CreateServiceLinkedRole",
        "sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
    },
    "application-autoscaling:PutScalingPolicy": {
        "application-autoscaling:PutScalingPolicy", "cloudwatch:PutMetricAlarm",
        "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms",
    },
}  # fmt: skip
# What SageMaker does as the execution role: pull the image, write logs and metrics, and take
# requests out of the bucket and put answers into it.
BY_SAGEMAKER = {
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer", "logs:CreateLogGroup", "logs:CreateLogStream",
    "logs:DescribeLogStreams", "logs:PutLogEvents", "cloudwatch:PutMetricData",
}  # fmt: skip
# Who deploys has an administrator's rights, not a role of ours.
BY_OPERATOR = {
    "aws/buckets.py", "aws/cloudformation.py", "aws/images.py", "aws/machines.py", "deployments.py",
}  # fmt: skip
# Of the seams of those who deploy, what the designer's check-up calls as well.
BY_DOCTOR = {"ecr:DescribeImages"}
# In the seams of S3 and SQS, and not the worker's to call.
NOT_BY_WORKER = {
    "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration", "s3:DeleteObject",
    "s3:ListMultipartUploadParts", "sqs:CreateQueue", "sqs:DeleteMessage", "sqs:DeleteQueue",
    "sqs:ReceiveMessage",
}  # fmt: skip
# The simulator tells the rights of others, too: an administrator asks it, or nobody.
NOT_BY_DESIGNER = {"cloudwatch:PutMetricData", "iam:SimulatePrincipalPolicy"}
# The one * each that the service knows nothing narrower for.
UNNARROWABLE = {
    "application-autoscaling:DescribeScalableTargets", "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:PutMetricData", "pricing:GetProducts",
    "ecr:GetAuthorizationToken", "sagemaker:ListEndpoints", "servicequotas:ListServiceQuotas",
}  # fmt: skip


def calls(*paths: Path) -> set[str]:
    """Operations that source files name, such as ``s3:PutObject``."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            first = node.args[0]
            # _quietly passes the bound method and then the operation
            if isinstance(first, ast.Attribute) and len(node.args) > 1:
                name, first = first.attr, node.args[1]
            else:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                continue
            if name == "mapped":
                found.add(first.value)
            elif name in SERVICES and re.fullmatch(r"[a-z]+(_[a-z]+)+", first.value):
                found.add(f"{SERVICES[name]}:{camel(first.value)}")
    return found


SERVICES = {
    "call": "sagemaker",
    "Step": "sagemaker",
    "scale": "application-autoscaling",
    "alarm": "cloudwatch",
    "log": "logs",
}


def camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def actions(operations: set[str]) -> set[str]:
    return {action for each in operations for action in CALLS.get(each, {each})}


def granted(grants: tuple[Grant, ...]) -> set[str]:
    return {action for grant in grants for action in grant.actions}


def seams() -> list[Path]:
    return [
        path
        for path in sorted(SOURCE.rglob("*.py"))
        if str(path.relative_to(SOURCE)) not in BY_OPERATOR and "localstack" not in path.parts
    ]


def product_calls() -> set[str]:
    found = calls(*seams())
    # Steps of the scaling plan go to Auto Scaling, the undo of a step to SageMaker.
    scaling = {"RegisterScalableTarget", "PutScalingPolicy"}
    found = {
        f"application-autoscaling:{each.split(':')[1]}" if each.split(":")[1] in scaling else each
        for each in found
    }
    return found | {"sagemaker:DeleteModel", "sagemaker:DeleteEndpointConfig"} | BY_DOCTOR


def test_the_search_for_calls_finds_them():
    found = product_calls()
    assert {"s3:PutObject", "sqs:CreateQueue", "sagemaker:CreateEndpoint"} <= found
    assert {"sagemaker:ListTags", "application-autoscaling:PutScalingPolicy"} <= found
    assert {"cloudwatch:PutMetricAlarm", "logs:FilterLogEvents"} <= found
    assert len(found) > 25


def test_the_designer_may_do_what_the_product_calls_and_nothing_else():
    needed = actions(product_calls()) - NOT_BY_DESIGNER
    assert granted(DESIGNER) == needed, "grant it in permissions.py, then run tools/policies.py"


def test_the_worker_may_do_what_it_calls_and_nothing_else():
    needed = {
        action
        for action in actions(product_calls())
        if action.startswith(("s3:", "sqs:")) and action not in NOT_BY_WORKER
    }
    assert granted(EXECUTION) == needed | BY_SAGEMAKER


@pytest.mark.parametrize("grants", [DESIGNER, EXECUTION], ids=["designer", "execution"])
def test_no_resource_is_wider_than_it_must_be(grants):
    for grant in grants:
        for resource in grant.resources:
            if resource == "*":
                assert set(grant.actions) <= UNNARROWABLE, grant.sid
            else:
                assert resource.startswith(("arn:", "${")), grant.sid
                assert not re.search(r":::?\*", resource), grant.sid
        assert not any("*" in action for action in grant.actions), grant.sid
    assert len({grant.sid for grant in grants}) == len(grants)


def prefixes(grants: tuple[Grant, ...], action: str) -> set[str]:
    start = f"{permissions.BUCKET}/"
    return {
        resource.removeprefix(start).removesuffix("*")
        for grant in grants
        if action in grant.actions
        for resource in grant.resources
    }


def test_prefixes_are_those_of_the_layout():
    known = {
        value
        for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, str) and value.endswith("/")
    }
    assert prefixes(DESIGNER, "s3:GetObject") == known - {layout.ARCHIVES}
    assert prefixes(EXECUTION, "s3:GetObject") == known - {layout.MODELS, layout.ASYNC}
    for grants in (DESIGNER, EXECUTION):
        for action in ("s3:PutObject", "s3:DeleteObject"):
            assert prefixes(grants, action) <= known
    # What is published and what was answered is nobody's to change from a worker.
    published = {layout.BLOBS, layout.MODELS, layout.TEMPLATES}
    assert not published & prefixes(EXECUTION, "s3:PutObject")
    assert prefixes(EXECUTION, "s3:DeleteObject") == set()


def test_endpoints_of_others_are_out_of_reach():
    grants = {action: grant for grant in DESIGNER for action in grant.actions}
    for action in ("DeleteEndpoint", "InvokeEndpointAsync", "UpdateEndpointWeightsAndCapacities"):
        conditions = grants[f"sagemaker:{action}"].conditions
        assert conditions == {"StringEquals": {"aws:ResourceTag/comfy-aws": "endpoint"}}
    # Else a tag put on another's endpoint would open it.
    tagging = [each.conditions["StringEquals"] for each in DESIGNER
               if "sagemaker:AddTags" in each.actions]  # fmt: skip
    assert [set(each) for each in tagging] == [
        {"sagemaker:TaggingAction"},
        {"aws:ResourceTag/comfy-aws"},
    ]


@pytest.mark.parametrize("region", ["ap-southeast-2", "us-gov-west-1"])
@pytest.mark.parametrize("grants", [DESIGNER, EXECUTION], ids=["designer", "execution"])
def test_a_policy_fits_into_a_managed_one_whatever_its_names(grants, region):
    """IAM counts 6,144 characters without white space; the names here are as long as may be."""
    role, repository = "comfy-aws-ExecutionRole".ljust(64, "r"), "w" * 64
    names = permissions.names_of(
        region=region, account="123456789012", bucket="b" * 63, repository=repository,
        execution_role=f"arn:{permissions.partition_of(region)}:iam::123456789012:role/{role}",
    )  # fmt: skip
    document = permissions.resolved(permissions.policy(grants), names)
    assert len(json.dumps(document, separators=(",", ":"))) <= 6144


def test_regions_are_of_the_partitions_that_aws_has():
    session = boto3.Session()
    partitions = session.get_available_partitions()
    assert "aws-cn" in partitions
    for partition in partitions:
        for region in session.get_available_regions("s3", partition):
            assert permissions.partition_of(region) == partition, region


def test_placeholders_are_resolved_or_told():
    names = permissions.names_of(
        region="cn-north-1", account="123456789012", bucket="b",
        execution_role="arn:aws-cn:iam::123456789012:role/r", repository="w",
    )  # fmt: skip
    document = permissions.resolved(permissions.policy(DESIGNER), names)
    assert "${" not in str(document)
    assert "arn:aws-cn:s3:::b/jobs/*" in document["Statement"][1]["Resource"]
    with pytest.raises(ConfigError, match="BucketName"):
        permissions.resolved("${BucketName}", {})
