"""All tests: the processes that ComfyUIs and local stacks are forked from, if one is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tools import preloaded

STARTS_PROGRAMS = ("comfyui", "stack", "browser")
"""The marks of tests that start a ComfyUI, a worker or a local stack."""


@pytest.fixture(scope="session", autouse=True)
def preloaded_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has ComfyUIs and local stacks below this process start fast; see tools/preloaded.py."""
    items = request.session.items
    if not any(item.get_closest_marker(mark) for item in items for mark in STARTS_PROGRAMS):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="preloaded-") as folder, ExitStack() as running:
        for name in preloaded.PACKAGES:
            running.enter_context(_preloaded(name, Path(folder) / name))
        os.environ[preloaded.VARIABLE] = folder
        yield
        del os.environ[preloaded.VARIABLE]


@contextmanager
def _preloaded(name: str, address: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, preloaded.__file__, name, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    yield
    process.communicate()


@pytest.fixture
def not_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of processes: those that are started are those that run, and no stand-ins."""
    monkeypatch.delenv(preloaded.VARIABLE, raising=False)
