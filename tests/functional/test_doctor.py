"""The doctor: each thing that can be wrong is found by its name, and its cure told."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from comfy_aws import bundle, cli, permissions
from comfy_aws.aws import ObjectStore, Pricing, SageMaker, Session
from comfy_aws.config import AwsAccess
from comfy_aws.doctor import Check, CheckState, Doctor
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.probes import Patient, Probes
from comfy_aws.stack import StackState
from comfy_aws.versions import Software
from tests.functional.parts import access_to
from tests.functional.test_rights import Recorder, refusal
from tests.support import faults
from tests.support.faults import Answer, Asked, Aws, aws_before, denied

NAMES = [
    "region", "clock", "credentials", "bucket", "bucket_region", "bucket_rules", "write", "read",
    "delete", "upload", "queues", "logs", "metrics", "prices", "endpoints", "scaling", "alarms",
    "image", "role", "quota", "rights", "workers", "versions", "disk",
]  # fmt: skip
HERE = ["region", "clock", "versions", "disk"]
"""Checks that need no credentials."""
REPOSITORY = "comfy-aws/worker"
ROLE = "comfy-aws-execution"
SOURCE = "0123456789abcdef"
SOFTWARE = Software("0.3.75", "1.33.10", "1.33.10")
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"},
                   "Action": "sts:AssumeRole"}],
}  # fmt: skip


_session = functools.cache(Session)
"""A session's clients take longer to make than all calls of a check-up."""


@dataclass
class Clinic:
    """A sound deployment at an AWS that the local stack plays; a test breaks one thing of it."""

    aws: Aws
    access: AwsAccess
    worker: WorkerImage
    home: Path
    software: Software = SOFTWARE
    source: str = SOURCE
    wishes: dict[str, Any] = field(default_factory=dict)
    limits_months: bool = False

    def checks(self) -> dict[str, Check]:
        session = _session(self.access)
        patient = Patient(self.worker, self.access.bucket, limits_months=self.limits_months)
        endpoints = Endpoints(SageMaker(session), self.worker, self.access.bucket)
        doctor = Doctor(
            lambda each: Probes(session, each), patient, endpoints, self.home,
            source=lambda: self.source,
        )  # fmt: skip
        found = doctor.checks(self.software, **self.wishes)
        assert [check.name for check in found] == NAMES
        for check in found:
            assert bool(check.hint) == (check.state is CheckState.FAILED), check
        return {check.name: check for check in found}

    def finds(self, name: str, *cure: str) -> Check:
        """The one thing that is wrong; what cannot be tried for it is told as such."""
        found = self.checks()
        assert states(found, CheckState.FAILED) == [name], found
        for text in cure:
            assert text in found[name].hint, found[name]
        return found[name]


def states(found: dict[str, Check], state: CheckState) -> list[str]:
    return [name for name, check in found.items() if check.state is state]


def client(state: StackState, service: str) -> Any:
    return boto3.client(
        service, endpoint_url=state.endpoint_url, region_name=state.region,
        aws_access_key_id=state.access_key_id, aws_secret_access_key=state.secret_access_key,
    )  # fmt: skip


@pytest.fixture(scope="module")
def deployed(shared_stack: StackState) -> Iterator[WorkerImage]:
    """An image in ECR and a role, as a deployment leaves them."""
    ecr, iam = client(shared_stack, "ecr"), client(shared_stack, "iam")
    uri = ecr.create_repository(repositoryName=REPOSITORY)["repository"]["repositoryUri"]
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind,
                "config": {"digest": "sha256:" + "0" * 64}, "layers": []}  # fmt: skip
    tag = f"0.3.75-{SOURCE}"
    ecr.put_image(repositoryName=REPOSITORY, imageTag=tag, imageManifest=json.dumps(manifest))
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    yield WorkerImage(f"{uri}:{tag}", role["Arn"])
    iam.delete_role(RoleName=ROLE)
    ecr.delete_repository(repositoryName=REPOSITORY, force=True)


@pytest.fixture(scope="module")
def aws(shared_stack: StackState) -> Iterator[Aws]:
    with aws_before(shared_stack.endpoint_url) as played:
        yield played


