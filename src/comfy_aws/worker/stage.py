"""Restorer, environments and runner together: a manifest made true for a running ComfyUI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from comfy_aws.errors import Cancelled, ComfyAwsError, PackBroken, RunnerCrashed
from comfy_aws.models import Manifest
from comfy_aws.packfaults import PackFaults
from comfy_aws.worker.environment import Environments, Overlay
from comfy_aws.worker.phases import Fetch, Told
from comfy_aws.worker.restore import Restorer
from comfy_aws.worker.runner import Runner, Shadowed

log = logging.getLogger(__name__)


class Stage:
    """Lives in one event loop; one manifest at a time."""

    def __init__(
        self,
        restorer: Restorer,
        runner: Runner,
        environments: Environments,
        faults: PackFaults,
    ) -> None:
        self.restorer = restorer
        self.runner = runner
        self.environments = environments
        self._faults = faults
        self._has_started = False
        """The runner was started since the packs' state was last written."""

    async def make_true(
        self, manifest: Manifest, *, told: Told, stopped: asyncio.Future[Any]
    ) -> dict[str, float]:
        """Returns the seconds that each phase took, by the names of `JobResult.timings`.

        Args:
            stopped: when it is done, the work ends as soon as it can.

        Raises:
            Cancelled: `stopped` was done.
            ComfyAwsError: as `Restorer.fetch`, `Environments.make`, `Restorer.lay_packs`,
                `Runner.start` and `Runner.check_packs`.
        """
        try:
            timings = await self._make_true(manifest, told, stopped)
        except PackBroken as exc:
            await self._note(partial(self._faults.record, manifest.packs, exc))
            raise
        if self._has_started:
            self._has_started = False
            await self._note(partial(self._faults.clear, manifest.packs))
        return timings

    async def _note(self, work: Callable[[], None]) -> None:
        """What is known of the packs is for people to read; no job waits or fails for it."""
        try:
            await asyncio.to_thread(work)
        except ComfyAwsError as exc:
            log.warning("The state of the node packs could not be written: %s", exc)

    async def _make_true(
        self, manifest: Manifest, told: Told, stopped: asyncio.Future[Any]
    ) -> dict[str, float]:
        timings: dict[str, float] = {}
        holds = self.restorer.holds(manifest)
        # First, because packages that cannot be installed should not cost a download of models.
        with _timed(timings, "environment"):
            overlay = await self.environments.make(
                manifest, self.runner.overlay, told=told, stopped=stopped
            )
        if overlay == self.runner.overlay:
            del timings["environment"]
        with _timed(timings, "restore"):
            if not holds:
                timings |= await self._fetch(manifest, told, stopped.done)
        with _timed(timings, "start"):
            if self.restorer.changed_packs(manifest) or overlay != self.runner.overlay:
                await self._exchange_packs(manifest, overlay, told)
            started = not self.runner.running
            if started:
                await self._start(manifest, told, stopped)
        with _timed(timings, "restore"):
            if started or not holds:
                await self._lay(manifest)
            await self._check(manifest, told, stopped)
        return timings

    async def _check(self, manifest: Manifest, told: Told, stopped: asyncio.Future[Any]) -> None:
        try:
            await self.runner.check_packs(manifest.packs)
        except Shadowed as exc:
            log.warning("%s", exc)
            await self._start(manifest, told, stopped, alone=True)
            await self._lay(manifest)
            await self.runner.check_packs(manifest.packs)

    async def _fetch(
        self, manifest: Manifest, told: Told, cancelled: Callable[[], bool]
    ) -> Mapping[str, float]:
        loop = asyncio.get_running_loop()
        fetch = await asyncio.to_thread(Fetch, manifest, self.restorer.missing_bytes, told)

        def report(name: str, count: int) -> None:
            loop.call_soon_threadsafe(fetch.came, name, count)

        fetch.begin()
        await asyncio.to_thread(self.restorer.fetch, manifest, progress=report, cancelled=cancelled)
        fetch.end()
        return fetch.seconds

    async def _exchange_packs(
        self, manifest: Manifest, overlay: Overlay | None, told: Told
    ) -> None:
        names = ", ".join(pack.name for pack in self.restorer.changed_packs(manifest))
        if names:
            told("start", f"Unpacking {names}", 0, 0)
        await self.runner.stop()
        self.runner.overlay = overlay
        await asyncio.to_thread(self.restorer.lay_packs, manifest)

    async def _start(
        self, manifest: Manifest, told: Told, stopped: asyncio.Future[Any], *, alone: bool = False
    ) -> None:
        """Start the runner; with the manifest's packs alone if others keep it from starting."""
        told("start", "Starting ComfyUI", 0, 0)
        began = time.perf_counter()
        # Before the start, because some packs list the models while they are imported.
        await asyncio.to_thread(self.restorer.lay_models, manifest)
        try:
            if alone:
                raise RunnerCrashed("Another node pack is in the way.")
            await _unless(stopped, self.runner.start())
        except RunnerCrashed as exc:
            log.warning("%s", exc)
            await self.runner.stop()
            if not any(pack.requirements for pack in manifest.packs):
                self.runner.overlay = None
            await asyncio.to_thread(self.restorer.lay_packs, manifest, alone=True)
            await _unless(stopped, self.runner.start())
        self.restorer.runner_started(self.runner.folders)
        self._has_started = True
        took = time.perf_counter() - began
        told("start", f"ComfyUI started in {took:.1f} s", 0, 0, seconds=took)

    async def _lay(self, manifest: Manifest) -> None:
        if await asyncio.to_thread(self.restorer.lay, manifest):
            started = await self.runner.forget()
            if started:
                self.restorer.runner_started(self.runner.folders)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Add what the block takes."""
    began = time.perf_counter()
    yield
    timings[name] = timings.get(name, 0.0) + time.perf_counter() - began


async def _unless(stopped: asyncio.Future[Any], work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, or give it up when `stopped` is done first."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, ComfyAwsError):
            await task
        raise Cancelled("The work was stopped.")
    task.result()
