"""Tells programs that a job has ended: signed messages to their URLs, tried again for some hours.

Messages and signatures are those of the Standard Webhooks specification, so that receivers verify
them with its libraries. What has to be told is kept in SQLite and outlives the process. Who hears
nothing can always ask for the job.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from comfy_aws.errors import ComfyAwsError, DownloadFailed, InvalidName, InvalidWebhook, NotFound
from comfy_aws.models import Json
from comfy_aws.web import Web
from comfy_aws.webhook_messages import Webhook, key_of, signed

log = logging.getLogger(__name__)

RECORD: Final = "webhooks.sqlite"
"""The record's name, beside the ledger."""

DELAYS: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0)
"""Seconds before each further try; eight tries in less than three hours."""

GIVE_UP: Final = 48 * 3600.0
"""Seconds after the order when nothing is sent any more, however long this machine was off."""

KEPT: Final = 7 * 24 * 3600.0
"""Seconds that the record of a message stays after its end."""

UNKNOWN: Final = 600.0
"""Seconds that a message waits for a job that nobody knows: its order broke off."""

LOOK: Final = 60.0
"""Seconds between two looks for jobs that have ended without telling us."""

SENDERS: Final = 4
"""Messages on their way at once: a receiver that hangs holds up no other."""

GONE: Final = 410
"""The status by which a receiver wants to hear no more."""

WAITING, PENDING, DELIVERED, FAILED = "waiting", "pending", "delivered", "failed"
"""For the job's end; for the next try; heard; given up."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT PRIMARY KEY, job_id TEXT, url TEXT, secret TEXT, state TEXT, attempts INTEGER,
    created REAL, next_at REAL, error TEXT);
CREATE INDEX IF NOT EXISTS webhooks_by_job ON webhooks (job_id);
"""
_SELECT = (
    "SELECT id, job_id, url, secret, state, attempts, created, next_at, error FROM webhooks WHERE "
)
_INSERT = (
    "INSERT INTO webhooks (id, job_id, url, secret, state, attempts, created, next_at, error) "
    "VALUES (?,?,?,?,?,?,?,?,?)"
)


class Message(NamedTuple):
    """A row of the table: one message that is or was to be sent."""

    id: str
    job_id: str
    url: str
    secret: str
    state: str
    attempts: int
    created: float
    next_at: float
    error: str


def check(webhook: Webhook, web: Web) -> Webhook:
    """Return a webhook that may be used.

    Raises:
        InvalidWebhook: its URL leads where nothing is sent, or its secret is none.
    """
    if webhook.secret:
        key_of(webhook.secret)
    if urlsplit(webhook.url).scheme != "https" and not web.private:
        raise InvalidWebhook(
            f"A webhook is an https URL; {webhook.url[:80]!r} is not one.",
            hint="Results can be read by whoever sees the message.",
        )
    try:
        web.check(webhook.url)
    except (InvalidName, DownloadFailed) as exc:
        raise InvalidWebhook(exc.message, hint=exc.hint) from exc
    return webhook


