"""One execution of a prompt as ComfyUI reports it, turned into events and uploads."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_aws import codecs
from comfy_aws import prompt as graphs
from comfy_aws.comfy import BinaryKind, BinaryMessage, Message, TextMessage
from comfy_aws.errors import ComfyAwsError, FileChanged, WorkerError
from comfy_aws.models import EventKind, Json, Outcome, OutputFile
from comfy_aws.naming import viewed
from comfy_aws.worker.outbox import Outbox
from comfy_aws.worker.outputs import Folder, Uploads, Written, written_files

PREVIEW_BYTES = 110_000
"""Of an image; more is scaled down, so that its base64 form fits into a queue message."""

PREVIEW_SIDES = (512, 256)
"""Pixels of a preview that is scaled down, the first that is small enough."""

_ENDS = {
    "execution_success": Outcome.SUCCESS,
    "execution_error": Outcome.ERROR,
    "execution_interrupted": Outcome.INTERRUPTED,
}

log = logging.getLogger(__name__)


class Graph:
    """Hears ComfyUI's messages of one prompt. Lives in one event loop.

    `ended` is done when ComfyUI has finished with the prompt. `stale` tells that a cached node
    showed a file that is no longer there.
    """

    def __init__(self, job_id: str, outbox: Outbox, uploads: Uploads, folder: Folder) -> None:
        self._job_id = job_id
        self._prompt_id = graphs.prompt_id_of(job_id)
        self._outbox = outbox
        self._uploads = uploads
        self._folder = folder
        self._sent: dict[tuple[Written, int, int, int], asyncio.Task[OutputFile]] = {}
        self._groups: list[asyncio.Task[list[OutputFile]]] = []
        self._cached: frozenset[str] = frozenset()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stale = False
        self.outcome: Outcome | None = None
        self.error: Json = {}
        self.outputs: Json = {}
        self.messages: list[tuple[str, Json]] = []
        self.paths: set[Path] = set()
        self._text: dict[str, Callable[[TextMessage], None]] = {
            "status": self._ignore,
            "feature_flags": self._ignore,
            "progress": self._progress,
            "progress_state": self._progress,
            "execution_start": self._note,
            "execution_cached": self._on_cached,
            "execution_success": self._on_end,
            "execution_error": self._on_end,
            "execution_interrupted": self._on_end,
            "executing": self._on_executing,
            "executed": self._on_executed,
        }

    def hear(self, message: Message) -> None:
        """Take one message; those of other prompts are dropped."""
        told = message.metadata if isinstance(message, BinaryMessage) else message.data
        if told.get("prompt_id", self._prompt_id) != self._prompt_id:
            return
        told = graphs.as_job(told, self._job_id)
        if isinstance(message, BinaryMessage):
            self._binary(replace(message, metadata=told))
        else:
            self._text.get(message.type, self._pass_on)(replace(message, data=told))

    async def files(self) -> tuple[OutputFile, ...]:
        """The files of all nodes, when they are in the bucket; last those that none has named.

        Of a job that was interrupted, those may be incomplete, and stay here.

        Raises:
            ComfyAwsError: one could not be uploaded.
        """
        if self.outcome is not Outcome.INTERRUPTED:
            self._groups.append(_spawn(self._nameless()))
        groups = await asyncio.gather(*self._groups)
        return tuple(file for group in groups for file in group)

    async def _nameless(self) -> list[OutputFile]:
        """Files that no output names. What a pack still writes to, such as a log, costs no job."""
        written = await asyncio.to_thread(self._folder.written)
        entries = [entry for entry in written if self._uploads.path(entry) not in self.paths]
        found: list[OutputFile] = []
        for group in [_spawn(self._group("", [entry])) for entry in entries]:
            try:
                found += await group
            except FileChanged as exc:
                log.warning("A file that no node names stays here: %s", exc)
        return found

    # -- text messages ---------------------------------------------------------------------

    def _ignore(self, message: TextMessage) -> None:
        """Of the server or the connection, not of the job."""

    def _pass_on(self, message: TextMessage) -> None:
        self._outbox.post(EventKind.COMFY, {"type": message.type, "data": message.data})

    def _progress(self, message: TextMessage) -> None:
        data = {"type": message.type, "data": message.data}
        self._outbox.progress((message.type, message.data.get("node")), EventKind.COMFY, data)

    def _note(self, message: TextMessage) -> None:
        # What ComfyUI keeps as status messages has a time; what a node sends so named has none.
        if "timestamp" in message.data:
            self.messages.append((message.type, message.data))
        self._pass_on(message)

    def _on_cached(self, message: TextMessage) -> None:
        self._cached = frozenset(map(str, message.data.get("nodes", ())))
        self._note(message)

    def _on_end(self, message: TextMessage) -> None:
        # An error without a time is a blocked branch; the graph goes on.
        if "timestamp" in message.data:
            self.outcome = _ENDS[message.type]
            self.error = message.data if self.outcome is Outcome.ERROR else {}
        self._note(message)

    def _on_executing(self, message: TextMessage) -> None:
        self._pass_on(message)
        if message.data.get("node") is None and not self.ended.done():
            self.ended.set_result(None)

    def _on_executed(self, message: TextMessage) -> None:
        node_id, output = str(message.data.get("node")), message.data.get("output")
        if output is not None:
            self.outputs[node_id] = output
        files = _spawn(self._group(node_id, [*written_files(output), *self._viewed(output)]))
        self._groups.append(files)
        data = {"type": message.type, "data": message.data}
        self._outbox.post(EventKind.COMFY, data, files=files)

    def _viewed(self, output: object) -> Iterator[Written]:
        """The files that are named by their paths alone, as far as they are here."""
        for places in viewed(output):
            for place in places:
                written = Written(*place)
                with suppress(WorkerError):
                    if self._uploads.path(written).is_file():
                        yield written
                        break

    def _group(self, node_id: str, written: list[Written]) -> Coroutine[Any, Any, list[OutputFile]]:
        """Begin the uploads of a node's files, each file once a job."""
        sends = []
        for entry in written:
            try:
                path = self._uploads.path(entry)
                stat = path.stat()
            except WorkerError as exc:
                sends.append(_spawn(_failing(exc)))
                continue
            except OSError:
                self.stale |= node_id in self._cached
                log.warning("Node %s names the file %s, which is not there.", node_id, entry)
                continue
            self.paths.add(path)
            key = (entry, stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if key not in self._sent:
                self._sent[key] = _spawn(asyncio.to_thread(self._uploads.send, node_id, entry))
            sends.append(self._sent[key])

        async def all_sent() -> list[OutputFile]:
            return list(await asyncio.gather(*sends))

        return all_sent()

    # -- binary messages -------------------------------------------------------------------

    def _binary(self, message: BinaryMessage) -> None:
        if message.kind == BinaryKind.PREVIEW_WITH_METADATA:
            if (preview := _preview(message)) is not None:
                self._outbox.preview(EventKind.PREVIEW, preview)
            return
        data = {"type": message.kind, "body": base64.b64encode(message.payload).decode()}
        if message.kind == BinaryKind.PREVIEW:  # of a node that does not say which it is
            self._outbox.preview(EventKind.BINARY, data)
        else:
            self._outbox.post(EventKind.BINARY, data)


async def _failing(error: ComfyAwsError) -> OutputFile:
    raise error


def _spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(work)
    # An error is raised by `files`, which a job that was interrupted may never ask.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _preview(message: BinaryMessage) -> Json | None:
    image, kind = message.body, str(message.metadata.get("image_type", "image/jpeg"))
    if len(image) > PREVIEW_BYTES:
        scaled = _scaled(image)
        if scaled is None:
            return None
        image, kind = scaled, "image/jpeg"
    return {
        "metadata": {**message.metadata, "image_type": kind},
        "image": base64.b64encode(image).decode(),
        "format": "PNG" if kind == "image/png" else "JPEG",
    }


def _scaled(image: bytes) -> bytes | None:
    """A smaller JPEG, or None when it is no image."""
    try:
        picture = codecs.open_image(image).convert("RGB")
        for side in PREVIEW_SIDES:
            out = io.BytesIO()
            picture.thumbnail((side, side))
            picture.save(out, "JPEG", quality=80)
            if out.tell() <= PREVIEW_BYTES:
                return out.getvalue()
    except (OSError, ValueError):
        log.debug("A preview is no image.")
    return None
