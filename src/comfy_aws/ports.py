"""Inference ports: ComfyUIs for artists, without a GPU, models or node packs of their own.

Each is a child process with folders of its own below ``<home>/ports/<number>``, of all node packs
loads this extension alone, and runs below a guard (see `guard.py`), so that none outlives its
parent. One that dies is started again, after a pause that grows while it keeps dying.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfy_aws.config import INFERENCE, child_environment
from comfy_aws.errors import ConfigError

_GUARD: Final = Path(__file__).with_name("guard.py")
_EXTENSION: Final = Path(__file__).resolve().parents[2]
_FOLDERS: Final = ("custom_nodes", "input", "models", "output", "temp", "user")
_POLL: Final = 0.2
_PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each further start; the last one stays."""
_STEADY: Final = 60.0
"""Seconds after which a port that answered counts as sound again."""
_GRACE: Final = 10.0
_ANSWER: Final = 2.0
"""Seconds that a port is given to answer a look at it."""


@dataclass(frozen=True)
class PortPlan:
    """What to start: `count` ports from `first` up, on the address `listen`."""

    comfyui: Path
    count: int
    home: Path
    first: int = 10001
    python: str = sys.executable
    listen: str = "127.0.0.1"


@dataclass(frozen=True)
class PortEvent:
    """Something that happened to a port. `kind`: started, ready, ended or stopped."""

    kind: str
    port: int
    url: str
    message: str = ""


@dataclass
class _Port:
    number: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    ready_at: float | None = None
    failures: int = 0
    due: float = 0.0


class Ports:
    """The ports of one plan; `run` holds them until it is told to stop.

    Raises:
        ConfigError: there is no ComfyUI, or a port's number is taken.
    """

    def __init__(
        self,
        plan: PortPlan,
        told: Callable[[PortEvent], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._told = told
        self._clock = clock
        if sys.platform == "win32":
            raise ConfigError(
                "comfy-aws port runs on Linux and macOS only.",
                hint="Start ComfyUI itself with COMFY_AWS_ROLE=inference, or use WSL.",
            )
        if not (plan.comfyui / "main.py").is_file():
            raise ConfigError(
                f"There is no ComfyUI in {plan.comfyui}: main.py is missing.",
                hint="Name its folder with --comfyui or COMFY_AWS_COMFYUI.",
            )
        if not (_EXTENSION / "server_routes.py").is_file():
            raise ConfigError(
                f"The extension's folder {_EXTENSION} is not complete.",
                hint="Run comfy-aws from the folder in ComfyUI's custom_nodes.",
            )
        numbers = range(plan.first, plan.first + plan.count)
        if numbers[-1] > 65535:
            raise ConfigError(f"Ports end at 65535; the last one would be {numbers[-1]}.")
        taken = [str(number) for number in numbers if _is_taken(plan.listen, number)]
        if taken:
            raise ConfigError(
                f"Something listens already on {plan.listen}, port {', '.join(taken)}.",
                hint="Stop it, or begin elsewhere with --first.",
            )
        self._ports = [_Port(number, plan.home / "ports" / str(number)) for number in numbers]

    def run(self, stopped: threading.Event) -> None:
        """Start all, keep all running, and stop all when `stopped` is set."""
        try:
            while not stopped.is_set():
                for port in self._ports:
                    self._look(port)
                stopped.wait(_POLL)
        finally:
            self._stop()

    def _look(self, port: _Port) -> None:
        now = self._clock()
        if port.process is None:
            if now >= port.due:
                self._start(port)
            return
        status = port.process.poll()
        if status is not None:
            self._ended(port, status, now)
        elif port.ready_at is None:
            if _answers(self._plan.listen, port.number):
                port.ready_at = now
                self._tell("ready", port)
        elif now - port.ready_at > _STEADY:
            port.failures = 0

    def _start(self, port: _Port) -> None:
        for name in _FOLDERS:
            (port.folder / name).mkdir(parents=True, exist_ok=True)
        paths = {"prompt-on-aws": {"custom_nodes": str(_EXTENSION.parent)}}
        (port.folder / "paths.yaml").write_text(json.dumps(paths), encoding="utf-8")
        log = port.folder / "comfyui.log"
        with suppress(FileNotFoundError):
            log.replace(port.folder / "comfyui.before.log")
        with log.open("wb") as output:
            port.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *self._command(port)],
                cwd=port.folder,
                env=child_environment(COMFY_AWS_ROLE=INFERENCE),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        port.ready_at = None
        self._tell("started", port)

    def _command(self, port: _Port) -> list[str]:
        plan = self._plan
        return [
            plan.python, str(plan.comfyui / "main.py"),
            "--cpu", "--listen", plan.listen, "--port", str(port.number),
            "--base-directory", str(port.folder),
            "--extra-model-paths-config", str(port.folder / "paths.yaml"),
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", _EXTENSION.name,
            # ComfyUI's own default lies in its source folder, which all ports share.
            "--database-url", f"sqlite:///{port.folder / 'user' / 'comfyui.db'}",
            "--disable-auto-launch", "--disable-api-nodes",
        ]  # fmt: skip

    def _ended(self, port: _Port, status: int, now: float) -> None:
        pause = _PAUSES[min(port.failures, len(_PAUSES) - 1)]
        port.failures += 1
        port.due = now + pause
        self._close(port)
        log = port.folder / "comfyui.log"
        self._tell(
            "ended", port, f"exit status {status}; it starts again in {pause:g} s (log: {log})"
        )

    def _stop(self) -> None:
        running = [port for port in self._ports if port.process is not None]
        for port in running:
            if port.process is not None:
                port.process.terminate()
        until = self._clock() + _GRACE
        for port in running:
            if port.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    port.process.wait(max(0.0, until - self._clock()))
            self._close(port)
            self._tell("stopped", port)

    def _close(self, port: _Port) -> None:
        """Closing the pipe has the guard kill whatever is left below it."""
        process, port.process = port.process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()

    def _tell(self, kind: str, port: _Port, message: str = "") -> None:
        self._told(PortEvent(kind, port.number, _url(self._plan.listen, port.number), message))


def _url(listen: str, number: int) -> str:
    return f"http://{_host(listen)}:{number}"


def _host(listen: str) -> str:
    """An address that reaches the first one listened on."""
    first = listen.split(",", maxsplit=1)[0].strip()
    if first in ("0.0.0.0", "::"):  # noqa: S104 – every address: loopback is one of them
        return "127.0.0.1"
    return f"[{first}]" if ":" in first else first


def _is_taken(listen: str, number: int) -> bool:
    address = _host(listen).strip("[]")
    try:
        with socket.create_connection((address, number), timeout=_ANSWER):
            return True
    except OSError:
        return False


def _answers(listen: str, number: int) -> bool:
    connection = http.client.HTTPConnection(_host(listen).strip("[]"), number, timeout=_ANSWER)
    try:
        connection.request("GET", "/aws/status")
        answer: Any = json.loads(connection.getresponse().read())
        return bool(answer.get("role") == INFERENCE)
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def comfyui_around(folder: str = "") -> Path:
    """The ComfyUI to start: the one named, else the one whose custom_nodes we lie in.

    Raises:
        ConfigError: there is none.
    """
    if folder:
        return Path(folder).expanduser().resolve()
    around = _EXTENSION.parents[1]
    if (around / "main.py").is_file() and _EXTENSION.parent.name == "custom_nodes":
        return around
    raise ConfigError(
        "It is not known which ComfyUI to start.",
        hint="Name its folder with --comfyui or COMFY_AWS_COMFYUI.",
    )
