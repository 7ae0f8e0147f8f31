"""Models between this machine and a real bucket."""

from __future__ import annotations

import json
import os
import threading

import pytest

from comfy_aws.errors import AwsNotFound, Cancelled, Conflict, NotFound
from comfy_aws.layout import blob_key
from comfy_aws.localmodels import FolderPlaces, LocalModels
from comfy_aws.modelstore import KnownModel, ModelStore, User
from comfy_aws.transfers import Transfer, TransferKind, Transfers, TransferState
from tests.functional.localstack_support import eventually
from tests.functional.parts import Parts, model_node
from tests.support.fileserver import served

BODY = b"model" * 1000


@pytest.fixture
def models(parts: Parts) -> LocalModels:
    return LocalModels(FolderPlaces(parts.catalog.root))


@pytest.fixture
def store(parts: Parts) -> ModelStore:
    return ModelStore(parts.blobs, parts.library, parts.templates, parts.cache)


def test_what_is_where(parts, models, store):
    parts.catalog.model("sub/here.pt", BODY)
    parts.catalog.model("both.pt", BODY)
    for name in ("both.pt", "gone.pt", "changed.pt"):
        parts.catalog.model(name, BODY)
        store.push(models.find("checkpoints", name))
    models.delete("checkpoints", "gone.pt")
    parts.catalog.model("changed.pt", BODY + b"!")
    found = {model.name: model for model in store.join(models.list())}
    where = {name: (m.here, m.bucket, m.differs) for name, m in found.items()}
    assert where == {
        "sub/here.pt": (True, False, False),
        "both.pt": (True, True, False),
        "changed.pt": (True, True, True),
        "gone.pt": (False, True, False),
    }
    assert found["both.pt"] == KnownModel(
        "checkpoints", "both.pt", len(BODY), here=True, bucket=True, digest=found["gone.pt"].digest
    )


def test_a_model_is_sent_once_with_what_belongs_to_it(parts, models, store):
    parts.catalog.model("m.ckpt", BODY)
    parts.catalog.model("m.yaml", b"config: 1")
    steps = []
    sent = store.push(models.find("checkpoints", "m.ckpt"), progress=steps.append)
    assert [model.name for model in sent] == ["m.ckpt", "m.yaml"]
    assert (steps[-1].phase, steps[-1].done) == ("upload", len(BODY) + 9)
    assert steps[-1].total == steps[-1].done
    assert {m.name for m in parts.library.list()} == {"m.ckpt", "m.yaml"}
    before = parts.wire.puts("blobs/")
    assert len(before) == 2
    store.push(models.find("checkpoints", "m.ckpt"))
    assert parts.wire.puts("blobs/") == before

    for name in ("m.ckpt", "m.yaml"):
        (parts.catalog.root / "models/checkpoints" / name).unlink()
    store.pull(models, "checkpoints", "m.ckpt")
    assert models.find("checkpoints", "m.ckpt").path.read_bytes() == BODY
    assert (parts.catalog.root / "models/checkpoints/m.yaml").read_bytes() == b"config: 1"
    with pytest.raises(Conflict, match="There is a model"):
        store.pull(models, "checkpoints", "m.ckpt")
    with pytest.raises(NotFound, match=r"no model nothing\.pt"):
        store.pull(models, "checkpoints", "nothing.pt")


def test_a_fetch_that_broke_is_tried_again(parts, models, store):
    for name, body in (("m.ckpt", BODY), ("m.yaml", b"config: 1")):
        parts.catalog.model(name, body)
    sent = store.push(models.find("checkpoints", "m.ckpt"))
    folder = parts.catalog.root / "models" / "checkpoints"
    lost = blob_key(sent[1].blob.digest)
    parts.store.delete(lost)
    for name in ("m.ckpt", "m.yaml"):
        (folder / name).unlink()
    with pytest.raises(AwsNotFound):
        store.pull(models, "checkpoints", "m.ckpt")
    assert list(folder.iterdir()) == [], "a model without what belongs to it is not offered"

    left, written = (folder / f"m.ckpt.part.{number}.part" for number in (1, 2))
    for file in (left, written):
        file.write_bytes(b"half")
    os.utime(left, (0, 0))
    parts.store.put(lost, b"config: 1")
    store.pull(models, "checkpoints", "m.ckpt")
    assert sorted(each.name for each in folder.iterdir()) == ["m.ckpt", written.name, "m.yaml"]


