"""Runs a real ComfyUI as a child process, for tests, benchmarks and the demo.

Each process gets a base directory of its own (models, custom_nodes, input,
output, temp, user), so that several run side by side on one machine:

    with ComfyUIProcess(tmp_path, with_extension=True) as comfyui:
        requests.get(comfyui.url + "/system_stats")

The child is the leader of its own process group and is killed by the kernel
when this process dies, so a killed test run leaves no ComfyUI behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

REPO_ROOT = Path(__file__).resolve().parents[2]
COMFYUI_VERSION = "0.3.75"
EXTENSION_FOLDER = "prompt-on-aws"

START_TIMEOUT_S = 180.0  # 8 to 15 s alone on 2 cores; several start at once in the tests
STOP_GRACE_S = 10.0
POLL_S = 0.1
LOG_TAIL_LINES = 60

# Silences the dialogs that the three supported frontends open on a first visit.
FRONTEND_SETTINGS: Mapping[str, object] = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.RightSidePanel.ShowErrorsTab": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.ErrorSystem.ShowMissingModels": False,
    "Comfy.Workflow.ShowMissingNodesWarning": False,
}

# Runs in the child before ComfyUI does: prctl(PR_SET_PDEATHSIG=1, SIGKILL) holds across
# exec; a parent that died in between is seen by the changed parent id.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

# The kernel sends the death signal when the *thread* that started the child ends. One
# thread that lives as long as the process starts them all.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="comfyui-starter")

# A proxy set in the environment must not see requests to loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ComfyUIError(RuntimeError):
    """Raised when ComfyUI is not found, ends early or does not answer in time."""


def comfyui_path() -> Path:
    """The ComfyUI source folder: COMFYUI_PATH if set, else what tools/bootstrap.py unpacked."""
    chosen = os.environ.get("COMFYUI_PATH")
    path = Path(chosen) if chosen else REPO_ROOT / ".comfyui" / COMFYUI_VERSION
    if not (path / "main.py").is_file():
        raise ComfyUIError(
            f"no ComfyUI in {path}: main.py is missing. Run `python3 tools/bootstrap.py`, or set "
            "COMFYUI_PATH to a ComfyUI source folder."
        )
    return path.resolve()


def free_port(count: int = 1) -> int:
    """The first of `count` TCP ports of loopback in a row that nothing used a moment ago."""
    while True:
        with ExitStack() as probes, suppress(OSError, OverflowError):
            first = 0
            for number in range(count):
                probe = probes.enter_context(socket.socket())
                probe.bind(("127.0.0.1", first + number if first else 0))
                first = first or int(probe.getsockname()[1])
            return first


class ComfyUIProcess:
    """One ComfyUI on loopback: `start`, `wait_ready`, `stop`, or use it as a context manager.

    base_dir        made when it is absent; kept afterwards
    port            0 takes a free one
    extra_args      appended to ComfyUI's command line
    env             added to this process's environment; a value of None removes the variable
    custom_nodes    folder name → path, linked into base_dir/custom_nodes
    with_extension  links this repository into base_dir/custom_nodes/prompt-on-aws
    settings        keys for user/default/comfy.settings.json, over FRONTEND_SETTINGS
    cpu             --cpu, which every test wants
    disable_api_nodes  --disable-api-nodes; False takes its Content-Security-Policy away, too
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        comfyui: Path | None = None,
        port: int = 0,
        extra_args: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        custom_nodes: Mapping[str, Path] | None = None,
        with_extension: bool = False,
        settings: Mapping[str, object] | None = None,
        python: str = sys.executable,
        cpu: bool = True,
        disable_api_nodes: bool = True,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.base_dir = Path(base_dir).resolve()
        self.comfyui = comfyui or comfyui_path()
        self.port = port or free_port()
        self.start_timeout_s = start_timeout_s
        self._python = python
        self._extra_args = list(extra_args)
        self._env = dict(env or {})
        self._links = {name: Path(path).resolve() for name, path in (custom_nodes or {}).items()}
        if with_extension:
            self._links[EXTENSION_FOLDER] = REPO_ROOT
        self._settings = {**FRONTEND_SETTINGS, **(settings or {})}
        self._switches = ["--cpu"] * cpu + ["--disable-api-nodes"] * disable_api_nodes
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, no slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id, which is also the process group's."""
        if self._process is None:
            raise ComfyUIError("ComfyUI was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """Standard output and standard error; a restart appends."""
        return self.base_dir / f"comfyui-{self.port}.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self) -> ComfyUIProcess:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the process and returns at once; `wait_ready` waits until it answers."""
        if self.running:
            raise ComfyUIError(f"ComfyUI already runs as process {self.pid}")
        self._prepare_base_dir()
        command = [self._python, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self.command()]
        with self.log_path.open("ab") as log:
            self._process = _STARTER.submit(
                subprocess.Popen,
                command,
                cwd=self.base_dir,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Waits until GET /system_stats answers; the error carries the end of the log."""
        limit_s = self.start_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        while not self._answers():
            if not self.running:
                status = self._process.returncode if self._process else None
                raise ComfyUIError(f"ComfyUI ended with status {status}{self._tail()}")
            if time.monotonic() > deadline:
                raise ComfyUIError(f"ComfyUI did not answer within {limit_s:.0f} s{self._tail()}")
            time.sleep(POLL_S)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ends the whole process group: SIGTERM, after `grace_s` SIGKILL. Safe to repeat."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        # WNOWAIT leaves the leader unreaped, so its group id cannot be taken by another process.
        wait_options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, process.pid, wait_options) is None:
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S / 2)
        self._signal_group(signal.SIGKILL)
        process.wait()

    def kill(self) -> None:
        """SIGKILL at once, as a crash would."""
        self.stop(grace_s=0)

    def restart(self) -> None:
        """Stops, starts on the same port and waits."""
        self.stop()
        self.start()
        self.wait_ready()

    def command(self) -> list[str]:
        """ComfyUI's command line."""
        database = self.base_dir / "user" / "comfyui.db"
        return [
            self._python,
            str(self.comfyui / "main.py"),
            *self._switches,
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--base-directory",
            str(self.base_dir),
            # ComfyUI's default lies in its source folder, which several processes share.
            "--database-url",
            f"sqlite:///{database}",
            "--preview-method",
            "latent2rgb",
            "--disable-auto-launch",
            *self._extra_args,
        ]

    def _prepare_base_dir(self) -> None:
        for name in ("models", "custom_nodes", "input", "output", "temp", "user/default"):
            (self.base_dir / name).mkdir(parents=True, exist_ok=True)
        for name, target in self._links.items():
            link = self.base_dir / "custom_nodes" / name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(target, target_is_directory=target.is_dir())
        settings = self.base_dir / "user" / "default" / "comfy.settings.json"
        stored = json.loads(settings.read_text()) if settings.exists() else {}
        settings.write_text(json.dumps({**self._settings, **stored}, indent=2))

    def _environment(self) -> dict[str, str]:
        merged: dict[str, str | None] = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            **self._env,
        }
        return {name: value for name, value in merged.items() if value is not None}

    def _answers(self) -> bool:
        try:
            with _OPENER.open(self.url + "/system_stats", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody left, or only the unreaped leader
            return

    def _tail(self) -> str:
        lines = self.log.splitlines()[-LOG_TAIL_LINES:]
        return f"\nLast lines of {self.log_path}:\n" + "\n".join(lines)
