"""A cloud job inside ComfyUI's own executor, for a ComfyUI whose queue we cannot extend.

The executor shows the wrapper nodes itself; here only the job is run and its files are fetched.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from comfy_aws.comfyui.outputs import Outputs, path_of, place_of
from comfy_aws.errors import Cancelled, WorkerError
from comfy_aws.models import Event, JobState, Json
from comfy_aws.naming import renamed
from comfy_aws.orders import JobEnd, JobView, Order
from comfy_aws.services import Services

INTERRUPT_EVERY: Final = 0.25
"""Seconds between two looks at the executor's interrupt flag."""


class WrappedRun:
    """A `jobs.Listener` that its output nodes wait for together."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._started = False
        self._has_brought = False
        self._end: JobEnd | None = None

    async def output(
        self, node_id: str, services: Services, outputs: Outputs, interrupted: Callable[[], bool]
    ) -> Json:
        """The output of one node, with local file names.

        Args:
            interrupted: whether the user has stopped the executor, which nothing announces.

        Raises:
            Cancelled: the job was cancelled.
            WorkerError: it failed.
        """
        return await asyncio.to_thread(self._output, node_id, services, outputs, interrupted)

    def _output(
        self, node_id: str, services: Services, outputs: Outputs, interrupted: Callable[[], bool]
    ) -> Json:
        with self._lock:
            if not self._started:
                self._started = True
                services.jobs.start(self._order, self)
        while not self._over.wait(INTERRUPT_EVERY):
            if interrupted():
                services.jobs.cancel(self._order.job_id)
        end = self._end
        if end is not None and end.state is JobState.CANCELLED:
            raise Cancelled("The job was cancelled.")
        if end is None or end.state is not JobState.SUCCEEDED or end.result is None:
            error = end.error if end else {}
            text = error.get("message") or error.get("exception_message") or "The job failed."
            raise WorkerError(str(text), hint=str(error.get("hint") or ""))
        owners = self._owners(node_id)
        files = [file for file in end.result.files if file.node_id in owners]
        brought = outputs.save(services.store, files, frozenset())
        names = {place_of(file): local for file, local in brought}
        output = renamed(end.result.outputs.get(node_id, {}), names, path_of)
        return output if isinstance(output, dict) else {}

    def _owners(self, node_id: str) -> tuple[str, ...]:
        """Whose files a node brings: its own, the first one also those that no node has named."""
        with self._lock:
            owners = (node_id,) if self._has_brought else (node_id, "")
            self._has_brought = True
        return owners

    def changed(self, view: JobView) -> None:
        """ComfyUI's executor shows the wrapper node; there is nothing to add."""

    def event(self, event: Event) -> None:
        """As `changed`."""

    def arriving(self, end: JobEnd) -> JobEnd:
        return end

    def ended(self, end: JobEnd) -> None:
        self._end = end
        self._over.set()

    def released(self) -> None:
        error = {"message": "The connection to AWS was closed; the job goes on there."}
        self.ended(JobEnd(JobState.FAILED, error=error))
