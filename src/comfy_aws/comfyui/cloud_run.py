"""One cloud job as this ComfyUI shows it: the listener between the job service and the canvas."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from comfy_aws import hashing, joblog
from comfy_aws.comfyui import assets
from comfy_aws.comfyui.canvas import Canvas, stamped
from comfy_aws.comfyui.cloud_queue import CloudQueue, Item
from comfy_aws.comfyui.outputs import Outputs, path_of, place_of
from comfy_aws.errors import ComfyAwsError
from comfy_aws.models import (
    Event,
    EventKind,
    JobState,
    Json,
    Outcome,
    OutputFile,
    Progress,
    SavedFile,
    from_dict,
)
from comfy_aws.naming import Place, renamed
from comfy_aws.orders import JobEnd, JobView
from comfy_aws.services import Services

log = joblog.logger(__name__)

PANEL_EVERY: Final = 0.1
"""Seconds between two updates of the panel that only differ in progress."""

FETCHING: Final = "Fetching results"
SENT: Final = frozenset({JobState.SUBMITTED, JobState.RUNNING})
ENDS: Final = frozenset({"execution_success", "execution_error", "execution_interrupted"})
KEPT_IN_HISTORY: Final = frozenset({"execution_start", "execution_cached"})


class CloudRun:
    """A `jobs.Listener`; all calls come from the job's own thread.

    Args:
        number: under which the queue knows the item.
        item: the queue's tuple with the graph as the user sent it.
        services: where outputs come from; None when the job never got that far.
        before: what an earlier process has brought of the job.
    """

    def __init__(
        self,
        number: int,
        item: Item,
        *,
        server: Any,
        queue: CloudQueue,
        canvas: Canvas,
        outputs: Outputs,
        services: Services | None,
        before: tuple[SavedFile, ...] = (),
    ) -> None:
        self._number = number
        self._job_id: str = item[1]
        self._prompt: Json = item[2]
        self._sender: str = item[3].get("client_id") or ""
        self._server = server
        self._queue = queue
        self._canvas = canvas
        self._outputs = outputs
        self._services = services
        self._names: dict[Place, Place] = {}
        self._saved: list[tuple[OutputFile, Place]] = []
        self._earlier: list[tuple[OutputFile, Place]] = []
        self._before = list(before)
        self._held: list[Json] = []
        self._history: Json = {"outputs": {}, "meta": {}}
        self._cached: frozenset[str] = frozenset()
        self._messages: list[tuple[str, Json]] = []
        self._end_message: tuple[str, Json] | None = None
        self._view: JobView | None = None
        self._panel_at = 0.0
        self._panel_state: tuple[JobState, object] | None = None
        canvas.enter(self._job_id, self._sender)
        self._kinds = {
            EventKind.PHASE: self._on_phase,
            EventKind.COMFY: self._on_comfy,
            EventKind.PREVIEW: self._on_preview,
            EventKind.BINARY: self._on_binary,
        }

    @property
    def _client_id(self) -> str:
        """Who sees the job: its sender, or the page that has taken it onto its canvas."""
        return self._canvas.client_of(self._job_id) or self._sender

    # -- jobs.Listener -------------------------------------------------------------------------

    def changed(self, view: JobView) -> None:
        self._view = view
        self._tell_pages(view)

    def _tell_pages(self, view: JobView) -> None:
        now = time.monotonic()
        state = (view.job.state, (view.phase or {}).get("phase"))
        if state == self._panel_state and now - self._panel_at < PANEL_EVERY:
            return
        if state != self._panel_state and view.phase:
            self._notify(view.phase)
        if view.job.state in SENT:
            self._queue.show(self._job_id, running=view.job.state is JobState.RUNNING)
        self._panel_state, self._panel_at = state, now
        # To every page: a list of jobs stands in each, whoever has sent them.
        self._server.send_sync("aws.job", {"job": view.to_dict()})

    def event(self, event: Event) -> None:
        handler = self._kinds.get(event.kind)
        if handler is not None:
            handler(event.data)

    def arriving(self, end: JobEnd) -> JobEnd:
        if end.result is None:
            return end
        try:
            self._save(end.result.files)
        except ComfyAwsError as exc:
            log.warning("Job %s: an output is lost: %s", self._job_id, exc)
            if end.state is not JobState.SUCCEEDED:
                return end
            return JobEnd(JobState.FAILED, end.result, exc.to_dict())
        if self._before and self._services is not None:  # another machine's, of a try before
            self._before.clear()
            self._keep(self._services)
        for payload in self._held:
            self._show_output(payload)
        outputs = {node: self._shown(output) for node, output in end.result.outputs.items()}
        self._history = {"outputs": outputs, "meta": end.result.meta}
        assets.enter(self._job_id, self._names.values())
        return end

    def ended(self, end: JobEnd) -> None:
        kind, payload = self._ending(end)
        self._messages.append((kind, _without_null(payload)))
        self._canvas.send(self._job_id, self._client_id, kind, payload)
        success = end.state is JobState.SUCCEEDED
        self._queue.finish(self._number, self._history, self._messages, success=success)
        self._canvas.tell(self._client_id, "executing", {"node": None, "prompt_id": self._job_id})
        self._canvas.leave(self._job_id, self._client_id)

    def released(self) -> None:
        self._queue.withdraw(self._number)
        self._canvas.leave(self._job_id, self._client_id)

    # -- events --------------------------------------------------------------------------------

    def _on_phase(self, phase: Json) -> None:
        self._notify(phase)

    def _notify(self, phase: Json) -> None:
        """ComfyUI's own line for a prompt that waits."""
        value = phase.get("message") or phase.get("phase") or ""
        self._canvas.tell(self._client_id, "notification", {"id": self._job_id, "value": value})

    def _on_comfy(self, message: Json) -> None:
        kind, payload = str(message.get("type")), message.get("data") or {}
        if kind in ENDS:
            self._end_message = (kind, payload)  # sent when files and history are in place
            return
        if kind == "executing" and payload.get("node") is None:
            return
        if kind == "execution_start" and self._messages:
            self._start_over()
        if kind == "execution_cached":
            self._cached = frozenset(map(str, payload.get("nodes", ())))
        if kind == "executed":
            self._on_executed(payload, message.get("files", ()))
            return
        if kind in KEPT_IN_HISTORY:
            self._messages.append((kind, payload))
        self._canvas.send(self._job_id, self._client_id, kind, payload)

    def _on_executed(self, payload: Json, files: Iterable[Json]) -> None:
        try:
            self._save(tuple(from_dict(OutputFile, file) for file in files))
        except ComfyAwsError as exc:  # the job goes on, and they are tried again at its end
            log.warning("Job %s: an output comes later: %s", self._job_id, exc)
            self._held.append(payload)
            return
        self._show_output(payload)

    def _show_output(self, payload: Json) -> None:
        shown = {**payload, "output": self._shown(payload.get("output"))}
        self._canvas.send(self._job_id, self._client_id, "executed", shown)

    def _on_preview(self, preview: Json) -> None:
        self._canvas.preview(self._job_id, self._client_id, preview)

    def _on_binary(self, message: Json) -> None:
        self._canvas.binary(self._job_id, self._client_id, message)

    def _start_over(self) -> None:
        """Another machine begins: the one before was lost. Its files that come again are kept."""
        self._messages.clear()
        self._held.clear()
        self._end_message = None
        self._cached = frozenset()
        self._earlier, self._saved = self._saved, []
        self._names = {}

    def _save(self, files: tuple[OutputFile, ...]) -> None:
        new = [file for file in files if place_of(file) not in self._names]
        if self._services is None or not new:
            return
        here = [(file, local) for file in new if (local := self._came_before(file))]
        came = {place_of(file) for file, _ in here}
        missing = [file for file in new if place_of(file) not in came]
        brought = self._outputs.save(self._services.store, missing, self._cached, self._on_fetched)
        try:
            for file, local in itertools.chain(here, brought):
                self._names[place_of(file)] = local
                self._saved.append((file, local))
        finally:
            self._keep(self._services)

    def _keep(self, services: Services) -> None:
        """Note what is here of the job, also for a process that takes it up from this one."""
        here = [SavedFile(file.node_id, *local) for file, local in self._saved]
        services.jobs.keep_files(self._job_id, (*here, *self._before))

    def _on_fetched(self, step: Progress) -> None:
        """Tells of files that are long in coming; the job's own thread waits for them."""
        if self._view is None or step.done == step.total:
            return
        if time.monotonic() - self._panel_at < PANEL_EVERY:
            return
        phase = {"phase": step.phase, "message": FETCHING, "done": step.done, "total": step.total}
        self._tell_pages(replace(self._view, phase=phase, progress=None))

    def _shown(self, output: object) -> object:
        """A node's output with the names and ids that its files have here."""
        return assets.identified(renamed(output, self._names, path_of))

    def _came_before(self, file: OutputFile) -> Place | None:
        """Where the same bytes of the same node lie since another machine or process had them."""
        for at, (other, local) in enumerate(self._earlier):
            if (other.node_id, other.digest) == (file.node_id, file.digest):
                del self._earlier[at]
                return local
        for saved in self._before:
            local = Place(saved.filename, saved.subfolder, saved.type)
            if saved.node_id == file.node_id and _has(local, file):
                self._before.remove(saved)
                return local
        return None

    # -- the end -------------------------------------------------------------------------------

    def _ending(self, end: JobEnd) -> tuple[str, Json]:
        """ComfyUI's last message: the worker's own if it came, else one of the same shape."""
        outcome = end.result.outcome if end.result else None
        if end.state is JobState.SUCCEEDED:
            return self._end_message or ("execution_success", stamped({"prompt_id": self._job_id}))
        if end.state is JobState.CANCELLED:
            if self._end_message and self._end_message[0] == "execution_interrupted":
                return self._end_message
            interrupted: Json = {"node_id": None, "node_type": None, "executed": []}
            return "execution_interrupted", stamped({"prompt_id": self._job_id, **interrupted})
        if outcome is Outcome.ERROR:
            if self._end_message and self._end_message[0] == "execution_error":
                return self._end_message
            return "execution_error", {"prompt_id": self._job_id, **end.error}
        node_errors = end.error.get("node_errors") or (end.result.node_errors if end.result else {})
        return "execution_error", stamped(self._own_error(end.error, node_errors))

    def _own_error(self, error: Json, node_errors: Json) -> Json:
        """An error of this side or of the worker, at its node where it has one."""
        node_id = next(iter(node_errors), None)
        text = " ".join(str(error.get(key) or "") for key in ("message", "hint")).strip()
        if node_id is not None:
            reasons = [
                # ComfyUI's own messages say no more than "Value not in list".
                problem["message"] + (f": {problem['details']}" if problem["type"] != "aws" else "")
                for problem in node_errors[node_id]["errors"]
            ]
            text = "\n".join(dict.fromkeys([text, *reasons]))
        node = self._prompt.get(node_id, {}) if node_id is not None else {}
        return {
            "prompt_id": self._job_id,
            "node_id": node_id,
            "node_type": node.get("class_type"),
            "executed": [],
            "exception_message": text,
            "exception_type": "Prompt on AWS",  # pages put it before the message
            "traceback": [],
            "current_inputs": {},
            "current_outputs": [],
        }


def _has(place: Place, file: OutputFile) -> bool:
    """Whether the bytes of a file lie at a place here."""
    try:
        path = path_of(place)
        return path.stat().st_size == file.size and hashing.of_file(path)[0].digest == file.digest
    except (OSError, ComfyAwsError):
        return False


def _without_null(payload: Json) -> Json:
    """A message as history keeps it.

    A page is told by a null that an error has no node. But GET /jobs hands out what history keeps,
    and there pages read no job at all beside one whose error has a node that is no text.
    """
    return {key: "" if value is None else value for key, value in payload.items()}
