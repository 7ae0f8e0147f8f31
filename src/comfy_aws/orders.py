"""What is ordered, how it is seen on its way, and how it ends: the words around a job."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from comfy_aws import joblog, prices
from comfy_aws import prompt as graphs
from comfy_aws.errors import Cancelled, ComfyAwsError
from comfy_aws.models import (
    Event,
    EventKind,
    Job,
    JobError,
    JobFacts,
    JobResult,
    JobState,
    Json,
    Manifest,
    Outcome,
    to_dict,
)

log = joblog.logger(__name__)

STATE_OF: Final = {
    Outcome.SUCCESS: JobState.SUCCEEDED,
    Outcome.ERROR: JobState.FAILED,
    Outcome.INVALID: JobState.FAILED,
    Outcome.FAILED: JobState.FAILED,
    Outcome.INTERRUPTED: JobState.CANCELLED,
}
"""How a job has ended by the worker's word."""

PROGRAM: Final = "program"
"""The client id of jobs that programs order: they are shown on no canvas."""

RUN: Final = "run"
"""The phase in which the graph runs; the names of the others come from those who tell of them."""

WORKER_PHASES: Final = {
    "environment": "environment", "restore": "restore", "start": "start", RUN: "run",
    "outputs": "upload",
}  # fmt: skip
"""The worker's phases in their order, with their names in `JobResult.timings`."""

OVER: Final[Json] = {"phase": ""}
"""The phase after the last one."""

# PyTorch's exception, and what ComfyUI and its node packs make of it.
_GPU_MEMORY: Final = re.compile(r"OutOfMemory|out of memory|Allocation on device", re.IGNORECASE)
_KILLED: Final = re.compile(r"killed by the system|\bMemoryError|DefaultCPUAllocator")


@dataclass(frozen=True)
class Order:
    """One execution to be forwarded. `outputs` empty means every output node.

    `manifest` is what it stands on, already in the bucket; without one it is captured here.
    """

    job_id: str
    prompt: Json
    outputs: tuple[str, ...] = ()
    extra_data: Json = field(default_factory=dict)
    template: str = ""
    endpoint: str = ""
    client_id: str = ""
    manifest: Manifest | None = None
    user: str = ""


@dataclass(frozen=True)
class JobView:
    """A job as the panel shows it.

    `since` is when its present phase began, the run of the graph included; 0 when that is not
    known. `previews` counts the pictures that came while it ran. `price` is that of its instance,
    in USD an hour, None when it is not known.
    """

    job: Job
    phase: Json | None = None
    progress: Json | None = None
    nodes_done: int = 0
    nodes_total: int = 0
    since: float = 0.0
    previews: int = 0
    price: float | None = None

    @property
    def cost(self) -> float | None:
        """USD that the ended job has cost; None when it has not ended, or it is not known."""
        seconds = self.job.facts.seconds
        return None if self.price is None or not seconds else self.price * seconds / 3600

    def to_dict(self) -> Json:
        live = {"phase": self.phase, "progress": self.progress,
                "nodes_done": self.nodes_done, "nodes_total": self.nodes_total,
                "since": self.since, "previews": self.previews,
                "price": self.price, "cost": self.cost}  # fmt: skip
        return {**to_dict(self.job), **live}

    def with_facts(self, **changes: object) -> JobView:
        """The view with other facts of its job."""
        facts = replace(self.job.facts, **changes)  # type: ignore[arg-type]
        return replace(self, job=replace(self.job, facts=facts))


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: with the worker's result, or with an error of this side.

    `lost` tells that its machine was taken away or died under it, before its time was up.
    """

    state: JobState
    result: JobResult | None = None
    error: Json = field(default_factory=dict)
    lost: bool = False


class Listener(Protocol):
    """Who wants to hear of a job; one call at a time a job, from threads of the service."""

    def changed(self, view: JobView) -> None:
        """Something that the panel shows has changed."""

    def event(self, event: Event) -> None:
        """One event of the worker, in order."""

    def arriving(self, end: JobEnd) -> JobEnd:
        """The worker has ended: bring home what shall be here, and return how the job ends then.

        Comes at most once, before anybody is told of the end.
        """

    def ended(self, end: JobEnd) -> None:
        """The job is over; comes exactly once, and last but for one `changed`."""

    def released(self) -> None:
        """The service is closed and the job goes on at AWS; comes last, in place of `ended`."""


def advanced(view: JobView, event: Event, prompt: Json, now: float) -> JobView:
    """The view after an event of a job of this prompt. Pure."""
    if event.kind is EventKind.PHASE:
        return view if event.data.get("phase") == "warning" else in_phase(view, event.data, now)
    if event.kind is EventKind.PREVIEW:
        return replace(view, previews=view.previews + 1)
    return _told(view, event, prompt, now) if event.kind is EventKind.COMFY else view


def _told(view: JobView, event: Event, prompt: Json, now: float) -> JobView:
    """The view after one of ComfyUI's own messages."""
    kind, payload = event.data.get("type"), event.data.get("data") or {}
    if kind == "execution_start":
        return in_phase(view, None, now)
    if kind == "execution_cached":
        return replace(view, nodes_done=len(payload.get("nodes", ())))
    if kind == "progress_state":
        return _with_progress(view, payload.get("nodes", {}), prompt)
    return view


