"""All tests: the process that ComfyUIs are forked from, where a test of the run needs one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import preloaded

STARTS_COMFYUI = ("comfyui", "stack", "browser")
"""The marks of tests that start a ComfyUI or a worker."""


@pytest.fixture(scope="session", autouse=True)
def preloaded_comfyui(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has ComfyUIs below this process start fast; see tools/preloaded.py."""
    items = request.session.items
    if not any(item.get_closest_marker(mark) for item in items for mark in STARTS_COMFYUI):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="preloaded-") as folder:
        address = str(Path(folder) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            process = subprocess.Popen(
                [sys.executable, preloaded.__file__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
        os.environ[preloaded.VARIABLE] = address
        yield
        del os.environ[preloaded.VARIABLE]
        process.communicate()


@pytest.fixture
def not_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of processes: those that are started are those that run, and no stand-ins."""
    monkeypatch.delenv(preloaded.VARIABLE, raising=False)
