"""Runs by name without a ComfyUI: what an order stands on, and what the bucket tells of jobs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from comfy_aws import layout
from comfy_aws.errors import AwsNotFound, EndpointUnusable, InvalidParameters, NotFound, Unresolved
from comfy_aws.events import RETENTION
from comfy_aws.hashcache import HashCache
from comfy_aws.job_reports import JobReports
from comfy_aws.jobindex import chosen_jobs
from comfy_aws.models import (
    EndpointSpec,
    Environment,
    Event,
    EventBatch,
    EventKind,
    InputFile,
    InputPlace,
    JobRequest,
    JobResult,
    JobState,
    Json,
    Manifest,
    ModelFile,
    Outcome,
    OutputFile,
    TemplateVersion,
    Usage,
    from_json,
    to_json,
)
from comfy_aws.resolve import InputPath
from comfy_aws.routing import Router
from comfy_aws.stack import StackState
from comfy_aws.template_runs import TemplateRuns
from comfy_aws.terminal_runs import RunQueues
from tests.functional.parts import Parts
from tests.functional.test_jobs import Desk, ending, endpoints_of

NAME = "scripted-runs"
INFO: Json = {
    "Load": {"input": {"required": {"name": (["a.safetensors", "listed.safetensors"],)}},
             "output": ["MODEL"]},
    "LoadImage": {"input": {"required": {"image": (["published.png"], {"image_upload": True})}},
                  "output": ["IMAGE"], "display_name": "Load Image"},
    "Save": {"input": {"required": {"model": ("MODEL",), "image": ("IMAGE",),
                                    "quality": ("INT", {"min": 1, "max": 100})}},
             "output": [], "output_node": True},
}  # fmt: skip
PROMPT: Json = {
    "1": {"class_type": "Load", "inputs": {"name": "a.safetensors"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "published.png"}},
    "3": {"class_type": "Save", "inputs": {"model": ["1", 0], "image": ["2", 0], "quality": 90}},
    "4": {"class_type": "Load", "inputs": {"name": "listed.safetensors"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def endpoint(shared_stack: StackState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    parts = Parts(shared_stack, tmp_path_factory.mktemp("endpoint"))
    endpoints = endpoints_of(parts)
    endpoints.create(EndpointSpec(NAME, min_instances=1))
    endpoints.wait(NAME, every=0.1)
    yield NAME
    endpoints.delete(NAME)
    parts.close()


class Counter:
    """What a program talks to, and a template to order."""

    def __init__(self, parts: Parts, endpoint: str, folder: Path) -> None:
        self.parts = parts
        self.desk = Desk(parts, endpoint, folder)
        self.router = Router(parts.templates, endpoints_of(parts), endpoint)
        self.cache = HashCache(folder / "runs.sqlite")
        self.runs = TemplateRuns(
            parts.templates, parts.library, parts.blobs, self.router, self.cache, folder / "spool"
        )
        self.reports = JobReports(parts.store)
        self.files: dict[str, Path] = {}
        self.model = parts.blobs.put(b"model a")
        self.picture = parts.blobs.put(b"published picture")
        self.publish()

    def publish(self, **changes: Any) -> None:
        manifest = Manifest(
            models=(ModelFile("checkpoints", "a.safetensors", self.model),),
            inputs=(InputFile("published.png", self.picture),),
            environment=Environment(comfyui="0.0.0"),
        )
        draft = TemplateVersion("Runs", 0, 1.0, {"nodes": []}, PROMPT, manifest, INFO)
        draft = replace(draft, **changes)
        templates = self.parts.templates
        if templates.exists("Runs"):
            templates.add_version(draft)
        else:
            templates.create(draft)

    def order(self, values: Json | None = None, **wishes: Any) -> Any:
        return self.runs.order("Runs", values or {}, find_input=self.find, **wishes)

    def find(self, name: str) -> InputPath | None:
        path = self.files.get(name)
        return InputPath(InputPlace.INPUT, name, path) if path else None

    def close(self) -> None:
        self.desk.close()
        self.cache.close()


@pytest.fixture
def counter(parts: Parts, endpoint: str, tmp_path: Path) -> Iterator[Counter]:
    made = Counter(parts, endpoint, tmp_path / "counter")
    yield made
    made.close()


def test_an_order_stands_on_what_was_published(counter: Counter) -> None:
    order = counter.order({"Save.quality": "50"})
    assert (order.template, order.outputs) == ("Runs", ("3",))
    assert order.prompt["3"]["inputs"]["quality"] == 50
    assert order.prompt["1"] == PROMPT["1"]
    names = [(part.name, part.blob) for part in order.manifest.parts()]
    assert names == [("a.safetensors", counter.model), ("published.png", counter.picture)]


def test_a_job_runs_with_the_orders_own_manifest(counter: Counter) -> None:
    """A version that is published meanwhile changes nothing."""
    order = counter.order({"3.quality": 7}, job_id="mine")
    counter.publish(manifest=Manifest())
    _, _, end = counter.desk.run([], job_id="mine", prompt=order.prompt, outputs=order.outputs,
                                 template="Runs", manifest=order.manifest,
                                 extra_data={"script": ending(1)})  # fmt: skip
    assert end.state is JobState.SUCCEEDED
    request = from_json(JobRequest, counter.parts.store.get(layout.request_key("mine")))
    assert request.manifest == order.manifest
    assert request.usage == Usage(NAME, "ml.g5.xlarge", "Runs")
    report = counter.reports.of("mine")
    assert (report["state"], report["template"], report["seconds"]) == ("succeeded", "Runs", 90.0)
    assert report["outputs"] == []


def test_an_older_version_can_be_run(counter: Counter) -> None:
    counter.publish(prompt={**PROMPT, "3": {**PROMPT["3"], "inputs": {
        **PROMPT["3"]["inputs"], "quality": 11}}})  # fmt: skip
    assert counter.order().prompt["3"]["inputs"]["quality"] == 11
    assert counter.order(version=1).prompt["3"]["inputs"]["quality"] == 90
    with pytest.raises(NotFound, match="no version 3"):
        counter.order(version=3)


def test_a_named_file_is_sent_and_the_published_one_is_not(
    counter: Counter, tmp_path: Path
) -> None:
    mine = tmp_path / "published.png"  # of the same name as the published one
    mine.write_bytes(b"my picture")
    counter.files["published.png"] = mine
    assert counter.order().manifest.inputs[0].blob == counter.picture, "nobody asked for mine"
    [item] = counter.order({"Load Image.image": "published.png"}).manifest.inputs
    assert counter.parts.blobs.read(item.blob) == b"my picture"
    with pytest.raises(InvalidParameters) as caught:
        counter.order({"2.image": "other.png"})
    assert caught.value.parameters == {
        "2.image": "There is no input file other.png, neither here nor in the template."
    }


def test_a_model_that_came_later_is_taken_from_the_bucket(counter: Counter) -> None:
    late = ModelFile("checkpoints", "late.safetensors", counter.parts.blobs.put(b"late"))
    with pytest.raises(InvalidParameters, match=r"It is one of: a\.safetensors"):
        counter.order({"1.name": "late.safetensors"})
    counter.parts.library.enter(Manifest(models=(late,)))
    assert counter.order({"1.name": "late.safetensors"}).manifest.models == (late,)


def test_a_choice_that_was_never_published_is_missing(counter: Counter) -> None:
    """It stood in the list of the designer's machine, and is in no bucket."""
    with pytest.raises(Unresolved, match=r"listed\.safetensors is neither") as caught:
        counter.order({"1.name": "listed.safetensors"})
    assert list(caught.value.node_errors) == ["1"]


