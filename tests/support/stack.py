"""A local stack for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from comfy_aws import stack


@contextmanager
def running_stack(home: Path) -> Iterator[stack.StackState]:
    """Start a stack in `home`, and stop it and all its workers afterwards."""
    state, _ = stack.up(home)
    try:
        yield state
    finally:
        stack.down(home)


def object_stores(home: Path) -> list[psutil.Process]:
    """The processes of the object store of the local stack below a folder."""
    stores = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if "weed" in (process.info["name"] or "")
        and any(str(home) in part for part in process.info["cmdline"] or [])
    ]
    assert stores, "the local stack runs no object store"
    return stores


@contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    """They stand still."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
