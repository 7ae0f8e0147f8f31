"""Jobs on a real worker with a real ComfyUI, S3 and SQS.

One worker runs all of them; the tests that make it start ComfyUI again come last.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import Image

from comfy_aws import hashing, layout
from comfy_aws.models import (
    Event,
    EventKind,
    JobRequest,
    JobResult,
    Manifest,
    NodePack,
    Outcome,
    to_json,
)
from comfy_aws.permissions import METRICS
from tests.comfy.comfyui_process import comfyui_path
from tests.functional.localstack_support import eventually
from tests.functional.worker_harness import (
    Cloud,
    WorkerProcess,
    node,
    pipeline_manifest,
    request,
    wait_until,
)
from tests.pipeline.install import SAMPLER_ID, SAVE_ID, STEPS, load_prompt

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NODES = Path(__file__).with_name("worker_nodes.py.txt").read_text()
"""The node pack of these tests; not named .py, so that only a runner imports it."""

CLASSES = tuple(re.findall(r"^class (Test\w+)", NODES, re.MULTILINE))

WORKFLOW = {"extra_pnginfo": {"workflow": {"nodes": []}}}

VERSION_NODE = """
class Node:
    CATEGORY, RETURN_TYPES, OUTPUT_NODE, FUNCTION = "tests", (), True, "tell"
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{"what": ("STRING", {{}})}}}})
    def tell(self, what):
        return {{"ui": {{"text": ["{version}"]}}}}
