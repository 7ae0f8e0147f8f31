"""Child processes that never outlive the stack, each below a guard (see `comfy_aws.guard`)."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from comfy_aws.errors import LocalStackError

_GUARD: Final = Path(__file__).resolve().parents[1] / "guard.py"
_CHUNK_BYTES: Final = 1 << 16
_PORTS: Final = range(18000, 32000)
"""Below the range from which Linux takes the local ports of outgoing connections: a port chosen
now and bound by a child a second later is then still free."""

_ESCAPED_SECONDS: Final = 1.0
"""The end of the output tells the end of a process at once. Only when its guard was killed, and a
descendant that escaped holds the pipe open, is the status itself looked at, so often."""

_given: set[int] = set()


def free_port(usual: int = 0) -> int:
    """A port of 127.0.0.1 that nothing listens on, never given twice by this process.

    Args:
        usual: the one to give if it is free, so that clients of an earlier life find us.
    """
    for attempt in range(1000):
        port = usual if usual and not attempt else random.choice(_PORTS)  # noqa: S311 - no secret
        if port in _given:
            continue
        with socket.socket() as probe:
            # What an earlier life has closed lingers, and keeps nobody from listening again.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise LocalStackError("No free port was found on 127.0.0.1 between 18000 and 32000.")


def release_port(port: int) -> None:
    """The port's process is gone; it may be given again."""
    _given.discard(port)


class Process:
    """A running command. Made by `start`; `wait` and `stop` may be called from many tasks."""

    def __init__(
        self, process: asyncio.subprocess.Process, on_output: Callable[[bytes], None]
    ) -> None:
        self._process = process
        self._on_output = on_output
        self._ended = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        on_output: Callable[[bytes], None],
    ) -> Process:
        """Run `command` in `folder`. `on_output` gets chunks of stdout and stderr, mixed,
        and empty bytes at their end.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_GUARD), *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        return cls(process, on_output)

    @property
    def pid(self) -> int:
        """The guard's pid, which is also the id of its session."""
        return self._process.pid

    async def _follow(self) -> int:
        reading = asyncio.create_task(self._read())
        while not reading.done() and self._process.returncode is None:
            await asyncio.wait([reading], timeout=_ESCAPED_SECONDS)
        await asyncio.wait([reading], timeout=_ESCAPED_SECONDS)
        reading.cancel()
        self._on_output(b"")
        status = self._process.returncode
        return await self._process.wait() if status is None else status

    async def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:  # only for the type: `start` asked for a pipe
            raise LocalStackError("The process has no output to follow.")
        while chunk := await stream.read(_CHUNK_BYTES):
            self._on_output(chunk)

    async def wait(self) -> int:
        """The exit status; 128 + n when signal n ended the command."""
        return await asyncio.shield(self._ended)

    @property
    def running(self) -> bool:
        return not self._ended.done()

    async def stop(self, grace: float) -> None:
        """SIGTERM, then after `grace` seconds kill everything below. Returns when all is gone."""
        if self.running and grace > 0:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait([self._ended], timeout=grace)
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        await asyncio.wait([self._ended])
