"""One instance of an endpoint: a worker process, its health and its restarts.

The contract is SageMaker's for a container: `serve` starts a server, GET /ping answers 200 within
two seconds when it is ready, POST /invocations does the work, SIGTERM comes 30 seconds before
SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import aiohttp

from comfy_aws.errors import InvalidTransition
from comfy_aws.localstack.logs import BoundedFile, LineSplitter, LogSink
from comfy_aws.localstack.processes import Process, free_port, release_port

_log = logging.getLogger(__name__)

COMMAND_VARIABLE: Final = "COMFY_AWS_LOCAL_WORKER"
"""Local stack only: a JSON list in the model's environment that replaces the worker's command."""

_PING_SECONDS: Final = 2.0
_PING_EVERY_SECONDS: Final = 0.05
_BACKOFF_SECONDS: Final = (0.2, 30.0)
_HEALTHY_SECONDS: Final = 10.0
"""A worker that lived so long has its next restart without back-off."""
_KEPT_LOGS: Final = 20
GRACE_SECONDS: Final = 30.0
"""SageMaker's time between SIGTERM and SIGKILL."""


class InstanceState(Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


_NEXT: Final = {
    InstanceState.STARTING: {InstanceState.READY, InstanceState.DRAINING, InstanceState.STOPPED},
    InstanceState.READY: {InstanceState.STARTING, InstanceState.DRAINING, InstanceState.STOPPED},
    InstanceState.DRAINING: {InstanceState.STOPPED},
    InstanceState.STOPPED: set(),
}


@dataclass(frozen=True)
class Surroundings:
    """What every worker of the stack gets.

    Args:
        base: the environment a worker starts from, which its model's adds to.
        address: the stack's URLs and keys, which nothing overrides. Filled in while the stack
            starts, before the first worker does.
        endpoints: the folder below which each instance has its own, removed with it as an EC2
            instance's disk is.
        logs: the folder below which the workers' output is kept.
    """

    base: Mapping[str, str]
    address: Mapping[str, str]
    endpoints: Path
    logs: Path
    session: aiohttp.ClientSession
    sink: LogSink


@dataclass(frozen=True)
class Placement:
    """Which endpoint and variant an instance belongs to, and what it runs."""

    endpoint: str
    variant: str
    environment: Mapping[str, str]
    startup_seconds: float

    @property
    def command(self) -> list[str]:
        replaced = self.environment.get(COMMAND_VARIABLE)
        if replaced:
            return [str(part) for part in json.loads(replaced)]
        return [sys.executable, "-m", "comfy_aws.worker", "serve"]


class Instance:
    """A supervised worker.

    `failed` is true while starts of one that is not `fatal_start` do not come up.

    `first` resolves once: to None when the worker answered its first ping, to a reason when a
    `fatal_start` failed. Later deaths are answered by restarts with a growing pause.

    Args:
        fatal_start: whether a first start that fails ends the instance (a new endpoint fails),
            or is tried again (a known good one grows or comes back).
        on_change: called after each change of state or of `busy`.
    """

    def __init__(
        self,
        placement: Placement,
        surroundings: Surroundings,
        on_change: Callable[[Instance], None],
        *,
        fatal_start: bool,
    ) -> None:
        self.id = f"i-{secrets.token_hex(9)[:17]}"
        self.placement = placement
        self.state = InstanceState.STARTING
        self.busy = 0
        self.failed = False
        self.port = 0
        self.first: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._surroundings = surroundings
        self._on_change = on_change
        self._fatal_start = fatal_start
        self._process: Process | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._task = asyncio.create_task(self._supervise())
        self._stopping: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._grace = GRACE_SECONDS

    @property
    def variant(self) -> str:
        return self.placement.variant

    def take(self) -> None:
        """One more invocation runs here."""
        self.busy += 1
        self._idle.clear()

    def release(self) -> None:
        """An invocation ended."""
        self.busy -= 1
        if not self.busy:
            self._idle.set()
        self._on_change(self)

    def retire(self, grace: float = GRACE_SECONDS, *, drain: bool = True) -> asyncio.Task[None]:
        """Take no more work, finish what runs (when `drain`), then stop the process.

        Asked again without `drain`, an instance that still drains stops now.
        """
        if not drain:
            self._grace = grace
            self._idle.set()
        if self._stopping is None:
            self._move(InstanceState.DRAINING)
            self._stopping = asyncio.create_task(self._stop())
        return self._stopping

    def condemn(self) -> None:
        """It takes no connections or lost one: end the process, so that a new one is started."""
        if self.state is InstanceState.READY and self._process is not None:
            self._move(InstanceState.STARTING)
            self._ending = asyncio.create_task(self._process.stop(0))

    async def _stop(self) -> None:
        await self._idle.wait()
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._process is not None:
            await self._process.stop(self._grace)
        if not self.first.done():
            self.first.set_result("The instance was stopped.")
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self._move(InstanceState.STOPPED)

    def _move(self, state: InstanceState) -> None:
        if state not in _NEXT[self.state]:
            raise InvalidTransition(f"{self.id} cannot go from {self.state} to {state}.")
        self.state = state
        self._on_change(self)

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _BACKOFF_SECONDS[0]
        while True:
            process = await self._spawn()
            born = loop.time()
            reason = await self._until_ready(process)
            if reason is None:
                self.failed = False
                self._move(InstanceState.READY)
                if not self.first.done():
                    self.first.set_result(None)
                status = await self._ended(process)
                reason = f"The worker ended with status {status}."
                if self.state is InstanceState.READY:
                    self._move(InstanceState.STARTING)
            elif self._fatal_start and not self.first.done():
                self.first.set_result(reason)
                return
            else:
                self.failed = True
                self._on_change(self)
            if self.state is not InstanceState.STARTING:
                return  # it was draining, and is stopped now
            self._say(f"{reason} It is started again.")
            if loop.time() - born > _HEALTHY_SECONDS:
                pause = _BACKOFF_SECONDS[0]
            await asyncio.sleep(pause)
            pause = min(pause * 2, _BACKOFF_SECONDS[1])

    async def _ended(self, process: Process) -> int:
        status = await process.wait()
        release_port(self.port)
        return status

    def _say(self, text: str) -> None:
        _log.warning("%s/%s: %s", self.placement.endpoint, self.id, text)
        self._surroundings.sink.add(*self._stream, f"[local stack] {text}")

    @property
    def _stream(self) -> tuple[str, str]:
        group = f"/aws/sagemaker/Endpoints/{self.placement.endpoint}"
        return group, f"{self.placement.variant}/{self.id}"

    @property
    def _folder(self) -> Path:
        return self._surroundings.endpoints / self.placement.endpoint / self.id

    def _log_file(self) -> Path:
        """Where the output is kept; the oldest of the endpoint's files make room."""
        folder = self._surroundings.logs / self.placement.endpoint
        folder.mkdir(parents=True, exist_ok=True)
        known = sorted(folder.glob("i-*.log*"), key=lambda path: path.stat().st_mtime)
        for path in known[: max(0, len(known) - _KEPT_LOGS)]:
            path.unlink(missing_ok=True)
        return folder / f"{self.id}.log"

    async def _spawn(self) -> Process:
        self.port = free_port()
        self._folder.mkdir(parents=True, exist_ok=True)
        file = BoundedFile(self._log_file())
        lines = LineSplitter(lambda line: self._surroundings.sink.add(*self._stream, line))

        def output(chunk: bytes) -> None:
            if chunk:
                file.write(chunk)
                lines.feed(chunk)
            else:
                file.close()
                lines.end()

        environment = {
            **self._surroundings.base,
            **self.placement.environment,
            **self._surroundings.address,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "COMFY_AWS_WORKER_DIR": str(self._folder),
        }
        self._process = await Process.start(
            self.placement.command, environment, self._folder, output
        )
        return self._process

    async def _until_ready(self, process: Process) -> str | None:
        """None when /ping answered 200, else why the worker did not start."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.placement.startup_seconds
        while loop.time() < until:
            if not process.running:
                return f"The worker exited during start with status {await self._ended(process)}."
            if await self._ping():
                return None
            await asyncio.sleep(_PING_EVERY_SECONDS)
        await process.stop(0)
        release_port(self.port)
        return (
            "The primary container for production variant "
            f"{self.placement.variant} did not pass the ping health check within "
            f"{self.placement.startup_seconds:g} seconds. Please check CloudWatch logs "
            "for this endpoint."
        )

    async def _ping(self) -> bool:
        timeout = aiohttp.ClientTimeout(total=_PING_SECONDS)
        url = f"http://127.0.0.1:{self.port}/ping"
        try:
            async with self._surroundings.session.get(url, timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, OSError):
            return False
