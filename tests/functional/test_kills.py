"""A publish or a restore that is killed at any moment: nothing half-done is seen, and the next
try completes.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from comfy_aws import hashing, layout
from comfy_aws.models import Manifest, ModelFile, NodePack
from tests.functional import transfer_child
from tests.functional.transfer_child import (
    MODELS,
    PART_SIZE,
    PROMPT,
    designer,
    lay_all,
    restorer,
)
from tests.functional.worker_harness import packed

MOMENTS = 20
PARTS = 3
SIZE = (PARTS - 1) * PART_SIZE + 1000

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["boto3", "tests.functional.transfer_child"])


def run(target, *args, after: float | None = None) -> float:
    """Run in a process of its own and return the seconds it took, or kill it before it ends."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(*args[:2], theirs, *args[2:]))
    process.start()
    theirs.close()
    assert ours.recv() == "begun"
    began = time.perf_counter()
    if after is None:
        assert ours.recv() == "done"
    else:
        time.sleep(after)
        process.kill()  # SIGKILL
    took = time.perf_counter() - began
    process.join()
    process.close()
    ours.close()
    return took


def make_models(parts) -> dict[str, bytes]:
    return {name: parts.catalog.model(name, os.urandom(SIZE)).read_bytes() for name in MODELS}


def wipe(parts) -> None:
    parts.store.delete(*parts.keys())


def abort_uploads(parts) -> None:
    """A kill between the begin of an upload and its entry in the log leaves one behind."""
    s3 = parts.session.client("s3")
    for upload in s3.list_multipart_uploads(Bucket=parts.access.bucket).get("Uploads", []):
        s3.abort_multipart_upload(
            Bucket=parts.access.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )


def assert_all_whole(parts) -> int:
    """Every blob that is seen has the bytes of its name."""
    keys = parts.keys("blobs/")
    for key in keys:
        assert layout.blob_key(hashing.of_bytes(parts.store.get(key)).digest) == key
    return len(keys)


@pytest.mark.timeout(300)
def test_a_publish_that_is_killed(shared_stack, parts, tmp_path):
    root = tmp_path / "designer"
    make_models(parts)
    usual = []
    for _ in range(2):
        usual.append(run(transfer_child.publish, shared_stack, root))
        assert parts.templates.exists("Name")
        wipe(parts)
    moments = random.Random(20)
    resumed = 0
    for number in range(3 * MOMENTS):
        if number >= MOMENTS and resumed:  # a busy machine gets further with more tries
            break
        # Other bytes every time: what S3 has of the last try must not help.
        bodies = make_models(parts)
        run(transfer_child.publish, shared_stack, root, after=min(usual) * moments.random())
        assert_all_whole(parts)
        if not parts.templates.exists("Name"):
            again = designer(shared_stack, root)
            again.publish("Name", PROMPT)
            resumed += len(again.wire.puts("blobs/")) < len(MODELS) * PARTS
            again.close()
        assert assert_all_whole(parts) == len(MODELS), number
        for model in parts.templates.version("Name").manifest.models:
            assert parts.blobs.read(model.blob) == bodies[model.name]
        wipe(parts)
    assert resumed
    abort_uploads(parts)


@pytest.mark.timeout(300)
def test_a_restore_that_is_killed(shared_stack, parts, tmp_path):
    bodies = {name: os.urandom(SIZE) for name in MODELS}
    source = {f"part{number}.py": f"value = {number}\n" * 50 for number in range(200)}
    manifest = Manifest(
        models=tuple(
            ModelFile("loras", name, parts.blobs.put(body)) for name, body in bodies.items()
        ),
        packs=(NodePack("pack", parts.blobs.put(packed("pack", source)), ("X",)),),
    )
    usual = [
        run(transfer_child.restore, shared_stack, tmp_path / f"usual-{number}", manifest)
        for number in range(2)
    ]
    moments = random.Random(21)
    for number in range(MOMENTS):
        root = tmp_path / f"worker-{number}"
        after = min(usual) * moments.random()
        run(transfer_child.restore, shared_stack, root, manifest, after=after)
        assert_nothing_half(root, bodies, source)
        again = restorer(shared_stack, root)
        lay_all(again, manifest)
        again.close()
        assert {path.name for path in root.glob("base/models/loras/*")} == bodies.keys()
        assert {path.name for path in root.glob("base/custom_nodes/pack/*")} == source.keys()
        assert_nothing_half(root, bodies, source)
        assert len(list(root.glob("cache/sha256/*/*"))) == len(manifest.blobs())


def assert_nothing_half(root: Path, bodies: dict[str, bytes], source: dict[str, str]) -> None:
    for path in root.glob("cache/sha256/*/*"):
        assert path.suffix == ".part" or hashing.of_file(path)[0].digest == path.name
    for path in root.glob("base/models/loras/*"):
        assert path.name.startswith(".") or path.read_bytes() == bodies[path.name]
    if (root / "base/custom_nodes/pack").exists():
        there = {path.name: path.read_text() for path in root.glob("base/custom_nodes/pack/*")}
        assert there == source
