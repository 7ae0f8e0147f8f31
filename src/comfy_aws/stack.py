"""The local stack as a service: start it, find it, stop it.

The stack itself is another process (`python -m comfy_aws.localstack`), so that it outlives the
command or the page that started it. All that is known of it is `stack.json` in its home, written
when everything answers and removed when it stops.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from comfy_aws.config import child_environment
from comfy_aws.errors import LocalStackError

BUCKET: Final = "comfy-aws-local"
"""The one bucket of every local stack, also while it is stopped."""

EXIT_ALREADY_RUNNING: Final = 75
"""The daemon's exit status when another one holds the home."""
_HEALTH_PATH: Final = "/_comfy_aws/stack"
_POLL_SECONDS: Final = 0.05
_HEALTH_SECONDS: Final = 5.0
_LOG_LINES: Final = 15


@dataclass(frozen=True)
class StackState:
    """How to reach a running stack. `started` is in seconds since 1970."""

    pid: int
    endpoint_url: str
    s3_endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    role_arn: str
    image_uri: str
    started: float


def read_state(home: Path) -> StackState | None:
    """The stack that serves `home`; None when there is none, or it does not answer as itself."""
    try:
        state = StackState(**json.loads((home / "stack.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return state if _answers(state) else None


status = read_state


def is_at(url: str) -> bool:
    """Whether a local stack, whosever, serves at this very URL, which may as well be AWS's."""
    return urlsplit(url).scheme == "http" and _health(url).get("url") == url


def _answers(state: StackState) -> bool:
    known = _health(state.endpoint_url)
    return bool(known.get("pid") == state.pid and known.get("started") == state.started)


def _health(url: str) -> dict[str, Any]:
    """What a stack at this URL says of itself; empty when there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=_HEALTH_SECONDS
    )
    try:
        connection.request("GET", _HEALTH_PATH)
        known = json.loads(connection.getresponse().read())
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def up(home: Path, *, port: int | None = None, timeout: float = 60) -> tuple[StackState, bool]:
    """Start a stack in `home`, or find the one that runs there.

    Args:
        port: of the endpoint URL; a free one when not given.
        timeout: seconds to wait until everything answers.

    Returns:
        The state, and whether it was started by this call.

    Raises:
        LocalStackError: it did not start; the message ends with its last log lines.
    """
    if sys.platform == "win32":
        raise LocalStackError(
            "The local stack runs on Linux and macOS only.",
            hint="Use an AWS account, or run ComfyUI in WSL.",
        )
    known = read_state(home)
    if known is not None:
        return known, False
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    until = time.monotonic() + timeout
    process = _spawn(home, port)
    while time.monotonic() < until:
        state = read_state(home)
        if state is not None:
            return state, state.pid == process.pid
        # The loser of two racing starts sees the winner's state soon; a stack that is just
        # stopping lets go of the home, and then the start is tried again.
        code = process.poll()
        if code == EXIT_ALREADY_RUNNING:
            if _free(home):
                process = _spawn(home, port)
        elif code is not None:
            raise _failed(home, f"The local stack ended with status {code} while it started.")
        time.sleep(_POLL_SECONDS)
    if process.poll() is None:
        process.terminate()
    raise _failed(home, f"The local stack was not ready within {timeout:g} seconds.")


def down(home: Path, timeout: float = 60) -> bool:
    """Stop the stack that serves `home` and wait until it is gone; False when there was none.

    Raises:
        LocalStackError: it did not stop in time.
    """
    state = read_state(home)
    if state is None:
        return False
    try:
        os.kill(state.pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if _free(home):
            return True
        time.sleep(_POLL_SECONDS)
    raise LocalStackError(
        f"The local stack (process {state.pid}) did not stop within {timeout:g} seconds.",
        hint=f"See {home / 'stack.log'}.",
    )


def _free(home: Path) -> bool:
    """Whether no process holds the home. Asked of the lock: a pid may be a zombie, or reused."""
    import fcntl  # not on Windows, where the extension must still be importable

    try:
        with (home / "stack.lock").open("a", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def _spawn(home: Path, port: int | None) -> subprocess.Popen[bytes]:
    """Start the daemon in a session of its own, so that it outlives this process."""
    source = str(Path(__file__).resolve().parents[1])
    inherited = child_environment()
    path = [source, *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    command = [sys.executable, "-m", "comfy_aws.localstack", "--home", str(home)]
    if port is not None:
        command += ["--port", str(port)]
    with (home / "stack.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=child_environment(PYTHONPATH=os.pathsep.join(path)),
            start_new_session=True,
        )
    # Somebody has to take the exit status, or a stopped stack stays as a zombie of ours.
    threading.Thread(target=process.wait, name="stack-reaper", daemon=True).start()
    return process


def _failed(home: Path, message: str) -> LocalStackError:
    try:
        lines = (home / "stack.log").read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        lines = []
    return LocalStackError(
        "\n".join([message, *lines]), hint=f"The whole log: {home / 'stack.log'}."
    )
