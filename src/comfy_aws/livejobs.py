"""Jobs under way at AWS: what each has heard so far, and how its end is found.

What is believed of a job comes from three places, the stronger first: `result.json` in the bucket,
the failure object that SageMaker writes when it gives up, the events. Silence is never taken for
an answer: a job without events is looked up in the bucket.
"""

from __future__ import annotations

import base64
import binascii
import json
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsError, AwsNotFound, EndpointUnusable, WorkerStopped
from comfy_aws.events import PATIENCE, Sequence, stored_events
from comfy_aws.ledger import Ledger
from comfy_aws.models import (
    Event,
    EventKind,
    JobResult,
    JobState,
    Json,
    Outcome,
    from_json,
)
from comfy_aws.orders import STATE_OF, JobEnd, JobView, Listener, Order, advanced, in_phase
from comfy_aws.routing import Router

SILENCE: Final = 5.0
"""Seconds without an event after which the bucket is asked; a worker's heartbeat is as long."""

CANCEL_PATIENCE: Final = 30.0
"""Seconds that a running job is given to stop before it counts as cancelled all the same."""

EVENTS_OF_A_TRY: Final = 1_000_000
"""More than a job sends: what a lost machine has left is told by the numbers of its events."""

TIMEOUT_NOTICE: Final = 15.0
"""Seconds within which SageMaker's and our own clock agree that a job's time is up."""

_LOST_AGAIN: Final = (
    "Another machine was lost under it before. Look into the logs; where memory ran out, take a "
    "larger instance type."
)


@dataclass
class LiveJob:
    """The moving parts of one live job.

    `seconds` is how long it may run; `again` tells that its id was another job's before.
    """

    order: Order
    listener: Listener
    view: JobView
    inbox: queue.SimpleQueue[tuple[Event, ...]] = field(default_factory=queue.SimpleQueue)
    sequence: Sequence = field(default_factory=Sequence)
    seconds: int = 0
    again: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    cancelled_at: float = 0.0
    unreachable_since: float = 0.0
    preview: tuple[bytes, str] | None = None
    thread: threading.Thread | None = None


