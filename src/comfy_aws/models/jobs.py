"""Jobs: states and facts, what a worker is told, what it tells, and the progress of long work."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from comfy_aws.errors import InvalidTransition
from comfy_aws.models.content import Manifest
from comfy_aws.models.documents import Json


class JobState(str, Enum):
    """The life of one forwarded execution.

    PREPARING → SUBMITTED → RUNNING → one of the ends. A job can end from any live state: a
    preflight failure ends PREPARING, a lost endpoint ends SUBMITTED. One whose machine is lost
    is SUBMITTED again, also when nothing was heard of it.
    """

    PREPARING = "preparing"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in _ENDS

    def to(self, target: JobState) -> JobState:
        """Return `target` when the step is legal.

        Raises:
            InvalidTransition: the step is not in the table.
        """
        if target not in _STEPS[self]:
            raise InvalidTransition(f"A job cannot go from {self.value} to {target.value}.")
        return target


_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
_STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.PREPARING: frozenset({JobState.SUBMITTED, JobState.FAILED, JobState.CANCELLED}),
    # A result can be seen before any event: events may be lost, results not.
    JobState.SUBMITTED: frozenset({JobState.SUBMITTED, JobState.RUNNING}) | _ENDS,
    JobState.RUNNING: frozenset({JobState.SUBMITTED}) | _ENDS,
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


@dataclass(frozen=True)
class SavedFile:
    """An output file by its place in this machine's ComfyUI folders."""

    node_id: str
    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True)
class JobError:
    """Why a job failed, beside its message.

    `kind` is "gpu_memory" or "memory" when that ran out, "node" for another exception of a node,
    else "job". `larger` names an instance type that has more of it, `larger_memory` how much, GiB.
    """

    kind: str
    node_id: str = ""
    node_title: str = ""
    hint: str = ""
    larger: str = ""
    larger_memory: int = 0


@dataclass(frozen=True)
class JobFacts:
    """What is kept of a job beside its state.

    `started` is when its worker took it, `seconds` how long workers were busy with it, those that
    were lost included. `timings` maps a phase's name to its seconds, in the order of the phases.
    `tries` counts the machines that it was given to: more than one when they were lost under it.
    """

    instance_type: str = ""
    started: float = 0.0
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    files: tuple[SavedFile, ...] = ()
    error: JobError | None = None
    tries: int = 1


@dataclass(frozen=True)
class Job:
    """One forwarded execution as the ledger keeps it."""

    id: str
    endpoint: str
    state: JobState
    created: float
    updated: float
    template: str = ""
    client_id: str = ""
    message: str = ""
    facts: JobFacts = field(default_factory=JobFacts)


@dataclass(frozen=True)
class Usage:
    """Who uses what: a job's endpoint, its instance type, what the job is of and who sent it."""

    endpoint: str = ""
    instance_type: str = ""
    template: str = ""
    user: str = ""


@dataclass(frozen=True)
class JobRequest:
    """What the worker gets: the graph and everything it stands on.

    `outputs` are the node ids to execute. `extra_data` never holds ComfyUI's sensitive keys.
    `events` is the URL of the designer's queue; empty means that nobody listens. The events are
    numbered from `events_after` + 1: those before are of a try whose machine was lost, which was
    busy with the job for `lost_seconds`. `seconds` is how long it may run. `disable_metadata` is
    ComfyUI's own option: files do not hold the graph. `utc_offset` are the seconds by which the
    sender's clock is before UTC, for dates in names.
    """

    job_id: str
    prompt: Json
    outputs: tuple[str, ...]
    manifest: Manifest
    extra_data: Json = field(default_factory=dict)
    events: str = ""
    created: float = 0.0
    usage: Usage = Usage()
    events_after: int = 0
    lost_seconds: float = 0.0
    seconds: int = 0
    disable_metadata: bool = False
    utc_offset: int | None = None


class Outcome(str, Enum):
    """How a job ended.

    ERROR is a node's exception, INVALID the runner's refusal of the graph, FAILED everything
    that is not the graph's fault (a broken pack, a corrupted blob, a killed runner).
    """

    SUCCESS = "success"
    ERROR = "error"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class OutputFile:
    """One file that a node wrote on the worker and where its bytes lie in the bucket.

    `node_id` is empty where no node's output names the file, as those that save models do.
    (`filename`, `subfolder`, `type`) are as in ComfyUI's own output entries.
    """

    node_id: str
    filename: str
    subfolder: str
    type: str
    key: str
    size: int
    digest: str


@dataclass(frozen=True)
class JobResult:
    """The truth about a finished job (`result.json`).

    `outputs` and `meta` are ComfyUI's history entries with the worker's file names; `messages`
    its status messages (event, payload). `error` is the execution_error payload for ERROR, the
    validation error for INVALID, ``{"code", "message", "hint"}`` for FAILED. `last_seq` is the
    number of the job's last event, so that a reader knows what it has missed. `timings` maps a
    phase's name to its seconds: `restore` (of which `models`, `inputs` and `packs` until the last
    byte of each had come, side by side), `environment`, `start`, `run`, `upload`, `total`, which
    has the request's `lost_seconds` in it.
    """

    job_id: str
    outcome: Outcome
    outputs: Json = field(default_factory=dict)
    meta: Json = field(default_factory=dict)
    messages: tuple[tuple[str, Json], ...] = ()
    error: Json = field(default_factory=dict)
    node_errors: Json = field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()
    last_seq: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    usage: Usage = Usage()


class EventKind(str, Enum):
    """What an event carries in `data`.

    PHASE      ``{"phase": str, "message": str, "done": int, "total": int}``: work before the
               graph runs; bytes where they are known, else 0. The last of a phase also has
               ``"seconds": float``. Phases: restore, environment, start; `warning` is none.
    COMFY      ``{"type": str, "data": {…}}``: one of ComfyUI's own messages, verbatim; an
               `executed` message also has ``"files": [OutputFile…]``, already in the bucket.
    PREVIEW    ``{"metadata": {…}, "image": base64, "format": "JPEG" | "PNG"}``
    BINARY     ``{"type": int, "body": base64}``: any other binary message (text progress …).
    HEARTBEAT  ``{}``: the worker lives.
    RESULT     ``{"outcome": str}``: `result.json` is there. Always the last.
    """

    PHASE = "phase"
    COMFY = "comfy"
    PREVIEW = "preview"
    BINARY = "binary"
    HEARTBEAT = "heartbeat"
    RESULT = "result"


@dataclass(frozen=True)
class Event:
    """An ordered message about a job. `seq` counts from 1, without gaps but between two tries."""

    job_id: str
    seq: int
    kind: EventKind
    data: Json
    at: float


@dataclass(frozen=True)
class EventBatch:
    """The body of one queue message: events in order, of any jobs."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Progress:
    """One step of a long operation (publish, upload, restore): bytes done of total."""

    phase: str
    item: str = ""
    done: int = 0
    total: int = 0
