"""The blob cache and the restorer, on a real S3 server."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from comfy_aws import hashing, layout
from comfy_aws.errors import AwsNotFound, BlobCorrupted, Cancelled, PackBroken, WorkerError
from comfy_aws.models import BlobRef, InputFile, InputPlace, Manifest, ModelFile, NodePack
from comfy_aws.worker.cache import BlobCache
from comfy_aws.worker.restore import Restorer
from tests.functional.worker_harness import Cloud, packed


@pytest.fixture(scope="module")
def cloud():
    cloud = Cloud()
    yield cloud
    cloud.stop()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def make_cache(cloud, tmp_path):
    def make(budget=10_000, evicted=lambda digest: None):
        return BlobCache(
            tmp_path / "cache", cloud.blobs, budget=budget, evicted=evicted, clock=Clock()
        )

    return make


@pytest.fixture
def restorer(cloud, tmp_path):
    restorer = Restorer(
        tmp_path / "worker",
        lambda root, evicted: BlobCache(
            root, cloud.blobs, budget=10_000, evicted=evicted, clock=Clock()
        ),
        spare_inputs=1,
    )
    yield restorer
    restorer.close()


def restore(restorer: Restorer, manifest: Manifest) -> bool:
    restorer.fetch(manifest)
    restorer.lay_packs(manifest)
    return restorer.lay(manifest)


def test_a_blob_is_fetched_once_and_survives_a_restart(cloud, make_cache):
    ref, fetched = cloud.blobs.put(b"model" * 10), []
    cache = make_cache()
    for _ in range(2):
        cache.fetch([ref, ref], progress=lambda ref, count: fetched.append(count))
    assert fetched == [50]
    assert cache.path(ref).read_bytes() == b"model" * 10
    again = make_cache()
    assert again.has(ref)
    assert again.size == 50


def test_two_that_want_the_same_blob_share_one_download(cloud, make_cache):
    body = os.urandom(40)
    ref, fetched, held = cloud.blobs.put(body), [], threading.Event()
    cache = make_cache()

    def slowly(_, count):
        fetched.append(count)
        held.wait(10)

    threads = [
        threading.Thread(target=cache.fetch, args=([ref],), kwargs={"progress": slowly})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    held.set()
    for thread in threads:
        thread.join()
    assert fetched == [40]


def test_the_least_recently_used_goes_first_and_never_what_is_needed(cloud, make_cache):
    gone: list[str] = []
    a, b, c, d = (cloud.blobs.put(bytes([number]) * 40) for number in range(4))
    cache = make_cache(budget=100, evicted=gone.append)
    cache.fetch([a])
    cache.fetch([b])
    cache.fetch([a])  # now b is the oldest
    cache.fetch([c])
    assert gone == [b.digest]
    assert cache.size == 80
    cache.fetch([d], keep=[a])
    assert gone == [b.digest, c.digest]
    assert cache.has(a)
    assert not cache.path(c).exists()


def test_what_does_not_fit_is_refused_before_anything_goes(cloud, make_cache):
    gone: list[str] = []
    small, large = cloud.blobs.put(b"s" * 60), cloud.blobs.put(b"l" * 101)
    cache = make_cache(budget=100, evicted=gone.append)
    cache.fetch([small])
    with pytest.raises(WorkerError, match="101 bytes"):
        cache.fetch([large])
    with pytest.raises(WorkerError, match="has room for 100"):
        cache.fetch([cloud.blobs.put(b"t" * 41)], keep=[small])
    assert gone == []


@pytest.mark.parametrize("damage", [b"short", b"", b"y" * 50])
def test_a_damaged_file_in_the_cache_is_fetched_again(cloud, make_cache, damage):
    body = b"x" * 50
    ref = cloud.blobs.put(body)
    cache = make_cache()
    cache.fetch([ref])
    cache.path(ref).chmod(0o644)
    cache.path(ref).write_bytes(damage)
    make_cache().fetch([ref])
    assert cache.path(ref).read_bytes() == body


def test_a_download_that_a_killed_worker_left_is_swept(make_cache, tmp_path):
    part = tmp_path / "cache" / "aa" / f"{'a' * 64}.123.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    assert make_cache().size == 0
    assert not part.exists()


@pytest.mark.parametrize("stored", [b"x" * 49, b"", b"y" * 50, b"x" * 51])
def test_a_truncated_or_corrupted_blob_in_the_bucket(cloud, make_cache, stored):
    ref = hashing.of_bytes(b"x" * 50)
    cloud.store.put(layout.blob_key(ref.digest), stored)
    cache = make_cache()
    if len(stored) == 51:  # a range of the right size: the digest must be right, and is
        cache.fetch([ref])
        return
    with pytest.raises(BlobCorrupted, match=ref.digest):
        cache.fetch([ref])
    assert not cache.has(ref)
    assert list(cache.path(ref).parent.iterdir()) == []


def test_a_blob_that_is_not_in_the_bucket(make_cache):
    ref = BlobRef("e" * 64, 5)
    with pytest.raises(AwsNotFound, match="e" * 64):
        make_cache().fetch([ref])


def test_a_fetch_can_be_cancelled(cloud, make_cache):
    with pytest.raises(Cancelled):
        make_cache().fetch([cloud.blobs.put(os.urandom(20))], cancelled=lambda: True)


# -- the base directory ------------------------------------------------------------------------


def test_a_manifest_is_laid(cloud, restorer):
    manifest = Manifest(
        models=(cloud.model("loras", "sub/a.safetensors", b"lora"),),
        inputs=(
            cloud.input("x/in.png", b"input"),
            InputFile("out.png", cloud.blobs.put(b"output"), InputPlace.OUTPUT),
        ),
        packs=(cloud.pack("pack", {"__init__.py": "x = 1", "js/a.js": ""}),),
    )
    assert not restorer.holds(manifest)
    assert restorer.missing_bytes(manifest) > 0
    assert restore(restorer, manifest) is False
    assert restorer.holds(manifest)
    assert restorer.missing_bytes(manifest) == 0
    base = restorer.base
    assert (base / "models/loras/sub/a.safetensors").read_bytes() == b"lora"
    assert (base / "input/x/in.png").read_bytes() == b"input"
    assert (base / "output/out.png").read_bytes() == b"output"
    assert (base / "custom_nodes/pack/__init__.py").read_text() == "x = 1"


def test_an_input_that_is_written_to_is_laid_again_and_the_cache_is_whole(cloud, restorer):
    manifest = Manifest(inputs=(cloud.input("in.png", b"input"),))
    restore(restorer, manifest)
    laid = restorer.base / "input" / "in.png"
    laid.write_bytes(b"drawn over")
    (ref,) = manifest.blobs().values()
    assert restorer._cache.has(ref)
    assert not restorer.holds(manifest)
    assert restore(restorer, manifest) is True
    assert laid.read_bytes() == b"input"


def test_a_model_that_is_written_to_is_fetched_again(cloud, restorer):
    manifest = Manifest(models=(cloud.model("vae", "a.pt", b"model"),))
    restore(restorer, manifest)
    laid = restorer.base / "models/vae/a.pt"
    laid.chmod(0o644)
    laid.write_bytes(b"MODEL")
    assert restore(restorer, manifest) is True
    assert laid.read_bytes() == b"model"


def test_the_same_name_with_other_bytes_is_stale_for_the_runner(cloud, restorer):
    one, two = (Manifest(models=(cloud.model("vae", "a.pt", body),)) for body in (b"one", b"two"))
    assert restore(restorer, one) is False
    assert restore(restorer, one) is False
    assert restore(restorer, two) is True
    assert (restorer.base / "models/vae/a.pt").read_bytes() == b"two"
    assert restore(restorer, one) is True


def test_a_new_runner_is_stale_by_what_it_finds_laid(cloud, restorer):
    one, two = (Manifest(models=(cloud.model("vae", "b.pt", body),)) for body in (b"one", b"two"))
    restore(restorer, one)
    restorer.runner_started({})
    assert restorer.holds(one)
    assert restore(restorer, two) is True


def test_an_output_of_the_runner_under_an_inputs_name_is_stale(cloud, restorer):
    (restorer.base / "output" / "a.png").write_bytes(b"rendered here")
    manifest = Manifest(inputs=(InputFile("a.png", cloud.blobs.put(b"in"), InputPlace.OUTPUT),))
    assert restore(restorer, manifest) is True


def test_an_evicted_model_is_taken_up(cloud, restorer):
    big, bigger = (
        Manifest(models=(cloud.model("vae", f"{size}.pt", b"x" * size),)) for size in (5000, 6000)
    )
    restore(restorer, big)
    restore(restorer, bigger)
    assert not (restorer.base / "models/vae/5000.pt").exists()
    assert not restorer.holds(big)
    assert restore(restorer, big) is False


def test_a_pack_is_exchanged_and_others_stay_until_they_are_in_the_way(cloud, restorer):
    old, new = (cloud.pack("p", {"__init__.py": text}) for text in ("a = 1", "a = 2"))
    single = cloud.pack("single.py", {"": "b = 1"})
    restore(restorer, Manifest(packs=(old, single)))
    nodes = restorer.base / "custom_nodes"
    (nodes / "__pycache__").mkdir()
    assert restorer.changed_packs(Manifest(packs=(new, single))) == [new]
    restore(restorer, Manifest(packs=(new,)))
    assert (nodes / "p/__init__.py").read_text() == "a = 2"
    assert (nodes / "single.py").read_text() == "b = 1"
    restorer.lay_packs(Manifest(packs=(new,)), alone=True)
    assert [path.name for path in nodes.iterdir()] == ["p"]  # bytecode of the file has gone, too


@pytest.mark.parametrize(
    ("folder", "name"),
    [("../../x", "a"), ("vae", "../../../a"), ("/etc", "a"), ("vae", "/a"), ("vae", ""), ("", "a")],
)
def test_a_model_outside_its_folder_is_refused(cloud, restorer, folder, name):
    manifest = Manifest(models=(ModelFile(folder, name, cloud.blobs.put(b"m")),))
    with pytest.raises(WorkerError, match="not a path below"):
        restorer.fetch(manifest)


def test_an_input_outside_its_folder_is_refused(cloud, restorer):
    with pytest.raises(WorkerError, match="not a path below"):
        restorer.fetch(Manifest(inputs=(cloud.input("../base", b"m"),)))


@pytest.mark.parametrize("name", ["../p", "a/b", "..", ""])
def test_a_pack_outside_its_folder_is_refused(cloud, restorer, name):
    with pytest.raises(WorkerError, match="not the name of one file"):
        restore(restorer, Manifest(packs=(NodePack(name, cloud.blobs.put(b"tar")),)))


@pytest.mark.parametrize(
    "archive",
    [
        b"no archive",
        packed("other", {"__init__.py": ""}),
        packed("pack/../..", {"evil.py": ""}),
        packed("pack", {"__init__.py": "", "../second/x.py": ""}),
        packed("pack", {"__init__.py": "x" * 5000})[:60],
    ],
)
def test_a_bad_archive_leaves_nothing(cloud, restorer, archive):
    manifest = Manifest(packs=(NodePack("pack", cloud.blobs.put(archive)),))
    with pytest.raises(PackBroken, match="'pack'"):
        restore(restorer, manifest)
    assert list((restorer.base / "custom_nodes").iterdir()) == []
    assert not list(restorer.base.glob(".unpacking*"))
    assert not list(restorer.base.parent.rglob("evil.py"))


def test_a_folder_that_a_pack_keeps_elsewhere(cloud, restorer):
    models = restorer.base / "models"
    inside = restorer.base / "custom_nodes/pack/weights"
    folders = {"bbox": [str(models / "ultra/bbox")], "odd": ["/elsewhere"], "own": [str(inside)]}
    restorer.runner_started(folders)
    names = {"bbox": "a.pt", "odd": "b.pt", "own": "c.pt"}
    manifest = Manifest(
        models=tuple(cloud.model(folder, name, name[:1].encode()) for folder, name in names.items())
    )
    restore(restorer, manifest)
    assert (inside / "c.pt").read_bytes() == b"c"
    assert (models / "ultra/bbox/a.pt").read_bytes() == b"a"
    assert (models / "odd/b.pt").read_bytes() == b"b"


def test_old_inputs_go(cloud, restorer):
    names = ["a", "b", "c", "d"]
    for name in names:
        restore(restorer, Manifest(inputs=(cloud.input(name, b"in"),)))
    left = [name for name in names if (restorer.base / "input" / name).exists()]
    assert left == ["c", "d"]


def test_a_second_worker_in_the_directory_is_refused(cloud, restorer):
    with pytest.raises(WorkerError, match="Another worker"):
        Restorer(
            restorer.base.parent, lambda root, evicted: BlobCache(root, cloud.blobs), patience=0
        )


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Files cannot become larger than this; the kernel says so as it does of a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_is_not_the_fault_of_what_is_written(cloud, restorer):
    """Else the template would be told to be broken, for everybody."""
    zeros = "0" * 8000  # small as an archive
    pack = NodePack("big", cloud.blobs.put(packed("big", {"data.txt": zeros})), ("X",))
    model = ModelFile("loras", "m.safetensors", cloud.blobs.put(os.urandom(8000)))
    for manifest in (Manifest(packs=(pack,)), Manifest(models=(model,))):
        with full_disk(4000), pytest.raises(WorkerError, match="cannot") as caught:
            restore(restorer, manifest)
        assert not isinstance(caught.value, PackBroken)
        assert "more disk" in caught.value.hint
        restore(restorer, manifest)
    assert (restorer.base / "custom_nodes/big/data.txt").read_text() == zeros
    assert not list(restorer.base.glob(".unpacking-*"))
