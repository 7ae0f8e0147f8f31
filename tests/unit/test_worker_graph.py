"""ComfyUI's messages turned into events and an outcome; no ComfyUI is needed for that."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import uuid

import pytest
from PIL import Image

from comfy_aws.aws import ObjectStore
from comfy_aws.comfy import BinaryMessage, TextMessage
from comfy_aws.errors import AwsError, FileChanged
from comfy_aws.models import Outcome
from comfy_aws.prompt import prompt_id_of
from comfy_aws.worker.graph import PREVIEW_BYTES, Graph
from comfy_aws.worker.outbox import Outbox
from comfy_aws.worker.outputs import Folder, Uploads
from tests.functional.worker_harness import Cloud

JOB = "3f2a6c1e-9f0b-4a51-8d0e-5b7c1d2e3f40"


@pytest.fixture(scope="module")
def cloud():
    cloud = Cloud()
    yield cloud
    cloud.stop()


class Heard:
    """A graph, the events that left, and a way to speak as ComfyUI does."""

    def __init__(self, base, store: ObjectStore, job: str = JOB) -> None:
        self.events: list[dict] = []
        self.outbox = Outbox(job, lambda line: self.events.append(json.loads(line)))
        self.store = store
        for kind in ("output", "temp"):
            (base / kind).mkdir(exist_ok=True)
        self.graph = Graph(job, self.outbox, Uploads(job, base, store), Folder(base))
        self.output = base / "output"

    def say(self, kind, *, job=JOB, **data):
        self.graph.hear(TextMessage(kind, {"prompt_id": job, **data} if job else data))

    def executed(self, number, *names):
        images = [{"filename": name, "subfolder": "", "type": "output"} for name in names]
        self.say("executed", node=number, output={"images": images})

    @property
    def types(self):
        return [event["data"].get("type") for event in self.events]


@pytest.fixture
async def heard(cloud, tmp_path):
    class Counting(ObjectStore):
        puts = 0

        def put(self, *args, **more):
            self.puts += 1
            return super().put(*args, **more)

    return Heard(tmp_path, Counting(cloud.store._session))


async def test_messages_of_others_and_of_the_server_are_not_events(heard):
    heard.say("executing", job="other", node="1")
    heard.say("status", job="", status={})
    heard.say("feature_flags", job="")
    heard.say("from.a.pack", job="", value=1)
    heard.say("executing", node="2")
    assert heard.types == ["from.a.pack", "executing"]
    assert not heard.graph.ended.done()


async def test_a_job_whose_id_comfyui_would_not_take_is_told_under_its_own(cloud, tmp_path):
    heard = Heard(tmp_path, cloud.store, job="my run.1")
    prompt_id = prompt_id_of("my run.1")
    assert str(uuid.UUID(prompt_id)) == prompt_id
    assert prompt_id_of(JOB) == JOB
    assert prompt_id_of(JOB.upper()) not in (JOB, JOB.upper())
    nodes = {"1": {"value": 1, "prompt_id": prompt_id}}
    heard.say("executing", job=JOB, node="1")
    heard.say("executing", job=prompt_id, node="2")
    heard.say("progress_state", job=prompt_id, nodes=nodes)
    preview = {"prompt_id": prompt_id, "node_id": "1", "image_type": "image/png"}
    heard.graph.hear(BinaryMessage(4, preview, picture(16), b""))
    await heard.outbox.settle()
    told = [event["data"] for event in heard.events]
    assert told[0]["data"] == {"node": "2", "prompt_id": "my run.1"}
    assert told[1]["data"]["nodes"]["1"]["prompt_id"] == "my run.1"
    assert told[2]["metadata"]["prompt_id"] == "my run.1"


async def test_a_blocked_branch_is_no_end(heard):
    heard.say("execution_start", timestamp=1)
    heard.say("execution_error", node_id="3", exception_type="ExecutionBlocked")
    assert heard.graph.outcome is None
    heard.say("execution_success", timestamp=2)
    heard.say("executing", node=None)
    assert heard.graph.ended.done()
    assert heard.graph.outcome is Outcome.SUCCESS
    assert [kind for kind, _ in heard.graph.messages] == ["execution_start", "execution_success"]
    assert heard.types[1] == "execution_error"


async def test_a_file_named_twice_is_sent_once_and_a_new_one_of_its_name_again(heard, cloud):
    path = heard.output / "a.txt"
    path.write_text("one")
    heard.executed("1", "a.txt", "a.txt")
    heard.executed("2", "a.txt")
    await heard.outbox.settle()
    first = await heard.graph.files()
    assert heard.store.puts == 1
    path.write_text("other")
    heard.executed("3", "a.txt")
    await heard.outbox.settle()
    files = await heard.graph.files()
    assert [file.digest for file in files[:2]] == [first[0].digest] * 2
    assert cloud.store.get(files[2].key) == b"other"
    assert [len(event["data"]["files"]) for event in heard.events] == [1, 1, 1]


async def test_files_that_no_output_names_come_last_and_once(cloud, tmp_path):
    old = tmp_path / "output" / "old.bin"
    old.parent.mkdir()
    old.write_bytes(b"earlier")
    touched = tmp_path / "output" / "models" / "touched.bin"
    touched.parent.mkdir()
    touched.write_bytes(b"before")
    heard = Heard(tmp_path, cloud.store)
    (heard.output / "named.txt").write_text("named")
    heard.executed("1", "named.txt")
    for name, body in (("models/touched.bin", b"after"), ("new.bin", b"new"), (".part", b"half")):
        (heard.output / name).write_bytes(body)
    (heard.output / "link.bin").symlink_to(old)
    await heard.outbox.settle()
    files = await heard.graph.files()
    assert [(file.node_id, file.subfolder, file.filename) for file in files] == [
        ("1", "", "named.txt"), ("", "models", "touched.bin"), ("", "", "new.bin"),
    ]  # fmt: skip
    assert cloud.store.get(files[1].key) == b"after"
    heard.say("execution_interrupted", timestamp=1)
    (heard.output / "late.bin").write_bytes(b"cut off")
    assert await heard.graph.files() == files


async def test_a_file_that_no_output_names_and_that_changes_costs_no_job(cloud, tmp_path):
    class Store(ObjectStore):
        def put(self, key, *args, **more):
            if key.endswith("log.txt"):
                raise FileChanged("It is written to.")
            return super().put(key, *args, **more)

    heard = Heard(tmp_path, Store(cloud.store._session))
    for name in ("log.txt", "whole.bin"):
        (heard.output / name).write_text(name)
    assert [file.filename for file in await heard.graph.files()] == ["whole.bin"]


async def test_a_cached_nodes_file_that_is_gone_is_stale_another_is_only_left_out(heard):
    heard.say("execution_cached", nodes=["1"], timestamp=1)
    heard.executed("2", "never-written.png")
    assert not heard.graph.stale
    heard.executed("1", "gone.png")
    assert heard.graph.stale
    await heard.outbox.settle()
    assert await heard.graph.files() == ()


async def test_a_file_that_a_viewer_names_by_its_path_alone(heard):
    (heard.output / "3d").mkdir()
    (heard.output / "3d" / "a.glb").write_text("mesh")
    (heard.output.parent / "temp" / "b.glb").write_text("other")
    for node, name in (("1", "3d/a.glb"), ("2", "b.glb"), ("3", "temp/b.glb"), ("4", "gone.glb")):
        heard.say("executed", node=node, output={"result": [name, {"zoom": 1}, None]})
    await heard.outbox.settle()
    files = await heard.graph.files()
    assert [(file.node_id, file.filename, file.subfolder, file.type) for file in files] == [
        ("1", "a.glb", "3d", "output"), ("2", "b.glb", "", "temp"),
        ("2", "b.glb", "", "temp")]  # fmt: skip


async def test_a_bucket_that_takes_no_file(heard):
    def full(key, body, **more):
        raise AwsError("full")

    (heard.output / "a.txt").write_text("one")
    heard.store.put = full
    heard.executed("1", "a.txt")
    await heard.outbox.settle()
    assert heard.types == ["executed"]
    with pytest.raises(AwsError, match="full"):
        await heard.graph.files()


def picture(side: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("body", [picture(16), picture(600)])
async def test_a_preview_fits_into_a_message(heard, body):
    metadata = {"prompt_id": JOB, "node_id": "7", "image_type": "image/png"}
    heard.graph.hear(BinaryMessage(4, metadata, body, b""))
    (event,) = heard.events
    image = base64.b64decode(event["data"]["image"])
    assert len(image) <= PREVIEW_BYTES
    opened = Image.open(io.BytesIO(image))
    assert opened.format == event["data"]["format"]
    assert event["data"]["metadata"]["node_id"] == "7"
    assert (image == body) == (len(body) <= PREVIEW_BYTES)


async def test_a_large_preview_that_is_no_image_is_dropped(heard):
    heard.graph.hear(BinaryMessage(4, {"prompt_id": JOB}, bytes(PREVIEW_BYTES + 1), b""))
    heard.graph.hear(BinaryMessage(4, {"prompt_id": "other"}, b"x", b""))
    assert heard.events == []


async def test_other_binary_messages_pass_unread(heard):
    heard.graph.hear(BinaryMessage(3, {"node_id": "1"}, b"t", b"raw"))
    heard.graph.hear(BinaryMessage(1, {"image_type": "image/jpeg"}, b"t", b"raw"))
    await asyncio.sleep(0)
    assert [event["data"] for event in heard.events] == [
        {"type": kind, "body": base64.b64encode(b"raw").decode()} for kind in (3, 1)
    ]
