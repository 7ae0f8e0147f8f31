"""Shows cloud jobs to the clients that queued them, in ComfyUI's own messages.

The page keeps one progress state for all prompts. So of several jobs of one client only one, the
*front* job, is drawn node by node: the eldest, or the one that the page has asked for. The others
are in the panel, and the next one is drawn when the front one ends. Clients that are no page
(scripts) get everything.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from comfy_aws.codecs import open_image
from comfy_aws.models import Json

DRAWN: Final = frozenset(
    {"execution_start", "execution_cached", "progress", "progress_state", "executing"}
)
"""Messages that change what the page draws."""

PREVIEW_WITH_METADATA: Final = 4
UNENCODED_PREVIEW: Final = 2
"""protocol.BinaryEventTypes; numbers of the wire format."""


@dataclass
class _Shown:
    """The last of each drawn message of one job, to draw it again."""

    messages: dict[str, Json] = field(default_factory=dict)


class Canvas:
    """Safe to share between threads. `server` is ComfyUI's PromptServer."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, _Shown]] = {}

    def enter(self, job_id: str, client_id: str) -> None:
        with self._lock:
            self._jobs.setdefault(client_id, {})[job_id] = _Shown()

    def client_of(self, job_id: str) -> str:
        """The client that a live job is shown to; empty when the job is not live."""
        with self._lock:
            return next((client for client, jobs in self._jobs.items() if job_id in jobs), "")

    def show(self, job_id: str, client_id: str) -> bool:
        """Draw a live job on a page's canvas from now on; False when the job is not live."""
        with self._lock:
            before = next((each for each, jobs in self._jobs.items() if job_id in jobs), None)
            if before is None:
                return False
            shown = self._jobs[before].pop(job_id)
            others = self._jobs.get(client_id, {})
            self._jobs[client_id] = {job_id: shown, **others}
            if not self._jobs[before]:
                del self._jobs[before]
        self.redraw(client_id)
        if before != client_id and self._is_page(before):
            self.redraw(before)
        return True

    def leave(self, job_id: str, client_id: str) -> None:
        """The job is over; the client's next one is drawn."""
        with self._lock:
            jobs = self._jobs.get(client_id, {})
            jobs.pop(job_id, None)
            if not jobs:
                self._jobs.pop(client_id, None)
        if self._is_page(client_id):
            self.redraw(client_id)

    def redraw(self, client_id: str) -> None:
        """Draw the client's front job from its last state: after a reload, or its turn."""
        with self._lock:
            jobs = self._jobs.get(client_id)
            messages = dict(next(iter(jobs.values())).messages) if jobs else {}
        for kind in ("execution_start", "execution_cached", "progress_state"):
            if kind in messages:
                self._server.send_sync(kind, messages[kind], client_id)

    def send(self, job_id: str, client_id: str, kind: str, payload: Json) -> None:
        """One of ComfyUI's messages about a job."""
        if kind in DRAWN:
            with self._lock:
                shown = self._jobs.get(client_id, {}).get(job_id)
                if shown is not None:
                    shown.messages[kind] = payload
            if not self._draws(job_id, client_id):
                return
        self.tell(client_id, kind, payload)

    def tell(self, client_id: str, kind: str, payload: Json) -> None:
        """A message to a client; dropped when nobody queued the job by websocket."""
        if client_id:
            self._server.send_sync(kind, payload, client_id)

    def preview(self, job_id: str, client_id: str, preview: Json) -> None:
        """A preview image of the front job; one that does not decode is left out."""
        if not client_id or not self._draws(job_id, client_id):
            return
        try:
            image = open_image(base64.b64decode(preview["image"]))
        except (OSError, binascii.Error):
            return
        picture = (preview.get("format") or "JPEG", image, None)
        if self._is_page(client_id):
            metadata = dict(preview.get("metadata") or {})
            self._server.send_sync(PREVIEW_WITH_METADATA, (picture, metadata), client_id)
        else:
            self._server.send_sync(UNENCODED_PREVIEW, picture, client_id)

    def binary(self, job_id: str, client_id: str, message: Json) -> None:
        """Any other binary message, such as a node's progress text."""
        if client_id and self._draws(job_id, client_id):
            body = base64.b64decode(message["body"])
            self._server.send_sync(int(message["type"]), body, client_id)

    def _draws(self, job_id: str, client_id: str) -> bool:
        with self._lock:
            front = next(iter(self._jobs.get(client_id, {})), job_id)
        return front == job_id or not self._is_page(client_id)

    def _is_page(self, client_id: str) -> bool:
        """Pages say at once that they understand previews with metadata; scripts seldom do."""
        metadata = self._server.sockets_metadata.get(client_id) or {}
        return bool(metadata.get("feature_flags", {}).get("supports_preview_metadata"))


def stamped(payload: Json) -> Json:
    """A payload with ComfyUI's timestamp, in milliseconds since the epoch."""
    return {**payload, "timestamp": int(time.time() * 1000)}
