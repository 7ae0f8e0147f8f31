"""deploy/stack.yaml: CloudFormation's schema by cfn-lint, and what the operator is promised."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from moto.cloudformation.parsing import resource_class_from_type

from comfy_aws import bundle, cli, deploy_limits, deploy_plan, layout, permissions
from comfy_aws.errors import ConfigError, Conflict
from comfy_aws.localstack import builds, cloudformation
from tools import policies

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deploy" / "stack.yaml"
INLINE_LIMIT = 51_200
"""Bytes that CloudFormation takes as TemplateBody."""


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms, such as !Sub, as their long ones."""


def _long_form(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    value = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda each: loader.construct_sequence(each, deep=True),
        yaml.MappingNode: lambda each: loader.construct_mapping(each, deep=True),
    }[type(node)](node)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _long_form)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return yaml.load(TEMPLATE.read_text(), Loader)


@pytest.fixture(scope="module")
def resources(template) -> dict[str, Any]:
    return template["Resources"]


def test_cfn_lint_finds_nothing():
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I"]
    result = subprocess.run(
        [*command, "--", str(TEMPLATE)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


# moto's CloudFormation does not know them, so the tests' stacks have none. Their properties are
# held against CloudFormation's schema, as all are, by cfn-lint above.
BY_SCHEMA_ALONE = {
    "AWS::Budgets::Budget", "AWS::CloudFormation::WaitConditionHandle", "AWS::CloudWatch::Alarm",
    "AWS::EC2::EIPAssociation", "AWS::S3::BucketPolicy", "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy", "AWS::SecretsManager::Secret",
}  # fmt: skip


def test_each_type_is_made_by_the_local_stack_or_known_to_the_schema(resources):
    cloudformation.install()
    assert builds.BuildProject.cloudformation_type() == "AWS::CodeBuild::Project"
    types = {each["Type"] for each in resources.values()}
    assert {each for each in types if resource_class_from_type(each) is None} == BY_SCHEMA_ALONE
    for each in BY_SCHEMA_ALONE:
        assert PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", each).schema["properties"]


STATUSES = [
    ("CREATE_COMPLETE", False, ""),
    ("UPDATE_IN_PROGRESS", False, ""),
    ("UPDATE_ROLLBACK_COMPLETE", True, "comfy-aws update"),
    ("UPDATE_FAILED", True, "comfy-aws update"),
    (
        "UPDATE_ROLLBACK_FAILED",
        True,
        "--stack-name painters --region eu-west-1",
    ),
    ("DELETE_FAILED", True, "comfy-aws destroy --name painters"),
    ("ROLLBACK_COMPLETE", True, "comfy-aws deploy --name painters"),
    ("ROLLBACK_FAILED", True, "comfy-aws deploy --name painters"),
]


@pytest.mark.parametrize(("status", "failed", "cure"), STATUSES)
def test_a_change_that_failed_has_a_cure(status, failed, cure):
    assert deploy_plan.failed(status) is failed
    assert not failed or cure in deploy_plan.cure("painters", status, "eu-west-1")
    assert deploy_plan.stuck(status) == (status in {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"})


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"])
def test_a_stack_that_changes_is_left_to_it(status):
    """Else its endpoints would be deleted, and then CloudFormation would refuse the rest."""
    stack = deploy_plan.StackView("painters", "id", status)
    with pytest.raises(Conflict, match=status):
        deploy_plan.check_idle(stack)
    assert deploy_plan.check_idle(replace(stack, status="UPDATE_COMPLETE"))


def test_it_is_sent_in_one_piece():
    assert len(bundle.template().encode()) < INLINE_LIMIT


def test_the_statements_are_those_of_the_permissions(resources):
    assert policies.written(TEMPLATE.read_text()) == TEMPLATE.read_text(), "run tools/policies.py"
    execution = resources["ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    designer = resources["DesignerPolicy"]["Properties"]["PolicyDocument"]
    assert plain(execution) == permissions.policy(permissions.EXECUTION)
    assert plain(designer) == permissions.policy(permissions.DESIGNER)


def plain(value: Any) -> Any:
    """A document with the text of its !Sub in their place."""
    if isinstance(value, dict):
        if set(value) == {"Fn::Sub"}:
            return value["Fn::Sub"]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def statements(resources) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        documents = [each["PolicyDocument"] for each in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        found += [(name, each) for document in documents for each in document["Statement"]]
    return found


def test_no_statement_allows_everything(resources):
    wide = {"ecr:GetAuthorizationToken", *UNNARROWABLE}
    seen = statements(resources)
    assert len(seen) > 25
    for name, statement in seen:
        if statement["Effect"] == "Deny":
            continue
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action, (name, action)
            if statement["Resource"] in ("*", ["*"]):
                assert action in wide, (name, action)


UNNARROWABLE = {
    "servicequotas:ListServiceQuotas",
    "application-autoscaling:DescribeScalableTargets", "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:PutMetricData", "pricing:GetProducts",
    "sagemaker:ListEndpoints",
}  # fmt: skip


def test_the_bucket_is_closed_and_stays(resources):
    bucket = resources["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    properties = bucket["Properties"]
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    [statement] = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_only_jobs_and_answers_expire(resources):
    rules = resources["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Prefix"] for rule in rules if "ExpirationInDays" in rule}
    assert expiring == {layout.JOBS, layout.ASYNC}
    [unfinished] = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert "Prefix" not in unfinished


@pytest.mark.parametrize("cidr", ["203.0.113.7/32", "10.0.0.0/8", "192.168.0.0/16"])
def test_networks_that_may_reach_the_designer(template, cidr):
    assert re.fullmatch(template["Parameters"]["DesignerCidr"]["AllowedPattern"], cidr)
    assert deploy_plan.check_cidr(cidr) == cidr


@pytest.mark.parametrize(
    "cidr", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/7", "", "10.0.0.0", "fd00::/8"]
)
def test_networks_that_are_too_wide_or_none(template, cidr):
    assert not re.fullmatch(template["Parameters"]["DesignerCidr"]["AllowedPattern"], cidr)
    with pytest.raises(ConfigError):
        deploy_plan.check_cidr(cidr)


def test_a_designer_needs_its_network(template):
    rule = template["Rules"]["DesignerIsNotOpen"]["Assertions"][0]
    nobody = template["Parameters"]["DesignerCidr"]["Default"]
    assert rule["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "DesignerCidr"}, nobody]}]}
    assert nobody == deploy_plan.NOBODY == "127.0.0.1/32"


def test_the_designer_machine_is_closed(resources):
    designer = resources["Designer"]["Properties"]
    assert designer["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in designer
    assert {"Key": "Name", "Value": "comfy-on-aws-dev"} in designer["Tags"]
    ingress = list(resources["DesignerNetwork"]["Properties"]["SecurityGroupIngress"])
    ingress.append(resources["InferencePortsIngress"]["Properties"])
    assert all(rule["CidrIp"] == {"Ref": "DesignerCidr"} for rule in ingress)
    assert [(rule["FromPort"], rule["ToPort"]) for rule in ingress] == [(443, 443), (10001, 10050)]
    assert resources["DesignerVolume"]["Properties"]["Encrypted"] is True
    for name, resource in resources.items():
        if name.startswith("Designer") and name != "DesignerPolicy":
            assert resource["Condition"] == "HasDesigner", name


def test_a_sleeping_endpoint_finds_its_image(resources):
    """It pulls it anew when it wakes, however many were built since."""
    [rule] = json.loads(
        resources["Repository"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
    )["rules"]
    assert rule["selection"]["countNumber"] >= 100


def test_another_machine_is_not_a_change(template):
    replaced = deploy_plan.Change("Modify", "Designer", "AWS::EC2::Instance", "True")
    stopped = deploy_plan.Change("Modify", "Designer", "AWS::EC2::Instance", "Conditional")
    deploy_plan.check_changes([stopped])
    with pytest.raises(ConfigError, match="would be replaced"):
        deploy_plan.check_changes([stopped, replaced])
    assert set(template["Resources"]) >= deploy_plan._MACHINE


def test_parameters_are_those_that_the_command_line_offers(template):
    offered = {*deploy_plan.PARAMETERS.values(), *deploy_plan.NOT_OFFERED}
    assert set(template["Parameters"]) == offered
    assert set(deploy_plan.PARAMETERS) == {
        field.name for field in fields(deploy_plan.DeployOptions)
    }


def test_options_are_refused_as_the_template_refuses_them(template):
    limited = {*deploy_limits.LIMITS, *deploy_limits.PATTERNS, "designer_cidr"}
    assert limited == set(deploy_plan.PARAMETERS)
    for name, (least, most) in deploy_limits.LIMITS.items():
        wish = template["Parameters"][deploy_plan.PARAMETERS[name]]
        values = wish.get("AllowedValues", [])
        assert (least, most) == (
            min(values, default=wish.get("MinValue")),
            max(values, default=wish.get("MaxValue")),
        )
    assert list(deploy_limits.LOG_RETENTIONS) == template["Parameters"]["LogDays"]["AllowedValues"]
    for name, (pattern, _) in deploy_limits.PATTERNS.items():
        assert pattern == template["Parameters"][deploy_plan.PARAMETERS[name]]["AllowedPattern"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--awake-hours", "3"], "--awake-hours: 3 is not 1 to 2"),
        (["--job-days", "0"], "--job-days: 0 is not 1 to 3,650"),
        (["--job-days", "few"], "--job-days: few is not a whole number"),
        (["--log-days", "4"], "--log-days: 4 is not one of 1, 3, 5"),
        (["--monthly-budget", "-1"], "--monthly-budget: -1 is not 0 or more"),
        (["--alert-email", "you"], "--alert-email: 'you' is not an address such as"),
        (["--comfyui-version", "latest"], "'latest' is not a version such as 0.3.75"),
        (["--designer-type", "large"], "'large' is not an instance type such as g5.xlarge"),
    ],
)
def test_what_an_option_may_be_is_told_at_once(arguments, says, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["deploy", *arguments])
    assert left.value.code == 2
    assert says in capsys.readouterr().err


def test_every_log_is_kept_for_a_while_only(resources):
    groups = [each for each in resources.values() if each["Type"] == "AWS::Logs::LogGroup"]
    assert groups
    assert all(group["Properties"]["RetentionInDays"] == {"Ref": "LogDays"} for group in groups)


QUERY = re.compile(
    r"SELECT (?P<of>\w+)\(\w+\) FROM SCHEMA\(\"[\w/]+\", (?P<by>[\w, ]+)\)"
    r" GROUP BY (?P<group>\w+) ORDER BY (?P<order>\w+)\(\) DESC"
)
AWAKE_PERIODS = {"1": 12, "2": 24}
INSIGHTS_SECONDS = 3 * 3600
"""An alarm on Metrics Insights evaluates the latest three hours."""


def check_each_endpoint_is_judged(alarm: dict[str, Any], function: str) -> None:
    """Each endpoint is a series of its own, so two that take turns do not count as one."""
    [metric] = alarm["Metrics"]
    query = QUERY.fullmatch(metric["Expression"])
    assert query, metric
    assert query["group"] == "EndpointName"
    assert query["group"] in query["by"].split(", ")
    assert query["of"] == query["order"] == function
    periods = alarm["EvaluationPeriods"]
    longest = max(AWAKE_PERIODS.values()) if isinstance(periods, dict) else periods
    assert metric["Period"] * longest <= INSIGHTS_SECONDS


def test_hours_awake_are_counted_in_periods(template, resources):
    mapping = template["Mappings"]["AwakePeriods"]
    counts = {hours: each["Count"] for hours, each in mapping.items()}
    assert counts == AWAKE_PERIODS
    [metric] = resources["AwakeAlarm"]["Properties"]["Metrics"]
    assert all(int(hours) * 3600 == count * metric["Period"] for hours, count in counts.items())
    allowed = template["Parameters"]["AwakeHours"]["AllowedValues"]
    assert {str(hours) for hours in allowed} == set(counts)


# What Cost Explorer calls the services, and which types of resources they bill.
SERVICES = {
    "Amazon Simple Storage Service": {"AWS::S3::Bucket"},
    "Amazon EC2 Container Registry (ECR)": {"AWS::ECR::Repository"},
    "CodeBuild": {"AWS::CodeBuild::Project"},
    "AmazonCloudWatch": {"AWS::Logs::LogGroup", "AWS::CloudWatch::Alarm"},
    "Amazon Simple Notification Service": {"AWS::SNS::Topic", "AWS::SNS::Subscription"},
    "Amazon Elastic Compute Cloud - Compute": {"AWS::EC2::Instance"},
    "EC2 - Other": {"AWS::EC2::Volume"},
    "Amazon Virtual Private Cloud": {"AWS::EC2::EIP"},
    "AWS Secrets Manager": {"AWS::SecretsManager::Secret"},
    "Amazon SageMaker": set(),  # made by the designer: endpoints, and their queues
    "Amazon Simple Queue Service": set(),
}
FREE = {
    "AWS::S3::BucketPolicy", "AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::SNS::TopicPolicy",
    "AWS::IAM::InstanceProfile", "AWS::Budgets::Budget", "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupIngress", "AWS::EC2::EIPAssociation", "AWS::EC2::VolumeAttachment",
    "AWS::CloudFormation::WaitCondition", "AWS::CloudFormation::WaitConditionHandle",
}  # fmt: skip


def test_the_budget_counts_all_that_the_stack_can_cost(resources):
    [counted] = resources["Budget"]["Properties"]["Budget"]["CostFilters"].values()
    assert sorted(counted) == sorted(SERVICES)
    billed = set().union(*SERVICES.values())
    assert {each["Type"] for each in resources.values()} == billed | FREE


def test_alarms_and_budget_tell_somebody(resources):
    alarms = {n: r for n, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    assert set(alarms) == {"FailedAlarm", "FailedJobsAlarm", "WaitingAlarm", "AwakeAlarm"}
    for alarm in alarms.values():
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": "Alerts"}]
    failed = alarms["FailedJobsAlarm"]["Properties"]  # what the worker counts
    [by] = failed["Dimensions"]
    named = (failed["Namespace"], failed["MetricName"], by["Name"], by["Value"])
    assert named == (permissions.METRICS, "JobsFailed", "Bucket", {"Ref": "BucketName"})
    for name, function in {
        "FailedAlarm": "SUM",
        "WaitingAlarm": "MAX",
        "AwakeAlarm": "COUNT",
    }.items():
        check_each_endpoint_is_judged(alarms[name]["Properties"], function)
    told = json.dumps(resources["Budget"]["Properties"]["NotificationsWithSubscribers"])
    assert told.count('"Ref": "Alerts"') == 2
