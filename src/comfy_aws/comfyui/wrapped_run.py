"""A cloud job inside ComfyUI's own executor, for a ComfyUI whose queue we cannot extend.

The executor shows the wrapper nodes itself; here only the job is run and its files are fetched.
"""

from __future__ import annotations

import asyncio
import threading

from comfy_aws.comfyui.outputs import Outputs
from comfy_aws.errors import WorkerError
from comfy_aws.jobs import JobEnd, JobView, Order
from comfy_aws.models import Event, JobState, Json
from comfy_aws.naming import renamed
from comfy_aws.services import Services


class WrappedRun:
    """A `jobs.Listener` that its output nodes wait for together."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._started = False
        self._end: JobEnd | None = None

    async def output(self, node_id: str, services: Services, outputs: Outputs) -> Json:
        """The output of one node, with local file names. Raises WorkerError."""
        return await asyncio.to_thread(self._output, node_id, services, outputs)

    def _output(self, node_id: str, services: Services, outputs: Outputs) -> Json:
        with self._lock:
            if not self._started:
                self._started = True
                services.jobs.start(self._order, self)
        self._over.wait()
        end = self._end
        if end is None or end.state is not JobState.SUCCEEDED or end.result is None:
            error = end.error if end else {}
            text = (
                error.get("message") or error.get("exception_message") or "The job was cancelled."
            )
            raise WorkerError(str(text), hint=str(error.get("hint") or ""))
        files = [file for file in end.result.files if file.node_id == node_id]
        names = outputs.save(services.store, files, frozenset())
        output = renamed(end.result.outputs.get(node_id, {}), names)
        return output if isinstance(output, dict) else {}

    def changed(self, view: JobView) -> None:
        """ComfyUI's executor shows the wrapper node; there is nothing to add."""

    def event(self, event: Event) -> None:
        """As `changed`."""

    def ended(self, end: JobEnd) -> None:
        self._end = end
        self._over.set()

    def released(self) -> None:
        error = {"message": "The connection to AWS was closed; the job goes on there."}
        self.ended(JobEnd(JobState.FAILED, error=error))