def test_a_blob_that_is_gone_is_told_before_the_job(counter: Counter) -> None:
    counter.parts.store.delete(layout.blob_key(counter.model.digest))
    counter.parts.blobs.forget()
    with pytest.raises(Unresolved, match=r"no longer has the bytes of a\.safetensors"):
        counter.order()


def test_an_endpoint_is_asked_before_anything_is_sent(counter: Counter, tmp_path: Path) -> None:
    counter.files["new.png"] = tmp_path / "new.png"
    counter.files["new.png"].write_bytes(b"new picture")
    before = counter.parts.keys("blobs/")
    with pytest.raises(EndpointUnusable):
        counter.order({"2.image": "new.png"}, endpoint="nowhere")
    assert counter.parts.keys("blobs/") == before


# -- jobs as the bucket tells them -------------------------------------------------------------


def ended(counter: Counter, outcome: Outcome, **more: Any) -> str:
    job_id = uuid.uuid4().hex
    store = counter.parts.store
    usage = Usage(NAME, "ml.g5.xlarge", "Runs")
    request = JobRequest(job_id, PROMPT, ("3",), Manifest(), usage=usage)
    store.put(layout.request_key(job_id), to_json(request).encode())
    result = JobResult(job_id, outcome, usage=usage, timings={"total": 3.0}, **more)
    store.put(layout.result_key(job_id), to_json(result).encode())
    return job_id


