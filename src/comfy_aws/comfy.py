"""The only ComfyUI HTTP and websocket client.

Used by the worker against its headless runner, and by the demo, the benchmarks and the tests
against any ComfyUI. Every aiohttp error leaves here as ComfyUIError.

ComfyUI's binary frames begin with a big-endian 32-bit kind (ComfyUI's `protocol.py`):

| kind | payload |
|---|---|
| 1 | 32-bit image format (1 JPEG, 2 PNG), image |
| 3 | 32-bit length of a node id, node id, UTF-8 text |
| 4 | 32-bit length of a JSON object, the object (with ``image_type``), image |

Kind 2 never travels: it is how the server asks itself to encode an image as kind 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp

from comfy_aws.errors import ComfyUIError, PromptRejected
from comfy_aws.models import Json

FEATURES: Json = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""Must be the first message on a socket; previews then come as kind 4, with their node."""

REQUEST_TIMEOUT = 60.0
"""Seconds; validating a graph can load a node's model lists from a slow disk."""

READY_POLL = 0.05
"""Seconds between two looks at a starting server."""

log = logging.getLogger(__name__)

_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


class BinaryKind(IntEnum):
    """ComfyUI's `BinaryEventTypes`."""

    PREVIEW = 1
    UNENCODED_PREVIEW = 2
    TEXT = 3
    PREVIEW_WITH_METADATA = 4


@dataclass(frozen=True)
class TextMessage:
    """A JSON message: ComfyUI's own or one that a node pack invented."""

    type: str
    data: Json


@dataclass(frozen=True)
class BinaryMessage:
    """A binary message.

    `metadata` and `body` are the parsed payload: an image with its ``image_type`` (and node ids
    for kind 4), or a text with its ``node_id``; of an unknown kind the body is the payload.
    `payload` is what followed the kind, untouched.
    """

    kind: int
    metadata: Json
    body: bytes
    payload: bytes


Message = TextMessage | BinaryMessage


def parse_text(text: str) -> TextMessage:
    """Raises ComfyUIError when it is not ``{"type": str, "data": {…}}``."""
    try:
        raw = json.loads(text)
        kind, payload = raw["type"], raw.get("data")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ComfyUIError(f"ComfyUI sent a message that is no event: {text[:200]!r}.") from exc
    # Node packs may send anything; what is no object is wrapped so that `data` always is one.
    return TextMessage(str(kind), payload if isinstance(payload, dict) else {"value": payload})


def parse_binary(frame: bytes) -> BinaryMessage:
    """Raises ComfyUIError when the frame is shorter than it says."""
    if len(frame) < 4:
        raise ComfyUIError(
            f"ComfyUI sent a binary frame of {len(frame)} bytes; at least 4 are due."
        )
    kind, payload = _number(frame), frame[4:]
    if kind == BinaryKind.PREVIEW:
        metadata: Json = {"image_type": _IMAGE_TYPES.get(_number(payload), "")}
        return BinaryMessage(kind, metadata, payload[4:], payload)
    if kind == BinaryKind.TEXT:
        head, body = _prefixed(payload)
        return BinaryMessage(kind, {"node_id": head.decode(errors="replace")}, body, payload)
    if kind == BinaryKind.PREVIEW_WITH_METADATA:
        head, body = _prefixed(payload)
        return BinaryMessage(kind, _object(head), body, payload)
    return BinaryMessage(kind, {}, payload, payload)


def _number(frame: bytes) -> int:
    if len(frame) < 4:
        raise ComfyUIError("ComfyUI sent a binary frame without its second field.")
    return int(struct.unpack_from(">I", frame)[0])


def _prefixed(payload: bytes) -> tuple[bytes, bytes]:
    """What the length at the beginning spans, and the rest."""
    length = _number(payload)
    if len(payload) < 4 + length:
        raise ComfyUIError(
            f"ComfyUI sent a binary frame whose field should span {length} bytes; "
            f"{len(payload) - 4} are there."
        )
    return payload[4 : 4 + length], payload[4 + length :]


def _object(text: bytes) -> Json:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ComfyUIError("ComfyUI sent a preview whose metadata is not JSON.") from exc
    if not isinstance(value, dict):
        raise ComfyUIError("ComfyUI sent a preview whose metadata is not an object.")
    return value


