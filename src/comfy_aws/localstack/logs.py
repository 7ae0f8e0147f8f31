"""Worker output, to CloudWatch Logs and to a bounded file.

Lines are gathered for a moment and put in one call, as the log agents of AWS do. CloudWatch's
copy lives in moto's memory and is gone with the stack; the file under the endpoint's folder stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from moto.logs.models import logs_backends

from comfy_aws.localstack.state import Identity

_FLUSH_SECONDS: Final = 0.1
_LINE_BYTES: Final = 256_000
"""CloudWatch's limit for one event was 256 KiB for years; longer lines are split."""
_FILE_BYTES: Final = 5_000_000
_BATCH_EVENTS: Final = 10_000
"""PutLogEvents takes at most so many."""


def put_logs(identity: Identity, group: str, stream: str, events: list[dict[str, Any]]) -> None:
    """moto's PutLogEvents, into a group and stream that are made when they are missing."""
    backend = logs_backends[identity.account][identity.region]
    if group not in backend.groups:
        backend.create_log_group(group, {})
    backend.ensure_log_stream(group, stream)
    backend.put_log_events(group, stream, events)


Put = Callable[[str, str, list[dict[str, Any]]], None]
"""Put events (timestamp in ms, message) to a group and stream. Called in a thread."""


class LogSink:
    """Collects lines of many streams and flushes them together.

    Args:
        put: delivers one batch of one stream.
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self._pending: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._flusher: asyncio.Task[None] | None = None

    def add(self, group: str, stream: str, line: str) -> None:
        """Take one line. Only from the event loop's thread."""
        event = {"timestamp": int(time.time() * 1000), "message": line}
        self._pending.setdefault((group, stream), []).append(event)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        while self._pending:
            await self._flush()

    async def _flush(self) -> None:
        batches, self._pending = self._pending, {}
        for (group, stream), events in batches.items():
            for start in range(0, len(events), _BATCH_EVENTS):
                part = events[start : start + _BATCH_EVENTS]
                await asyncio.to_thread(self._put, group, stream, part)

    async def close(self) -> None:
        """Deliver what is left."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        await self._flush()


class BoundedFile:
    """A log file that is moved to `.1` when it reaches 5 MB, so two of them bound the space."""

    def __init__(self, path: Path, limit: int = _FILE_BYTES) -> None:
        self._path = path
        self._limit = limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab", buffering=0)

    def write(self, chunk: bytes) -> None:
        if self._stream.tell() > self._limit:
            self._stream.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._stream = self._path.open("ab", buffering=0)
        self._stream.write(chunk)

    def close(self) -> None:
        self._stream.close()


class LineSplitter:
    """Turns chunks of bytes into lines; a line longer than 256 KB comes in pieces."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > _LINE_BYTES:
            lines.append(self._rest[:_LINE_BYTES])
            self._rest = self._rest[_LINE_BYTES:]
        for line in lines:
            self._emit(line)

    def end(self) -> None:
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def _emit(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if text:  # CloudWatch refuses empty events
            self._on_line(text)
