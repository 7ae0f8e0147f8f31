"""Processes that share a folder: each has one of its own, and the same one after a restart."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_aws import ownfolder
from comfy_aws.errors import ComfyAwsError
from comfy_aws.ownfolder import OwnFolder

SOURCES = Path(ownfolder.__file__).resolve().parents[1]
CHILD = """
import sys
from pathlib import Path
from comfy_aws.ownfolder import OwnFolder
own = OwnFolder(Path(sys.argv[1]))
print(own.path, flush=True)
sys.stdin.read()
"""


@contextmanager
def process(shared: Path) -> Iterator[Path]:
    """Another process with a folder of its own, which is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(shared)],
        cwd=SOURCES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        try:
            yield Path(child.stdout.readline().strip())
        finally:
            child.kill()


def test_each_process_has_a_folder_of_its_own(tmp_path: Path) -> None:
    shared = tmp_path / "deep" / "state"
    with process(shared) as first:
        assert first == shared
        second = OwnFolder(shared)
        assert second.path == shared / "2"
        with process(shared) as third:
            assert third == shared / "3"
    again = OwnFolder(shared)  # a process that was killed holds nothing
    assert again.path == shared
    second.close()
    with process(shared) as other:
        assert other == shared / "2"
    again.close()


def test_a_folder_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.sqlite").mkdir()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        OwnFolder(tmp_path)


def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ownfolder, "MOST", 2)
    first, second = OwnFolder(tmp_path), OwnFolder(tmp_path)
    with pytest.raises(ComfyAwsError, match="None of 2 folders"):
        OwnFolder(tmp_path)
    for held in (first, second):
        held.close()
