"""The events of one job: numbered, in order, and no more of them than a viewer can use.

`Outbox` decides what becomes an event. Progress is coalesced to ten a second and previews to two;
the first of a burst leaves at once, the latest of the rest when its time has come. Whatever is
not progress sends the waiting progress ahead of it, so that order holds and no last state is
lost. `Sender` takes the numbered events to the designer's queue, all that wait in one message.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from comfy_aws.errors import AwsDenied, AwsError, AwsNotFound
from comfy_aws.models import Event, EventKind, Json, OutputFile, to_dict, to_json

PROGRESS_INTERVAL = 0.1
"""Seconds between two progress events of a kind."""

PREVIEW_INTERVAL = 0.5
"""Seconds between two previews."""

MESSAGE_BYTES = 200_000
"""Of events put into one queue message; a larger event travels alone. Events are ASCII."""

LARGEST_EVENT = 1_000_000
"""Bytes; SQS takes 1 MiB. What is larger is only in events.jsonl."""

log = logging.getLogger(__name__)


@dataclass
class _Item:
    kind: EventKind
    data: Json
    at: float
    kept: bool
    files: asyncio.Future[list[OutputFile]] | None


class Outbox:
    """Lives in one event loop.

    Args:
        emit: gets each event's number and JSON text.
        after: the number that comes before the first.
    """

    def __init__(
        self,
        job_id: str,
        emit: Callable[[str], None],
        *,
        after: int = 0,
        progress_interval: float = PROGRESS_INTERVAL,
        preview_interval: float = PREVIEW_INTERVAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job_id = job_id
        self.last_seq = after
        self.lines: list[str] = []
        self._emit = emit
        self._clock = clock
        self._waiting: deque[_Item] = deque()
        self._progress = _Throttle(progress_interval, self._post_all)
        self._preview = _Throttle(preview_interval, self._post_all)

    def post(
        self,
        kind: EventKind,
        data: Json,
        *,
        files: asyncio.Future[list[OutputFile]] | None = None,
    ) -> None:
        """Add an event behind all others.

        Args:
            files: the event leaves when this is done, with its result as ``files``; later
                events wait behind it.
        """
        self._progress.flush()
        self._append(_Item(kind, data, self._clock(), True, files))

    def progress(self, key: Hashable, kind: EventKind, data: Json) -> None:
        """Add an event that a later one with the same `key` makes worthless."""
        self._progress.offer(key, _Item(kind, data, self._clock(), True, None))

    def preview(self, kind: EventKind, data: Json) -> None:
        """Like `progress`, at the rate of previews; not kept in `lines`."""
        self._preview.offer("preview", _Item(kind, data, self._clock(), False, None))

    def pulse(self) -> None:
        """A heartbeat, past events that wait for an upload."""
        self._number(_Item(EventKind.HEARTBEAT, {}, self._clock(), True, None))

    async def settle(self) -> None:
        """Wait until every event so far has left; previews that wait are dropped."""
        self._preview.drop()
        self._progress.flush()
        self._progress.drop()
        while self._waiting:
            files = self._waiting[0].files
            if files is not None:
                await asyncio.wait([files])
            # The future's own callback advances the queue in the same turn of the loop.
            await asyncio.sleep(0)

    def conclude(self, kind: EventKind, data: Json) -> str:
        """Number the last event and return it, for the caller to send when its time has come."""
        return self._line(_Item(kind, data, self._clock(), True, None))

    def _post_all(self, items: list[_Item]) -> None:
        for item in items:
            self._append(item)

    def _append(self, item: _Item) -> None:
        self._waiting.append(item)
        if item.files is not None and not item.files.done():
            item.files.add_done_callback(lambda _: self._advance())
        self._advance()

    def _advance(self) -> None:
        while self._waiting:
            item = self._waiting[0]
            if item.files is not None:
                if not item.files.done():
                    return
                failed = item.files.cancelled() or item.files.exception() is not None
                item.data = {
                    **item.data,
                    "files": [] if failed else [to_dict(file) for file in item.files.result()],
                }
            self._waiting.popleft()
            self._number(item)

    def _number(self, item: _Item) -> None:
        self._emit(self._line(item))

    def _line(self, item: _Item) -> str:
        self.last_seq += 1
        event = Event(self.job_id, self.last_seq, item.kind, item.data, item.at)
        line = to_json(event)
        if item.kept:
            self.lines.append(line)
        return line


class _Throttle:
    """Lets the first through at once, then the latest of each key once an interval."""

    def __init__(self, interval: float, release: Callable[[list[_Item]], None]) -> None:
        self._interval = interval
        self._release = release
        self._pending: dict[Hashable, _Item] = {}
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, key: Hashable, item: _Item) -> None:
        # Taken out first: the newer one goes behind what came in between.
        self._pending.pop(key, None)
        self._pending[key] = item
        if self._timer is None:
            self.flush()
            self._wait()

    def flush(self) -> None:
        items = list(self._pending.values())
        self._pending.clear()
        if items:
            self._release(items)

    def drop(self) -> None:
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._pending:
            self.flush()
            self._wait()


class Sender:
    """Takes events to one queue, in order, as soon as it can; never fails a job.

    Args:
        send: sends one message, blocking.
        spilled: called when an event is too large for the queue.
    """

    def __init__(
        self, send: Callable[[str], None], *, spilled: Callable[[], None] = lambda: None
    ) -> None:
        self._send = send
        self._spilled = spilled
        self._pending: deque[str] = deque()
        self._running: asyncio.Task[None] | None = None
        self._lost = False

    def add(self, line: str) -> None:
        if self._lost:
            return
        if len(line) > LARGEST_EVENT:
            self._spilled()
            return
        self._pending.append(line)
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Wait until all that was added is sent."""
        while self._running is not None and not self._running.done():
            await self._running

    async def _run(self) -> None:
        while self._pending:
            body = self._take()
            try:
                await asyncio.to_thread(self._send, body)
            except AwsError as exc:
                # The events are in events.jsonl too; a queue that is gone stays gone.
                self._lost = isinstance(exc, (AwsNotFound, AwsDenied))
                log.warning("Events could not be sent: %s", exc)
            except Exception:
                self._lost = True
                log.exception("Events could not be sent.")
            if self._lost:
                self._pending.clear()

    def _take(self) -> str:
        """All that waits, up to the size of a message."""
        lines = [self._pending.popleft()]
        size = len(lines[0])
        while self._pending and size + len(self._pending[0]) < MESSAGE_BYTES:
            lines.append(self._pending.popleft())
            size += len(lines[-1]) + 1
        return '{"events":[' + ",".join(lines) + "]}"
