"""Runs templates from a terminal: a job service for the life of one process.

Its events come through a queue of its own, which goes with it. The queue of a process that was
killed is deleted by a later one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from comfy_aws.aws import Queues
from comfy_aws.errors import AwsError
from comfy_aws.events import RETENTION, Mailbox, NoMailbox
from comfy_aws.jobs import Jobs
from comfy_aws.models import Event
from comfy_aws.template_runs import TemplateRuns

OLDEST: Final = 24 * 3600.0
"""Seconds after which a queue is nobody's: a job waits for 6 hours and runs for one at most."""

Deliver = Callable[[tuple[Event, ...]], None]


class RunQueues:
    """The queues of this user's terminals. `home` remembers their names until they are deleted."""

    def __init__(
        self, queues: Queues, home: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._queues = queues
        self._home = home
        self._clock = clock

    def open(self, deliver: Deliver) -> Mailbox:
        """A mailbox on a queue of its own."""
        self._home.mkdir(parents=True, exist_ok=True)
        self._sweep()
        name = f"comfy-aws-run-{uuid.uuid4().hex}"
        (self._home / name).touch()
        return Mailbox(self._queues, name, deliver)

    def close(self, mailbox: Mailbox) -> None:
        """Stop listening and delete the queue; one that cannot be deleted now is later."""
        with suppress(AwsError):
            mailbox.discard()
            (self._home / mailbox.name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        for left in self._home.iterdir():
            with suppress(AwsError, OSError):
                if self._clock() - left.stat().st_mtime > OLDEST:
                    url = self._queues.ensure(left.name, retention=RETENTION)
                    self._queues.delete(url)
                    left.unlink()


class TerminalRuns:
    """`runs` makes orders, `jobs` takes them to their end; close it afterwards.

    Args:
        make_jobs: builds the job service on a mailbox.
        queues: where events come from; None when nobody listens.
        close: called at the end.
    """

    def __init__(
        self,
        runs: TemplateRuns,
        make_jobs: Callable[[Callable[[Deliver], Mailbox | NoMailbox]], Jobs],
        queues: RunQueues | None,
        close: Callable[[], None],
    ) -> None:
        self.runs = runs
        self._queues = queues
        self._close = close
        self._mailbox: Mailbox | NoMailbox = NoMailbox()
        self.jobs = make_jobs(self._open)

    def _open(self, deliver: Deliver) -> Mailbox | NoMailbox:
        if self._queues is not None:
            self._mailbox = self._queues.open(deliver)
        return self._mailbox

    def __enter__(self) -> TerminalRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs.close()
        if self._queues is not None and isinstance(self._mailbox, Mailbox):
            self._queues.close(self._mailbox)
        self._close()
