"""The job service: takes an order to its end, whatever happens on the way.

Each job has a thread that prepares it (capture, upload), hands it to SageMaker, and then watches
it to its end; see `livejobs`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from comfy_aws import joblog, layout
from comfy_aws import prompt as graphs
from comfy_aws.aws import INLINE_BODY, Accepted, ObjectStore, SageMaker
from comfy_aws.costs import Limits
from comfy_aws.errors import (
    AwsError,
    AwsNotFound,
    AwsUnreachable,
    Cancelled,
    ComfyAwsError,
    Conflict,
    InvalidDocument,
    NotFound,
)
from comfy_aws.events import Mailbox, NoMailbox
from comfy_aws.ledger import Ledger
from comfy_aws.livejobs import EVENTS_OF_A_TRY, SILENCE, LiveJob, Watcher
from comfy_aws.models import (
    Event,
    Job,
    JobRequest,
    JobState,
    Json,
    Manifest,
    Progress,
    SavedFile,
    Usage,
    from_json,
    to_json,
)
from comfy_aws.orders import (
    OVER,
    JobEnd,
    JobView,
    Listener,
    Order,
    end_by,
    facts_at,
    in_phase,
    message_of,
)
from comfy_aws.publish import Uploader
from comfy_aws.routing import Router

log = joblog.logger(__name__)

CLOSING: Final = 5.0
"""Seconds that live jobs get to let go when the service is closed."""

RESUME_EVERY: Final = 30.0
"""Seconds between two tries to take up a job while AWS cannot be asked for it."""

TRIES: Final = 2
"""Machines that a job is given to, one after the other, when they are lost under it."""

_QUEUED: Final = {"phase": "queued", "message": "Waiting for a machine", "done": 0, "total": 0}
_REQUEUED: Final = {
    **_QUEUED, "phase": "requeued", "message": "The machine was lost; waiting for another",
}  # fmt: skip


class Jobs:
    """Safe to share between threads.

    Args:
        lost_after: seconds that AWS may be unreachable before a job counts as failed.
        resume_every: seconds between two tries to take up a job of an earlier process.
        silence: seconds without an event after which the bucket is asked.
        disable_metadata: for each job, as `JobRequest` has it.
    """

    def __init__(
        self,
        store: ObjectStore,
        sagemaker: SageMaker,
        uploader: Uploader,
        router: Router,
        ledger: Ledger,
        mailbox: Callable[[Callable[[tuple[Event, ...]], None]], Mailbox | NoMailbox],
        *,
        limits: Limits,
        lost_after: float = 120.0,
        resume_every: float = RESUME_EVERY,
        silence: float = SILENCE,
        disable_metadata: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sagemaker = sagemaker
        self._uploader = uploader
        self._router = router
        self._ledger = ledger
        self._mailbox = mailbox(self._deliver)
        self._limits = limits
        self._disable_metadata = disable_metadata
        self._clock = clock
        self._resume_every = resume_every
        self._runs: dict[str, LiveJob] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watcher = Watcher(
            store, ledger, router, uploader.forget, self._closed,
            lost_after=lost_after, silence=silence, clock=clock,
        )  # fmt: skip
        # Storing the request runs beside invoking with it: neither waits for the other.
        self._pool = ThreadPoolExecutor(8, "aws-request")

    # -- what callers do -----------------------------------------------------------------------

    def start(self, order: Order, listener: Listener) -> Job:
        """Take an order; its end comes through the listener.

        Raises:
            Conflict: a job of this id is under way.
            InvalidName: the id cannot be a job's.
        """
        layout.check_job_id(order.job_id)
        now = self._clock()
        job = Job(order.job_id, order.endpoint, JobState.PREPARING, now, now, order.template,
                  order.client_id)  # fmt: skip
        total = len(graphs.needed(order.prompt, order.outputs))
        run = LiveJob(order, listener, JobView(job, nodes_total=total))
        self._enter(run)
        try:
            run.again = self._ledger.has(job.id)
            self._ledger.add(job)
        except BaseException:
            self._leave(run)
            raise
        self._launch(run, self._forward)
        return job

    def resume(self, make_listener: Callable[[Job, JobRequest], Listener]) -> None:
        """Take up the jobs that were under way when this process ended the last time.

        Those for which AWS cannot be asked now are tried again until the service is closed.
        """
        left = self._take_up(self._ledger.live(), make_listener)
        if not left:
            return

        def again() -> None:
            waiting = left
            while waiting and not self._closed.wait(self._resume_every):
                waiting = self._take_up(waiting, make_listener)

        threading.Thread(target=again, name="aws-resume-again", daemon=True).start()

    def _take_up(
        self, jobs: Iterable[Job], make_listener: Callable[[Job, JobRequest], Listener]
    ) -> list[Job]:
        """Take up each job; those are returned for which AWS cannot be asked."""
        left = []
        for job in jobs:
            if self._closed.is_set():
                break
            if self.is_live(job.id):
                continue
            if job.state is JobState.PREPARING:
                self._ledger.move(job.id, JobState.FAILED, at=self._clock(),
                                  message="ComfyUI stopped before the job was sent.")  # fmt: skip
                continue
            try:
                request = from_json(JobRequest, self._store.get(layout.request_key(job.id)))
                self._mailbox.url()
            except (AwsNotFound, InvalidDocument) as exc:
                self._ledger.move(job.id, JobState.FAILED, at=self._clock(), message=exc.message)
                continue
            except AwsError as exc:
                log.warning("Job %s is taken up later: %s", job.id, exc)
                left.append(job)
                continue
            order = Order(job.id, request.prompt, request.outputs, request.extra_data,
                          job.template, job.endpoint, job.client_id)  # fmt: skip
            total = len(graphs.needed(request.prompt, request.outputs))
            view = JobView(job, nodes_total=total, price=self._limits.hour(request.usage))
            run = LiveJob(order, make_listener(job, request), view, seconds=request.seconds)
            self._enter(run)
            self._launch(run, self._follow)
        return left

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; it ends soon after. An ended job stays as it is. Raises NotFound."""
        job = self._ledger.get(job_id)
        with self._lock:
            run = self._runs.get(job_id)
        if job.state.ended:
            return job
        if run is None:  # of an earlier process, and not taken up yet
            self._pool.submit(self._write_cancel, job_id)
            return job
        if not run.cancelled.is_set():
            run.cancelled_at = self._clock()
            run.cancelled.set()
            # Read after the flag is set, and set before it is read in `_submit`: one of the two
            # sees that a job already sent has to be called back.
            if self._ledger.get(job_id).state is not JobState.PREPARING:
                self._pool.submit(self._write_cancel, job_id)
            run.inbox.put(())
        return job

    def live(self) -> list[Job]:
        """The jobs that are under way in this process."""
        with self._lock:
            return [run.view.job for run in self._runs.values()]

    def is_live(self, job_id: str) -> bool:
        with self._lock:
            return job_id in self._runs

    def views(self, limit: int = 200, *, before: float = float("inf")) -> list[JobView]:
        """The latest jobs, or the latest of those created before a moment; newest first."""
        with self._lock:
            live = {job_id: run.view for job_id, run in self._runs.items()}
        jobs = self._ledger.latest(limit, before=before)
        hours = {kind: self._limits.hour(Usage(instance_type=kind))
                 for kind in {job.facts.instance_type for job in jobs}}  # fmt: skip
        return [
            live.get(job.id) or JobView(job, price=hours[job.facts.instance_type]) for job in jobs
        ]

    def view(self, job_id: str) -> JobView:
        """Raises NotFound."""
        with self._lock:
            run = self._runs.get(job_id)
        return run.view if run else self._ended_view(self._ledger.get(job_id))

    def _ended_view(self, job: Job) -> JobView:
        return JobView(job, price=self._limits.hour(Usage(instance_type=job.facts.instance_type)))

    def request(self, job_id: str) -> JobRequest:
        """What a job was sent with. Raises NotFound."""
        self._ledger.get(job_id)
        key = layout.request_key(job_id)
        try:
            return from_json(JobRequest, self._store.get(key), where=key)
        except AwsNotFound as exc:
            raise NotFound(
                f"The bucket has no request of the job {job_id}.",
                hint="It was never sent, or it is so old that it was deleted.",
            ) from exc

    def preview(self, job_id: str) -> tuple[bytes, str] | None:
        """The last preview of a live job and its media type; None when there is none."""
        with self._lock:
            run = self._runs.get(job_id)
        return run.preview if run else None

    def keep_files(self, job_id: str, files: tuple[SavedFile, ...]) -> None:
        """Its listener has put a job's files here. Only from the listener's own calls."""
        with self._lock:
            run = self._runs[job_id]
        run.view = run.view.with_facts(files=files)
        self._ledger.note(job_id, run.view.job.facts)

    def close(self) -> None:
        """Stop listening; live jobs go on at AWS and are taken up at the next start."""
        self._closed.set()
        self._mailbox.close()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.inbox.put(())
        until = time.monotonic() + CLOSING
        for run in runs:
            if run.thread is not None and run.thread is not threading.current_thread():
                run.thread.join(max(0.0, until - time.monotonic()))
        self._pool.shutdown(wait=False)

    # -- a job's thread ------------------------------------------------------------------------

    def _enter(self, run: LiveJob) -> None:
        with self._lock:
            if run.order.job_id in self._runs:
                raise Conflict(
                    f"A job {run.order.job_id} is under way already.",
                    hint="Send another prompt_id, or none.",
                )
            self._runs[run.order.job_id] = run

    def _leave(self, run: LiveJob) -> None:
        with self._lock:
            self._runs.pop(run.order.job_id, None)

    def _launch(self, run: LiveJob, work: Callable[[LiveJob], JobEnd | None]) -> None:
        name = f"aws-job-{run.order.job_id}"
        run.thread = threading.Thread(target=self._live, args=(run, work), name=name, daemon=True)
        run.thread.start()

    def _live(self, run: LiveJob, work: Callable[[LiveJob], JobEnd | None]) -> None:
        end: JobEnd | None
        joblog.JOB.set(run.order.job_id)
        try:
            end = work(run)
        except Exception as exc:  # noqa: BLE001 – a job must end, also by a mistake of ours
            end = None if self._closed.is_set() else end_by(exc, run.order.job_id)
        if end is None:
            self._release(run)
        else:
            self._finish(run, end)

    def _release(self, run: LiveJob) -> None:
        self._leave(run)
        run.listener.released()

    def _finish(self, run: LiveJob, end: JobEnd) -> None:
        if end.result is not None:
            try:
                end = run.listener.arriving(end)
            except Exception as exc:  # noqa: BLE001 – as in `_live`
                end = replace(end_by(exc, run.order.job_id), result=end.result)
            if self._closed.is_set():  # the next start takes it up, and brings what is missing
                self._release(run)
                return
        now = self._clock()
        run.view = in_phase(run.view, OVER, now)
        facts = facts_at(end, run.view.job.facts, run.order.prompt)
        message = message_of(end)
        job_id, job = run.order.job_id, run.view.job
        try:
            job = self._ledger.move(job_id, end.state, at=now, message=message, facts=facts)
        except Exception:  # a full disk, say: whoever waits must hear of the end all the same
            log.exception("The end of job %s cannot be recorded.", job_id)
            job = replace(job, state=end.state, updated=now, message=message, facts=facts)
        run.view = replace(run.view, job=job, phase=None, since=0.0)
        log.info("Job %s %s. %s", job.id, end.state.value, message)
        try:
            run.listener.ended(end)
        finally:
            self._leave(run)
            run.listener.changed(run.view)

    def _stops(self, run: LiveJob) -> bool:
        return run.cancelled.is_set() or self._closed.is_set()

    def _forward(self, run: LiveJob) -> JobEnd | None:
        order = run.order
        run.listener.changed(run.view)
        graph = graphs.needed(order.prompt, order.outputs)
        manifest = order.manifest or self._captured(run, graph)
        endpoint = order.endpoint or self._router.endpoint(order.template)
        graph = graphs.with_posix_names(graph, (part.name for part in manifest.parts()))
        usage = replace(self._router.usage(endpoint, order.template), user=order.user)
        now = self._clock()
        request = JobRequest(
            job_id=order.job_id,
            prompt=graphs.with_lists_wrapped(graph),
            outputs=order.outputs,
            manifest=manifest,
            extra_data=graphs.public_extra_data(order.extra_data),
            events=self._mailbox.url(),
            created=now,
            usage=usage,
            seconds=self._limits.allow(usage),
            utc_offset=time.localtime(now).tm_gmtoff,
            disable_metadata=self._disable_metadata,
        )
        if self._stops(run):
            raise Cancelled(f"Job {order.job_id} was cancelled.")
        if run.again:  # what is said of the job of this id before would be taken for this one's
            kept = self._store.list(layout.job_prefix(order.job_id))
            self._store.delete(*[each.key for each in kept])
        self._submit(run, request)
        return self._follow(run)

    def _follow(self, run: LiveJob) -> JobEnd | None:
        """Watch a job to its end, on another machine when the first one is lost."""
        while True:
            end = self._watcher.until_end(run)
            if end is None or not end.lost or not self._tries_again(run):
                return end

    def _tries_again(self, run: LiveJob) -> bool:
        """Send a job whose machine was lost once more; False when it has to end here."""
        job = run.view.job
        if job.facts.tries >= TRIES or self._stops(run):
            return False
        after = job.facts.tries * EVENTS_OF_A_TRY
        try:
            request = self.request(job.id)
            began = job.facts.started
            ran = self._clock() - began if began else 0.0
            seconds = self._limits.allow(request.usage, ran=ran)
            request = replace(
                request, events=self._mailbox.url(), events_after=after, seconds=seconds,
                lost_seconds=ran,
            )  # fmt: skip
            run.sequence.skip(after)
            view = run.view.with_facts(tries=job.facts.tries + 1, started=0.0)
            run.view = replace(view, progress=None, nodes_done=0)
            self._submit(run, request)
        except ComfyAwsError as exc:
            log.warning("Job %s cannot be sent once more: %s", job.id, exc)
            return False
        log.warning("Job %s was sent once more: its machine was lost.", job.id)
        return True

    def _captured(self, run: LiveJob, graph: Json) -> Manifest:
        """What the graph stands on, sent where the bucket lacks it."""
        capture = self._uploader.capture(
            graph, base=self._router.manifest(run.order.template),
            progress=lambda step: self._phase(run, step), cancelled=lambda: self._stops(run),
        )  # fmt: skip
        self._uploader.send(
            capture,
            progress=lambda step: self._phase(run, step),
            cancelled=lambda: self._stops(run),
        )
        return capture.manifest

    def _submit(self, run: LiveJob, request: JobRequest) -> None:
        job_id, endpoint = request.job_id, request.usage.endpoint
        run.seconds = seconds = request.seconds
        body = to_json(request).encode()
        key = layout.request_key(job_id)
        stored = self._pool.submit(self._store.put, key, body, content_type="application/json")
        if len(body) > INLINE_BODY:
            stored.result()
            body = b""
        try:
            accepted = self._sagemaker.invoke_async(
                endpoint, job_id, body=body, input_location=self._store.url(key), timeout=seconds
            )
        except AwsUnreachable:
            raise
        except AwsError:
            self._router.forget(endpoint)
            self._router.check(endpoint)  # says in our words what is wrong with the endpoint
            raise
        try:
            stored.result()
            self._sent(run, request, accepted)
        except BaseException:
            self._write_cancel(job_id)  # it runs there, and ends here
            raise

    def _sent(self, run: LiveJob, request: JobRequest, accepted: Accepted) -> None:
        job_id, endpoint = request.job_id, request.usage.endpoint
        log.info("Job %s was sent to the endpoint %s.", job_id, endpoint)
        self._ledger.set_failure_location(job_id, accepted.failure)
        waiting = _QUEUED if run.view.job.facts.tries == 1 else _REQUEUED
        now, usage = self._clock(), request.usage
        run.view = in_phase(run.view, waiting, now).with_facts(instance_type=usage.instance_type)
        job = self._ledger.move(
            job_id, JobState.SUBMITTED, at=now, endpoint=endpoint, facts=run.view.job.facts
        )
        run.view = replace(run.view, job=job, price=self._limits.hour(usage))
        if run.cancelled.is_set():
            self._write_cancel(job_id)
        run.listener.changed(run.view)

    def _write_cancel(self, job_id: str) -> None:
        try:
            self._store.put(layout.cancel_key(job_id), b"")
        except AwsError as exc:
            log.warning("Job %s cannot be cancelled at AWS: %s", job_id, exc)

    def _phase(self, run: LiveJob, step: Progress) -> None:
        phase = {"phase": step.phase, "message": step.item, "done": step.done, "total": step.total}
        run.view = in_phase(run.view, phase, self._clock())
        run.listener.changed(run.view)

    def _deliver(self, events: tuple[Event, ...]) -> None:
        by_job: dict[str, list[Event]] = {}
        for event in events:
            by_job.setdefault(event.job_id, []).append(event)
        for job_id, batch in by_job.items():
            with self._lock:
                run = self._runs.get(job_id)
            if run is not None:
                run.inbox.put(tuple(batch))
