"""The test of a connection: what is missing is found, and its cure told."""

from __future__ import annotations

from dataclasses import replace

from comfy_aws.aws import Identity, Logs, ObjectStore, Queues, SageMaker, Session
from comfy_aws.config import AwsAccess
from comfy_aws.doctor import Check, CheckState, Doctor
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.stack import StackState

NAMES = ["credentials", "bucket", "write", "read", "delete", "endpoints", "queues", "logs",
         "role", "image"]  # fmt: skip
WORKER = WorkerImage("account.dkr.ecr/worker:1", "arn:aws:iam::111122223333:role/worker")


def access_of(state: StackState) -> AwsAccess:
    return AwsAccess(
        state.bucket, state.region, "", state.endpoint_url, state.s3_endpoint_url,
        state.access_key_id, state.secret_access_key,
    )  # fmt: skip


def checks(access: AwsAccess, worker: WorkerImage = WORKER) -> dict[str, Check]:
    session = Session(access)
    doctor = Doctor(
        Identity(session), ObjectStore(session), SageMaker(session), Queues(session),
        Logs(session), worker, access.bucket,
    )  # fmt: skip
    found = doctor.connection()
    assert [check.name for check in found] == NAMES
    for check in found:
        assert bool(check.hint) == (check.state is CheckState.FAILED), check
    return {check.name: check for check in found}


def states(found: dict[str, Check], state: CheckState) -> list[str]:
    return [name for name, check in found.items() if check.state is state]


def test_a_sound_connection_passes_and_keeps_nothing(shared_stack: StackState) -> None:
    access = access_of(shared_stack)
    session = Session(access)
    before = [entry.key for entry in ObjectStore(session).list("")]
    found = checks(access)
    assert states(found, CheckState.PASSED) == NAMES
    assert [entry.key for entry in ObjectStore(session).list("")] == before
    queues = session.client("sqs").list_queues(QueueNamePrefix="comfy-aws-check").get("QueueUrls")
    assert not queues


def test_wrong_credentials_hide_the_rest(shared_stack: StackState) -> None:
    found = checks(replace(access_of(shared_stack), secret_access_key="wrong"))
    assert states(found, CheckState.FAILED) == ["credentials"]
    assert "credentials" in found["credentials"].hint
    assert found["credentials"].permission == "sts:GetCallerIdentity"
    assert states(found, CheckState.SKIPPED) == NAMES[1:-2]
    assert found["queues"].message == "Not tried: credentials failed."


def test_a_bucket_that_is_not_there(shared_stack: StackState) -> None:
    found = checks(replace(access_of(shared_stack), bucket="nobodys-bucket"))
    assert states(found, CheckState.FAILED) == ["bucket"]
    assert states(found, CheckState.SKIPPED) == ["write", "read", "delete"]
    assert "Create the bucket nobodys-bucket" in found["bucket"].hint


def test_a_profile_that_is_not_there(shared_stack: StackState) -> None:
    access = AwsAccess(shared_stack.bucket, shared_stack.region, "no-such-profile")
    found = checks(access)
    assert states(found, CheckState.FAILED) == ["credentials"]
    assert "no-such-profile" in found["credentials"].message
    assert found["credentials"].permission == "sts:GetCallerIdentity"


def test_nobody_answers(shared_stack: StackState) -> None:
    url = "http://127.0.0.1:9"
    found = checks(replace(access_of(shared_stack), endpoint_url=url, s3_endpoint_url=url))
    assert states(found, CheckState.FAILED) == ["credentials"]
    assert "network" in found["credentials"].hint


def test_endpoints_cannot_be_made_without_role_and_image(shared_stack: StackState) -> None:
    found = checks(access_of(shared_stack), WorkerImage("", ""))
    assert states(found, CheckState.FAILED) == ["role", "image"]
