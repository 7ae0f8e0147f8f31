"""The jobs that the bucket knows, whichever designer sent them.

A designer's ledger knows only its own jobs, and lies in its ComfyUI's user folder; the bucket is
what every machine can ask.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsNotFound, InvalidDocument
from comfy_aws.models import JobRequest, JobResult, Usage, from_json

READERS: Final = 16
"""Results read at once."""


@dataclass(frozen=True)
class StoredJob:
    """One job; `outcome` is empty while there is no result. Times as in `models`.

    `seconds` is how long its worker was busy with it.
    """

    id: str
    sent: float
    ended: float = 0.0
    outcome: str = ""
    error: str = ""
    outputs: int = 0
    seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)


def stored_jobs(
    store: ObjectStore,
    limit: int | None = None,
    *,
    since: float = 0.0,
    known: dict[str, StoredJob] | None = None,
) -> list[StoredJob]:
    """The latest jobs, newest first.

    Args:
        since: only jobs that were sent after this time.
        known: ended jobs of an earlier call, which are not read again; new ones are added.
    """
    known = {} if known is None else known
    latest = _listed(store, since)[:limit]
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda job: known.get(job.id) or _with_result(store, job), latest))
    known.update({job.id: job for job in read if job.outcome})
    return read


def chosen_jobs(
    store: ObjectStore, wanted: Callable[[StoredJob], bool], limit: int, *, since: float = 0.0
) -> list[StoredJob]:
    """The latest jobs that are wanted, newest first; open ones have their usage, too.

    Args:
        since: only jobs that were sent after this time.
    """
    listed = _listed(store, since)
    found: list[StoredJob] = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(listed), READERS):
            chunk = listed[start : start + READERS]
            read = pool.map(lambda job: _with_usage(store, _with_result(store, job)), chunk)
            found += filter(wanted, read)
            if len(found) >= limit:
                break
    return found[:limit]


def _listed(store: ObjectStore, since: float) -> list[StoredJob]:
    """All jobs as the bucket lists them, newest first; nothing is read."""
    found: dict[str, StoredJob] = {}
    for entry in store.list(layout.JOBS):
        job_id, _, name = entry.key[len(layout.JOBS) :].partition("/")
        job = found.get(job_id) or StoredJob(job_id, entry.modified)
        if name == "request.json":
            job = replace(job, sent=entry.modified)
        elif name == "result.json":
            job = replace(job, ended=entry.modified)
        found[job_id] = job
    recent = [job for job in found.values() if job.sent >= since]
    return sorted(recent, key=lambda job: -job.sent)


def _with_usage(store: ObjectStore, job: StoredJob) -> StoredJob:
    """What an open job uses stands in its request."""
    if job.outcome:
        return job
    key = layout.request_key(job.id)
    try:
        return replace(job, usage=from_json(JobRequest, store.get(key), where=key).usage)
    except (AwsNotFound, InvalidDocument):
        return job


def _with_result(store: ObjectStore, job: StoredJob) -> StoredJob:
    if not job.ended:
        return job
    key = layout.result_key(job.id)
    try:
        result = from_json(JobResult, store.get(key), where=key)
    except AwsNotFound:
        return job
    except InvalidDocument as exc:
        return replace(job, outcome="unreadable", error=exc.message)
    error = str(result.error.get("message") or result.error.get("exception_message") or "")
    return replace(
        job,
        outcome=result.outcome.value,
        error=error.strip(),
        outputs=len(result.files),
        seconds=result.timings.get("total", 0.0),
        usage=result.usage,
    )
