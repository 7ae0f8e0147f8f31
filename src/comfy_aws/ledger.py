"""The designer's record of its jobs (SQLite), so that a restart forgets none of them."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from comfy_aws.errors import InvalidDocument, NotFound
from comfy_aws.models import Job, JobFacts, JobState, from_json, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, endpoint TEXT, state TEXT, created REAL, updated REAL,
    template TEXT, client_id TEXT, message TEXT, failure_location TEXT DEFAULT '',
    facts TEXT DEFAULT '');
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
"""
_COLUMNS = "id, endpoint, state, created, updated, template, client_id, message, facts"
_SELECT = f"SELECT {_COLUMNS} FROM jobs "  # noqa: S608 – a constant
_INSERT = f"INSERT OR REPLACE INTO jobs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)"  # noqa: S608


class Ledger:
    """Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        # WAL with NORMAL survives a killed process, which is what a ledger here must survive.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        with suppress(sqlite3.OperationalError):  # a ledger of an earlier version lacks it
            self._db.execute("ALTER TABLE jobs ADD COLUMN facts TEXT DEFAULT ''")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, job: Job) -> None:
        """Record a new job; an ended job of the same id is replaced."""
        with self._lock:
            self._db.execute(_INSERT, _row(job))

    def move(
        self,
        job_id: str,
        target: JobState,
        *,
        at: float,
        message: str = "",
        endpoint: str = "",
        facts: JobFacts | None = None,
    ) -> Job:
        """Take a job to its next state; without `facts` those that are kept stay.

        Raises:
            InvalidTransition: the step is not legal.
            NotFound: the ledger has no such job.
        """
        with self._lock:
            job = self._get(job_id)
            job.state.to(target)
            self._db.execute(
                "UPDATE jobs SET state=?, updated=?, message=?, endpoint=?, facts=? WHERE id=?",
                (target.value, at, message, endpoint or job.endpoint,
                 to_json(facts or job.facts), job_id),
            )  # fmt: skip
            return self._get(job_id)

    def note(self, job_id: str, facts: JobFacts) -> Job:
        """Keep what is now known of a job. Raises NotFound."""
        with self._lock:
            self._db.execute("UPDATE jobs SET facts=? WHERE id=?", (to_json(facts), job_id))
            return self._get(job_id)

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._lock:
            return self._get(job_id)

    def has(self, job_id: str) -> bool:
        with self._lock:
            return (
                self._db.execute("SELECT 1 FROM jobs WHERE id=?", (job_id,)).fetchone() is not None
            )

    def latest(self, limit: int = 200, *, before: float = float("inf")) -> list[Job]:
        """The latest jobs, or the latest of those created before a moment; newest first."""
        with self._lock:
            rows = self._db.execute(
                _SELECT + "WHERE created < ? ORDER BY created DESC, rowid DESC LIMIT ?",
                (before, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def live(self) -> list[Job]:
        """Jobs that have not ended, oldest first."""
        return [job for job in reversed(self.latest(10_000)) if not job.state.ended]

    def set_failure_location(self, job_id: str, location: str) -> None:
        """Where SageMaker will say that it gave up on the job."""
        with self._lock:
            self._db.execute("UPDATE jobs SET failure_location=? WHERE id=?", (location, job_id))

    def failure_location(self, job_id: str) -> str:
        with self._lock:
            row = self._db.execute(
                "SELECT failure_location FROM jobs WHERE id=?", (job_id,)
            ).fetchone()
        return str(row[0]) if row else ""

    def fact(self, name: str, default: str) -> str:
        """A remembered value; `default` is remembered when there is none yet."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO facts VALUES (?,?)", (name, default))
            row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return str(row[0])

    def _get(self, job_id: str) -> Job:
        row = self._db.execute(_SELECT + "WHERE id=?", (job_id,)).fetchone()
        if row is None:
            raise NotFound(f"There is no job {job_id}.", hint="Refresh the list of jobs.")
        return _job(row)


def _row(job: Job) -> tuple[object, ...]:
    return (job.id, job.endpoint, job.state.value, job.created, job.updated, job.template,
            job.client_id, job.message, to_json(job.facts))  # fmt: skip


def _job(row: tuple[str, str, str, float, float, str, str, str, str]) -> Job:
    return Job(row[0], row[1], JobState(row[2]), *row[3:8], facts=_facts(row[8]))


def _facts(text: str | None) -> JobFacts:
    """What is kept; nothing of a job of an earlier version."""
    with suppress(InvalidDocument):
        return from_json(JobFacts, text) if text else JobFacts()
    return JobFacts()
