"""Brings a job's events to its reader: in order, each once, none missing at the end.

Events come through one SQS queue for each designer. A standard queue may deliver a message twice
or before its elder, so a `Sequence` puts them in order. What the queue loses is in the bucket
(`events.jsonl`) by the time the job has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from comfy_aws import layout
from comfy_aws.aws import Message, ObjectStore, Queues
from comfy_aws.errors import AwsError, AwsNotFound, InvalidDocument
from comfy_aws.models import Event, EventBatch, from_json, to_json

log = logging.getLogger(__name__)

RETENTION = 4 * 24 * 3600
"""Seconds that SQS keeps a message; a designer that is off for longer reads the result in S3."""

PATIENCE = 2.0
"""Seconds that a later event waits for an earlier one; SQS seldom needs a tenth of that."""


class Sequence:
    """Puts the events of one job in order. Pure, not thread-safe."""

    def __init__(self) -> None:
        self._next = 1
        self._waiting: dict[int, Event] = {}
        self._since = 0.0

    def add(self, events: tuple[Event, ...], now: float) -> list[Event]:
        """Take events as they come; returns those whose turn it is."""
        gap_before = bool(self._waiting)
        self._keep(events)
        ready = self._take()
        if ready or not gap_before:
            self._since = now
        return ready

    def overdue(self, now: float) -> list[Event]:
        """Give up on events that are missing for longer than PATIENCE seconds."""
        if not self._waiting or now - self._since < PATIENCE:
            return []
        self._next = min(self._waiting)
        self._since = now
        return self._take()

    def rest(self, events: tuple[Event, ...] = ()) -> list[Event]:
        """At the end of the job: all that was not given out, whatever is missing between."""
        self._keep(events)
        ready = [self._waiting.pop(number) for number in sorted(self._waiting)]
        if ready:
            self._next = ready[-1].seq + 1
        return ready

    def skip(self, number: int) -> None:
        """What comes up to this number is of no interest any more."""
        self._next = max(self._next, number + 1)
        self._waiting = {seq: event for seq, event in self._waiting.items() if seq > number}

    @property
    def last(self) -> int:
        """Number of the last event that was given out."""
        return self._next - 1

    @property
    def has_gap(self) -> bool:
        """Whether events wait for an earlier one."""
        return bool(self._waiting)

    def _keep(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.seq >= self._next:
                self._waiting.setdefault(event.seq, event)

    def _take(self) -> list[Event]:
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready


def stored_events(store: ObjectStore, job_id: str) -> tuple[Event, ...]:
    """All events of an ended job but its previews; empty when the worker could not store them."""
    try:
        lines = store.get(layout.events_key(job_id)).splitlines()
        return tuple(from_json(Event, line, where="event") for line in lines if line.strip())
    except (AwsNotFound, InvalidDocument):
        return ()


class NoMailbox:
    """For a job that nobody listens to: its worker is given no queue."""

    def url(self) -> str:
        return ""

    def close(self) -> None:
        """There is nothing to close."""


class Mailbox:
    """The designer's queue and the thread that empties it.

    Args:
        name: the queue's name, one for each designer.
        deliver: called with the events of one message, from the mailbox's thread.
    """

    def __init__(
        self,
        queues: Queues,
        name: str,
        deliver: Callable[[tuple[Event, ...]], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._queues = queues
        self.name = name
        self._deliver = deliver
        self._sleep = sleep
        self._url = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        # Deleting on the side, the next poll is open before the next event leaves the worker.
        self._deleter = ThreadPoolExecutor(1, "aws-events-delete")

    def url(self) -> str:
        """The queue's URL; the first call creates the queue and starts listening."""
        with self._lock:
            if not self._url:
                self._url = self._queues.ensure(self.name, retention=RETENTION)
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._listen, name="aws-events", daemon=True
                    )
                    self._thread.start()
            return self._url

    def close(self) -> None:
        """Stop listening; the queue stays."""
        self._closed.set()
        with self._lock:
            url = self._url
        if url:
            with suppress(RuntimeError):  # closed before
                self._deleter.submit(self._wake, url)
        self._deleter.shutdown(wait=False)

    def discard(self) -> None:
        """Stop listening and delete the queue. Raises AwsError when it cannot be deleted."""
        self.close()
        self._deleter.shutdown(wait=True)
        with self._lock:
            url = self._url
        if url:
            self._queues.delete(url)

    def _wake(self, url: str) -> None:
        """End the poll under way: else it is open for up to 20 s, and holds up a local stack."""
        with suppress(AwsError):
            self._queues.send(url, to_json(EventBatch(())))

    def _listen(self) -> None:
        backoff = 0.0
        while not self._closed.is_set():
            if backoff:
                self._sleep(backoff)
            try:
                worked = self._poll()
            except Exception:  # without this thread no job would hear anything again
                log.exception("Events cannot be received")
                worked = False
            backoff = 0.0 if worked else min(max(backoff * 2, 0.5), 20.0)

    def _poll(self) -> bool:
        """One long poll; whether it worked."""
        try:
            url = self.url()
            messages = self._queues.receive(url)
        except AwsNotFound:
            with self._lock:
                self._url = ""  # somebody deleted the queue; the next poll makes it again
            return False
        except AwsError as exc:
            log.warning("Events cannot be received: %s", exc)
            return False
        if not messages or self._closed.is_set():
            return True  # what comes after the close is left in the queue for the next start
        for message in messages:
            self._read(message.body)
        with suppress(RuntimeError):  # closed this moment: the messages come again
            self._deleter.submit(self._forget, url, messages)
        return True

    def _forget(self, url: str, messages: list[Message]) -> None:
        try:
            self._queues.delete_messages(url, messages)
        except AwsError as exc:  # they come again, and their numbers tell that they are old
            log.info("Messages were not deleted: %s", exc)

    def _read(self, body: str) -> None:
        try:
            batch = from_json(EventBatch, body, where="queue message")
        except InvalidDocument as exc:
            log.warning("A message on the event queue is ignored: %s", exc)
            return
        self._deliver(batch.events)
