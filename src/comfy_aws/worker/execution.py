"""One job, from its request to `result.json`.

    restore ─► start ─► submit ─► events and uploads while the graph runs ─► result

Whatever happens is reported: every way out of `Execution.run` is a JobResult. Truth is the
bucket; queue messages only make it visible early.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from comfy_aws import layout
from comfy_aws import prompt as graphs
from comfy_aws.aws import ObjectStore, Queues
from comfy_aws.errors import (
    AwsError,
    Cancelled,
    ComfyAwsError,
    ComfyUIError,
    PromptRejected,
    RunnerCrashed,
    WorkerStopped,
)
from comfy_aws.models import EventKind, JobRequest, JobResult, Json, Outcome, OutputFile, to_json
from comfy_aws.worker.graph import Graph
from comfy_aws.worker.outbox import Outbox, Sender
from comfy_aws.worker.outputs import Folder, Shelf, Uploads
from comfy_aws.worker.stage import Stage

HEARTBEAT = 5.0
"""Seconds; a designer that hears nothing for several of them looks into the bucket."""

CANCEL_LOOK = 1.0
"""Seconds between two looks for the cancel object."""

INTERRUPT_LIMIT = 20.0
"""Seconds that a node gets to notice an interrupt before the runner is killed."""

INTERRUPT_AGAIN = 1.0
"""Seconds; ComfyUI forgets an interrupt that comes just before the prompt begins."""

LAST_MESSAGES = 0.5
"""Seconds for the messages of a prompt that has left ComfyUI's queue."""

DEATH_NOTICE = 2.0
"""Seconds between a broken connection and the end of the process that it tells of."""

log = logging.getLogger(__name__)


class Stop(Enum):
    """Why a job is stopped before its end."""

    CANCELLED = "The job was cancelled."
    SHUTDOWN = "The worker was shut down before the job was done."
    ABANDONED = "The invocation was given up, probably at its time limit."


@dataclass(frozen=True)
class Verdict:
    """How a job ended, before it is reported."""

    outcome: Outcome
    error: Json = field(default_factory=dict)
    node_errors: Json = field(default_factory=dict)
    outputs: Json = field(default_factory=dict)
    meta: Json = field(default_factory=dict)
    messages: tuple[tuple[str, Json], ...] = ()
    files: tuple[OutputFile, ...] = ()


