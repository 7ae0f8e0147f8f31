"""The local stack's life: start, stop, kill -9, and what is there afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from comfy_aws import stack
from comfy_aws.aws import Queues, Session
from comfy_aws.errors import AwsUnreachable, LocalStackError
from comfy_aws.localstack import daemon
from tests.comfy.comfyui_process import REPO_ROOT
from tests.functional.localstack_support import (
    Cloud,
    alive,
    eventually,
    processes_with,
    refused,
)
from tests.functional.parts import access_to

pytestmark = pytest.mark.usefixtures("not_preloaded")


@pytest.fixture
def home(tmp_path: Path):
    folder = tmp_path / "stack"
    yield folder
    stack.down(folder)
    assert not processes_with(str(folder))


def _kill(state: stack.StackState) -> None:
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: not alive(state.pid), "the stack is dead")


def test_a_stack_that_never_was_is_not_there(home: Path) -> None:
    assert stack.status(home) is None
    assert stack.down(home) is False


def test_stop_and_start_again(home: Path) -> None:
    state, started = stack.up(home)
    assert started
    assert (home / "stack.json").stat().st_mode & 0o777 == 0o600
    assert stack.up(home) == (state, False)
    assert stack.down(home) is True
    assert stack.status(home) is None
    assert not (home / "stack.json").exists()
    assert not processes_with(str(home))
    # A state file whose pid is another program's by now is not believed.
    (home / "stack.json").write_text(json.dumps({**asdict(state), "pid": 1}))
    assert stack.read_state(home) is None
    assert stack.down(home) is False
    again, started = stack.up(home)
    assert started
    # A client that keeps its keys and addresses can go on.
    assert replace(again, pid=state.pid, started=state.started) == state


def test_a_worker_starts_from_a_clean_environment() -> None:
    given = {"HOME": "/h", "COMFYUI_PATH": "/c", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "/p"}
    base = daemon.worker_base(given)
    assert base.keys() == {"HOME", "COMFYUI_PATH", "PYTHONPATH", "PYTHONUNBUFFERED"}
    assert base["PYTHONPATH"].endswith("/p")


def test_many_racing_ups_start_one_stack(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: stack.up(home), range(4)))
    assert len({state for state, _ in results}) == 1
    assert sum(started for _, started in results) == 1


def test_the_foreground_command_stops_on_sigterm(home: Path) -> None:
    source = str(Path(stack.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "comfy_aws.localstack", "--home", str(home)],
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.DEVNULL,
    )
    state = eventually(lambda: stack.read_state(home), "the stack is ready")
    assert state.pid == process.pid
    process.terminate()
    assert process.wait() == 0


def test_a_stop_does_not_wait_for_a_long_poll(home: Path) -> None:
    state, _ = stack.up(home)
    queues = Queues(Session(access_to(state)))
    url = queues.ensure("polled", retention=60)
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(queues.receive, url, wait=20)
        time.sleep(1)  # it is under way
        assert not polled.done()
        stack.down(home)
        # An answer without messages would have come after all of the 20 seconds.
        with pytest.raises(AwsUnreachable):
            polled.result()


def test_what_survives_a_kill(home: Path) -> None:
    cloud = Cloud(stack.up(home)[0])
    bucket = cloud.state.bucket
    cloud.s3.put_object(Bucket=bucket, Key="kept", Body=b"x" * 300_000, Metadata={"a": "b"})
    cloud.model("lasting", instances=2, TEST_MARK="survived")
    tags = [{"Key": "owner", "Value": "test"}]
    cloud.sagemaker.create_endpoint(EndpointName="lasting", EndpointConfigName="lasting", Tags=tags)
    cloud.settled("lasting")
    cloud.autoscale("lasting", 1, 1, cooldown=3600)
    cloud.has_instances("lasting", 1)
    before = cloud.output(cloud.invoke("lasting", "echo"))["pid"]
    running = cloud.invoke("lasting", "sleep", seconds=600)
    eventually(lambda: cloud.logged("lasting", "invoked: sleep"), "the first runs")
    queued = [cloud.invoke("lasting", "echo", mark=n) for n in range(3)]

    _kill(cloud.state)
    eventually(lambda: not processes_with(str(home)), "nothing of the stack is left")
    assert not alive(before)
    assert stack.status(home) is None

    cloud = Cloud(stack.up(home)[0])
    assert cloud.s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"x" * 300_000
    known = cloud.describe("lasting")
    assert known is not None
    assert known["EndpointStatus"] in ("SystemUpdating", "InService")
    assert cloud.settled("lasting")["EndpointStatus"] == "InService"
    cloud.has_instances("lasting", 1)
    # What was queued has run, in its order; what was running has failed, and not run twice.
    assert [cloud.output(call)["wish"]["mark"] for call in queued] == [0, 1, 2]
    assert "lost" in cloud.failure(running)
    answer = cloud.output(cloud.invoke("lasting", "echo"))
    assert answer["environment"]["TEST_MARK"] == "survived"
    _assert_control_plane_is_back(cloud, tags)
    cloud.delete("lasting")


def _assert_control_plane_is_back(cloud: Cloud, tags: list[dict[str, str]]) -> None:
    known = cloud.describe("lasting")
    assert known is not None
    assert cloud.sagemaker.list_tags(ResourceArn=known["EndpointArn"])["Tags"] == tags
    resource = "endpoint/lasting/variant/main"
    target = cloud.application_autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[resource]
    )["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 1)
    policies = cloud.application_autoscaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=resource
    )["ScalingPolicies"]
    wake = next(p for p in policies if p["PolicyType"] == "StepScaling")
    alarm = cloud.cloudwatch.describe_alarms(AlarmNames=["lasting-wake"])["MetricAlarms"][0]
    assert alarm["AlarmActions"] == [wake["PolicyARN"]]
    with refused("ValidationException", 400, "Cannot create already existing"):
        cloud.model("lasting")


def test_a_request_that_waits_too_long_expires(home: Path) -> None:
    cloud = Cloud(stack.up(home)[0])
    cloud.model("patient")
    cloud.sagemaker.create_endpoint(EndpointName="patient", EndpointConfigName="patient")
    cloud.settled("patient")
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="patient",
        DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 0}],
    )
    cloud.has_instances("patient", 0)
    old = cloud.invoke("patient", "echo", headers={"RequestTTLSeconds": 60})
    young = cloud.invoke("patient", "echo", headers={"RequestTTLSeconds": 60})
    # A minute passes while the stack is down: the acceptance of the first is moved back.
    stack.down(home)
    kept = sorted((home / "queue" / "patient").glob("*.queued"))
    assert len(kept) == 2
    record = json.loads(kept[0].read_text())
    kept[0].write_text(json.dumps({**record, "accepted": record["accepted"] - 61}))
    cloud = Cloud(stack.up(home)[0])
    assert "expired" in cloud.failure(old)
    assert cloud.object(young["FailureLocation"]) is None
    cloud.delete("patient")
    assert "deleted" in cloud.failure(young)


def test_a_killed_object_store_is_started_again(home: Path) -> None:
    cloud = Cloud(stack.up(home)[0])
    cloud.s3.put_object(Bucket=cloud.state.bucket, Key="kept", Body=b"kept")
    first = {pid for pid in processes_with(f"-dir={home}") if "guard" not in _command(pid)}
    for pid in first:
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        try:
            return cloud.object(f"s3://{cloud.state.bucket}/kept") == b"kept"
        except Exception:  # noqa: BLE001 - whatever boto3 says of a store that is down
            return False

    eventually(back, "the object is back")
    assert first.isdisjoint(processes_with(f"-dir={home}"))


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def test_a_start_that_fails_says_why(home: Path) -> None:
    home.mkdir()
    (home / "objects").write_text("a file where SeaweedFS needs a folder")
    with pytest.raises(LocalStackError, match="objects"):
        stack.up(home)


def test_missing_packages_are_named(home: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "without"
    (blocker / "moto").mkdir(parents=True)
    (blocker / "moto" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named moto', name='moto')"
    )
    source = str(Path(stack.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-m", "comfy_aws.localstack", "--home", str(home)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(blocker), source])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "moto" in ended.stderr
    assert f'pip install -e "{REPO_ROOT}[local]"' in ended.stderr


def test_the_guard_kills_what_is_below_when_its_pipe_closes(tmp_path: Path) -> None:
    guard = Path(stack.__file__).with_name("guard.py")
    mark = f"guarded-{time.time_ns()}"
    script = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]],"
        " start_new_session=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(guard), sys.executable, "-c", script, mark],
        stdin=subprocess.PIPE,
    )
    eventually(lambda: len(processes_with(mark)) == 3, "guard, child and grandchild")
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    assert not processes_with(mark)
