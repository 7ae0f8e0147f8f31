"""Blobs on a real bucket: what is damaged is never taken for whole, and leaves nothing behind."""

from __future__ import annotations

import os
import threading

import pytest

from comfy_aws import hashing, layout
from comfy_aws.aws import PART, ObjectStore
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.errors import AwsNotFound, BlobCorrupted, Cancelled
from comfy_aws.models import BlobRef
from tests.functional.parts import Parts


def local(path) -> LocalBlob:
    ref, seen = hashing.of_file(path)
    return LocalBlob(ref, path, seen)


@pytest.fixture(params=[True, False], ids=["natively", "in ranges"])
def reader(request, parts):
    """One who downloads, in each of the two ways."""
    return Blobs(ObjectStore(parts.session, natively=request.param))


def stored(parts: Parts, ref: BlobRef, body: bytes) -> None:
    parts.store.put(layout.blob_key(ref.digest), body)


@pytest.mark.parametrize("size", [0, 1, 100_000, PART, PART + 1], ids=str)
def test_there_and_back(parts, reader, tmp_path, size):
    body = os.urandom(size)
    ref = parts.blobs.put(body)
    assert parts.blobs.has(ref)
    assert parts.blobs.read(ref) == body
    counts = []
    reader.download(ref, tmp_path / "deep/file", progress=counts.append)
    assert (tmp_path / "deep/file").read_bytes() == body
    assert sum(counts) == size
    parts.blobs.put(body)
    assert len(parts.wire.puts("blobs/")) == 1


def test_a_file_in_parts(parts, reader, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1024) * (PART // 1024 + 1))
    blob = local(path)
    counts: list[int] = []
    parts.blobs.put_files([blob], progress=lambda b, count: counts.append(count))
    assert sorted(counts) == [1024, PART]
    reader.download(blob.ref, tmp_path / "back")
    assert local(tmp_path / "back").ref == blob.ref


@pytest.mark.parametrize("keep", [0, 10, PART - 1, PART, PART + 5], ids=str)
def test_a_truncated_blob(parts, reader, tmp_path, keep):
    body = os.urandom(PART + 10)
    ref = hashing.of_bytes(body)
    stored(parts, ref, body[:keep])
    assert not parts.blobs.has(ref)
    assert parts.blobs.missing([ref]) == [ref]
    with pytest.raises(BlobCorrupted, match="shorter than") as caught:
        reader.download(ref, tmp_path / "out/file")
    assert "publish again" in caught.value.hint
    with pytest.raises(BlobCorrupted, match="damaged"):
        parts.blobs.read(ref)
    assert list((tmp_path / "out").iterdir()) == []
    parts.blobs.put(body)
    assert parts.blobs.read(ref) == body


@pytest.mark.parametrize("size", [100_000, PART + 10], ids=str)
def test_a_blob_with_other_bytes(parts, reader, tmp_path, size):
    body = bytearray(os.urandom(size))
    ref = hashing.of_bytes(bytes(body))
    body[50_000] ^= 1
    stored(parts, ref, bytes(body))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_bytes(b"what was there before")
    for act in (
        lambda: reader.download(ref, tmp_path / "out/file"),
        lambda: parts.blobs.read(ref),
    ):
        with pytest.raises(BlobCorrupted, match=ref.digest) as caught:
            act()
        assert layout.blob_key(ref.digest) in caught.value.hint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
    assert (tmp_path / "out/file").read_bytes() == b"what was there before"


@pytest.mark.parametrize("size", [5, PART + 10], ids=str)
def test_a_blob_that_is_not_there(parts, reader, tmp_path, size):
    ref = BlobRef("ab" * 32, size)
    assert not parts.blobs.has(ref)
    with pytest.raises(AwsNotFound, match=ref.digest):
        parts.blobs.read(ref)
    with pytest.raises(AwsNotFound, match=ref.digest):
        reader.download(ref, tmp_path / "out/file")
    assert list((tmp_path / "out").iterdir()) == []


def test_presence_is_remembered_until_forgotten(parts):
    ref = parts.blobs.put(b"bytes")
    parts.wire.sent.clear()
    assert parts.blobs.has(ref)
    assert parts.wire.sent == []
    parts.store.delete(layout.blob_key(ref.digest))
    assert parts.blobs.has(ref)
    parts.blobs.forget([ref])
    assert not parts.blobs.has(ref)
    stored(parts, ref, b"bytes")
    assert Blobs(parts.store).has(ref)


def test_cancel_in_the_middle(parts, reader, tmp_path):
    body = os.urandom(1024) * (PART * 12 // 1024)
    path = tmp_path / "large"
    path.write_bytes(body)
    blob = local(path)
    went: list[int] = []
    with pytest.raises(Cancelled, match="large"):
        parts.blobs.put_files(
            [blob], progress=lambda b, count: went.append(count), cancelled=lambda: bool(went)
        )
    assert parts.keys("blobs/") == []
    parts.blobs.put_files([blob])
    went.clear()
    with pytest.raises(Cancelled):
        reader.download(
            blob.ref, tmp_path / "out/file", progress=went.append, cancelled=lambda: bool(went)
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_one_waits_for_the_other_and_can_be_cancelled(parts, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    blob = local(path)
    inside, go_on = threading.Event(), threading.Event()

    def before(method: str, key: str) -> None:
        if method == "PUT":
            inside.set()
            assert go_on.wait(60)

    parts.wire.before = before
    first = threading.Thread(target=parts.blobs.put_files, args=([blob],))
    first.start()
    assert inside.wait(60)
    asked: list[int] = []
    with pytest.raises(Cancelled):
        parts.blobs.put_files([blob], cancelled=lambda: bool(asked.append(1) or len(asked) > 2))
    go_on.set()
    first.join()
    path.unlink()
    parts.blobs.put_files([blob])  # sent already: its file is not needed
    assert len(parts.wire.puts("blobs/")) == 1