class Watcher:
    """Safe to share between threads; each job's thread calls `until_end` for its own.

    Args:
        forget: called when the bucket may lack what was believed to be there.
        closed: is set when nothing shall be watched any more.
        lost_after: seconds that AWS may be unreachable before a job counts as failed.
        silence: seconds without an event after which the bucket is asked.
    """

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        router: Router,
        forget: Callable[[], None],
        closed: threading.Event,
        *,
        lost_after: float,
        silence: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._router = router
        self._forget = forget
        self._closed = closed
        self._lost_after = lost_after
        self._silence = silence
        self._clock = clock

    def until_end(self, run: LiveJob) -> JobEnd | None:
        """Follow a job to its end; None when the service is closed before."""
        while not self._closed.is_set():
            ready, look = self._hear(run)
            if ready:
                run.unreachable_since = 0.0
            for event in ready:
                self._take(run, event)
            end = (self._look(run) if look else None) or self._cancel_end(run)
            if end is not None:
                return end
        return None

    def _hear(self, run: LiveJob) -> tuple[list[Event], bool]:
        """The events whose turn it is, and whether to look for the job's end in the bucket."""
        silent = False
        batch: tuple[Event, ...] = ()
        try:
            batch = run.inbox.get(
                timeout=min(PATIENCE, self._silence) if run.sequence.has_gap else self._silence
            )
        except queue.Empty:
            silent = True
        now = self._clock()
        ready = run.sequence.add(batch, now) or run.sequence.overdue(now)
        concluded = any(event.kind is EventKind.RESULT for event in batch)
        return ready, concluded or (silent and not ready)

    def _take(self, run: LiveJob, event: Event) -> None:
        starts = run.view.job.state is JobState.SUBMITTED
        now = self._clock()
        if starts:
            facts = in_phase(run.view, None, now).with_facts(started=now).job.facts
            job = self._ledger.move(run.order.job_id, JobState.RUNNING, at=now, facts=facts)
            run.view = replace(run.view, job=job, phase=None, since=now)
        shown = event.kind not in {EventKind.HEARTBEAT, EventKind.RESULT}
        if shown:
            if event.kind is EventKind.PREVIEW:
                run.preview = _picture(event.data) or run.preview
            run.view = advanced(run.view, event, run.order.prompt, now)
            run.listener.event(event)
        if starts or shown:
            run.listener.changed(run.view)

    def _conclude(self, run: LiveJob, result: JobResult) -> JobEnd:
        """Hand out what is left of the events, lost ones too, then end."""
        events: tuple[Event, ...] = ()
        if run.sequence.last + 1 < result.last_seq:
            events = stored_events(self._store, run.order.job_id)
        for event in run.sequence.rest(events):
            self._take(run, event)
        state = STATE_OF[result.outcome]
        if result.outcome is Outcome.FAILED:
            if run.cancelled.is_set():
                state = JobState.CANCELLED
            self._forget()  # the bucket may lack what we believed it has
        error = result.error if state is JobState.FAILED else {}
        return JobEnd(state, result, error, lost=_was_stopped(error))

    def _result(self, job_id: str) -> JobResult | None:
        key = layout.result_key(job_id)
        try:
            return from_json(JobResult, self._store.get(key), where=key)
        except AwsNotFound:
            return None

    def _look(self, run: LiveJob) -> JobEnd | None:
        """Ask the bucket what became of a job; None when it is still under way."""
        job_id = run.order.job_id
        now = self._clock()
        try:
            result = self._result(job_id)
            if result is not None and not _is_of_a_lost_machine(run, result):
                return self._conclude(run, result)
            failure = self._failure(job_id)
            if failure:
                lost_again = run.view.job.facts.tries > 1
                hint = _LOST_AGAIN if lost_again else "Look into the logs."
                error = {"code": "worker", "message": failure, "hint": hint}
                return JobEnd(JobState.FAILED, error=error, lost=self._was_cut_short(run))
            self._router.check(run.view.job.endpoint)
        except EndpointUnusable as exc:
            return JobEnd(JobState.FAILED, error=exc.to_dict())
        except AwsError as exc:
            run.unreachable_since = run.unreachable_since or now
            if now - run.unreachable_since < self._lost_after:
                return None
            error = {
                **exc.to_dict(),
                "message": f"The connection to the job is lost. {exc.message}",
            }
            return JobEnd(JobState.FAILED, error=error)
        run.unreachable_since = 0.0
        return None

    def _was_cut_short(self, run: LiveJob) -> bool:
        """Whether SageMaker gave up before the job's time was up: a worker that lives says why."""
        job = run.view.job
        return self._clock() - (job.facts.started or job.updated) < run.seconds - TIMEOUT_NOTICE

    def _failure(self, job_id: str) -> str:
        """What SageMaker wrote when it gave up on the job; empty when it did not."""
        location = self._ledger.failure_location(job_id)
        prefix = f"s3://{self._store.bucket}/"
        if not location.startswith(prefix):
            return ""
        try:
            text = self._store.get(location[len(prefix) :]).decode(errors="replace").strip()
        except AwsNotFound:
            return ""
        with suppress(ValueError, KeyError, TypeError):
            text = str(json.loads(text)["message"])
        return f"SageMaker gave up on the job: {text or 'no reason given'}"

    def _cancel_end(self, run: LiveJob) -> JobEnd | None:
        """The end of a cancelled job that does not answer.

        A request that waits in SageMaker's queue cannot be taken back; the worker drops it when
        its turn comes, so for the user it is over now.
        """
        if not run.cancelled.is_set():
            return None
        waits = run.view.job.state is JobState.SUBMITTED
        if waits or self._clock() - run.cancelled_at > CANCEL_PATIENCE:
            return JobEnd(JobState.CANCELLED)
        return None


def _was_stopped(error: Json) -> bool:
    return bool(error.get("code") == WorkerStopped.code)


def _is_of_a_lost_machine(run: LiveJob, result: JobResult) -> bool:
    """Whether it is what a worker that was stopped has left of an earlier try of the job."""
    earlier = (run.view.job.facts.tries - 1) * EVENTS_OF_A_TRY
    return _was_stopped(result.error) and result.last_seq < earlier


def _picture(preview: Json) -> tuple[bytes, str] | None:
    """The bytes of a preview and their media type; None when they cannot be read."""
    kind = "image/png" if preview.get("format") == "PNG" else "image/jpeg"
    try:
        return base64.b64decode(preview["image"], validate=True), kind
    except (KeyError, TypeError, binascii.Error):
        return None
