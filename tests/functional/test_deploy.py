"""The stack at AWS, by the command line, on the local stack's CloudFormation.

moto makes most of the resources; tests/unit/test_stack_template.py names those that it does not,
which are held against CloudFormation's schema alone.
"""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from comfy_aws import bundle, cli, config, layout
from comfy_aws.aws import SageMaker, Session
from comfy_aws.config import AwsAccess
from comfy_aws.deploy_plan import DeployOptions
from comfy_aws.deployments import Deployments
from comfy_aws.endpoint_plan import WorkerImage, plan_create
from comfy_aws.errors import AwsError
from comfy_aws.models import EndpointSpec
from tests.functional.localstack_support import WORKER
from tests.functional.parts import access_to
from tests.support import faults

ROOT = Path(__file__).resolve().parents[2]
OURS, FOREIGN = "of-this-stack", "of-another"


@pytest.fixture
def home(shared_stack, tmp_path, monkeypatch):
    """The local stack in AWS's place, reached as AWS is: by boto3's own variables."""
    for name in ("COMFY_AWS_TARGET", "COMFY_AWS_BUCKET", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared_stack.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", shared_stack.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", shared_stack.secret_access_key)
    monkeypatch.setenv("AWS_REGION", shared_stack.region)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)  # workers are not made of this one
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Account:
    """What else is in the account: endpoints, of this stack and of others."""

    def __init__(self, shared_stack) -> None:
        self._state = shared_stack
        self._sagemaker = SageMaker(Session(access_to(shared_stack)))

    def make(self, name: str, role: str) -> None:
        environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
        worker = WorkerImage(self._state.image_uri, role, environment)
        for step in plan_create(EndpointSpec(name=name), worker, self._state.bucket):
            self._sagemaker.call(step.operation, step.request)

    def names(self) -> set[str]:
        """Of the endpoints that are not on their way out."""
        return {
            each["EndpointName"]
            for each in self._sagemaker.endpoints()
            if each["EndpointStatus"] != "Deleting"
        }

    def delete(self, name: str) -> None:
        """Also of one that is still Creating, which AWS does not delete at once."""
        while name in self.names():
            with suppress(AwsError):
                self._sagemaker.call("delete_endpoint", {"EndpointName": name})
            time.sleep(0.1)


@pytest.fixture
def account(shared_stack):
    made = Account(shared_stack)
    yield made
    for name in OURS, FOREIGN:
        made.delete(name)


@pytest.fixture
def run(home, capsys):
    def run(*arguments: str, status: int = 0) -> tuple[str, str]:
        found = cli.main(arguments)
        output = capsys.readouterr()
        assert found == status, output
        return output.out, output.err

    return run


@pytest.fixture
def stack_name(home, shared_stack):
    """A stack that is gone after the test, whatever becomes of it."""
    name = f"deploy-{uuid.uuid4().hex[:8]}"
    yield name
    client = boto3.client("cloudformation", region_name=shared_stack.region)
    client.delete_stack(StackName=name)