NODE_CLASS_MAPPINGS = {{"{node_class}": Node}}
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def pipeline(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return pipeline_manifest(cloud, tmp_path_factory.mktemp("designer"))


@pytest.fixture(scope="module")
def pack(cloud: Cloud) -> NodePack:
    return cloud.pack("worker-nodes", {"__init__.py": NODES}, *CLASSES)


@pytest.fixture(scope="module")
def manifest(pipeline: Manifest, pack: NodePack) -> Manifest:
    """The pipeline's and the test nodes': the runner starts once for all."""
    return Manifest(pipeline.models, pipeline.inputs, (*pipeline.packs, pack))


@pytest.fixture(scope="module")
def worker(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(cloud, tmp_path_factory.mktemp("worker") / "w", AWS_SESSION_TOKEN="t")
    try:
        worker.wait_ready()
        yield worker
    finally:
        status = worker.stop()
    assert status == 0, worker.log


def finished(cloud: Cloud, job: JobRequest, result: JobResult) -> list[Event]:
    """The events of a job, after a check of what holds for all of them."""
    events = cloud.events(job.events)
    assert [event.seq for event in events] == list(range(1, result.last_seq + 1))
    assert events[-1].kind is EventKind.RESULT
    assert events[-1].data == {"outcome": result.outcome.value}
    kept = [event for event in events if event.kind is not EventKind.PREVIEW]
    assert cloud.kept_events(job.job_id) == kept
    return events


def types(events: list[Event]) -> list[str]:
    return [event.data["type"] for event in events if event.kind is EventKind.COMFY]


def test_the_pipeline(worker, cloud, manifest):
    job = request(load_prompt(seed=5), manifest=manifest, events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.SUCCESS, result
    (file,) = result.files
    assert (file.node_id, file.type) == (SAVE_ID, "output")
    body = cloud.store.get(file.key)
    assert hashing.of_bytes(body).digest == file.digest
    assert Image.open(io.BytesIO(body)).size == (128, 128)
    assert result.outputs[SAVE_ID]["images"][0]["filename"] == file.filename
    assert result.meta[SAVE_ID]["node_id"] == SAVE_ID
    assert [kind for kind, _ in result.messages] == [
        "execution_start", "execution_cached", "execution_success",
    ]  # fmt: skip
    assert set(result.timings) == {
        "restore", "models", "inputs", "packs", "start", "run", "upload", "total",
    }  # fmt: skip

    events = finished(cloud, job, result)
    phases = [event.data for event in events if event.kind is EventKind.PHASE]
    total = sum(ref.size for ref in manifest.blobs().values())
    assert {"restore", "start"} <= {phase["phase"] for phase in phases}
    assert phases[0]["total"] == total
    fetched = [phase for phase in phases if phase["phase"] == "restore"][-1]
    assert (fetched["done"], fetched["total"]) == (total, total)
    assert "status" not in types(events)
    (executed,) = [event for event in events if event.data.get("type") == "executed"]
    assert executed.data["files"] == [json.loads(to_json(file))]
    assert executed.data["data"]["output"] == result.outputs[SAVE_ID]
    assert types(events)[-2:] == ["execution_success", "executing"]
    last = [e.data["data"] for e in events if e.data.get("type") == "progress"][-1]
    assert (last["node"], last["value"], last["max"]) == (SAMPLER_ID, STEPS, STEPS)
    preview = next(event for event in events if event.kind is EventKind.PREVIEW)
    assert preview.data["metadata"]["node_id"] == SAMPLER_ID
    assert preview.data["format"] == "JPEG"


def test_what_a_lost_machine_took_is_in_the_total(worker, manifest):
    job = replace(request(load_prompt(seed=5), manifest=manifest), lost_seconds=1000.0)
    taken = worker.run(job).timings
    assert 1000.0 + taken["run"] < taken["total"] < 2000.0


def test_a_job_whose_manifest_is_true_fetches_nothing_and_says_no_phase(worker, cloud, manifest):
    job = request(load_prompt(seed=5), manifest=manifest, events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.SUCCESS
    events = finished(cloud, job, result)
    assert not [event for event in events if event.kind is EventKind.PHASE]
    cached = next(e for e in events if e.data.get("type") == "execution_cached")
    assert SAVE_ID in cached.data["data"]["nodes"]
    assert len(result.files) == 1  # a cached node's file is this job's, too


def test_a_cached_output_that_is_gone_is_made_again(worker, cloud, manifest):
    job = request(load_prompt(seed=5), manifest=manifest)
    for path in (worker.base / "output").glob("tiny_*.png"):
        path.unlink()
    result = worker.run(job)
    assert result.outcome is Outcome.SUCCESS
    assert cloud.store.head(result.files[0].key)


def test_a_preview_image_lies_in_the_temp_folder(worker, cloud):
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=2, color=255),
        "2": node("PreviewImage", images=["1", 0]),
    }
    result = worker.run(request(prompt))
    assert [file.type for file in result.files] == ["temp", "temp"]
    assert len({file.key for file in result.files}) == 2
    assert all(cloud.store.head(file.key) for file in result.files)


def test_only_the_outputs_asked_for_are_executed(worker):
    prompt = {number: node("PreviewAny", source=number) for number in "123"}
    assert set(worker.run(request(prompt)).outputs) == set("123")
    assert set(worker.run(request(prompt, outputs=("2",))).outputs) == {"2"}


def test_failures_are_counted_for_the_alarm_and_refusals_are_not(worker, cloud, manifest):
    cloudwatch = cloud.session.client("cloudwatch")
    now, hour = datetime.now(timezone.utc), timedelta(hours=1)

    def counted() -> float:
        found = cloudwatch.get_metric_statistics(
            Namespace=METRICS, MetricName="JobsFailed", Period=60, Statistics=["Sum"],
            Dimensions=[{"Name": "Bucket", "Value": cloud.store.bucket}],
            StartTime=now - hour, EndTime=now + hour,
        )  # fmt: skip
        return sum(point["Sum"] for point in found["Datapoints"])

    before = counted()  # no job before this one fails: a failure is counted after its answer
    worker.run(request({"1": node("EmptyImage", width=-1), "2": node("PreviewImage")}))
    fails = request({"7": node("TestFail", message="out of paint")}, manifest=manifest)
    assert worker.run(fails).outcome is Outcome.ERROR
    eventually(lambda: counted() == before + 1, "the failure is counted")


def test_a_nodes_exception(worker, cloud, manifest):
    job = request(
        {"7": node("TestFail", message="out of paint")}, manifest=manifest, events=cloud.queue()
    )
    result = worker.run(job)
    assert result.outcome is Outcome.ERROR
    assert (result.error["node_id"], result.error["node_type"]) == ("7", "TestFail")
    assert result.error["exception_type"] == "ValueError"
    assert "out of paint" in result.error["exception_message"]
    assert any("in fail" in line for line in result.error["traceback"])
    assert "execution_error" in types(finished(cloud, job, result))


def test_a_graph_that_comfyui_refuses(worker, cloud):
    prompt = {"1": node("EmptyImage", width=-1), "2": node("PreviewImage", images=["1", 0])}
    job = request(prompt, events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.INVALID
    assert result.error["type"] == "prompt_outputs_failed_validation"
    errors = {error["type"] for error in result.node_errors["1"]["errors"]}
    assert "value_smaller_than_min" in errors
    finished(cloud, job, result)


def test_a_graph_that_comfyui_refuses_in_part(worker, cloud):
    """Its other outputs come, but it is no success: what was ordered is not all there."""
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
    prompt = {"1": node("EmptyImage", **{**size, "width": -1}), "3": node("EmptyImage", **size),
              "2": node("PreviewImage", images=["1", 0]),
              "4": node("PreviewImage", images=["3", 0])}  # fmt: skip
    job = request(prompt, events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.INVALID
    assert "EmptyImage 1: Value -1 smaller than min" in result.error["details"]
    assert result.node_errors.keys() == {"1"}
    assert result.outputs.keys() == {"4"}
    finished(cloud, job, result)


def test_a_class_that_nobody_has(worker):
    result = worker.run(request({"1": node("NoSuchNode")}))
    assert result.outcome is Outcome.INVALID
    assert "NoSuchNode" in result.error["message"]


def test_messages_of_packs_and_many_steps(worker, cloud, manifest):
    job = request({"1": node("TestSend", steps=500)}, manifest=manifest, events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.SUCCESS
    events = finished(cloud, job, result)
    (mine,) = [event for event in events if event.data.get("type") == "test.message"]
    assert mine.data["data"] == {"from": "1"}
    steps = [e.data["data"]["value"] for e in events if e.data.get("type") == "progress"]
    assert steps[-1] == 500
    assert len(steps) < 250
    assert steps == sorted(steps)
    (text,) = [event for event in events if event.kind is EventKind.BINARY]
    assert text.data["type"] == 3


def test_files_of_any_kind(worker, cloud, manifest):
    result = worker.run(request({"1": node("TestFiles", where="sub")}, manifest=manifest))
    assert result.outcome is Outcome.SUCCESS, result
    assert [(f.filename, f.subfolder, f.type) for f in result.files] == [
        ("same.txt", "sub", "output"), ("clip.mp4", "sub", "temp"),
    ]  # fmt: skip
    assert cloud.store.get(result.files[0].key) == b"text"


def test_a_file_outside_the_output_folder_is_not_taken(worker, cloud, manifest):
    result = worker.run(request({"1": node("TestFiles", where="../../..")}, manifest=manifest))
    assert result.outcome is Outcome.FAILED
    assert "not a path below output" in result.error["message"]
    assert not list(cloud.store.list(f"{layout.job_prefix(result.job_id)}outputs/"))


def test_an_event_too_large_for_a_queue_is_in_the_bucket_at_once(worker, cloud, manifest):
    prompt = {
        "1": node("TestLarge", size=1_100_000),
        "2": node("TestWait", file="after", seconds=60, after=["1", 0]),
    }
    job = request(prompt, manifest=manifest, events=cloud.queue())
    with worker.running(job) as results:
        wait_until((worker.base / "temp" / "after").exists)
        wait_until(lambda: cloud.store.head(layout.events_key(job.job_id)))
        early = cloud.kept_events(job.job_id)
        cloud.store.put(layout.cancel_key(job.job_id), b"")
    sent = {event.seq for event in cloud.events(job.events)}
    (large,) = [event for event in cloud.kept_events(job.job_id) if event.seq not in sent]
    assert large.data["type"] == "executed"
    assert large in early
    assert results[0].last_seq in sent


def test_a_queue_that_is_gone_fails_no_job(worker, cloud):
    queue = cloud.queue()
    cloud.queues.delete(queue)
    job = request({"1": node("PreviewAny", source="alone")}, events=queue)
    result = worker.run(job)
    assert result.outcome is Outcome.SUCCESS
    assert len(cloud.kept_events(job.job_id)) == result.last_seq


def test_comfyui_is_as_if_python_ran_it_and_collects_no_garbage_of_its_imports(worker, manifest):
    result = worker.run(request({"1": node("TestText", what="imports")}, manifest=manifest))
    collects, frozen, main, *paths = result.outputs["1"]["text"]
    assert Path(main) == comfyui_path() / "main.py"
    assert paths.index(str(comfyui_path())) < paths.index(str(worker.base))
    assert (collects, int(frozen) > 100_000) == ("True", True)  # objects; torch alone makes more


def test_the_runner_has_no_credentials(worker, manifest):
    result = worker.run(request({"1": node("TestText", what="environment")}, manifest=manifest))
    names = result.outputs["1"]["text"]
    assert "PATH" in names
    assert not [name for name in names if name.startswith(("AWS_", "COMFY_AWS_", "SAGEMAKER_"))]


@pytest.mark.parametrize("folder", ["loras", "checkpoints", "input"])
def test_the_same_name_with_other_bytes_is_read_again(worker, cloud, manifest, folder):
    name = "same.png" if folder == "input" else "same.safetensors"

    def seen(body: bytes) -> str:
        more = (
            replace(manifest, inputs=(*manifest.inputs, cloud.input(name, body)))
            if folder == "input"
            else replace(manifest, models=(*manifest.models, cloud.model(folder, name, body)))
        )
        job = request({"1": node("TestModel", name=name, folder=folder)}, manifest=more)
        return worker.run(job).outputs["1"]["text"][0]

    assert seen(b"one") == "one"
    pid = worker.runner_pid()
    assert [seen(body) for body in (b"one", b"two", b"one")] == ["one", "two", "one"]
    assert worker.runner_pid() == pid


@pytest.mark.parametrize("stored", [None, b"", b"mod", b"wrong"])
def test_a_missing_truncated_or_corrupted_blob(worker, cloud, stored):
    ref = hashing.of_bytes(b"model" + str(stored).encode())
    if stored is not None:
        cloud.store.put(layout.blob_key(ref.digest), stored)
    model = cloud.model("vae", "x.pt", b"there")
    broken = Manifest(models=(model, type(model)("vae", "y.pt", ref)))
    result = worker.run(request({"1": node("PreviewAny", source="x")}, manifest=broken))
    assert result.outcome is Outcome.FAILED
    assert result.error["code"] == ("aws_not_found" if stored is None else "blob_corrupted")
    assert ref.digest in result.error["message"]


def test_a_cancel_before_the_start(worker, cloud):
    job = request({"1": node("PreviewAny", source="never")}, events=cloud.queue())
    cloud.store.put(layout.cancel_key(job.job_id), b"")
    result = worker.run(job)
    assert result.outcome is Outcome.INTERRUPTED
    assert types(finished(cloud, job, result)) == []


def test_a_cancel_while_it_runs(worker, cloud, manifest):
    job = request(
        {"1": node("TestWait", file="waits", seconds=60)}, manifest=manifest, events=cloud.queue()
    )
    pid = worker.runner_pid()
    with worker.running(job) as results:
        wait_until((worker.base / "temp" / "waits").exists)
        cloud.store.put(layout.cancel_key(job.job_id), b"")
    assert results[0].outcome is Outcome.INTERRUPTED
    assert "execution_interrupted" in types(finished(cloud, job, results[0]))
    assert worker.runner_pid() == pid


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b'{"job_id": 3}'])
def test_a_body_that_is_no_job(worker, body):
    status, answer = worker.invoke(body)
    assert status == 400
    assert answer["code"] == "invalid_document"


def test_a_job_id_that_is_no_key(worker):
    job = JobRequest(job_id="../x", prompt={}, outputs=(), manifest=Manifest())
    status, answer = worker.invoke(to_json(job).encode())
    assert (status, answer["code"]) == (400, "invalid_name")


# -- from here on ComfyUI starts again ---------------------------------------------------------


def test_a_runner_that_is_killed(worker, cloud, manifest):
    job = request({"1": node("TestDie", file="dies")}, manifest=manifest, events=cloud.queue())
    with worker.running(job) as results:
        wait_until((worker.base / "temp" / "dies").exists)
        os.kill(worker.runner_pid(), signal.SIGKILL)
    (result,) = results
    assert result.outcome is Outcome.FAILED
    assert result.error["code"] == "runner_crashed"
    assert "out of memory" in result.error["message"]
    assert "about to die" in result.error["message"]  # its last line
    finished(cloud, job, result)
    assert worker.run(request(load_prompt(seed=6), manifest=manifest)).outcome is Outcome.SUCCESS


def test_dates_in_names_are_those_of_who_has_sent_the_job(worker):
    def name(offset: int) -> str:
        prompt = {
            "1": node("EmptyImage", width=8, height=8, batch_size=1, color=offset % 256),
            "2": node("SaveImage", images=["1", 0], filename_prefix="at-%day%-%hour%-%minute%-"),
        }
        (file,) = worker.run(replace(request(prompt), utc_offset=offset)).files
        return file.filename

    def now(offset: int) -> str:
        return datetime.now(timezone(timedelta(seconds=offset))).strftime("at-%d-%H-%M-")

    pid = worker.runner_pid()
    for offset in (45_900, -34_200, 0):  # the Chatham and the Marquesas Islands, Greenwich
        moments = {now(offset)}
        found = name(offset)
        moments.add(now(offset))
        assert found.partition("_")[0] in moments
    assert worker.runner_pid() == pid


def test_files_hold_their_graph_unless_the_job_says_not(worker, cloud):
    """The same graph each time: what was cached was written the other way."""
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=77),
        "2": node("SaveImage", images=["1", 0], filename_prefix="meta"),
    }

    def texts(*, disable: bool) -> set[str]:
        job = replace(request(prompt), disable_metadata=disable, extra_data=WORKFLOW)
        result = worker.run(job)
        assert result.outcome is Outcome.SUCCESS, result.error
        (file,) = result.files
        with Image.open(io.BytesIO(cloud.store.get(file.key))) as image:
            return set(image.text)

    assert texts(disable=False) == {"prompt", "workflow"}
    assert texts(disable=True) == set()
    pid = worker.runner_pid()
    assert texts(disable=True) == set()
    assert worker.runner_pid() == pid
    assert texts(disable=False) == {"prompt", "workflow"}


def test_a_broken_pack(worker, cloud, manifest):
    code = "import no_such_package\nNODE_CLASS_MAPPINGS = {}"
    broken = cloud.pack("broken", {"__init__.py": code}, "BrokenNode")
    hollow = cloud.pack("hollow", {"__init__.py": "NODE_CLASS_MAPPINGS = {}"}, "HollowNode")
    prompt = {"1": node("PreviewAny", source="half equipped")}
    job = request(prompt, manifest=Manifest(packs=(broken, hollow)), events=cloud.queue())
    result = worker.run(job)
    assert result.outcome is Outcome.FAILED
    assert result.error["code"] == "pack_broken"
    assert "No module named 'no_such_package'" in result.error["message"]
    assert "Traceback" in result.error["message"]
    assert "lacks a Python package" in result.error["hint"]
    assert types(finished(cloud, job, result)) == []

    result = worker.run(request(prompt, manifest=Manifest(packs=(hollow,))))
    assert "hollow has no node class 'HollowNode'" in result.error["message"]

    result = worker.run(request({"1": node("TestText", what="version")}, manifest=manifest))
    assert result.outcome is Outcome.SUCCESS


def test_new_changed_and_clashing_packs_restart_the_runner(worker, cloud, pack):
    def told(pack: NodePack, node_class: str) -> tuple[str, int]:
        job = request({"1": node(node_class, what="version")}, manifest=Manifest(packs=(pack,)))
        return worker.run(job).outputs["1"]["text"][0], worker.runner_pid()

    def other(version: int, node_class: str) -> NodePack:
        code = VERSION_NODE.format(version=version, node_class=node_class)
        return cloud.pack("other.py", {"": code}, node_class)

    pid = worker.runner_pid()
    assert told(pack, "TestText") == ("1", pid)
    version, new = told(other(2, "OtherText"), "OtherText")
    assert (version, new != pid) == ("2", True)
    assert told(pack, "TestText") == ("1", new)  # packs stay
    # The changed pack has a class of another's name: a job gets that of the pack it names.
    version, changed = told(other(3, "TestText"), "TestText")
    assert (version, changed != new) == ("3", True)
