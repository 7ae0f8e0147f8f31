"""What is ordered, how it is seen on its way, and how it ends: the words around a job."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from comfy_aws import joblog
from comfy_aws.errors import Cancelled, ComfyAwsError
from comfy_aws.models import (
    Event,
    EventKind,
    Job,
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
    """A job as the panel shows it."""

    job: Job
    phase: Json | None = None
    progress: Json | None = None
    nodes_done: int = 0
    nodes_total: int = 0

    def to_dict(self) -> Json:
        live = {"phase": self.phase, "progress": self.progress,
                "nodes_done": self.nodes_done, "nodes_total": self.nodes_total}  # fmt: skip
        return {**to_dict(self.job), **live}


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: with the worker's result, or with an error of this side."""

    state: JobState
    result: JobResult | None = None
    error: Json = field(default_factory=dict)


class Listener(Protocol):
    """Who wants to hear of a job; one call at a time a job, from threads of the service."""

    def changed(self, view: JobView) -> None:
        """Something that the panel shows has changed."""

    def event(self, event: Event) -> None:
        """One event of the worker, in order."""

    def ended(self, end: JobEnd) -> None:
        """The job is over; comes exactly once, and last but for one `changed`."""

    def released(self) -> None:
        """The service is closed and the job goes on at AWS; comes last, in place of `ended`."""


def advanced(view: JobView, event: Event) -> JobView:
    """The view after an event. Pure."""
    if event.kind is EventKind.PHASE:
        return replace(view, phase=event.data)
    if event.kind is not EventKind.COMFY:
        return view
    kind, payload = event.data.get("type"), event.data.get("data") or {}
    if kind == "execution_start":
        return replace(view, phase=None)
    if kind == "execution_cached":
        return replace(view, nodes_done=len(payload.get("nodes", ())))
    if kind == "progress_state":
        return _with_progress(view, payload.get("nodes", {}))
    return view


def _with_progress(view: JobView, nodes: Json) -> JobView:
    running = [node for node in nodes.values() if node.get("state") == "running"]
    finished = sum(node.get("state") == "finished" for node in nodes.values())
    progress = None
    if running:
        node = running[0]
        progress = {
            "node": node.get("display_node_id") or node.get("node_id"),
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


def message_of(end: JobEnd) -> str:
    """What the ledger keeps of a failure; empty for other ends."""
    if end.state is not JobState.FAILED:
        return ""
    error = end.error
    return str(error.get("message") or error.get("exception_message") or "The job failed.").strip()
