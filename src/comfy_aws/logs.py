"""Logs as they are read: the last lines, then what is new, without gaps and without repeats.

A `Tail` is one reader of one log. Terminals hold one; pages hold its token, see `Tails`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from comfy_aws import layout
from comfy_aws.aws import LogEvent, Logs, ObjectStore
from comfy_aws.endpoint_plan import log_group
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import NotFound
from comfy_aws.loglines import LineReader, LogFilter, LogLine

LAST: Final = 200
"""Lines that a reader begins with."""

MOST: Final = 2000
"""Lines of one answer; a page shows no more."""

OVERLAP: Final = 60.0
"""Seconds that are read again: instances deliver their lines late, and not in order."""

WINDOWS: Final = (600.0, 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
"""Seconds looked back for the last lines, step by step: CloudWatch reads from old to new."""

RING: Final = 5000
"""Lines of this ComfyUI that are kept."""

TAILS: Final = 64
"""Readers that are remembered; a page that comes back after more begins anew."""


class Tail(Protocol):
    """One reader of one log."""

    def read(self) -> list[LogLine]:
        """At first the last lines, then those that are new; in order."""


class JobSources(Protocol):
    """Where the logs of a job are; `services.Cloud` is one."""

    @property
    def logs(self) -> Logs: ...

    @property
    def endpoints(self) -> Endpoints: ...

    @property
    def store(self) -> ObjectStore: ...


class Ring:
    """The last lines of a log that this process hears itself. Safe to share between threads.

    Args:
        refresh: called before lines are read, to feed what is new.
    """

    def __init__(
        self, source: str, size: int = RING, refresh: Callable[[], None] = lambda: None
    ) -> None:
        self._refresh = refresh
        self._reader = LineReader(source)
        self._lines: deque[LogLine] = deque(maxlen=size)
        self._count = 0
        self._open = ""
        self._lock = threading.Lock()

    def feed(self, at: float, text: str) -> None:
        """Take a piece of output: lines, a part of one, or one that overwrites the last."""
        with self._lock:
            *whole, rest = (self._open + text).split("\n")
            for line in whole:
                self._add(at, line)
            # Of a progress bar that overwrites itself, only what it shows last counts.
            shown = rest.rstrip("\r")
            self._open = shown.rpartition("\r")[2][-4096:] + rest[len(shown) :][:1]

    def since(self, count: int) -> tuple[list[LogLine], int]:
        """The lines after the first `count` ever fed, as far as they are kept; the new count."""
        self._refresh()
        with self._lock:
            new = min(self._count - count, len(self._lines))
            return (list(self._lines)[-new:] if new > 0 else []), self._count

    def _add(self, at: float, line: str) -> None:
        text = line.rstrip("\r").rpartition("\r")[2]
        if text.strip():
            self._lines.append(self._reader.read(at, text))
            self._count += 1


class RingTail:
    """Reads a `Ring`."""

    def __init__(self, ring: Ring, wanted: LogFilter, last: int = LAST) -> None:
        self._ring = ring
        self._wanted = wanted
        self._last: int | None = last
        self._count = 0

    def read(self) -> list[LogLine]:
        found, self._count = self._ring.since(self._count)
        lines = list(filter(self._wanted.matches, found))
        last, self._last = self._last, None
        return lines if last is None else lines[-last:]


class CloudWatchTail:
    """Reads a log group of CloudWatch, all its streams together.

    Lines may come late and out of order, so a stretch of time is read again each time, and what
    was given already is known by its event's id.

    Args:
        since: nothing before this moment is wanted; 0 when that is not known.
    """

    def __init__(
        self,
        logs: Logs,
        group: str,
        wanted: LogFilter,
        *,
        last: int = LAST,
        since: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._logs = logs
        self._group = group
        self._wanted = wanted
        self._last = last
        self._since = since
        self._clock = clock
        self._readers: dict[str, LineReader] = {}
        self._seen: dict[str, float] | None = None

    def read(self) -> list[LogLine]:
        if self._seen is None:
            return self._begin()
        newest = max(self._seen.values(), default=self._since)
        events = self._events(newest - OVERLAP)
        new = [event for event in events if event.id not in self._seen]
        self._remember(events, newest)
        return self._lines(new)

    def _begin(self) -> list[LogLine]:
        now = self._clock()
        starts = [self._since] if self._since else [*(now - each for each in WINDOWS), 0.0]
        for start in starts:
            self._readers.clear()
            events = self._events(start)
            lines = self._lines(events)
            if len(lines) >= self._last:
                break
        self._seen = {}
        self._since = self._since or now
        self._remember(events, now if not events else events[-1].at)
        return lines[-self._last :]

    def _events(self, since: float) -> list[LogEvent]:
        # The service knows phrases; levels and texts in any case are looked for here.
        phrase = f"job={self._wanted.job}" if self._wanted.job else ""
        return self._logs.read(self._group, since=max(0.0, since), text=phrase)

    def _remember(self, events: Sequence[LogEvent], newest: float) -> None:
        seen = {**(self._seen or {}), **{event.id: event.at for event in events}}
        newest = max([newest, *seen.values()])
        self._seen = {key: at for key, at in seen.items() if at >= newest - 2 * OVERLAP}

    def _lines(self, events: Sequence[LogEvent]) -> list[LogLine]:
        lines = []
        for event in events:
            reader = self._readers.setdefault(event.stream, LineReader("worker"))
            lines.append(reader.read(event.at, event.text))
        return list(filter(self._wanted.matches, lines))


class MergedTail:
    """Several logs as one, in order of time."""

    def __init__(self, tails: Sequence[Tail], last: int = LAST) -> None:
        self._tails = tails
        self._last: int | None = last

    def read(self) -> list[LogLine]:
        found = [line for tail in self._tails for line in tail.read()]
        lines = sorted(found, key=lambda line: line.at)
        last, self._last = self._last, None
        return lines if last is None else lines[-last:]


class Tails:
    """The readers of pages, by token. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Tail, threading.Lock]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, token: str, begin: Callable[[], Tail]) -> tuple[list[LogLine], str, bool]:
        """Go on with the reader of a token, or begin one.

        Returns:
            The lines, the token for the next call, and whether the reader was begun.
        """
        with self._lock:
            known = self._known.get(token)
            if known is not None:
                self._known.move_to_end(token)
        is_new = known is None
        tail, turn = known or (begin(), threading.Lock())
        with turn:
            lines = tail.read()
        if is_new:
            token = uuid.uuid4().hex
            with self._lock:
                self._known[token] = tail, turn
                while len(self._known) > TAILS:
                    self._known.popitem(last=False)
        return lines[-MOST:], token, is_new