@pytest.fixture
def clinic(
    shared_stack: StackState, aws: Aws, deployed: WorkerImage, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Clinic:  # fmt: skip
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    aws.faults, aws.shift = [], 0.0
    aws.heard.clear()
    access = replace(access_to(shared_stack), endpoint_url=aws.url, s3_endpoint_url=aws.url)
    return Clinic(aws, access, deployed, tmp_path)


def test_a_sound_connection_passes_and_keeps_nothing(
    clinic: Clinic, shared_stack: StackState
) -> None:
    store = ObjectStore(Session(access_to(shared_stack)))
    before = [entry.key for entry in store.list("")]
    found = clinic.checks()
    assert states(found, CheckState.PASSED) == NAMES, found
    assert found["prices"].message == "1 instance types have a price."
    assert Pricing(_session(clinic.access)).hosting("us-east-1") == {"ml.g5.xlarge": 1.408}
    assert [entry.key for entry in store.list("")] == before
    assert not client(shared_stack, "s3").list_multipart_uploads(
        Bucket=shared_stack.bucket
    ).get("Uploads")  # fmt: skip
    sqs, sagemaker = client(shared_stack, "sqs"), client(shared_stack, "sagemaker")
    assert not sqs.list_queues(QueueNamePrefix="comfy-aws-check").get("QueueUrls")
    left = [each["ModelName"] for each in sagemaker.list_models()["Models"]]
    left += [
        each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]
    ]
    assert not [name for name in left if name.startswith("comfy-aws-check")]
    alarms = client(shared_stack, "cloudwatch").describe_alarms(AlarmNamePrefix="comfy-aws-check")
    assert not alarms["MetricAlarms"]


def test_a_check_up_stays_within_the_designers_rights(clinic: Clinic) -> None:
    recorder = Recorder(_session(clinic.access))
    clinic.checks()
    bucket, calls = clinic.access.bucket, recorder.calls
    assert {"s3:AbortMultipartUpload", "ecr:DescribeImages"} <= {name for name, _ in calls}
    refused = {text for call in calls if (text := refusal(bucket, *call, images=REPOSITORY))}
    assert refused == set()


# -- the faults --------------------------------------------------------------------------------


def test_a_wrong_key(clinic: Clinic) -> None:
    clinic.access = replace(clinic.access, secret_access_key="wrong")
    check = clinic.finds("credentials", "Check the credentials")
    assert check.permission == "sts:GetCallerIdentity"
    found = clinic.checks()
    skipped = [name for name in NAMES if name not in {*HERE, "credentials"}]
    assert states(found, CheckState.SKIPPED) == skipped
    assert found["queues"].message == "Not tried: credentials failed."
    assert found["write"].message == "Not tried: bucket failed."


def test_a_key_that_nobody_knows(clinic: Clinic) -> None:
    clinic.access = replace(clinic.access, access_key_id="AKIAIOSFODNN7EXAMPLE")
    clinic.finds("credentials", "Check the credentials")


@pytest.mark.parametrize(("shift", "text"), [(1200, "20 minutes behind"), (-1200, "ahead of")])
def test_a_clock_that_is_wrong(clinic: Clinic, shift: float, text: str) -> None:
    clinic.aws.shift = shift
    check = clinic.finds("clock", "NTP")
    assert text in check.message


def test_a_profile_that_is_not_there(clinic: Clinic) -> None:
    clinic.access = replace(clinic.access, profile="no-such-profile")
    check = clinic.finds("region", "AWS_PROFILE")
    assert "no-such-profile" in check.message


def test_no_region(clinic: Clinic) -> None:
    clinic.access = replace(clinic.access, region="")
    clinic.finds("region", "Set region in the settings", "AWS_REGION")


def test_nobody_answers(clinic: Clinic) -> None:
    url = "http://127.0.0.1:9"
    clinic.access = replace(clinic.access, endpoint_url=url, s3_endpoint_url=url)
    clinic.finds("credentials", "network")


def test_a_bucket_that_is_not_there(clinic: Clinic) -> None:
    clinic.access = replace(clinic.access, bucket="nobodys-bucket")
    clinic.finds("bucket", "Create the bucket nobodys-bucket")


