"""A child process that never outlives its parent, and whose output is read line by line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from comfy_aws import config, loglines

TAIL_LINES = 2000
"""Lines of output kept; a start with fifty node packs prints several hundred."""

LINE_BYTES = 16 * 1024
"""A longer line is cut, so that a node printing an array cannot fill the memory."""

SECRETS = ("AWS_", "COMFY_AWS_", "SAGEMAKER_")
"""Prefixes of environment variables that node packs and their packages must not see."""

# Runs in the child before the program does. prctl(PR_SET_PDEATHSIG=1, SIGKILL) holds across exec;
# a parent that died in between is seen by the changed parent id. macOS has no prctl.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execve(sys.argv[2], sys.argv[2:], os.environ)\n"
)


def without_secrets(**changes: str) -> dict[str, str]:
    """This process's environment for a child that runs foreign code, with `changes`."""
    return {
        key: value
        for key, value in config.child_environment(**changes).items()
        if not key.startswith(SECRETS)
    }


class Child:
    """One process, the leader of its own process group.

    The kernel sends the death signal when the *thread* that started the child ends, so `start`
    is called in the event loop of the main thread.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, output: int, said: Callable[[str], None]
    ) -> None:
        self._process = process
        self._output = output
        self._said = said
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read())
        self.ended: asyncio.Task[int] = loop.create_task(self._wait())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        said: Callable[[str], None],
    ) -> Child:
        """Start `command`; `said` gets every line of its output."""
        # Not asyncio's own pipe: its `wait` would wait for grandchildren that hold the pipe, too.
        output, theirs = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command,
                cwd=cwd, env=dict(environ), stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        return cls(process, output, said)

    @property
    def pid(self) -> int:
        """Process id, which is the process group's too."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def send(self, number: signal.Signals) -> None:
        """A signal to the process itself, if it still runs."""
        if self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, grace: float) -> int:
        """End the whole process group: SIGTERM, after `grace` seconds SIGKILL. Safe to repeat."""
        if self.running:
            self._signal(signal.SIGTERM)
            await asyncio.wait([self.ended], timeout=grace)
        return await self.kill()

    async def kill(self) -> int:
        """SIGKILL to the whole group, its leader's own children too; returns the exit status."""
        self._signal(signal.SIGKILL)
        return await asyncio.shield(self.ended)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody is left
            return

    async def _wait(self) -> int:
        status = await self._process.wait()
        self._signal(signal.SIGKILL)  # grandchildren, which would live on and hold the pipe
        await asyncio.wait([self._reader], timeout=1)
        self._reader.cancel()
        return status

    async def _read(self) -> None:
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(self._output, "rb", 0)
        )
        try:
            await self._split(stream)
        finally:
            pipe.close()

    async def _split(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(64 * 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._line(line)
            if len(rest) > LINE_BYTES:
                self._line(rest)
                rest = b""
        if rest:
            self._line(rest)

    def _line(self, raw: bytes) -> None:
        # A progress bar overwrites its line; only what it showed last is worth keeping.
        shown = next((part for part in reversed(raw.split(b"\r")) if part.strip()), b"")
        text = loglines.plain(shown[:LINE_BYTES].decode(errors="replace")).rstrip()
        if text:
            self.tail.append(text)
            self._said(text)


def exit_reason(status: int) -> str:
    """What an exit status says, in words."""
    if status == -signal.SIGKILL:
        return "it was killed by the system, probably out of memory"
    if status < 0:
        try:
            return f"it crashed ({signal.Signals(-status).name})"
        except ValueError:
            return f"it was ended by signal {-status}"
    return f"it ended with status {status}"
