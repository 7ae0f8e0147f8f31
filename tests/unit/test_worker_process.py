"""Child processes, and what is said about how they ended."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from comfy_aws.worker.process import LINE_BYTES, TAIL_LINES, Child, exit_reason
from comfy_aws.worker.runner import import_failure
from tests.functional.worker_harness import alive, wait_until

GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    async def start(code: str, said=lambda line: None) -> Child:
        command = [sys.executable, "-c", code]
        return await Child.start(command, cwd=tmp_path, environ=dict(os.environ), said=said)

    return start


async def test_output_comes_line_by_line(start):
    said: list[str] = []
    child = await start(
        "import sys; print('one'); print('10%\\r20%\\r'); print(); sys.stdout.write('last')",
        said.append,
    )
    assert await child.ended == 0
    assert said == list(child.tail) == ["one", "20%", "last"]


async def test_output_without_end_is_bounded(start):
    said: list[str] = []
    child = await start(
        f"print('x' * {LINE_BYTES * 3}); print('y\\n' * {TAIL_LINES + 5})", said.append
    )
    assert await child.ended == 0
    assert max(map(len, said)) <= LINE_BYTES
    assert len(child.tail) == TAIL_LINES


@pytest.mark.parametrize("way", ["stop", "kill", "own"])
async def test_a_child_takes_its_children_along(start, way):
    heard = asyncio.Event()
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        heard.set()

    code = GRANDCHILD if way != "own" else GRANDCHILD.replace("time.sleep(60)\n", "", 1)
    child = await start(code, hear)
    await heard.wait()
    if way == "stop":
        assert await child.stop(10) == -15
    elif way == "kill":
        assert await child.kill() == -9
    else:
        assert await child.ended == 0
    wait_until(lambda: not alive(int(said[0])), 5)


async def test_a_child_that_ignores_sigterm_is_killed(start):
    heard = asyncio.Event()
    child = await start(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); "
        "time.sleep(60)",
        lambda line: heard.set(),
    )
    await heard.wait()
    assert await child.stop(0.05) == -9
    assert await child.stop(0.05) == -9


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "out of memory"), (-11, "crashed (SIGSEGV)"), (-99, "signal 99"), (3, "status 3")],
)
def test_exit_reasons(status, words):
    assert words in exit_reason(status)


def test_the_traceback_of_a_pack_is_found_among_others():
    lines = [
        "Traceback (most recent call last):",
        "ModuleNotFoundError: No module named 'a'",
        "Cannot import /b/custom_nodes/one module for custom nodes: No module named 'a'",
        "noise",
        "Traceback (most recent call last):",
        '  File "x", line 1',
        "SyntaxError: bad",
        "Cannot import /b/custom_nodes/one-more module for custom nodes: bad",
        "Cannot import /b/custom_nodes/bare module for custom nodes: odd",
    ]
    assert import_failure(lines, "one") == lines[:3]
    assert import_failure(lines, "one-more") == lines[4:8]
    assert import_failure(lines, "other") == []
    newer = [f"[WARNING] {line}" if at % 2 == 0 else line for at, line in enumerate(lines)]
    assert import_failure(newer, "one") == lines[:3]
    assert import_failure(newer, "one-more") == lines[4:8]
