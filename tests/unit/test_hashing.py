"""Digests, and the cache that saves reading a file again."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from comfy_aws import hashing
from comfy_aws.errors import Cancelled, FileChanged
from comfy_aws.hashcache import HashCache
from comfy_aws.models import BlobRef

LARGE = os.urandom(1024) * 9 * 1024
"""Three chunks of reading."""


@pytest.fixture
def cache(tmp_path):
    made = HashCache(tmp_path / "cache" / "hashes.sqlite")
    yield made
    made.close()


@pytest.mark.parametrize("body", [b"", b"x", LARGE], ids=["empty", "one", "large"])
def test_digest_of_a_file(tmp_path, body):
    path = tmp_path / "file"
    path.write_bytes(body)
    counts = []
    ref, seen = hashing.of_file(path, progress=counts.append)
    assert ref == BlobRef(hashlib.sha256(body).hexdigest(), len(body)) == hashing.of_bytes(body)
    assert seen == hashing.fingerprint(path)
    assert sum(counts) == len(body)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileChanged, match=r"gone cannot be read: No such file") as caught:
        hashing.of_file(tmp_path / "gone")
    assert caught.value.hint


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileChanged, match="cannot be read"):
        hashing.of_file(tmp_path)


def appended(path):
    with path.open("ab") as stream:
        stream.write(b"more")


def rewritten(path):
    path.write_bytes(b"\0" * len(LARGE))
    os.utime(path, ns=(1, 1))


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(LARGE)
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change", [appended, rewritten, replaced, os.unlink, lambda path: os.truncate(path, 10)],
    ids=["appended", "rewritten", "replaced", "vanished", "truncated"],
)  # fmt: skip
def test_a_file_that_changes_while_it_is_read(tmp_path, change):
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    once = iter([change])

    def progress(count):
        for act in once:
            act(path)

    with pytest.raises(FileChanged, match=str(path)):
        hashing.of_file(path, progress=progress)


def test_cancel_between_chunks(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    read = []
    with pytest.raises(Cancelled, match="file"):
        hashing.of_file(path, progress=read.append, cancelled=lambda: bool(read))
    assert sum(read) == hashing.CHUNK


def test_the_cache_reads_a_file_once(tmp_path, cache):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    read = []
    first = cache.hash(path, progress=read.append)
    assert cache.hash(path, progress=read.append) == first
    assert read == [3]


@pytest.mark.parametrize("change", ["size", "mtime", "inode", "path"])
def test_the_cache_knows_a_file_by_all_four(tmp_path, cache, change):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    os.utime(path, ns=(10**18, 10**18))
    cache.hash(path)
    old = path
    if change == "size":
        path.write_bytes(b"abcd")
        os.utime(path, ns=(10**18, 10**18))
    elif change == "mtime":
        path.write_bytes(b"xyz")
        os.utime(path, ns=(10**18, 10**18 + 1))
    elif change == "inode":
        other = tmp_path / "other"
        other.write_bytes(b"xyz")
        os.utime(other, ns=(10**18, 10**18))
        other.replace(path)
    else:
        path = tmp_path / "moved"
        old.rename(path)
    assert cache.hash(path)[0] == hashing.of_bytes(path.read_bytes())


def test_the_cache_outlives_its_process(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    for expected in ([3], []):
        made = HashCache(tmp_path / "hashes.sqlite")
        read: list[int] = []
        made.hash(path, progress=read.append)
        made.keep_pack("key", BlobRef("ab", 1))
        assert made.pack("key") == BlobRef("ab", 1)
        assert made.pack("other") is None
        made.close()
        assert read == expected


def test_many_threads_share_the_cache(tmp_path, cache):
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    wrong: list[object] = []

    def work():
        wrong.extend(
            path for path in paths * 5
            if cache.hash(path)[0] != hashing.of_bytes(path.name.encode())
        )  # fmt: skip

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