def test_files_of_a_job_by_presigned_urls(counter: Counter) -> None:
    files = []
    for number, (name, kind) in enumerate([("preview.png", "temp"), ("a b ü.png", "output")]):
        key = layout.output_key("files", number, name)
        counter.parts.store.put(key, name.encode(), content_type="image/png")
        files.append(OutputFile("3", name, "", kind, key, len(name.encode()), "0" * 64))
    job_id = ended(counter, Outcome.SUCCESS, files=tuple(files))
    [output] = counter.reports.of(job_id, expires=120)["outputs"]
    assert (output["number"], output["filename"]) == (1, "a b ü.png")
    answer = requests.get(output["url"], timeout=30)
    assert (answer.status_code, answer.text) == (200, "a b ü.png")
    assert answer.headers["Content-Type"] == "image/png"
    other = output["url"].replace("0001", "0000")
    assert requests.get(other, timeout=30).status_code == 403, "it opens one file and no other"
    assert counter.reports.output(job_id, 1).filename == "a b ü.png"
    with pytest.raises(NotFound, match="no output 2"):
        counter.reports.output(job_id, 2)
    only_previews = ended(counter, Outcome.SUCCESS, files=(files[0],))
    [output] = counter.reports.of(only_previews)["outputs"]
    assert output["type"] == "temp"


@pytest.mark.parametrize(
    ("outcome", "error", "told"),
    [
        (Outcome.ERROR, {"exception_message": "broke\n", "node_id": 3, "node_type": "Save"},
         {"code": "node", "message": "broke", "node_id": "3", "node_type": "Save"}),
        (Outcome.INVALID, {"type": "x", "message": "refused"},
         {"code": "prompt_rejected", "message": "refused", "node_id": None}),
        (Outcome.FAILED, {"code": "runner_crashed", "message": "died", "hint": "again"},
         {"code": "runner_crashed", "message": "died", "hint": "again"}),
    ],
)  # fmt: skip
def test_why_a_job_failed_has_one_shape(
    counter: Counter, outcome: Outcome, error: Json, told: Json
) -> None:
    report = counter.reports.of(ended(counter, outcome, error=error))
    assert report["state"] == "failed"
    assert report["error"].items() >= told.items()


def test_a_job_of_another_machine_is_cancelled_through_the_bucket(counter: Counter) -> None:
    job_id = "elsewhere"
    store = counter.parts.store
    with pytest.raises(NotFound):
        counter.reports.of(job_id)
    with pytest.raises(NotFound):
        counter.reports.cancel(job_id)
    request = JobRequest(job_id, PROMPT, ("3",), Manifest(), usage=Usage(NAME, "", "Runs"))
    store.put(layout.request_key(job_id), to_json(request).encode())
    report = counter.reports.of(job_id)
    assert (report["state"], report["template"], report["endpoint"]) == ("submitted", "Runs", NAME)
    assert counter.reports.cancel(job_id) is JobState.CANCELLED
    assert store.head(layout.cancel_key(job_id)) is not None
    done = ended(counter, Outcome.SUCCESS)
    assert counter.reports.cancel(done) is JobState.SUCCEEDED
    assert store.head(layout.cancel_key(done)) is None


def test_jobs_are_chosen_before_they_are_counted(counter: Counter) -> None:
    wanted = [ended(counter, Outcome.ERROR) for _ in range(2)]
    for _ in range(40):
        ended(counter, Outcome.SUCCESS)
    found = chosen_jobs(counter.parts.store, lambda job: job.outcome == "error", 5)
    assert {job.id for job in found} == set(wanted)
    assert len(chosen_jobs(counter.parts.store, lambda _: True, 5)) == 5


# -- the queues of terminals -------------------------------------------------------------------


def test_a_queue_goes_with_its_command_or_with_a_later_one(parts: Parts, tmp_path: Path) -> None:
    heard: list[Event] = []
    left, young = (f"comfy-aws-run-{uuid.uuid4().hex}" for _ in range(2))
    urls = {name: parts.queues.ensure(name, retention=RETENTION) for name in (left, young)}
    home = tmp_path / "queues"
    home.mkdir()
    for name in urls:
        (home / name).touch()
    os.utime(home / left, (1.0, 1.0))
    queues = RunQueues(parts.queues, home)
    mailbox = queues.open(heard.extend)
    own = mailbox.url()
    with pytest.raises(AwsNotFound):
        parts.queues.send(urls[left], "nobody's")
    parts.queues.send(urls[young], "that of a command which may run yet")
    assert {path.name for path in home.iterdir()} == {young, mailbox.name}
    event = Event("job", 1, EventKind.HEARTBEAT, {}, 1.0)
    parts.queues.send(own, to_json(EventBatch((event,))))
    until = time.monotonic() + 60
    while not heard:
        assert time.monotonic() < until
        time.sleep(0.01)
    queues.close(mailbox)
    with pytest.raises(AwsNotFound):
        parts.queues.send(own, "gone")
    assert {path.name for path in home.iterdir()} == {young}
    parts.queues.delete(urls[young])
