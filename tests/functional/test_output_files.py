"""A job's files on their way home: whole and under a free name, or not there at all."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_aws import hashing, outputfiles, scratch
from comfy_aws.aws import PART, ObjectStore, Session, downloads
from comfy_aws.errors import AwsUnreachable, BlobCorrupted, ComfyAwsError
from comfy_aws.models import OutputFile
from comfy_aws.naming import Place
from tests.functional.parts import Parts
from tests.support import faults


def sent(parts: Parts, body: bytes, name: str) -> OutputFile:
    key = f"jobs/home/outputs/{name}"
    parts.store.put(key, body)
    ref = hashing.of_bytes(body)
    return OutputFile("1", name, "", "output", key, ref.size, ref.digest)


@pytest.mark.parametrize("size", [0, 10, PART + 1], ids=str)
def test_a_file_gets_the_next_free_name(parts: Parts, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    wish = tmp_path / "output" / "models" / "kept_00001_.bin"
    file = sent(parts, body, wish.name)
    counted: list[int] = []
    paths = [outputfiles.bring(parts.store, file, wish, counted.append) for _ in range(2)]
    assert sum(counted) == 2 * size
    assert [path.name for path in paths] == ["kept_00001_.bin", "kept_00002_.bin"]
    assert [path.read_bytes() for path in paths] == [body, body]
    assert sorted(wish.parent.iterdir()) == paths


def test_a_number_that_is_no_counter_stays(parts: Parts, tmp_path: Path) -> None:
    """A seed or a time is a word of the name."""
    file = sent(parts, b"pixels", "portrait_1700000000.png")
    paths = [outputfiles.bring(parts.store, file, tmp_path / "o" / file.filename) for _ in "ab"]
    names = ["portrait_1700000000.png", "portrait_1700000000 (2).png"]
    assert [path.name for path in paths] == names


@pytest.mark.parametrize("size", [10, PART + 1], ids=str)
@pytest.mark.parametrize("fault", ["digest", "shorter", "longer"])
def test_a_damaged_file_does_not_come(parts: Parts, tmp_path: Path, size: int, fault: str) -> None:
    file = sent(parts, os.urandom(size), "damaged.bin")
    told = {
        "digest": replace(file, digest="0" * 64),
        "shorter": replace(file, size=size + 1),
        "longer": replace(file, size=size - 1),
    }
    with pytest.raises(BlobCorrupted):
        outputfiles.bring(parts.store, told[fault], tmp_path / "output" / "damaged.bin")
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize("size", [10, PART + 1], ids=str)
def test_a_broken_connection_costs_another_try(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    body = os.urandom(size)
    file = sent(parts, body, "broken.bin")
    cuts, gives = [1, 2], 3

    def cut(asked: faults.Asked) -> faults.Answer | None:
        if not asked.target.endswith(file.key) or not cuts:
            return None
        cuts.pop()
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        return 206, {"Content-Length": str(last + 1 - first)}, body[first : first + gives]

    counted: list[int] = []
    with faults.aws_before(parts.state.s3_endpoint_url) as aws:
        aws.faults.append(cut)
        store = ObjectStore(Session(replace(parts.access, s3_endpoint_url=aws.url)))
        came = outputfiles.bring(store, file, tmp_path / "output" / "broken.bin", counted.append)
        assert came.read_bytes() == body
        assert sum(counted) == size
        assert not cuts
        cuts, gives = [1] * 100, 0
        with pytest.raises(AwsUnreachable):
            outputfiles.bring(store, file, tmp_path / "output" / "lost.bin", counted.append)
    assert list(came.parent.iterdir()) == [came]


def test_what_a_killed_process_has_left_is_removed(parts: Parts, tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    left, written = folder / ".aws-left", folder / ".aws-written"
    for part in (left, written):
        part.write_bytes(b"half")
    long_ago = time.time() - scratch.ABANDONED - 60
    os.utime(left, (long_ago, long_ago))
    came = outputfiles.bring(
        parts.store, sent(parts, os.urandom(PART + 1), "large.bin"), folder / "large.bin"
    )
    assert sorted(folder.iterdir()) == [written, came]


def test_a_linked_folder_is_written_into(parts: Parts, tmp_path: Path) -> None:
    elsewhere, output = tmp_path / "elsewhere", tmp_path / "output"
    elsewhere.mkdir()
    output.mkdir()
    (output / "renders").symlink_to(elsewhere)
    wish = outputfiles.below(output, Place("x_00001_.png", "renders", "output"))
    outputfiles.bring(parts.store, sent(parts, b"pixels", wish.name), wish)
    assert (elsewhere / "x_00001_.png").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("subfolder", "name"), [("..", "a.png"), ("a/../..", "a.png"), ("/etc", "a"), ("", "/etc/a")]
)
def test_no_file_leaves_its_folder(tmp_path: Path, subfolder: str, name: str) -> None:
    with pytest.raises(ComfyAwsError, match="leaves its folder"):
        outputfiles.below(tmp_path / "output", Place(name, subfolder, "output"))