def test_a_bucket_in_another_region(clinic: Clinic) -> None:
    def elsewhere(asked: Asked) -> Answer | None:
        if asked.service != "s3" or asked.region == "eu-west-1":
            return None
        error = "<Code>PermanentRedirect</Code><Message>Another endpoint.</Message>"
        return faults.xml(f"<Error>{error}</Error>", 301, **{"x-amz-bucket-region": "eu-west-1"})

    def there(asked: Asked) -> Answer | None:
        if asked.operation == "HEAD bucket":
            return faults.xml("", **{"x-amz-bucket-region": "eu-west-1"})
        return None

    clinic.aws.faults += [elsewhere, there]
    check = clinic.finds("bucket_region", "Set the region to eu-west-1")
    assert "lies in eu-west-1, the region is us-east-1" in check.message


@pytest.mark.parametrize(
    ("operation", "answer", "says"),
    [
        (
            "GET publicAccessBlock",
            faults.xml("<Error><Code>NoSuchPublicAccessBlockConfiguration</Code></Error>", 404),
            "does not block public access",
        ),
        (
            "GET policy",
            faults.xml("<Error><Code>NoSuchBucketPolicy</Code></Error>", 404),
            "takes requests without TLS",
        ),
        (
            "GET encryption",
            faults.xml(
                "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>", 404
            ),
            "does not encrypt",
        ),
        (
            "GET lifecycle",
            faults.xml("<Error><Code>NoSuchLifecycleConfiguration</Code></Error>", 404),
            "keeps jobs/ for ever and keeps uploads that were never finished",
        ),
        ("GET lifecycle", faults.xml(faults.lifecycle(jobs="async/")), "keeps jobs/ for ever"),
        ("GET lifecycle", faults.xml(faults.lifecycle(uploads="blobs/")), "never finished"),
        ("GET lifecycle", faults.xml(faults.lifecycle(jobs="")), "deletes templates or models"),
    ],
)
def test_a_bucket_that_is_not_protected(
    clinic: Clinic, operation: str, answer: Answer, says: str
) -> None:
    clinic.aws.faults.append(lambda asked: answer if asked.operation == operation else None)
    check = clinic.finds("bucket_rules", "deploy/stack.yaml")
    assert says in check.message


def test_jobs_that_go_before_the_month_whose_costs_are_limited(clinic: Clinic) -> None:
    answer = faults.xml(faults.lifecycle(days=30))
    clinic.aws.faults.append(lambda asked: answer if asked.operation == "GET lifecycle" else None)
    assert states(clinic.checks(), CheckState.FAILED) == []
    clinic.limits_months = True
    check = clinic.finds("bucket_rules", "deploy/stack.yaml")
    assert "deletes jobs/ before the month is over" in check.message


def test_no_role_and_no_image(clinic: Clinic) -> None:
    clinic.worker = WorkerImage("", "")
    found = clinic.checks()
    assert states(found, CheckState.FAILED) == ["image"]
    clinic.worker = WorkerImage("registry.example.com/worker:1", "")
    assert clinic.finds("role", "comfy-aws status").message.startswith("No execution role")
    assert clinic.checks()["image"].message == "registry.example.com/worker:1."


def test_a_role_that_does_not_exist(clinic: Clinic) -> None:
    clinic.worker = replace(clinic.worker, role=f"{clinic.worker.role}-gone")
    check = clinic.finds("role", "comfy-aws status", "trust sagemaker.amazonaws.com")
    assert f"{ROLE}-gone" in check.message


def test_a_role_that_does_not_trust_sagemaker(clinic: Clinic, shared_stack: StackState) -> None:
    iam = client(shared_stack, "iam")
    other = json.dumps(TRUST).replace("sagemaker.", "ec2.")
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=other)
    try:
        clinic.finds("role", "trust sagemaker.amazonaws.com")
    finally:
        iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(TRUST))


def test_an_image_that_does_not_exist(clinic: Clinic) -> None:
    clinic.worker = replace(clinic.worker, image=f"{clinic.worker.image[:-1]}0")
    clinic.source = clinic.source[:-1] + "0"
    check = clinic.finds("image", "comfy-aws update")
    assert "There is no image" in check.message