def in_phase(view: JobView, phase: Json | None, now: float) -> JobView:
    """The view in a phase, with the time that the one before has taken; None: the graph runs."""
    before = _name(view.phase)
    if view.since and before == _name(phase):
        return replace(view, phase=phase)
    if view.since:
        timings = dict(view.job.facts.timings)
        timings[before] = timings.get(before, 0.0) + max(0.0, now - view.since)
        view = view.with_facts(timings=timings)
    return replace(view, phase=phase, since=now)


def _name(phase: Json | None) -> str:
    return RUN if phase is None else str(phase.get("phase"))


def _with_progress(view: JobView, nodes: Json, prompt: Json) -> JobView:
    running = [node for node in nodes.values() if node.get("state") == "running"]
    finished = sum(node.get("state") == "finished" for node in nodes.values())
    progress = None
    if running:
        node = running[0]
        shown = str(node.get("display_node_id") or node.get("node_id"))
        progress = {
            "node": shown, "title": graphs.title_of(prompt, shown),
            "value": node.get("value"), "max": node.get("max"),
        }  # fmt: skip
    return replace(view, progress=progress, nodes_done=max(finished, view.nodes_done))


def end_by(exc: Exception, job_id: str) -> JobEnd:
    """The end of a job that failed on this side."""
    if isinstance(exc, Cancelled):
        return JobEnd(JobState.CANCELLED)
    if isinstance(exc, ComfyAwsError):
        return JobEnd(JobState.FAILED, error=exc.to_dict())
    log.error("Job %s failed on this side", job_id, exc_info=exc)
    text = f"Forwarding the job failed: {type(exc).__name__}: {exc}"
    return JobEnd(JobState.FAILED, error={"code": "internal", "message": text, "hint": ""})


def facts_at(end: JobEnd, facts: JobFacts, prompt: Json) -> JobFacts:
    """What is kept of a job that ended so: the worker's own times, and why it failed. Pure."""
    taken = end.result.timings if end.result else {}
    before = {name: took for name, took in facts.timings.items() if name not in WORKER_PHASES}
    after = {
        name: taken.get(key, facts.timings.get(name, 0.0)) for name, key in WORKER_PHASES.items()
    }
    error = _error_of(end, facts.instance_type, prompt) if end.state is JobState.FAILED else None
    return replace(
        facts,
        seconds=taken.get("total", 0.0),
        timings={**before, **{name: took for name, took in after.items() if took}},
        error=error,
    )


def _error_of(end: JobEnd, instance_type: str, prompt: Json) -> JobError:
    error = end.error
    node_errors = error.get("node_errors") or (end.result.node_errors if end.result else {})
    node = str(error.get("node_id") or next(iter(node_errors), None) or "")
    text = " ".join(str(error.get(key) or "") for key in ("exception_type", "exception_message",
                                                          "message"))  # fmt: skip
    kind, larger, memory = "node" if error.get("exception_type") else "job", None, 0
    if _KILLED.search(text):
        kind, larger = "memory", prices.roomier(instance_type)
        memory = larger.memory if larger else 0
    elif _GPU_MEMORY.search(text):
        kind, larger = "gpu_memory", prices.larger(instance_type)
        memory = larger.gpu_memory // larger.gpus if larger else 0
    return JobError(
        kind=kind,
        node_id=node,
        node_title=graphs.title_of(prompt, node) if node else "",
        hint=str(error.get("hint") or ""),
        larger=larger.name if larger else "",
        larger_memory=memory,
    )


def message_of(end: JobEnd) -> str:
    """What the ledger keeps of a failure; empty for other ends."""
    if end.state is not JobState.FAILED:
        return ""
    error = end.error
    return str(error.get("message") or error.get("exception_message") or "The job failed.").strip()