def endpoint_tail(
    logs: Logs, endpoints: Endpoints, name: str, wanted: LogFilter, *, last: int = LAST
) -> Tail:
    """The workers of an endpoint. Raises InvalidName, NotFound: there is none, and no log of it."""
    layout.check_endpoint_name(name)
    try:
        endpoints.get(name)
    except NotFound:  # what a deleted one has said stays for a while
        if not logs.read(log_group(name), since=time.time() - WINDOWS[-1], most=1):
            raise
    return CloudWatchTail(logs, log_group(name), wanted, last=last)


def job_tail(
    cloud: JobSources, wanted: LogFilter, *, last: int = LAST, more: Sequence[Tail] = ()
) -> Tail:
    """All that belongs to a job, whichever endpoint runs it.

    Args:
        more: logs of this machine that may know of it.

    Raises:
        InvalidName, NotFound: there is no such job.
    """
    key = layout.request_key(layout.check_job_id(wanted.job))
    request = cloud.store.head(key)
    if request is None:
        raise NotFound(
            f"The bucket has no job {wanted.job}.", hint="See the list of jobs: comfy-aws jobs."
        )
    tails = [
        CloudWatchTail(
            cloud.logs, log_group(each.name), wanted, last=last, since=request.modified - OVERLAP
        )
        for each in cloud.endpoints.list()
    ]
    return MergedTail([*more, *tails], last)