def test_a_quota_of_none(clinic: Clinic) -> None:
    def none(asked: Asked) -> Answer | None:
        quota = {"QuotaName": "ml.g5.xlarge for endpoint usage", "Value": 0, "QuotaCode": "L-1"}
        listed = asked.operation == "ListServiceQuotas"
        return faults.as_json({"Quotas": [quota]}) if listed else None

    clinic.aws.faults.append(none)
    check = clinic.finds("quota", "request-service-quota-increase", "--quota-code L-1 ")
    assert "ml.g5.xlarge" in check.message
    clinic.wishes = {"instance_type": "ml.g6.xlarge"}  # which this account does not list
    assert clinic.checks()["quota"].state is CheckState.SKIPPED


def test_a_type_far_down_the_list_of_quotas(clinic: Clinic) -> None:
    clinic.wishes = {"instance_type": "ml.p5.48xlarge"}
    assert clinic.checks()["quota"].message == (
        "100 x ml.p5.48xlarge may stand behind endpoints, with NVIDIA driver 580."
    )


def test_a_worker_of_another_comfyui(clinic: Clinic) -> None:
    clinic.software = replace(SOFTWARE, comfyui="0.3.80")
    check = clinic.finds("versions", "comfy-aws update --comfyui-version 0.3.80")
    assert "Workers run ComfyUI 0.3.75, this machine 0.3.80." in check.message


def test_a_worker_of_another_version_of_this_extension(clinic: Clinic) -> None:
    clinic.source = bundle.pack().tag
    check = clinic.finds("versions", "`comfy-aws update`")
    assert f"({SOURCE}; this one is {clinic.source})" in check.message


def test_a_comfyui_and_a_frontend_that_are_too_old(clinic: Clinic) -> None:
    clinic.software = Software("0.3.60")
    assert "older than 0.3.75" in clinic.finds("versions", "Update ComfyUI").message
    clinic.software = replace(SOFTWARE, frontend="1.28.0")
    assert "asks for" in clinic.finds("versions", "pip install -r requirements.txt").message


# -- rights ------------------------------------------------------------------------------------

# The check and the permission of a call.
CALLS = {
    "ListEndpoints": ("endpoints", "sagemaker:ListEndpoints"),
    "DescribeEndpointConfig": ("endpoints", "sagemaker:DescribeEndpointConfig"),
    "ListTags": ("endpoints", "sagemaker:ListTags"),
    "CreateModel": ("role", "sagemaker:CreateModel"),
    "CreateEndpointConfig": ("role", "sagemaker:CreateEndpointConfig"),
    "CreateEndpoint": ("role", "sagemaker:CreateEndpoint"),
    "CreateQueue": ("queues", "sqs:CreateQueue"),
    "ReceiveMessage": ("queues", "sqs:ReceiveMessage"),
    "FilterLogEvents": ("logs", "logs:FilterLogEvents"),
    "GetMetricStatistics": ("metrics", "cloudwatch:GetMetricStatistics"),
    "PutMetricAlarm": ("alarms", "cloudwatch:PutMetricAlarm"),
    "DescribeAlarms": ("alarms", "cloudwatch:DescribeAlarms"),
    "RegisterScalableTarget": ("scaling", "application-autoscaling:RegisterScalableTarget"),
    "PutScalingPolicy": ("scaling", "application-autoscaling:PutScalingPolicy"),
    "DeregisterScalableTarget": ("scaling", "application-autoscaling:DeregisterScalableTarget"),
    "DescribeImages": ("image", "ecr:DescribeImages"),
    "ListServiceQuotas": ("quota", "servicequotas:ListServiceQuotas"),
    "GetProducts": ("prices", "pricing:GetProducts"),
    "PUT object": ("write", "s3:PutObject"),
    "GET object": ("read", "s3:GetObject"),
    "POST uploads": ("upload", "s3:PutObject"),
    "GET uploadId": ("upload", "s3:ListMultipartUploadParts"),
    "GET policy": ("bucket_rules", "s3:GetBucketPolicy"),
    "GET lifecycle": ("bucket_rules", "s3:GetLifecycleConfiguration"),
}


