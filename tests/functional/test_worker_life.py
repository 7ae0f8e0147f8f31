"""The worker's life: ready only when warm, draining on SIGTERM, never an orphan left behind."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfy_aws import layout
from comfy_aws.errors import AwsNotFound
from comfy_aws.models import (
    Manifest,
    Outcome,
    Template,
    TemplateVersion,
    to_json,
)
from tests.functional.worker_harness import (
    Cloud,
    WorkerProcess,
    alive,
    node,
    request,
    wait_until,
)

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NODES = Path(__file__).with_name("worker_nodes.py.txt").read_text()
GRAPH = {
    "1": node("TestLoad", lora_name="warm.safetensors"),
    "2": node("TestWait", file="ran", seconds=0, after=["1", 0]),
}
Start = Callable[..., WorkerProcess]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def manifest(cloud: Cloud) -> Manifest:
    """Of the template that the workers warm."""
    manifest = Manifest(
        models=(cloud.model("loras", "warm.safetensors", b"warm"),),
        packs=(cloud.pack("worker-nodes", {"__init__.py": NODES}, "TestWait", "TestLoad"),),
    )
    info = {"TestLoad": {"output": ["STRING"]}}
    version = TemplateVersion("warm", 3, 0.0, {}, GRAPH, manifest, object_info=info)
    cloud.store.put(layout.version_key("warm", 3), to_json(version).encode())
    cloud.store.put(layout.template_key("warm"), to_json(Template("warm", 3, 0.0, 0.0)).encode())
    return manifest


@pytest.fixture
def start(cloud: Cloud, manifest: Manifest, tmp_path: Path) -> Iterator[Start]:
    workers = []

    def start(template: str = "warm", **more) -> WorkerProcess:
        worker = WorkerProcess(cloud, tmp_path / "w", COMFY_AWS_WARM_TEMPLATE=template, **more)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


def has_result(cloud: Cloud, job_id: str) -> bool:
    try:
        cloud.result(job_id)
    except AwsNotFound:
        return False
    return True


def test_from_the_first_ping_to_the_last(start, cloud, manifest):
    worker = start()
    wait_until(lambda: worker.ping() != 0)
    assert worker.ping() == 503
    worker.wait_ready()
    laid = worker.base / "models/loras/warm.safetensors"
    assert laid.read_bytes() == b"warm"  # before any job
    assert (worker.base / "temp" / "loaded").exists()
    assert not (worker.base / "temp" / "ran").exists()
    warm = request(GRAPH, manifest=manifest, events=cloud.queue())
    with worker.running(warm):
        pass
    [cached] = [e.data["data"]["nodes"] for e in cloud.events(warm.events)
                if e.data.get("type") == "execution_cached"]  # fmt: skip
    assert cached == ["1"]

    # Whoever asked has gone: nobody waits for this job any more.
    lost = request({"1": node("TestWait", file="lost", seconds=60)}, manifest=manifest)
    connection = http.client.HTTPConnection("127.0.0.1", worker.port)
    connection.request("POST", "/invocations", to_json(lost).encode())
    wait_until((worker.base / "temp" / "lost").exists)
    connection.close()
    wait_until(lambda: has_result(cloud, lost.job_id))
    assert cloud.result(lost.job_id).outcome is Outcome.FAILED
    assert "given up" in cloud.result(lost.job_id).error["message"]

    job = request({"1": node("TestWait", file="drains", seconds=2)}, manifest=manifest)
    with worker.running(job) as results:
        wait_until((worker.base / "temp" / "drains").exists)
        processes = worker.descendants()
        worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: worker.ping() == 503)
    assert results[0].outcome is Outcome.SUCCESS
    assert worker.process.wait(30) == 0
    assert len(processes) >= 1
    assert not [pid for pid in processes if alive(pid)]


def test_a_job_that_does_not_drain_is_cut_off_and_says_so(start, cloud, manifest):
    worker = start(drain=0.2)
    worker.wait_ready()
    job = request({"1": node("TestWait", file="stubborn", seconds=60)}, manifest=manifest)
    with worker.running(job) as results:
        wait_until((worker.base / "temp" / "stubborn").exists)
        processes = worker.descendants()
        worker.process.send_signal(signal.SIGTERM)
    assert results[0].outcome is Outcome.FAILED
    assert "shut down" in results[0].error["message"]
    assert worker.process.wait(30) == 0
    assert not [pid for pid in processes if alive(pid)]


def test_a_killed_worker_leaves_no_process(start):
    worker = start(template="nosuch")
    worker.wait_ready()  # a template that is not there keeps no other from running
    assert "The template nosuch cannot be warmed" in worker.log
    processes = worker.descendants()
    assert worker.runner_pid() in processes
    worker.process.kill()
    wait_until(lambda: not [pid for pid in processes if alive(pid)])


def test_a_worker_that_is_stopped_while_it_starts(start):
    worker = start()
    wait_until(worker.runner_pid)
    processes = worker.descendants()
    assert worker.stop() == 0
    assert not [pid for pid in processes if alive(pid)]


def test_a_worker_without_comfyui_ends_and_says_why(start, tmp_path):
    worker = start(COMFYUI_PATH=str(tmp_path))
    assert worker.process.wait(60) == 1
    assert "The worker cannot start: ComfyUI does not start" in worker.log
    assert "main.py" in worker.log


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "said"),
    [
        (["serve"], {}, 1, "needs the environment variable COMFY_AWS_BUCKET"),
        (["dance"], {"COMFY_AWS_BUCKET": "b"}, 2, "usage:"),
    ],
)
def test_a_wrong_call(arguments, environ, status, said):
    source = str(Path(__file__).resolve().parents[2] / "src")
    ended = subprocess.run(
        [sys.executable, "-m", "comfy_aws.worker", *arguments],
        env={"PYTHONPATH": source, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == status
    assert said in ended.stdout + ended.stderr
