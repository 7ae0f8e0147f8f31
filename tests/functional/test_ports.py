"""`comfy-aws port`: ports are started, kept, started again and never left behind."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from comfy_aws.errors import ConfigError
from comfy_aws.ports import PortPlan, Ports, comfyui_around
from tests.comfy.comfyui_process import free_port

pytestmark = pytest.mark.usefixtures("not_preloaded")

LIMIT = 60.0
"""Seconds that anything may take; never a measure of speed."""

# In place of ComfyUI: it answers as a port does, or dies as the file `dies` says.
MAIN = """
import http.server, json, os, pathlib, subprocess, sys, time
arguments = sys.argv[1:]
number = int(arguments[arguments.index("--port") + 1])
here = pathlib.Path(arguments[arguments.index("--base-directory") + 1])
(here / "arguments.json").write_text(json.dumps([arguments, os.environ["COMFY_AWS_ROLE"]]))
if (here / "dies").exists():
    sys.exit(3)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"role": os.environ["COMFY_AWS_ROLE"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", number), Answer).serve_forever()
"""


class Running:
    """The command, its events, and everything that runs below it."""

    def __init__(self, process: subprocess.Popen[str], first: int) -> None:
        self.process = process
        self.first = first
        self.below: set[int] = set()
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._unheard: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))

    def hear(self, kind: str, port: int) -> dict[str, Any]:
        """The next such event. Those of other ports stay: each port takes its own time."""
        until = time.monotonic() + LIMIT
        while True:
            for event in [event for event in self._unheard if event["port"] == port]:
                self._unheard.remove(event)
                if event["kind"] == kind:
                    return event
            try:
                self._unheard.append(self._events.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{port} is never {kind}; {self._unheard}") from None

    def family(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.below |= {child.pid for child in found}
        return found

    def end(self, number: signal.Signals) -> int:
        self.family()
        self.process.send_signal(number)
        return self.process.wait(timeout=LIMIT)

    def wait_gone(self) -> None:
        until = time.monotonic() + LIMIT
        while left := [pid for pid in self.below if _alive(pid)]:
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(tmp_path: Path, count: int = 1) -> Iterator[Running]:
    comfyui = tmp_path / "comfyui"
    comfyui.mkdir()
    (comfyui / "main.py").write_text(MAIN)
    first = free_port(count)
    command = [sys.executable, "-c", "import sys; from comfy_aws.cli import main; sys.exit(main())",
               "port", "--json", "--count", str(count), "--first", str(first),
               "--comfyui", str(comfyui)]  # fmt: skip
    environment = {**os.environ, "COMFY_AWS_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        started = Running(process, first)
        try:
            yield started
        finally:
            process.kill()


def test_each_port_has_folders_of_its_own_and_no_packs(tmp_path: Path) -> None:
    with running(tmp_path, count=2) as ports:
        for number in (ports.first, ports.first + 1):
            assert ports.hear("ready", number)["url"] == f"http://127.0.0.1:{number}"
            folder = tmp_path / "home" / "ports" / str(number)
            arguments, role = json.loads((folder / "arguments.json").read_text())
            assert role == "inference"
            assert {"--cpu", "--disable-all-custom-nodes"} <= set(arguments)
            assert arguments[arguments.index("--base-directory") + 1] == str(folder)
            packs = json.loads((folder / "paths.yaml").read_text())["prompt-on-aws"]["custom_nodes"]
            named = arguments[arguments.index("--whitelist-custom-nodes") + 1]
            assert (Path(packs) / named / "server_routes.py").is_file()
        assert ports.end(signal.SIGTERM) == 0
        ports.wait_gone()


def test_a_port_that_is_killed_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as ports:
        ports.hear("ready", ports.first)
        victim = next(p for p in ports.family() if "main.py" in " ".join(p.cmdline()[1:2]))
        victim.kill()
        assert "exit status 137" in ports.hear("ended", ports.first)["message"]
        ports.hear("ready", ports.first)
        assert ports.end(signal.SIGINT) == 0
        ports.wait_gone()


def test_pauses_grow_while_a_port_keeps_dying(tmp_path: Path) -> None:
    with running(tmp_path) as ports:
        ports.hear("ready", ports.first)
        folder = tmp_path / "home" / "ports" / str(ports.first)
        (folder / "dies").touch()
        next(p for p in ports.family() if "main.py" in " ".join(p.cmdline()[1:2])).kill()
        messages = [ports.hear("ended", ports.first)["message"] for _ in range(3)]
        for message, pause in zip(messages, (1, 2, 5), strict=True):
            assert f"starts again in {pause} s" in message
        assert "exit status 3" in messages[-1]
        assert ports.end(signal.SIGTERM) == 0


def test_ports_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as ports:
        ports.hear("ready", ports.first)
        assert len(ports.family()) >= 3, "guard, ComfyUI and what that started"
        ports.end(signal.SIGKILL)
        ports.wait_gone()


def test_a_number_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as ports:
        ports.hear("ready", ports.first)
        plan = PortPlan(tmp_path / "comfyui", 1, tmp_path, first=ports.first)
        with pytest.raises(ConfigError, match=f"listens already on 127.0.0.1, port {ports.first}"):
            Ports(plan, print)


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"main\.py is missing"):
        Ports(PortPlan(tmp_path, 1, tmp_path), print)
    (tmp_path / "main.py").touch()
    with pytest.raises(ConfigError, match="Ports end at 65535"):
        Ports(PortPlan(tmp_path, 9, tmp_path, first=65530), print)
    with pytest.raises(ConfigError, match="which ComfyUI"):
        comfyui_around("")