class Execution:
    """Runs one job. Lives in one event loop.

    Args:
        abandoned: tells that nobody waits for the answer any more.
    """

    def __init__(
        self,
        request: JobRequest,
        *,
        stage: Stage,
        store: ObjectStore,
        queues: Queues,
        shelf: Shelf,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        self._request = request
        self._prompt_id = graphs.prompt_id_of(request.job_id)
        self._stage = stage
        self._runner = stage.runner
        self._store = store
        self._shelf = shelf
        self._abandoned = abandoned
        self._stopped: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()
        self._sender = Sender(lambda body: queues.send(request.events, body), spilled=self._spill)
        self._outbox = Outbox(
            request.job_id,
            self._sender.add if request.events else lambda line: None,
            after=request.events_after,
        )
        self._graph: Graph | None = None
        self._history: asyncio.Task[Json | None] | None = None
        self._spilling: asyncio.Task[None] | None = None
        self._timings: dict[str, float] = {}

    def stop(self, reason: Stop) -> None:
        """Ask the job to end early; the first reason counts."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    async def run(self) -> JobResult:
        began = time.perf_counter()
        cancelled = asyncio.ensure_future(asyncio.to_thread(self._is_cancelled))
        attendants = [asyncio.ensure_future(work) for work in (self._watch(), self._beat())]
        try:
            verdict = await self._verdict(self._perform(cancelled))
        finally:
            for attendant in attendants:
                attendant.cancel()
        result = await self._report(verdict, began)
        if self._graph is not None:
            self._shelf.used(self._graph.paths)
        return result

    async def _verdict(self, work: Coroutine[Any, Any, Verdict]) -> Verdict:
        """The outcome of `work`, whatever it raises."""
        try:
            return await work
        except PromptRejected as exc:
            return Verdict(Outcome.INVALID, error=exc.error, node_errors=exc.node_errors)
        except Cancelled:
            return self._early_end()
        except ComfyAwsError as exc:
            log.warning("%s", exc)
            return Verdict(Outcome.FAILED, error=exc.to_dict())
        except Exception as exc:  # a bug here must not leave a job without a result
            log.exception("The worker failed.")
            message = f"The worker failed: {type(exc).__name__}: {exc}."
            return Verdict(Outcome.FAILED, error=ComfyAwsError(message).to_dict())

    def _early_end(self) -> Verdict:
        reason = self._stopped.result() if self._stopped.done() else Stop.CANCELLED
        if reason is Stop.CANCELLED:
            return Verdict(Outcome.INTERRUPTED)
        made = WorkerStopped if reason is Stop.SHUTDOWN else RunnerCrashed
        error = made(reason.value, hint="Run the prompt again.")
        return Verdict(Outcome.FAILED, error=error.to_dict())

    # -- the way to the graph --------------------------------------------------------------

    async def _perform(self, cancelled: asyncio.Future[bool]) -> Verdict:
        await self._runner.suit(self._request)
        self._timings |= await self._stage.make_true(
            self._request.manifest, told=self._tell, stopped=self._stopped
        )
        if await cancelled:
            self.stop(Stop.CANCELLED)
        if self._stopped.done():
            raise Cancelled("The job was stopped before it began.")
        began = time.perf_counter()
        try:
            verdict, stale = await self._run_graph()
            if stale:
                log.warning("A cached output is gone; running again.")
                await self._runner.forget()
                verdict, _ = await self._run_graph()
        except ComfyUIError as exc:
            if not isinstance(exc, PromptRejected) and await self._runner_died():
                raise self._runner.crash() from exc
            raise
        finally:
            self._timings["run"] = time.perf_counter() - began
        return verdict

    async def _run_graph(self) -> tuple[Verdict, bool]:
        request = self._request
        uploads = Uploads(request.job_id, self._stage.restorer.base, self._store)
        folder = await asyncio.to_thread(Folder, self._stage.restorer.base)
        graph = self._graph = Graph(request.job_id, self._outbox, uploads, folder)
        async with self._runner.heard_by(graph.hear):
            answer = await self._runner.client.submit(
                graphs.with_paths(request.prompt, self._paths()),
                prompt_id=self._prompt_id,
                extra_data=request.extra_data,
                outputs=request.outputs,
            )
            await self._until_ended(graph)
        if self._runner.running:
            self._history = asyncio.ensure_future(self._runner.client.history(self._prompt_id))
        if graph.outcome is None:  # it was taken from the queue, or killed
            return self._early_end(), False
        interrupted = graph.outcome is Outcome.INTERRUPTED
        ending = self._early_end() if interrupted else Verdict(graph.outcome, error=graph.error)
        node_errors = answer.get("node_errors") or {}
        if node_errors and ending.outcome is Outcome.SUCCESS:
            ending = Verdict(Outcome.INVALID, error=_partly_refused(node_errors))
        verdict = replace(
            ending,
            node_errors=node_errors,
            outputs=graph.outputs,
            messages=tuple(graph.messages),
        )
        return verdict, graph.stale and verdict.outcome is Outcome.SUCCESS

    def _paths(self) -> dict[str, str]:
        """Paths of the machine that the prompt comes from, and where they lead to here."""
        restorer = self._stage.restorer
        return {each.value: str(restorer.path_of(each)) for each in self._request.manifest.paths}

    async def _until_ended(self, graph: Graph) -> None:
        """Wait for the graph; raises RunnerCrashed when the runner dies under it."""
        while not graph.ended.done():
            await _first(graph.ended, self._runner.ended, self._runner.socket_closed, self._stopped)
            if graph.ended.done():
                return
            if self._runner.ended.done():
                raise self._runner.crash()
            if self._stopped.done():
                await self._interrupt(graph)
                return
            if await self._runner_died():
                raise self._runner.crash()
            await self._runner.reconnect()
            if await self._runner.client.history(self._prompt_id) is not None:
                raise RunnerCrashed(
                    "The connection to ComfyUI broke while the prompt ended.",
                    hint="Run the prompt again.",
                )

    async def _runner_died(self) -> bool:
        await asyncio.wait([self._runner.ended], timeout=DEATH_NOTICE)
        return self._runner.ended.done()

    async def _interrupt(self, graph: Graph) -> None:
        """Stop the prompt; kill the runner when a node does not give in."""
        shutdown = self._stopped.result() is Stop.SHUTDOWN
        limit = 0.0 if shutdown else INTERRUPT_LIMIT
        prompt_id, client = self._prompt_id, self._runner.client
        deadline = time.monotonic() + limit
        with suppress(ComfyUIError):  # it died meanwhile, which will do, too
            while True:
                await client.delete_queued(prompt_id)
                await client.interrupt(prompt_id)
                await _first(graph.ended, self._runner.ended, limit=INTERRUPT_AGAIN)
                if graph.ended.done() or not await self._is_queued():
                    await _first(graph.ended, limit=LAST_MESSAGES)
                    return
                if time.monotonic() >= deadline:
                    break
        log.warning("ComfyUI does not stop; it is killed.")
        await self._runner.kill()

    async def _is_queued(self) -> bool:
        queue = await self._runner.client.queue()
        items = [*queue.get("queue_running", ()), *queue.get("queue_pending", ())]
        return any(self._prompt_id in item[:2] for item in items)

    # -- the report ------------------------------------------------------------------------

    async def _report(self, verdict: Verdict, began: float) -> JobResult:
        verdict = await self._with_files(verdict)
        last = self._outbox.conclude(EventKind.RESULT, {"outcome": verdict.outcome.value})
        events = asyncio.ensure_future(self._put_events())
        verdict = await self._with_history(verdict)
        await events
        self._timings["total"] = self._request.lost_seconds + time.perf_counter() - began
        result = JobResult(
            job_id=self._request.job_id,
            outcome=verdict.outcome,
            outputs=verdict.outputs,
            meta=verdict.meta,
            messages=verdict.messages,
            error=verdict.error,
            node_errors=verdict.node_errors,
            files=verdict.files,
            last_seq=self._outbox.last_seq,
            timings={name: round(value, 4) for name, value in self._timings.items()},
            usage=self._request.usage,
        )
        await self._put(layout.result_key(self._request.job_id), to_json(result))
        if self._request.events:
            self._sender.add(last)
            await self._sender.drain()
        return result

    async def _with_files(self, verdict: Verdict) -> Verdict:
        began = time.perf_counter()
        try:
            await self._outbox.settle()
            files = await self._graph.files() if self._graph is not None else ()
        except ComfyAwsError as exc:
            if verdict.outcome is not Outcome.SUCCESS:
                return verdict
            log.warning("An output could not be uploaded: %s", exc)
            return replace(verdict, outcome=Outcome.FAILED, error=exc.to_dict())
        finally:
            self._timings["upload"] = time.perf_counter() - began
        return replace(verdict, files=files)

    async def _with_history(self, verdict: Verdict) -> Verdict:
        """ComfyUI's own record; what its messages told stands in when it cannot be had."""
        if self._history is None:
            return verdict
        try:
            entry = await self._history
        except ComfyUIError as exc:
            log.warning("%s", exc)
            return verdict
        if not entry:
            return verdict
        status = entry.get("status") or {}
        return replace(
            verdict,
            outputs=entry.get("outputs") or {},
            meta=entry.get("meta") or {},
            messages=tuple(
                (str(kind), graphs.as_job(told, self._request.job_id))
                for kind, told in status.get("messages") or ()
            ),
        )

    async def _put_events(self) -> None:
        if self._spilling is not None:
            await self._spilling
        key = layout.events_key(self._request.job_id)
        await self._put(key, "".join(f"{line}\n" for line in self._outbox.lines))

    async def _put(self, key: str, text: str) -> None:
        body = text.encode()
        try:
            await asyncio.to_thread(
                lambda: self._store.put(key, body, content_type="application/json")
            )
        except AwsError as exc:  # the answer to the invocation carries the result as well
            log.error("%s could not be written: %s", key, exc)  # noqa: TRY400 – the cause is in the message

    # -- on the side -----------------------------------------------------------------------

    def _spill(self) -> None:
        """An event was too large for the queue: write what there is, so that it can be read."""
        if self._spilling is None or self._spilling.done():
            self._spilling = asyncio.ensure_future(self._put_spilled())

    async def _put_spilled(self) -> None:
        key = layout.events_key(self._request.job_id)
        await self._put(key, "".join(f"{line}\n" for line in self._outbox.lines))

    def _tell(
        self, phase: str, message: str, done: int, total: int, *, seconds: float | None = None
    ) -> None:
        data: Json = {"phase": phase, "message": message, "done": done, "total": total}
        if seconds is not None:
            data["seconds"] = round(seconds, 3)
        self._outbox.progress(phase, EventKind.PHASE, data)

    async def _watch(self) -> None:
        while not self._stopped.done():
            await asyncio.sleep(CANCEL_LOOK)
            if self._abandoned():
                self.stop(Stop.ABANDONED)
            elif await asyncio.to_thread(self._is_cancelled):
                self.stop(Stop.CANCELLED)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._outbox.pulse()

    def _is_cancelled(self) -> bool:
        try:
            return self._store.head(layout.cancel_key(self._request.job_id)) is not None
        except AwsError as exc:
            log.warning("No look for a cancel: %s", exc)
            return False


def _partly_refused(node_errors: Json) -> Json:
    """ComfyUI runs what it can of a graph, and says of the rest no more than that it will not.

    Where the order came from, all of it was valid: what is missing here is missed there.
    """
    found = [
        f"{node['class_type']} {node_id}: {each['message']}: {each['details']}"
        for node_id, node in node_errors.items()
        for each in node["errors"]
    ]
    return {
        "type": "prompt_outputs_failed_validation",
        "message": "The worker could run a part of the prompt only",
        "details": "\n".join(found),
        "extra_info": {},
    }


async def _first(*futures: asyncio.Future[Any], limit: float | None = None) -> None:
    """Wait until one of them is done, at most `limit` seconds."""
    await asyncio.wait(futures, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