def test_every_permission_that_can_be_tried_is_missed_by_name(clinic: Clinic) -> None:
    """Of each check one right at a time is taken away; that one is told, and no other fails."""
    left = dict(CALLS)
    wrong = []
    while left:
        gone = {name: call for call, (name, _) in reversed(left.items())}
        if "image" in gone or "write" in gone:  # what stands on them is not tried
            gone = {name: call for name, call in gone.items() if name not in ("role", "read")}
        clinic.aws.faults = [
            lambda a, gone=gone: denied(a) if a.operation in gone.values() else None
        ]
        found = clinic.checks()
        assert set(states(found, CheckState.FAILED)) - {"workers"} == gone.keys()
        for name, call in gone.items():
            permission = left.pop(call)[1]
            check = found[name]
            cure = f"Allow {permission}. `comfy-aws iam-policy designer` prints"
            if check.permission != permission or cure not in check.hint:
                wrong.append((call, check))
    assert not wrong


def test_the_permission_that_aws_names_counts(clinic: Clinic) -> None:
    text = "User: u is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r"
    clinic.aws.faults.append(
        lambda asked: denied(asked, message=text) if asked.operation == "CreateModel" else None
    )
    assert clinic.finds("role", "Allow iam:PassRole.").permission == "iam:PassRole"


def test_a_right_that_only_the_simulator_can_tell(clinic: Clinic) -> None:
    forbidden = frozenset({"sagemaker:InvokeEndpointAsync"})

    def simulator(asked: Asked) -> Answer | None:
        asks = asked.operation == "SimulatePrincipalPolicy"
        return faults.simulated(asked, forbidden) if asks else None

    clinic.aws.faults.append(simulator)
    clinic.wishes = {"principal": "arn:aws:iam::123456789012:role/painter"}
    check = clinic.finds("rights", "iam-policy")
    assert "role/painter may not do sagemaker:InvokeEndpointAsync." in check.message
    asked = [each.body.decode() for each in clinic.aws.heard if b"SimulatePrin" in each.body]
    granted = {action for grant in permissions.DESIGNER for action in grant.actions}
    assert all(any(f"={a.replace(':', '%3A')}" in body for body in asked) for a in granted)
    assert any("aws%3AResourceTag%2Fcomfy-aws" in body for body in asked)
    [retag] = [body for body in asked if "comfy-aws%3Aidle" in body]  # of tags that change
    assert "stringList" in retag
    assert "TaggingAction" not in retag


def test_who_may_not_ask_the_simulator_is_told_how(clinic: Clinic) -> None:
    clinic.aws.faults.append(
        lambda asked: denied(asked) if asked.operation == "SimulatePrincipalPolicy" else None
    )
    check = clinic.checks()["rights"]
    assert check.state is CheckState.SKIPPED
    assert "--principal" in check.message


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def configured(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """The settings and variables by which the command finds the clinic."""
    access, worker = clinic.access, clinic.worker
    for name, value in {
        "COMFY_AWS_HOME": clinic.home / "home", "COMFY_AWS_BUCKET": access.bucket,
        "COMFY_AWS_EXECUTION_ROLE": worker.role, "COMFY_AWS_IMAGE": worker.image,
        "AWS_REGION": access.region, "AWS_ENDPOINT_URL": clinic.aws.url,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("COMFY_AWS_TARGET", raising=False)
    return clinic


def test_the_command_ends_in_1_and_tells_the_cure(
    configured: Clinic, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in found["checks"]] == NAMES
    failed = [check["name"] for check in found["checks"] if check["state"] == "failed"]
    assert (failed, found["failed"]) == (["versions"], 1)  # the image is of another source
    own = configured.worker.image.rpartition(":")[0] + ":own"
    monkeypatch.setenv("COMFY_AWS_IMAGE", own)
    assert cli.main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert f"There is no image {own}." in output
    assert "→ Run `comfy-aws update`" in output
    assert "Not working: 1." in output


def test_the_command_with_a_folder_that_is_no_comfyui(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--comfyui", str(tmp_path)]) == 1
    assert f"There is no ComfyUI in {tmp_path}" in capsys.readouterr().err


def test_the_command_without_settings(
    configured: Clinic, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMFY_AWS_BUCKET")
    assert cli.main(["doctor", "--json"]) == 1
    [check] = json.loads(capsys.readouterr().out)["checks"]
    assert (check["name"], check["state"]) == ("settings", "failed")
    assert "start the local stack" in check["hint"]