class ComfyClient:
    """One ComfyUI server as one client sees it. Make and use it in one event loop.

    Args:
        url: such as ``http://127.0.0.1:8188``.
        client_id: names the websocket; prompts submitted here report to it.
    """

    def __init__(self, url: str, client_id: str) -> None:
        self.url = url.rstrip("/")
        self.client_id = client_id
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ComfyClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def wait_ready(self, timeout: float = 300.0) -> Json:
        """Wait until the server answers, and return its system_stats.

        Raises:
            ComfyUIError: it did not within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return await self.system_stats()
            except ComfyUIError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(READY_POLL)

    async def system_stats(self) -> Json:
        return await self._json("GET", "/system_stats")

    async def object_info(self, node_class: str | None = None) -> Json:
        """ComfyUI's definitions by class name; empty when `node_class` is unknown there."""
        path = "/object_info" + (f"/{quote(node_class, safe='')}" if node_class else "")
        return await self._json("GET", path)

    async def folder_paths(self) -> dict[str, list[str]]:
        """The directories behind each models folder name."""
        return await self._json("GET", "/internal/folder_paths")

    async def submit(
        self,
        prompt: Json,
        *,
        prompt_id: str = "",
        extra_data: Json | None = None,
        outputs: Sequence[str] = (),
    ) -> Json:
        """Queue a prompt; returns ``{"prompt_id", "number", "node_errors"}``.

        Args:
            outputs: ids of the output nodes to execute; none means all.

        Raises:
            PromptRejected: ComfyUI's validation refuses it.
        """
        body: Json = {"prompt": prompt, "client_id": self.client_id}
        if prompt_id:
            body["prompt_id"] = prompt_id
        if extra_data:
            body["extra_data"] = extra_data
        if outputs:
            body["partial_execution_targets"] = list(outputs)
        return await self._json("POST", "/prompt", body)

    async def interrupt(self, prompt_id: str = "") -> None:
        """Stop one prompt if it is running, or whatever is running."""
        await self._call("POST", "/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask for models and cached node outputs to be dropped.

        ComfyUI's worker thread takes the request after the prompt that it runs or runs next.
        """
        await self._call(
            "POST", "/free", {"unload_models": unload_models, "free_memory": free_memory}
        )

    async def history(self, prompt_id: str) -> Json | None:
        """What is kept of a finished prompt, or None."""
        found: Json | None = (await self._json("GET", f"/history/{quote(prompt_id, safe='')}")).get(
            prompt_id
        )
        return found

    async def forget_history(self, *prompt_ids: str) -> None:
        await self._call("POST", "/history", {"delete": list(prompt_ids)})

    async def queue(self) -> Json:
        """``{"queue_running": […], "queue_pending": […]}``."""
        return await self._json("GET", "/queue")

    async def delete_queued(self, *prompt_ids: str) -> None:
        await self._call("POST", "/queue", {"delete": list(prompt_ids)})

    async def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:  # noqa: A002 – ComfyUI's own word
        """The bytes of an input, output or temp file."""
        query = {"filename": filename, "subfolder": subfolder, "type": type}
        return await self._call("GET", "/view", query=query)

    async def upload_image(
        self, name: str, body: bytes, *, subfolder: str = "", overwrite: bool = False
    ) -> Json:
        """Put a file into the input folder; returns ``{"name", "subfolder", "type"}``."""
        form = aiohttp.FormData()
        form.add_field("image", body, filename=name, content_type="application/octet-stream")
        form.add_field("subfolder", subfolder)
        form.add_field("overwrite", "true" if overwrite else "false")
        return _parsed(await self._call("POST", "/upload/image", form), "/upload/image")

    async def listen(self) -> AsyncIterator[Message]:
        """This client's messages until the server closes the socket.

        The first message, of type ``status``, tells that the server knows the client; the
        ``feature_flags`` message, that previews will carry metadata.

        Raises:
            ComfyUIError: no connection, or it broke.
        """
        target = f"{self.url}/ws?clientId={quote(self.client_id, safe='')}"
        with _mapped("GET", "/ws"):
            async with self._session.ws_connect(target, max_msg_size=0) as socket:
                await socket.send_json(FEATURES)
                async for frame in socket:
                    message = _heard(frame)
                    if message is not None:
                        yield message

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            limit = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
            self._opened = aiohttp.ClientSession(timeout=limit)
        return self._opened

    async def _json(self, method: str, path: str, body: Json | None = None) -> Json:
        return _parsed(await self._call(method, path, body), path)

    async def _call(
        self,
        method: str,
        path: str,
        body: Json | aiohttp.FormData | None = None,
        *,
        query: dict[str, str] | None = None,
    ) -> bytes:
        sent = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body}
        with _mapped(method, path):
            async with self._session.request(
                method, self.url + path, params=query, **sent
            ) as answer:
                content = await answer.read()
        if answer.status >= 400:
            raise _refusal(method, path, answer.status, content)
        return content


def _heard(frame: Any) -> Message | None:  # aiohttp's type differs with Python's version
    """The message in a frame; what a node pack garbled must not end the stream."""
    try:
        if frame.type is aiohttp.WSMsgType.TEXT:
            return parse_text(frame.data)
        if frame.type is aiohttp.WSMsgType.BINARY:
            return parse_binary(frame.data)
    except ComfyUIError as exc:
        log.warning("%s", exc)
    return None


@contextmanager
def _mapped(method: str, path: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as exc:
        reason = str(exc) or type(exc).__name__
        raise ComfyUIError(
            f"ComfyUI cannot be reached for {method} {path}: {reason}.",
            hint="Check that it runs and listens at this address.",
        ) from exc


def _refusal(method: str, path: str, status: int, content: bytes) -> ComfyUIError:
    text = content[:2000].decode(errors="replace")
    if status == 400 and path == "/prompt":
        try:
            raw = json.loads(content)
            error, node_errors = raw["error"], raw.get("node_errors") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return PromptRejected({"type": "invalid_prompt", "message": text}, {})
        if not isinstance(error, dict):
            error = {"type": "invalid_prompt", "message": str(error)}
        return PromptRejected(error, node_errors)
    return ComfyUIError(f"ComfyUI answered {method} {path} with status {status}: {text}")


def _parsed(content: bytes, path: str) -> Json:
    try:
        value = json.loads(content)
    except ValueError as exc:
        raise ComfyUIError(f"ComfyUI's answer to {path} is not JSON: {content[:200]!r}.") from exc
    if not isinstance(value, dict):
        raise ComfyUIError(f"ComfyUI's answer to {path} is no object: {content[:200]!r}.")
    return value
