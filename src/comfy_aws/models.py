"""The values that the parts exchange: frozen, without I/O, JSON in and out.

`to_json`/`from_json` are the only way into and out of stored documents; what does not fit its
type raises InvalidDocument with the path of the field. Times are seconds since the epoch (UTC),
sizes are bytes, durations are seconds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from comfy_aws.errors import InvalidDocument, InvalidTransition

Json = dict[str, Any]
T = TypeVar("T")


@cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter  # costs 0.1 s to import; only stored documents need it

    return TypeAdapter(cls)


def from_dict(cls: type[T], raw: object, *, where: str = "document") -> T:
    """Build `cls` from plain JSON values; unknown keys are ignored, so that newer writers work.

    Raises:
        InvalidDocument: a field is missing or has the wrong type.
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(cast("Any", cls)).validate_python(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "(top)"
        raise InvalidDocument(
            f"The {where} is not a valid {cls.__name__}: {path}: {first['msg']}.",
            hint="It was written by another version or is damaged; publish it again.",
        ) from exc
    return value


def from_json(cls: type[T], text: str | bytes, *, where: str = "document") -> T:
    """Like `from_dict`, from JSON text."""
    try:
        raw = json.loads(text)
    except ValueError as exc:
        raise InvalidDocument(f"The {where} is not JSON: {exc}.") from exc
    return from_dict(cls, raw, where=where)


def to_dict(value: Any) -> Json:
    """Plain JSON values of a dataclass; enums become their values."""
    plain: Json = json.loads(to_json(value))
    return plain


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(value: Any) -> str:
    """Compact JSON text of a dataclass.

    ASCII only: a graph may hold half a surrogate pair, which is legal in JSON and has no UTF-8.
    """
    return json.dumps(value, default=_plain, separators=(",", ":"))


# -- content -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlobRef:
    """Bytes, named by what they are. `digest` is lower-case hex sha256."""

    digest: str
    size: int


@dataclass(frozen=True)
class ModelFile:
    """One file below a models folder: `folder` is ComfyUI's folder name, `name` the choice.

    `reader` is the class of the node that reads it without naming it; empty when it is named.
    """

    folder: str
    name: str
    blob: BlobRef
    reader: str = ""


class InputPlace(str, Enum):
    """Which of ComfyUI's folders an input file is read from."""

    INPUT = "input"
    OUTPUT = "output"
    TEMP = "temp"


@dataclass(frozen=True)
class InputFile:
    """One input file; `name` is a relative POSIX path below its place."""

    name: str
    blob: BlobRef
    place: InputPlace = InputPlace.INPUT


@dataclass(frozen=True)
class HelpFile:
    """A help page of a node, or a picture in one.

    The page finds it at ``/extensions/{pack}/{name}``; `name` is a POSIX path.
    """

    pack: str
    name: str
    blob: BlobRef


@dataclass(frozen=True)
class NodePack:
    """One folder or file of custom nodes, as a gzipped tar whose single top entry is `name`.

    `classes` are the node classes of the prompt that made the pack needed; none for a pack that
    another one imports from. `requirements` are the Python packages it asks for, as
    `requirements.of_pack` gives them, `pins` what those need in turn, as `requirements.below`
    gives it. `url` and `commit` say where it can be cloned from, when
    nothing here differs from it.
    """

    name: str
    blob: BlobRef
    classes: tuple[str, ...] = ()
    files: int = 0
    requirements: tuple[str, ...] = ()
    url: str = ""
    commit: str = ""
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What the manifest was captured on; told to the user when the worker differs."""

    comfyui: str = ""
    python: str = ""
    torch: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Manifest:
    """Every blob that a template or a job needs."""

    models: tuple[ModelFile, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    packs: tuple[NodePack, ...] = ()
    environment: Environment = field(default_factory=Environment)

    def parts(self) -> tuple[ModelFile | InputFile | NodePack, ...]:
        """Everything that has a blob."""
        return (*self.models, *self.inputs, *self.packs)

    def blobs(self) -> dict[str, BlobRef]:
        """The distinct blobs, by digest."""
        return {part.blob.digest: part.blob for part in self.parts()}

    @property
    def size(self) -> int:
        """Bytes of the distinct blobs."""
        return sum(blob.size for blob in self.blobs().values())


@dataclass(frozen=True)
class BuiltEnvironment:
    """The Python packages of a set of node packs, installed: `blob` is a tar of the folder.

    `packages` are ``name==version``; `seconds` is what the install took.
    """

    blob: BlobRef
    packages: tuple[str, ...] = ()
    seconds: float = 0.0
    created: float = 0.0


@dataclass(frozen=True)
class PackFault:
    """Why a set of node packs did not work on the last worker that tried, at the time `at`."""

    message: str
    hint: str = ""
    at: float = 0.0


# -- templates ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChosenInput:
    """A widget that the designer offers to those who run the template; `node` is its id."""

    node: str
    input: str
    label: str = ""


@dataclass(frozen=True)
class Collecting:
    """Somebody is deleting blobs that nothing names, and is done at `until` at the latest."""

    until: float


@dataclass(frozen=True)
class Template:
    """The pointer of a template: what changes. Its versions never do.

    `size` is that of the current version's blobs together, `cover` a small WebP picture.
    `parameters` are those the designer chose; when there are none, they are found by rule.
    """

    name: str
    version: int
    created: float
    updated: float
    author: str = ""
    description: str = ""
    endpoint: str = ""
    size: int = 0
    cover: BlobRef | None = None
    parameters: tuple[ChosenInput, ...] = ()


@dataclass(frozen=True)
class TemplateVersion:
    """One immutable version.

    `workflow` is the UI graph, `prompt` the API graph, `object_info` ComfyUI's definitions of
    the classes used, so that a machine without the packs can draw and validate the graph; `help`
    is what their packs tell of them. Workers need none of that.
    """

    name: str
    version: int
    created: float
    workflow: Json
    prompt: Json
    manifest: Manifest
    object_info: Json = field(default_factory=dict)
    author: str = ""
    product: str = ""
    help: tuple[HelpFile, ...] = ()

    def blobs(self) -> dict[str, BlobRef]:
        """The distinct blobs, by digest: those that jobs need, and help."""
        return {**self.manifest.blobs(), **{each.blob.digest: each.blob for each in self.help}}


# -- endpoints ---------------------------------------------------------------------------------


class EndpointStatus(str, Enum):
    """SageMaker's EndpointStatus values."""

    OUT_OF_SERVICE = "OutOfService"
    CREATING = "Creating"
    UPDATING = "Updating"
    SYSTEM_UPDATING = "SystemUpdating"
    ROLLING_BACK = "RollingBack"
    IN_SERVICE = "InService"
    DELETING = "Deleting"
    FAILED = "Failed"
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"

    @property
    def takes_jobs(self) -> bool:
        """SageMaker accepts invocations in these states."""
        return self in _TAKES_JOBS


_TAKES_JOBS = frozenset(
    {
        EndpointStatus.IN_SERVICE,
        EndpointStatus.UPDATING,
        EndpointStatus.SYSTEM_UPDATING,
        EndpointStatus.ROLLING_BACK,
    }
)


@dataclass(frozen=True)
class EndpointSpec:
    """What the user asks for. Instances scale between `min_instances` and `max_instances`.

    `fallbacks`: types that stand in, in this order, where AWS has none of `instance_type` to give.
    """

    name: str
    instance_type: str = "ml.g5.xlarge"
    fallbacks: tuple[str, ...] = ()
    min_instances: int = 0
    max_instances: int = 1
    initial_instances: int = 1
    idle_seconds: int = 600
    template: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A SageMaker endpoint as it stands.

    `backlog` counts the requests that wait or run, as CloudWatch last told; None when it did not.
    `instance_type` is what most of its instances have, `instance_types` all that they may have, the
    one that is wanted first. `image` is what its workers run. `idle_since` is since when it has
    been awake without a job; 0 when it sleeps, has jobs, or CloudWatch does not tell.
    """

    name: str
    status: EndpointStatus
    created: float
    updated: float
    instance_type: str = ""
    instances: int = 0
    desired_instances: int = 0
    min_instances: int = 0
    max_instances: int = 0
    template: str = ""
    failure: str = ""
    idle_seconds: int = 0
    backlog: int | None = None
    image: str = ""
    idle_since: float = 0.0
    instance_types: tuple[str, ...] = ()


# -- jobs --------------------------------------------------------------------------------------


class JobState(str, Enum):
    """The life of one forwarded execution.

    PREPARING → SUBMITTED → RUNNING → one of the ends. A job can end from any live state: a
    preflight failure ends PREPARING, a lost endpoint ends SUBMITTED.
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
    JobState.SUBMITTED: frozenset({JobState.RUNNING}) | _ENDS,
    JobState.RUNNING: _ENDS,
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

    `started` is when its worker took it, `seconds` how long the worker was busy with it.
    `timings` maps a phase's name to its seconds, in the order of the phases.
    """

    instance_type: str = ""
    started: float = 0.0
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    files: tuple[SavedFile, ...] = ()
    error: JobError | None = None


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
    `events` is the URL of the designer's queue; empty means that nobody listens.
    """

    job_id: str
    prompt: Json
    outputs: tuple[str, ...]
    manifest: Manifest
    extra_data: Json = field(default_factory=dict)
    events: str = ""
    created: float = 0.0
    usage: Usage = Usage()


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
    byte of each had come, side by side), `environment`, `start`, `run`, `upload`, `total`.
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
    """An ordered message about a job. `seq` counts from 1 within a job, without gaps."""

    job_id: str
    seq: int
    kind: EventKind
    data: Json
    at: float


@dataclass(frozen=True)
class EventBatch:
    """The body of one queue message: events in order, of any jobs."""

    events: tuple[Event, ...]


# -- progress of long work ---------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """One step of a long operation (publish, upload, restore): bytes done of total."""

    phase: str
    item: str = ""
    done: int = 0
    total: int = 0
