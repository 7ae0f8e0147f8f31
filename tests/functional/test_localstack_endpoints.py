"""Endpoints of the local stack: real processes behind SageMaker's states and queues."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ParamValidationError

from comfy_aws import stack
from comfy_aws.aws import SageMaker, Session
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.models import EndpointSpec
from tests.functional.localstack_support import (
    WORKER,
    Cloud,
    alive,
    eventually,
    processes_with,
    refused,
)
from tests.functional.parts import access_to


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The same folder in every file of the session: the second `up` finds the first stack.
    return tmp_path_factory.getbasetemp() / "shared-stack"


@pytest.fixture(scope="session")
def cloud(home: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFY_AWS_LOCAL_SCALE_SECONDS", "0.5")
        state, _ = stack.up(home)
    yield Cloud(state)
    stack.down(home)


@pytest.fixture(scope="session")
def echo(cloud: Cloud):
    """An endpoint in service with one instance, for tests that leave it as it is."""
    with cloud.endpoint("echo") as name:
        yield name


# -- states ---------------------------------------------------------------------------------


def test_an_endpoint_is_creating_until_its_worker_answers(cloud: Cloud) -> None:
    cloud.model("slow-start", TEST_WORKER_START="silent", startup=3600)
    cloud.sagemaker.create_endpoint(EndpointName="slow-start", EndpointConfigName="slow-start")
    eventually(lambda: processes_with("/slow-start/i-"), "the worker runs")
    known = cloud.describe("slow-start")
    assert known is not None
    assert known["EndpointStatus"] == "Creating"
    assert cloud.counts("slow-start") == (0, 1)
    with refused("ValidationError", 400, "not found"):
        cloud.invoke("slow-start", "echo")
    with refused("ValidationException", 400, "in-progress"):
        cloud.sagemaker.delete_endpoint(EndpointName="slow-start")
    cloud.fail("slow-start")
    cloud.delete("slow-start")
    assert not processes_with("/slow-start/i-")


def test_each_instance_is_a_process_with_a_folder_of_its_own(cloud: Cloud, home: Path) -> None:
    with cloud.endpoint("pair", instances=2):
        assert cloud.counts("pair") == (2, 2)
        calls = [cloud.invoke("pair", "sleep", seconds=1) for _ in range(2)]
        answers = [cloud.output(call) for call in calls]
        pids = {answer["pid"] for answer in answers}
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        assert len(list((home / "endpoints" / "pair").iterdir())) == 2
    assert not any(alive(pid) for pid in pids)
    assert not list((home / "endpoints" / "pair").iterdir())


@pytest.mark.parametrize(
    ("start", "seconds", "reason"),
    [("exit", 60, "exited during start with status 7"), ("silent", 60, "health check")],
)
def test_a_worker_that_does_not_start_fails_the_endpoint(
    cloud: Cloud, start: str, seconds: int, reason: str
) -> None:
    name = f"broken-{start}"
    cloud.model(name, TEST_WORKER_START=start, startup=seconds)
    cloud.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    if start == "silent":
        # SageMaker's shortest limit is 60 seconds: fail it by ending the process instead.
        cloud.fail(name)
        reason = "exited during start"
    known = cloud.settled(name)
    assert known["EndpointStatus"] == "Failed"
    assert reason in known["FailureReason"]
    with refused("ValidationError", 400, "not found"):
        cloud.invoke(name, "echo")
    with refused("ValidationException", 400, "Failed"):
        cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
    cloud.delete(name)


def test_update_starts_the_new_before_it_stops_the_old(cloud: Cloud) -> None:
    with cloud.endpoint("blue", TEST_MARK="old"):
        before = cloud.output(cloud.invoke("blue", "echo"))
        running = cloud.invoke("blue", "sleep", seconds=3)
        cloud.model("green", instances=2, TEST_MARK="new")
        cloud.sagemaker.update_endpoint(EndpointName="blue", EndpointConfigName="green")
        known = cloud.describe("blue")
        assert known is not None
        assert known["EndpointStatus"] == "Updating"
        with refused("ValidationException", 400, "in-progress"):
            cloud.sagemaker.update_endpoint(EndpointName="blue", EndpointConfigName="green")
        known = cloud.settled("blue")
        assert (known["EndpointStatus"], known["EndpointConfigName"]) == ("InService", "green")
        assert cloud.counts("blue") == (2, 2)
        after = cloud.output(cloud.invoke("blue", "echo"))
        assert after["environment"]["TEST_MARK"] == "new"
        assert cloud.output(running)["pid"] == before["pid"]  # the old one finished its work
        eventually(lambda: not alive(before["pid"]), "the old worker stops")


def test_a_deletion_does_not_wait_for_what_drains(cloud: Cloud) -> None:
    with cloud.endpoint("drained"):
        running = cloud.invoke("drained", "sleep", seconds=600)
        eventually(lambda: cloud.logged("drained", "invoked: sleep"), "it runs")
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="drained",
            DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 0}],
        )
        assert cloud.object(running["FailureLocation"]) is None
    assert "died" in cloud.failure(running)


def test_a_failed_update_leaves_the_old_in_service(cloud: Cloud) -> None:
    with cloud.endpoint("stays"):
        cloud.model("bad-update", TEST_WORKER_START="exit")
        cloud.sagemaker.update_endpoint(EndpointName="stays", EndpointConfigName="bad-update")
        known = cloud.settled("stays")
        assert (known["EndpointStatus"], known["EndpointConfigName"]) == ("InService", "stays")
        assert "exited during start" in known["FailureReason"]
        cloud.output(cloud.invoke("stays", "echo"))


def test_an_instance_that_does_not_start_keeps_no_endpoint_changing(
    cloud: Cloud, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    with cloud.endpoint("limping", TEST_WORKER_FAULT=str(fault)):
        fault.touch()
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="limping",
            DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 2}],
        )
        cloud.settled("limping")
        assert cloud.counts("limping") == (1, 2)
        fault.unlink()
        cloud.has_instances("limping", 2)


def test_capacity_is_changed_by_hand(cloud: Cloud) -> None:
    with cloud.endpoint("resized"):
        for count in (3, 0, 1):
            cloud.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName="resized",
                DesiredWeightsAndCapacities=[
                    {"VariantName": "main", "DesiredInstanceCount": count}
                ],
            )
            assert cloud.settled("resized")["EndpointStatus"] == "InService"
            assert cloud.counts("resized") == (count, count)
            eventually(
                lambda n=count: len(processes_with("/resized/i-")) == 2 * n,
                f"{count} workers, each with its guard",
            )
        with refused("ValidationException", 400, "not present"):
            cloud.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName="resized",
                DesiredWeightsAndCapacities=[{"VariantName": "x", "DesiredInstanceCount": 1}],
            )


def test_what_a_worker_started_ends_with_it(cloud: Cloud) -> None:
    with cloud.endpoint("parent", TEST_WORKER_CHILD="grandchild-of-parent"):
        pid = cloud.output(cloud.invoke("parent", "echo"))["pid"]
        eventually(lambda: len(processes_with("grandchild-of-parent")) == 3, "the family")
        first = processes_with("grandchild-of-parent")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(alive(one) for one in first), "the first family is gone")
        cloud.has_instances("parent", 1)
    assert not processes_with("grandchild-of-parent")


def test_an_instance_whose_guard_is_killed_comes_back(cloud: Cloud) -> None:
    with cloud.endpoint("unguarded", TEST_WORKER_CHILD="escaped-child"):
        pid = cloud.output(cloud.invoke("unguarded", "echo"))["pid"]
        family = processes_with("escaped-child")
        guard = next(one for one in family if one < pid and b"guard.py" in _command(one))
        os.kill(guard, signal.SIGKILL)
        eventually(lambda: not alive(pid), "the worker dies with its guard")
        fresh = cloud.output(cloud.invoke("unguarded", "echo"))["pid"]
        assert fresh != pid
        for stray in family:
            if alive(stray):  # nothing can find a descendant that has lost its guard
                os.kill(stray, signal.SIGKILL)


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


# -- invocations ------------------------------------------------------------------------------


def test_an_invocation_reaches_the_container_as_from_sagemaker(cloud: Cloud, echo: str) -> None:
    accepted = cloud.invoke(
        echo,
        "echo",
        headers={
            "InferenceId": "job-1",
            "CustomAttributes": "a=b;c",
            "Accept": "application/json",
        },
    )
    assert accepted["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert accepted["InferenceId"] == "job-1"
    assert accepted["OutputLocation"].startswith(f"s3://{cloud.state.bucket}/async/echo/out/")
    assert accepted["FailureLocation"].startswith(f"s3://{cloud.state.bucket}/async/echo/failed/")
    answer = cloud.output(accepted)
    headers = answer["headers"]
    assert headers["X-Amzn-SageMaker-Inference-Id"] == "job-1"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "a=b;c"
    assert headers["Content-Type"] == headers["Accept"] == "application/json"


def test_a_worker_has_a_clean_environment_with_the_stacks_address(cloud: Cloud, echo: str) -> None:
    environment = cloud.output(cloud.invoke(echo, "echo"))["environment"]
    state = cloud.state
    assert environment["AWS_ENDPOINT_URL"] == state.endpoint_url
    assert environment["AWS_ENDPOINT_URL_S3"] == state.s3_endpoint_url
    assert environment["AWS_ACCESS_KEY_ID"] not in ("", state.access_key_id)
    assert environment["AWS_SECRET_ACCESS_KEY"] not in ("", state.secret_access_key)
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == state.region
    assert Path(environment["COMFY_AWS_WORKER_DIR"]).is_dir()
    assert not [name for name in environment if name.startswith("PYTEST")]


def test_a_body_and_an_input_location_are_the_same_to_the_worker(cloud: Cloud, echo: str) -> None:
    body = os.urandom(128_000)
    call = cloud.sagemaker_runtime.invoke_endpoint_async
    accepted = call(EndpointName=echo, Body=body)
    eventually(lambda: cloud.object(accepted["OutputLocation"]) == body, "the body")
    large = os.urandom(20 << 20)
    cloud.s3.put_object(Bucket=cloud.state.bucket, Key="in", Body=large)
    accepted = call(EndpointName=echo, InputLocation=f"s3://{cloud.state.bucket}/in")
    eventually(lambda: cloud.object(accepted["OutputLocation"]) == large, "the large body")


def test_the_outputs_name_can_be_chosen(cloud: Cloud, echo: str) -> None:
    accepted = cloud.invoke(
        echo, "echo", headers={"S3OutputPathExtension": "deeper/place", "Filename": "result.json"}
    )
    place = f"s3://{cloud.state.bucket}/async/echo/out/deeper/place/result.json"
    assert accepted["OutputLocation"] == place
    assert cloud.output(accepted)["wish"] == {"do": "echo"}


def test_a_missing_input_ends_in_the_failure_path(cloud: Cloud, echo: str) -> None:
    accepted = cloud.sagemaker_runtime.invoke_endpoint_async(
        EndpointName=echo, InputLocation=f"s3://{cloud.state.bucket}/not-there"
    )
    assert "not-there" in cloud.failure(accepted)


def test_an_error_of_the_model_ends_in_the_failure_path(cloud: Cloud, echo: str) -> None:
    accepted = cloud.invoke(echo, "fail", message="no such node")
    text = cloud.failure(accepted)
    assert "(500)" in text
    assert "no such node" in text


def test_an_invocation_that_takes_too_long_fails(cloud: Cloud, echo: str) -> None:
    slow = cloud.invoke(echo, "sleep", seconds=600, headers={"InvocationTimeoutSeconds": 1})
    assert "within 1 seconds" in cloud.failure(slow)
    cloud.output(cloud.invoke(echo, "echo"))  # the place is free again


def test_requests_run_in_the_order_they_came(cloud: Cloud, home: Path) -> None:
    with cloud.endpoint("ordered"):
        calls = [cloud.invoke("ordered", "sleep", seconds=0.05, mark=n) for n in range(20)]
        for call in calls:
            cloud.output(call)
        logs = next((home / "logs" / "ordered").glob("i-*.log")).read_text()
        marks = [int(line.split()[-1]) for line in logs.splitlines() if "invoked" in line]
        assert marks == list(range(20))


@pytest.mark.parametrize("limit", [1, 3])
def test_an_instance_runs_so_many_at_once_and_no_more(cloud: Cloud, limit: int) -> None:
    name = f"at-once-{limit}"
    with cloud.endpoint(name, concurrency=limit):
        with ThreadPoolExecutor(6) as pool:
            calls = list(pool.map(lambda _: cloud.invoke(name, "sleep", seconds=0.3), range(6)))
        peaks = [cloud.output(call)["peak"] for call in calls]
        assert max(peaks) == limit


def test_a_dead_worker_fails_its_request_and_comes_back(cloud: Cloud) -> None:
    with cloud.endpoint("mortal"):
        crash = cloud.invoke("mortal", "crash")
        behind = [cloud.invoke("mortal", "echo", mark=n) for n in range(3)]
        assert "died" in cloud.failure(crash)
        assert [cloud.output(call)["wish"]["mark"] for call in behind] == [0, 1, 2]
        assert cloud.settled("mortal")["EndpointStatus"] == "InService"


def test_topics_hear_of_success_and_failure(cloud: Cloud) -> None:
    topic = cloud.sns.create_topic(Name="outcomes")["TopicArn"]
    queue = cloud.sqs.create_queue(QueueName="outcomes")["QueueUrl"]
    cloud.sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint="arn:aws:sqs:us-east-1:123456789012:outcomes",
        Attributes={"RawMessageDelivery": "true"},
    )
    with cloud.endpoint("told", notify={"SuccessTopic": topic, "ErrorTopic": topic}):
        good = cloud.invoke("told", "echo", headers={"InferenceId": "good"})
        bad = cloud.invoke("told", "fail", message="x", headers={"InferenceId": "bad"})
        heard: dict[str, Any] = {}
        while len(heard) < 2:
            answer = cloud.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
            for message in answer.get("Messages", []):
                told = json.loads(message["Body"])
                heard[told["inferenceId"]] = told
    assert heard["good"]["invocationStatus"] == "Completed"
    assert heard["good"]["responseParameters"]["outputLocation"] == good["OutputLocation"]
    assert heard["bad"]["invocationStatus"] == "Failed"
    assert heard["bad"]["responseParameters"]["failureLocation"] == bad["FailureLocation"]


def test_worker_output_is_in_cloudwatch_logs(cloud: Cloud, echo: str) -> None:
    cloud.output(cloud.invoke(echo, "echo", mark="seen-in-logs"))
    events = eventually(lambda: cloud.logged(echo, "seen-in-logs"), "the worker's line")
    assert events[0]["message"] == "invoked: echo seen-in-logs"
    assert events[0]["logStreamName"].startswith("main/i-")


# -- refusals -----------------------------------------------------------------------------------


def test_names_are_taken_once_whatever_their_case(cloud: Cloud, echo: str) -> None:
    create = cloud.sagemaker.create_endpoint
    for name in (echo, echo.upper()):
        with refused("ValidationException", 400, "Cannot create already existing endpoint"):
            create(EndpointName=name, EndpointConfigName=echo)
    with refused("ValidationException", 400, "Cannot create already existing"):
        cloud.model(echo)


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("create_endpoint", {"EndpointName": "under_score", "EndpointConfigName": "echo"}),
        ("create_endpoint", {"EndpointName": "e" * 64, "EndpointConfigName": "echo"}),
        ("create_endpoint", {"EndpointName": "fresh", "EndpointConfigName": "no-config"}),
        ("delete_endpoint", {"EndpointName": "unknown"}),
        ("describe_endpoint", {"EndpointName": "unknown"}),
        ("update_endpoint", {"EndpointName": "unknown", "EndpointConfigName": "echo"}),
        ("create_model", {"ModelName": "m", "ExecutionRoleArn": "long-but-not-an-arn-at-all"}),
    ],
)
def test_the_control_plane_refuses(
    cloud: Cloud, echo: str, operation: str, request_: dict[str, Any]
) -> None:
    with refused("ValidationException"):
        getattr(cloud.sagemaker, operation)(**request_)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ExecutionRoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
        (
            {"PrimaryContainer": {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/no:1"}},
            "Requested image",
        ),
    ],
)
def test_a_model_needs_a_role_and_an_image(cloud: Cloud, change: Any, text: str) -> None:
    sound = {
        "ExecutionRoleArn": cloud.state.role_arn,
        "PrimaryContainer": {"Image": cloud.state.image_uri},
    }
    with refused("ValidationException", 400, text):
        cloud.sagemaker.create_model(ModelName="bare", **{**sound, **change})
    cloud.sagemaker.create_model(ModelName="bare", **sound)
    cloud.sagemaker.delete_model(ModelName="bare")


def test_no_more_instances_than_the_quota(cloud: Cloud, home: Path, echo: str) -> None:
    kind = cloud.sagemaker.describe_endpoint_config(EndpointConfigName=echo)
    kind = kind["ProductionVariants"][0]["InstanceType"]
    quotas = home / "quotas.json"
    quotas.write_text(json.dumps({kind: 0}))
    wanted = {"VariantName": "main", "DesiredInstanceCount": 2}
    try:
        cloud.model("beyond")
        with refused("ResourceLimitExceeded", 400, f"'{kind} for endpoint usage' is 0 Instances"):
            cloud.sagemaker.create_endpoint(EndpointName="beyond", EndpointConfigName="beyond")
        with refused("ResourceLimitExceeded", 400, "request delta of 1 Instances"):
            cloud.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=echo, DesiredWeightsAndCapacities=[wanted]
            )
        quotas_client = cloud.client("service-quotas")
        pages = quotas_client.get_paginator("list_service_quotas").paginate(
            ServiceCode="sagemaker", PaginationConfig={"PageSize": 5}
        )
        told = {q["QuotaName"]: q["Value"] for page in pages for q in page["Quotas"]}
        assert told[f"{kind} for endpoint usage"] == 0.0
        assert told["ml.g5.xlarge for endpoint usage"] > 0
        with refused("NoSuchResourceException"):
            quotas_client.list_service_quotas(ServiceCode="juggling")
    finally:
        quotas.unlink()
        cloud.sagemaker.delete_endpoint_config(EndpointConfigName="beyond")
        cloud.sagemaker.delete_model(ModelName="beyond")


def test_the_next_type_stands_in_where_there_is_none_of_the_first(
    cloud: Cloud, home: Path, echo: str
) -> None:
    session = Session(access_to(cloud.state))
    environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
    worker = WorkerImage(cloud.state.image_uri, cloud.state.role_arn, environment)
    endpoints = Endpoints(SageMaker(session), worker, cloud.state.bucket)
    quotas = home / "quotas.json"
    quotas.write_text(json.dumps({"ml.g5.xlarge": 0}))
    try:
        made = endpoints.create(EndpointSpec("pools", fallbacks=("ml.g6.xlarge",)))
        assert made.instance_type == "ml.g5.xlarge"  # as wished, while none runs
        assert endpoints.wait("pools", timeout=60, every=0.1).instance_type == "ml.g6.xlarge"
    finally:
        quotas.unlink()
        endpoints.delete("pools")
    pool = {"InstanceType": "ml.g5.xlarge", "Priority": 1}
    for wrong, text in (
        ({"InstancePools": [pool, pool]}, "must differ"),
        ({"InstancePools": [pool], "InstanceType": "ml.g5.xlarge"}, "either"),
        ({}, "either"),
    ):
        variant = {"VariantName": "main", "ModelName": echo, "InitialInstanceCount": 1, **wrong}
        with refused("ValidationException", 400, text):
            cloud.sagemaker.create_endpoint_config(
                EndpointConfigName="odd", ProductionVariants=[variant]
            )


def test_scaling_needs_an_endpoint_in_service(cloud: Cloud) -> None:
    with refused("ValidationException", 400, "Could not find endpoint"):
        cloud.autoscale("nowhere", 0, 1)
    cloud.model("early", TEST_WORKER_START="silent", startup=3600)
    cloud.sagemaker.create_endpoint(EndpointName="early", EndpointConfigName="early")
    try:
        with refused("ValidationException", 400, "once it is InService"):
            cloud.autoscale("early", 0, 1)
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": "endpoint/early/variant/main",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        step = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [
            {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]}  # fmt: skip
        with refused("ObjectNotFoundException"):
            cloud.application_autoscaling.put_scaling_policy(
                **target, PolicyName="wake", PolicyType="StepScaling",
                StepScalingPolicyConfiguration=step,
            )  # fmt: skip
    finally:
        cloud.fail("early")
        cloud.delete("early")


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("InstanceType", "ml.g99.huge", "enum value set"),
        ("InitialInstanceCount", 0, "greater than or equal to 1"),
        ("ContainerStartupHealthCheckTimeoutInSeconds", 3601, "less than or equal to 3600"),
        ("InferenceAmiVersion", "al2-ami-of-my-own", "enum value set"),
        ("InferenceAmiVersion", "al2-ami-sagemaker-inference-neuron-2", "not supported for"),
    ],
)
def test_a_variant_out_of_range_is_refused(
    cloud: Cloud, echo: str, field: str, value: Any, kind: str
) -> None:
    variant = {
        "VariantName": "main",
        "ModelName": echo,
        "InstanceType": "ml.g5.xlarge",
        "InitialInstanceCount": 1,
    }
    client = cloud.client("sagemaker", config=Config(parameter_validation=False))
    with refused("ValidationException", 400, kind):
        client.create_endpoint_config(
            EndpointConfigName="odd", ProductionVariants=[{**variant, field: value}]
        )


@pytest.mark.parametrize("kind", ["ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.g6.xlarge",
                                  "ml.g6e.48xlarge", "ml.p5.48xlarge"])  # fmt: skip
def test_gpu_instance_types_are_known(cloud: Cloud, echo: str, kind: str) -> None:
    name = kind.replace(".", "-")
    variant = {"VariantName": "main", "ModelName": echo, "InstanceType": kind}
    cloud.sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    cloud.sagemaker.delete_endpoint_config(EndpointConfigName=name)


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"Body": b"{}", "InputLocation": "s3://bucket/key"},
        {"InputLocation": "https://bucket/key"},
        {"InputLocation": "bucket/key"},
        {"Body": b"x" * 128_001},
        {"Body": b"{}", "InferenceId": "i" * 65},
        {"Body": b"{}", "InvocationTimeoutSeconds": 0},
        {"Body": b"{}", "InvocationTimeoutSeconds": 3601},
        {"Body": b"{}", "RequestTTLSeconds": 59},
        {"Body": b"{}", "RequestTTLSeconds": 21601},
        {"Body": b"{}", "CustomAttributes": "c" * 1025},
        {"Body": b"{}", "Filename": "two.dots.out"},
        {"Body": b"{}", "S3OutputPathExtension": "s3:else"},
    ],
)
def test_invocations_outside_the_limits_are_refused(
    cloud: Cloud, echo: str, wish: dict[str, Any]
) -> None:
    client = cloud.client("sagemaker-runtime", config=Config(parameter_validation=False))
    with refused("ValidationError"):
        client.invoke_endpoint_async(EndpointName=echo, **wish)


def test_unknown_endpoints_and_synchronous_calls_are_refused(cloud: Cloud, echo: str) -> None:
    with refused("ValidationError", 400, "not found"):
        cloud.invoke("never-made", "echo")
    with refused("ValidationError", 400, "asynchronous"):
        cloud.sagemaker_runtime.invoke_endpoint(EndpointName=echo, Body=b"{}")


def test_boto3_knows_the_body_parameter(cloud: Cloud, echo: str) -> None:
    with pytest.raises(ParamValidationError):
        cloud.sagemaker_runtime.invoke_endpoint_async(EndpointName=echo, NoSuchParameter=1)


# -- scaling --------------------------------------------------------------------------------------


def test_an_endpoint_scales_from_zero_to_its_maximum_and_back(cloud: Cloud) -> None:
    with cloud.endpoint("elastic"):
        cloud.autoscale("elastic", 0, 2)
        cloud.has_instances("elastic", 0)
        eventually(lambda: not processes_with("/elastic/i-"), "no worker is left")
        calls = [cloud.invoke("elastic", "sleep", seconds=2) for _ in range(4)]
        cloud.has_instances("elastic", 2)
        pids = {cloud.output(call)["pid"] for call in calls}
        assert len(pids) == 2
        cloud.has_instances("elastic", 0)
    targets = cloud.application_autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=["endpoint/elastic/variant/main"]
    )
    assert targets["ScalableTargets"] == []


def test_scaling_stays_between_minimum_and_maximum(cloud: Cloud) -> None:
    with cloud.endpoint("bounded"):
        cloud.autoscale("bounded", 2, 2)
        cloud.has_instances("bounded", 2)


def test_without_a_target_nothing_scales(cloud: Cloud, echo: str) -> None:
    calls = [cloud.invoke(echo, "sleep", seconds=0.3) for _ in range(4)]
    assert len({cloud.output(call)["pid"] for call in calls}) == 1
    assert cloud.counts(echo) == (1, 1)
