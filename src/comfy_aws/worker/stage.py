"""Restorer and runner together: a manifest made true for a running ComfyUI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from comfy_aws.errors import Cancelled, ComfyAwsError, RunnerCrashed
from comfy_aws.models import Manifest
from comfy_aws.worker.restore import Restorer
from comfy_aws.worker.runner import Runner, Shadowed

Told = Callable[[str, str, int, int], None]
"""Called with phase, message, bytes done and bytes in all."""

log = logging.getLogger(__name__)


class Stage:
    """Lives in one event loop; one manifest at a time."""

    def __init__(self, restorer: Restorer, runner: Runner) -> None:
        self.restorer = restorer
        self.runner = runner

    async def make_true(
        self, manifest: Manifest, *, told: Told, stopped: asyncio.Future[Any]
    ) -> dict[str, float]:
        """Returns the seconds that the restore and the start took.

        Args:
            stopped: when it is done, the work ends as soon as it can.

        Raises:
            Cancelled: `stopped` was done.
            ComfyAwsError: as `Restorer.fetch`, `Restorer.lay_packs`, `Runner.start` and
                `Runner.check_packs`.
        """
        began = time.perf_counter()
        holds = self.restorer.holds(manifest)
        if not holds:
            await self._fetch(manifest, told, stopped.done)
        fetched = time.perf_counter()
        if self.restorer.changed_packs(manifest):
            await self._exchange_packs(manifest, told)
        started = not self.runner.running
        if started:
            await self._start(manifest, told, stopped)
        ready = time.perf_counter()
        if started or not holds:
            await self._lay(manifest)
        try:
            await self.runner.check_packs(manifest.packs)
        except Shadowed as exc:
            log.warning("%s%s", self.runner.label, exc)
            await self._start(manifest, told, stopped, alone=True)
            await self._lay(manifest)
            await self.runner.check_packs(manifest.packs)
        laid = time.perf_counter() - ready
        return {"restore": fetched - began + laid, "start": ready - fetched}

    async def _fetch(self, manifest: Manifest, told: Told, cancelled: Callable[[], bool]) -> None:
        total = await asyncio.to_thread(self.restorer.missing_bytes, manifest)
        loop, done = asyncio.get_running_loop(), 0

        def came(name: str, count: int) -> None:
            nonlocal done
            done += count
            told("restore", f"Fetching {name}", done, total)

        def report(name: str, count: int) -> None:
            loop.call_soon_threadsafe(came, name, count)

        if total:
            told("restore", "Fetching models, inputs and node packs", 0, total)
        await asyncio.to_thread(
            self.restorer.fetch,
            manifest,
            progress=report,
            cancelled=cancelled,
        )

    async def _exchange_packs(self, manifest: Manifest, told: Told) -> None:
        names = ", ".join(pack.name for pack in self.restorer.changed_packs(manifest))
        told("start", f"Installing {names}", 0, 0)
        await self.runner.stop()
        await asyncio.to_thread(self.restorer.lay_packs, manifest)

    async def _start(
        self, manifest: Manifest, told: Told, stopped: asyncio.Future[Any], *, alone: bool = False
    ) -> None:
        """Start the runner; with the manifest's packs alone if others keep it from starting."""
        told("start", "Starting ComfyUI", 0, 0)
        # Before the start, because some packs list the models while they are imported.
        await asyncio.to_thread(self.restorer.lay_models, manifest)
        try:
            if alone:
                raise RunnerCrashed("Another node pack is in the way.")
            await _unless(stopped, self.runner.start())
        except RunnerCrashed as exc:
            log.warning("%s%s", self.runner.label, exc)
            await self.runner.stop()
            await asyncio.to_thread(self.restorer.lay_packs, manifest, alone=True)
            await _unless(stopped, self.runner.start())
        self.restorer.runner_started(self.runner.folders)

    async def _lay(self, manifest: Manifest) -> None:
        if await asyncio.to_thread(self.restorer.lay, manifest):
            started = await self.runner.forget()
            if started:
                self.restorer.runner_started(self.runner.folders)


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