def test_a_model_taken_out_of_the_bucket_leaves_its_templates_whole(parts, models, store):
    parts.catalog.model("used.pt", BODY)
    parts.publish("First", {"1": model_node("used.pt")})
    parts.publish("Second", {"1": model_node("used.pt")})
    parts.publish("Other", {"1": {"class_type": "Save", "inputs": {}}})
    users = [User("First", 1), User("Second", 1)]
    assert store.users("checkpoints", "used.pt") == users
    assert store.users("loras", "used.pt") == []
    store.remove("checkpoints", "used.pt")
    assert [model for model in store.join(models.list()) if model.bucket] == []
    [stored] = parts.templates.version("First").manifest.models
    assert parts.keys(blob_key(stored.blob.digest)) != []
    with pytest.raises(NotFound, match=r"no model used\.pt"):
        store.remove("checkpoints", "used.pt")
    changed = {"1": model_node("used.pt"), "2": {"class_type": "Save", "inputs": {}}}
    parts.publish("First", changed, new_version=True)
    assert store.users("checkpoints", "used.pt") == [User("First", 2), User("Second", 1)]
    parts.publish("Third", changed)
    assert [model.name for model in parts.library.list()] == ["used.pt"], "it is entered again"


def test_transfers_are_seen_cancelled_and_forgotten():
    transfers, heard = Transfers(), []
    go = threading.Event()

    def work(progress, cancelled):
        go.wait(30)
        if cancelled():
            raise Cancelled("stopped")
        return "model.pt"

    def start() -> Transfer:
        return transfers.start(TransferKind.URL, "loras", "", work, heard.append)

    first, second, third = start(), start(), start()

    def state(of: Transfer) -> TransferState:
        return next(each.state for each in transfers.list() if each.id == of.id)

    eventually(lambda: state(second) is TransferState.RUNNING, "two run at once")
    assert state(third) is TransferState.WAITING
    assert transfers.stop(third.id).state is TransferState.CANCELLED
    transfers.stop(first.id)
    go.set()
    eventually(lambda: state(second) is TransferState.DONE, "one is done")
    eventually(lambda: state(first) is TransferState.CANCELLED, "one is cancelled")
    assert [each.name for each in heard if each.state is TransferState.DONE] == ["model.pt"]
    transfers.stop(second.id)
    assert second.id not in {each.id for each in transfers.list()}
    with pytest.raises(NotFound):
        transfers.stop(second.id)
    transfers.close()


def test_the_command_line(parts, terminal, monkeypatch):
    monkeypatch.setenv("COMFY_AWS_FETCH_PRIVATE", "1")
    (parts.catalog.root / "models" / "loras").mkdir()
    where = ("--comfyui", str(parts.catalog.root), "--folder", "loras")

    def told(*arguments: str, status: int = 0) -> str:
        return terminal("models", *arguments, status=status)

    with served(BODY) as site:
        url = site.url.replace("safetensors", "pt")
        added = json.loads(told("add", url, *where, "--json"))
        assert (added["name"], added["size"]) == ("model.pt", len(BODY))
        assert "There is a model" in told("add", url, *where, status=1)
        assert "in the bucket, too" in told("add", url, *where, "--name", "b.pt", "--push")
        monkeypatch.setenv("COMFY_AWS_FETCH_PRIVATE", "")
        refused = told("add", url, *where, "--name", "c.pt", status=1)
        assert "private network" in refused
    assert "loras/model.pt is in the bucket." in told("push", "model.pt", *where)
    [line] = [line for line in told("list").splitlines() if "model.pt" in line]
    assert line.split()[:2] == ["loras", "model.pt"]
    (parts.catalog.root / "models/loras/model.pt").unlink()
    both = json.loads(told("list", "--comfyui", str(parts.catalog.root), "--json"))
    assert {m["name"]: (m["here"], m["bucket"]) for m in both} == {
        "b.pt": (True, True), "model.pt": (False, True),
    }  # fmt: skip
    assert "models/loras/model.pt" in told("pull", "model.pt", *where)
    parts.catalog.model("a.pt", BODY, "loras")
    parts.publish("First", {"1": model_node("a.pt", "LoadLora")})
    assert "is used by First" in told("rm", "a.pt", "--folder", "loras", status=1)
    assert "Used by: First" in told("rm", "a.pt", "--folder", "loras", "--force")
    assert "Deleted loras/model.pt" in told("rm", "model.pt", "--folder", "loras")
    assert "no model model.pt" in told("rm", "model.pt", "--folder", "loras", status=1)
