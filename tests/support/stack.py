"""A local stack for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfy_aws import stack


@contextmanager
def running_stack(home: Path) -> Iterator[stack.StackState]:
    """Start a stack in `home`, and stop it and all its workers afterwards."""
    state, _ = stack.up(home)
    try:
        yield state
    finally:
        stack.down(home)