@contextmanager
def changing(endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS whose endpoints change just now, as it says to the first two that ask to delete one."""
    refusals = [1, 2]

    def refuse(asked: faults.Asked) -> faults.Answer | None:
        if asked.operation != "DeleteEndpoint" or not refusals:
            return None
        refusals.pop()
        text = "Cannot update in-progress endpoint."
        return faults.as_json({"__type": "ValidationException", "message": text}, 400)

    with faults.aws_before(endpoint_url) as aws, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws.url)
        aws.faults.append(refuse)
        yield


def test_from_nothing_to_a_stack_and_back(run, home, parts, account, stack_name, monkeypatch):
    named = ("--name", stack_name)
    shown, _ = run("status", *named, status=1)
    assert "Make one: comfy-aws deploy" in shown
    assert "The local stack forgets those of before its start" in shown
    assert "no stack named" in run("update", *named, "--yes", status=1)[1]
    assert "no stack named" in run("destroy", *named, "--yes", status=1)[1]

    # Nobody agrees, so nothing is made.
    bucket = ("--bucket", parts.store.bucket)
    assert "Add --yes" in run("deploy", *named, *bucket, status=1)[1]
    run("status", *named, status=1)

    _, told = run("deploy", *named, *bucket, "--yes", "--job-days", "9", status=1)
    assert "--job-days would change nothing" in told
    shown, told = run("deploy", *named, *bucket, "--yes", "--json", "--awake-hours", "1")
    assert f"Taking up the bucket {parts.store.bucket}." in told
    assert "create   ExecutionRole (AWS::IAM::Role)" in told
    assert "create   Designer (" not in told, "its condition is false"
    assert told.index("create   ExecutionRole") < told.index("CREATE_COMPLETE")
    deployed = json.loads(shown)
    assert deployed["parameters"]["AwakeHours"] == "1"
    assert "Building the worker image" in told
    assert "Nobody is told of alarms" in told
    assert all(json.loads(line)["progress"] for line in told.splitlines())

    settings = config.load(home, {})
    assert settings.target == "aws"
    assert settings.bucket == parts.store.bucket
    assert settings.execution_role == deployed["outputs"]["ExecutionRole"]
    assert settings.image == deployed["image"]
    repository, _, tag = settings.image.rpartition(":")
    assert repository == deployed["outputs"]["ImageRepository"]
    assert tag.startswith("0.3.75-")
    [kept] = boto3.client("ecr", region_name=parts.state.region).describe_images(
        repositoryName=f"{stack_name}-worker"
    )["imageDetails"]
    assert kept["imageTags"] == [tag], "the build has pushed it"

    # The bundle is what an image is built of: this very source, and none of its tests.
    with zipfile.ZipFile(io.BytesIO(parts.store.get(layout.SOURCE))) as archive:
        names = set(archive.namelist())
        assert archive.read("deploy/stack.yaml") == (ROOT / "deploy/stack.yaml").read_bytes()
    assert {"src/comfy_aws/worker/__main__.py", "docs/openapi.yaml", "web/js/main.js"} <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/", ".", "bench/"))]

    # Of what a rehearsal does not have, the doctor says so.
    checks = {each["name"]: each for each in json.loads(run("doctor", "--json")[0])["checks"]}
    skipped = {name for name, each in checks.items() if each["state"] == "skipped"}
    assert skipped == {"bucket_rules", "prices", "rights"}
    assert all("local stack" in checks[name]["message"] for name in skipped)

    # An update changes what is named and keeps the rest.
    shown, told = run("update", *named, "--yes", "--json", "--log-days", "7")
    assert "set      LogDays = 7" in told
    updated = json.loads(shown)["parameters"]
    assert (updated["AwakeHours"], updated["LogDays"]) == ("1", "7")
    assert "would change nothing" in run("update", *named, "--yes", "--job-days", "9", status=1)[1]
    _, told = run("update", *named, "--yes")
    assert "no change" in told
    assert f"The worker image {tag} is there already." in told

    _, told = run("deploy", *named, "--bucket", "another", "--yes", status=1)
    assert f"has the bucket {parts.store.bucket}, and cannot move to another" in told

    # Only this stack's endpoints go with it.
    account.make(OURS, settings.execution_role)
    account.make(FOREIGN, parts.state.role_arn)
    status = json.loads(run("status", *named, "--json")[0])
    assert status["endpoints"] == [OURS]
    with changing(parts.state.endpoint_url, monkeypatch):
        shown, told = run("destroy", *named, "--yes", "--json")
    assert f"the endpoint {OURS}, with jobs" in told
    assert told.count(f"Waiting. {OURS} changes just now") == 1
    assert f"The bucket {parts.store.bucket} is kept" in told
    assert json.loads(shown)["kept_bucket"] == parts.store.bucket
    assert account.names() == {FOREIGN}
    run("status", *named, status=1)
    assert parts.store.get(layout.SOURCE)
    assert config.load(home, {}).execution_role == ""


def test_a_bucket_goes_when_it_is_told_to(run, shared_stack, stack_name):
    client = boto3.client("s3", region_name=shared_stack.region)
    named = ("--name", stack_name)
    run("deploy", *named, "--bucket", "to-be-deleted", "--yes", "--job-days", "9")
    assert client.head_object(Bucket="to-be-deleted", Key=layout.SOURCE)
    assert expiring(client, "to-be-deleted") == {layout.JOBS: 9, layout.ASYNC: 7}
    run("update", *named, "--yes", "--job-days", "8")
    assert expiring(client, "to-be-deleted")[layout.JOBS] == 8
    # What its owner has turned on since: each object leaves its versions behind.
    kept = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket="to-be-deleted", VersioningConfiguration=kept)
    for body in b"1", b"2":
        client.put_object(Bucket="to-be-deleted", Key="jobs/x", Body=body)
    _, told = run("destroy", *named, "--yes", "--delete-bucket")
    assert "the bucket to-be-deleted with 2 objects: every template" in told
    assert "to-be-deleted" not in {each["Name"] for each in client.list_buckets()["Buckets"]}


@pytest.fixture
def interruptible():
    """Ctrl+C is heard also by tests in the background, whose shell forbids it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class BuildUnderWay:
    """CodeBuild with a build of an image that is done when it is looked at for the third time."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._looks = 0

    def __call__(self, asked: faults.Asked) -> faults.Answer | None:
        if asked.operation == "ListBuildsForProject":
            return faults.as_json({"ids": ["Build:1"]})
        if asked.operation == "BatchGetBuilds" and json.loads(asked.body)["ids"] == ["Build:1"]:
            self._looks += 1
            variables = [{"name": "TAG", "value": self._tag}]
            build = {
                "id": "Build:1",
                "buildStatus": "IN_PROGRESS" if self._looks < 3 else "SUCCEEDED",
                "environment": {"environmentVariables": variables},
            }
            return faults.as_json({"builds": [build]})
        return None


@pytest.mark.usefixtures("interruptible")
def test_a_deploy_that_is_interrupted_goes_on(run, shared_stack, stack_name, monkeypatch):
    named = ("--name", stack_name, "--bucket", f"{stack_name}-bucket")

    def pressed(asked: faults.Asked) -> faults.Answer | None:
        if asked.operation != "StartBuild":
            return None
        os.kill(os.getpid(), signal.SIGINT)
        return faults.as_json({"build": {"id": "Build:1", "buildStatus": "IN_PROGRESS"}})

    with faults.aws_before(shared_stack.endpoint_url) as aws, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws.url)
        aws.faults.append(pressed)
        _, told = run("deploy", *named, "--yes", status=130)
        assert f"`comfy-aws status --name {stack_name}` tells how it stands" in told
        # The build goes on meanwhile, and is waited for rather than begun anew.
        aws.faults[:] = [BuildUnderWay(f"0.3.75-{bundle.pack().tag}")]
        aws.heard.clear()
        shown, told = run("deploy", *named, "--yes", "--json")
        assert "Building the worker image" in told
        assert "StartBuild" not in {asked.operation for asked in aws.heard}
        # One that is over, or of another image, does not count.
        aws.faults[:] = [BuildUnderWay("0.3.75-of-another")]
        run("deploy", *named, "--yes")
        assert "StartBuild" in {asked.operation for asked in aws.heard}
    assert "no change" in told
    assert json.loads(shown)["status"] == "CREATE_COMPLETE"
    run("destroy", "--name", stack_name, "--yes", "--delete-bucket")


@pytest.mark.usefixtures("home")
def test_a_deploy_outlives_a_broken_line(parts, stack_name, monkeypatch):
    told: list[str] = []
    broken = ["DescribeStackEvents", "DescribeStacks"] * 2

    def cut(asked: faults.Asked) -> faults.Answer | None:
        begun = any(each.operation == "ExecuteChangeSet" for each in aws.heard)
        if asked.operation not in broken or not begun:
            return None
        broken.remove(asked.operation)
        error = "<Error><Code>InternalFailure</Code><Message>later</Message></Error>"
        return faults.xml(f"<ErrorResponse>{error}</ErrorResponse>", 400)

    with faults.aws_before(parts.state.endpoint_url) as aws, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws.url)
        access = AwsAccess("", parts.state.region, "")
        deployments = Deployments(access, tell=told.append, sleep=lambda _: None)
        proposal = deployments.propose(stack_name, DeployOptions(), bucket=parts.store.bucket)
        aws.faults.append(cut)
        deployed = deployments.deploy(proposal)
    assert deployed.stack.status == "CREATE_COMPLETE"
    assert not broken
    assert len([line for line in told if line.startswith("Looking again")]) == 4


def expiring(client, bucket: str) -> dict[str, int]:
    """Days until objects are deleted, by their prefix."""
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return {
        rule["Filter"]["Prefix"]: rule["Expiration"]["Days"]
        for rule in rules
        if "Expiration" in rule
    }


def test_a_bucket_of_the_local_stacks_cloudformation(home, shared_stack, stack_name):
    """It is made in the object store, and deleted as its policy says, when it is empty."""
    s3 = boto3.client("s3", region_name=shared_stack.region)
    cloudformation = boto3.client("cloudformation", region_name=shared_stack.region)
    kind = {"Type": "AWS::S3::Bucket"}
    kept, gone = f"{stack_name}-kept", f"{stack_name}-gone"
    template = {
        "Resources": {
            "Kept": {**kind, "DeletionPolicy": "Retain", "Properties": {"BucketName": kept}},
            "Gone": {**kind, "Properties": {"BucketName": gone}},
        },
        "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Gone", "Arn"]}}},
    }
    body = json.dumps(template)

    def names() -> set[str]:
        return {each["Name"] for each in s3.list_buckets()["Buckets"]}

    cloudformation.create_stack(StackName=stack_name, TemplateBody=body)
    assert names() >= {kept, gone}
    [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    assert stack["Outputs"][0]["OutputValue"] == f"arn:aws:s3:::{gone}"
    cloudformation.delete_stack(StackName=stack_name)
    assert names() & {kept, gone} == {kept}
    with pytest.raises(ClientError, match=f"The bucket {kept}: 409"):
        cloudformation.create_stack(StackName=stack_name, TemplateBody=body)
    s3.delete_bucket(Bucket=kept)


def test_a_failure_is_json_among_json(run, stack_name):
    arguments = ["--name", stack_name, "--yes", "--json"]
    _, told = run("deploy", *arguments, "--bucket", "Not/A/Bucket", status=1)
    assert "error" in [json.loads(line) for line in told.splitlines()][-1]


def test_a_bucket_of_another_region_is_not_taken_up(run, parts, stack_name, monkeypatch):
    def elsewhere(asked: faults.Asked) -> faults.Answer | None:
        if asked.operation == "HEAD bucket":
            return 200, {"x-amz-bucket-region": "eu-central-1"}, b""
        return None

    with faults.aws_before(parts.state.endpoint_url) as aws, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws.url)
        aws.faults.append(elsewhere)
        arguments = ("--name", stack_name, "--bucket", parts.store.bucket, "--yes")
        _, told = run("deploy", *arguments, status=1)
    assert f"The bucket {parts.store.bucket} lies in eu-central-1" in told
    assert "Give --region eu-central-1" in told


REFUSED = [
    (["--designer-type", "g5.xlarge"], "needs the network"),
    (["--designer-type", "g5.xlarge", "--designer-cidr", "0.0.0.0/0"], "open it to too many"),
    (["--designer-type", "g5.xlarge", "--designer-cidr", "::/0"], "open it to too many"),
    (["--designer-type", "g5.xlarge", "--designer-cidr", "128.0.0.0/1"], "open it to too many"),
    (["--designer-cidr", "10.0.0.1/8"], "is not a network"),
    (["--designer-vpc", "vpc-1"], "needs a subnet"),
    (["--models-snapshot", "snap-1"], "none is added"),
    (["--name", "Large"], "lower-case letters"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=lambda value: " ".join(value)[:60])
def test_what_is_refused_before_anything_is_sent(arguments, text, run, stack_name):
    assert text in run("deploy", "--name", stack_name, *arguments, "--yes", status=1)[1]
    run("status", "--name", stack_name, status=1)


def test_the_policies_printed_are_those_of_the_stack(run, parts, shared_stack, stack_name):
    run("deploy", "--name", stack_name, "--bucket", parts.store.bucket, "--yes")
    outputs = json.loads(run("status", "--name", stack_name, "--json")[0])["outputs"]
    iam = boto3.client("iam", region_name=shared_stack.region)
    version = iam.get_policy_version(PolicyArn=outputs["DesignerPolicy"], VersionId="v1")
    assert json.loads(run("iam-policy", "designer")[0]) == version["PolicyVersion"]["Document"]
    role = outputs["ExecutionRole"].rpartition("/")[2]
    inline = iam.get_role_policy(RoleName=role, PolicyName="worker")["PolicyDocument"]
    # moto hands out what came by CloudFormation as Python's own text.
    assert json.loads(run("iam-policy", "execution")[0]) == ast.literal_eval(inline)


def test_a_designer_is_a_machine_of_the_stack(run, parts, shared_stack, stack_name):
    options = ["--designer-type", "g5.xlarge", "--designer-cidr", "203.0.113.7/32"]
    # moto has no public parameter for machine images with a GPU's driver.
    _, told = run("deploy", "--name", stack_name, *options, "--yes", status=1)
    assert "ssm:GetParameter" in told
    assert "Give one with --designer-image" in told
    options += ["--designer-image", "ami-12c6146b"]
    bucket = ("--bucket", parts.store.bucket)
    shown, _ = run("deploy", "--name", stack_name, *bucket, *options, "--yes", "--json")
    deployed = json.loads(shown)
    ec2 = boto3.client("ec2", region_name=shared_stack.region)
    found = ec2.describe_instances(InstanceIds=[deployed["outputs"]["DesignerInstance"]])
    [machine] = found["Reservations"][0]["Instances"]
    assert machine["InstanceType"] == "g5.xlarge"
    assert {"Key": "Name", "Value": "comfy-on-aws-dev"} in machine["Tags"]
    groups = ec2.describe_security_groups(
        GroupIds=[each["GroupId"] for each in machine["SecurityGroups"]]
    )["SecurityGroups"]
    rules = [rule for group in groups for rule in group["IpPermissions"]]
    assert {each["CidrIp"] for rule in rules for each in rule["IpRanges"]} == {"203.0.113.7/32"}
    # The address is its own, so that it outlives a stop of the machine.
    address = deployed["outputs"]["DesignerUrl"].removeprefix("https://").removesuffix("/")
    assert ec2.describe_addresses(PublicIps=[address])["Addresses"]

    # What the machine becomes at its next start, and is the worker image's name there, too.
    def wish() -> dict[str, object]:
        return json.loads(parts.store.get(layout.DESIGNER))

    tag = deployed["image"].rpartition("-")[2]
    assert wish() == {"bundle": tag, "comfyui": "0.3.75", "ports": 0}
    changes = ["--comfyui-version", "0.3.76", "--inference-ports", "2"]
    run("update", "--name", stack_name, *changes, "--yes")
    assert wish() == {"bundle": tag, "comfyui": "0.3.76", "ports": 2}

    # Another machine is no change of this one: it is taken away, and added from its snapshot.
    for option, value in [("--designer-image", "ami-760aaa0f"), ("--models-snapshot", "snap-1")]:
        _, told = run("update", "--name", stack_name, option, value, "--yes", status=1)
        assert f"cannot change its {option}" in told
        assert '--designer-type ""' in told
    _, told = run("update", "--name", stack_name, "--models-gib", "100", "--yes", status=1)
    assert "cannot become smaller" in told
    # What CloudFormation does when a volume goes; moto does not.
    volume = deployed["outputs"]["DesignerVolume"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    shown, told = run("update", "--name", stack_name, "--designer-type", "", "--yes", "--json")
    assert told.index("Stopping the designer machine.") < told.index(
        f"The models volume {volume} is kept as {snapshot}."
    )
    without = json.loads(shown)
    assert "DesignerUrl" not in without["outputs"]
    assert without["parameters"]["DesignerImage"] == ""
    options += ["--models-snapshot", snapshot]
    shown, _ = run("update", "--name", stack_name, *options, "--yes", "--json")
    assert json.loads(shown)["parameters"]["ModelsSnapshot"] == snapshot

    _, told = run("destroy", "--name", stack_name, "--yes")
    assert "its models volume is kept as a snapshot" in told


def test_a_stack_of_somebody_else_is_left_alone(run, shared_stack, stack_name):
    cloudformation = boto3.client("cloudformation", region_name=shared_stack.region)
    topic = {"Resources": {"Theirs": {"Type": "AWS::SNS::Topic"}}}
    cloudformation.create_stack(StackName=stack_name, TemplateBody=json.dumps(topic))
    named = ("--name", stack_name)
    for command in ("deploy", "update", "destroy"):
        _, told = run(command, *named, "--yes", status=1)
        assert f"{stack_name} is not one of Prompt on AWS" in told
    run("status", *named, status=1)
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    assert [each["LogicalResourceId"] for each in resources] == ["Theirs"]