def has_open(path: Path) -> bool:
    """Whether messages are left to be sent by whoever opens this record."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=30)) as db:
            query = "SELECT 1 FROM webhooks WHERE state IN (?, ?) LIMIT 1"
            return db.execute(query, (WAITING, PENDING)).fetchone() is not None
    except sqlite3.Error as exc:
        log.warning("%s cannot be read: %s", path, exc)
        return False


class Webhooks:
    """Safe to share between threads; its own thread sends.

    Args:
        path: of the record.
        report: the job in JSON when it has ended, None while it has not; raises NotFound.
        delays: seconds before each further try.
    """

    def __init__(
        self,
        path: Path,
        web: Web,
        report: Callable[[str], Json | None],
        *,
        delays: Sequence[float] = DELAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds secrets until they have been used
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        pragmas = "journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON"
        self._db.executescript(f"PRAGMA {pragmas}; {_SCHEMA}")
        self._web = web
        self._report = report
        self._delays = delays
        self._clock = clock
        self._busy: set[str] = set()
        self._looks = 0
        self._wake, self._closed = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS, "aws-webhook")
        self._thread = threading.Thread(target=self._run, name="aws-webhooks", daemon=True)
        self._thread.start()

    def check(self, webhook: Webhook) -> Webhook:
        """Raises InvalidWebhook."""
        return check(webhook, self._web)

    def add(self, job_id: str, webhook: Webhook) -> None:
        """Tell this webhook of the job's end, which may be long before the job is started."""
        row = (f"msg_{secrets.token_hex(12)}", job_id, webhook.url, webhook.secret, WAITING, 0,
               self._clock(), 0.0, "")  # fmt: skip
        self._execute(_INSERT, *row)

    def drop(self, job_id: str) -> None:
        """The job was not started after all."""
        self._execute("DELETE FROM webhooks WHERE job_id=? AND state=?", job_id, WAITING)

    def of(self, job_id: str) -> Json | None:
        """How it stands with the last webhook of a job; None when there is none."""
        rows = self._rows("job_id=? ORDER BY created DESC LIMIT 1", job_id)
        if not rows:
            return None
        last = rows[0]
        return {
            "url": last.url,
            "state": last.state,
            "attempts": last.attempts,
            "next": last.next_at if last.state == PENDING else None,
            "error": last.error,
        }

    def look(self) -> None:
        """A job has ended."""
        self._looks += 1
        self._wake.set()

    def close(self) -> None:
        """Stop sending; what is left is sent by the next one that opens the record.

        A message on its way is not waited for, and is sent once more.
        """
        self._closed.set()
        self._wake.set()
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._db.close()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            try:
                pause = self._step()
            except Exception:  # without this thread nobody would hear anything again
                log.exception("Webhooks cannot be sent")
                pause = LOOK
            self._wake.wait(pause)

    def _step(self) -> float:
        """Send what is due; returns the seconds until something else is."""
        now = self._clock()
        self._execute(
            "DELETE FROM webhooks WHERE state IN (?, ?) AND created < ?",
            DELIVERED, FAILED, now - KEPT,
        )  # fmt: skip
        for message in self._rows("state IN (?, ?) AND next_at <= ?", WAITING, PENDING, now):
            if message.id not in self._busy:
                self._busy.add(message.id)
                self._pool.submit(self._tell, message, self._looks)
        left = [m.next_at for m in self._rows("state=?", PENDING) if m.id not in self._busy]
        return max(0.0, min([now + LOOK, *left]) - now)

    def _tell(self, message: Message, looks: int) -> None:
        try:
            self._try(message)
        except Exception:
            if not self._closed.is_set():  # else the record is closed, and has the message still
                log.exception("A webhook of job %s cannot be sent", message.job_id)
            return
        finally:
            self._busy.discard(message.id)
        if message.state == PENDING or self._looks != looks or self._is_pending(message.id):
            self._wake.set()

    def _try(self, message: Message) -> None:
        now = self._clock()
        if now - message.created > GIVE_UP:
            self._end(message, FAILED, "It could not be delivered in time.")
            return
        try:
            report = self._report(message.job_id)
        except NotFound:
            if now - message.created > UNKNOWN:
                self._end(message, FAILED, "The job was never started.")
            return
        except ComfyAwsError as exc:
            self._again(message, exc.message)
            return
        if report is None:
            return
        self._send(message, report)

    def _send(self, message: Message, report: Json) -> None:
        now = self._clock()
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(report["updated"]))
        content = {"type": f"job.{report['state']}", "timestamp": ended, "data": report}
        body = json.dumps(content, separators=(",", ":")).encode()
        headers = signed(message.id, int(now), body, message.secret)
        try:
            status = self._web.post(message.url, body, headers)
        except (InvalidName, DownloadFailed) as exc:
            self._again(message, exc.message)
            return
        if 200 <= status < 300:
            self._end(message, DELIVERED, "")
        elif status == GONE:
            self._end(message, FAILED, f"The receiver answered {status}.")
        else:
            self._again(message, f"The receiver answered {status}.")

    def _again(self, message: Message, error: str) -> None:
        if message.attempts >= len(self._delays):
            self._end(message, FAILED, error)
            return
        self._execute(
            "UPDATE webhooks SET state=?, attempts=attempts+1, next_at=?, error=? WHERE id=?",
            PENDING, self._clock() + self._delays[message.attempts], error, message.id,
        )  # fmt: skip
        log.info("Job %s: %s is told again later: %s", message.job_id, _host(message), error)

    def _end(self, message: Message, state: str, error: str) -> None:
        self._execute(
            "UPDATE webhooks SET state=?, attempts=attempts+1, error=?, secret='' WHERE id=?",
            state, error, message.id,
        )  # fmt: skip
        if state == FAILED:
            log.warning("Job %s: %s was not told: %s", message.job_id, _host(message), error)

    def _is_pending(self, message_id: str) -> bool:
        with suppress(sqlite3.ProgrammingError):  # closed at this moment
            return bool(self._rows("id=? AND state=?", message_id, PENDING))
        return False

    def _rows(self, where: str, *values: object) -> list[Message]:
        with self._lock:
            found = self._db.execute(_SELECT + where, values)
            return [Message(*row) for row in found.fetchall()]

    def _execute(self, statement: str, *values: object) -> None:
        with self._lock:
            self._db.execute(statement, values)


def _host(message: Message) -> str:
    """The receiver in logs: the rest of its URL may be a secret."""
    return urlsplit(message.url).hostname or "the receiver"
