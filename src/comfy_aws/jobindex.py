"""The jobs that the bucket knows, whichever designer sent them.

A designer's ledger knows only its own jobs, and lies in its ComfyUI's user folder; the bucket is
what every machine can ask.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsNotFound, InvalidDocument
from comfy_aws.models import JobResult, from_json

READERS: Final = 16
"""Results read at once."""


@dataclass(frozen=True)
class StoredJob:
    """One job; `outcome` is empty while there is no result. Times as in `models`."""

    id: str
    sent: float
    ended: float = 0.0
    outcome: str = ""
    error: str = ""
    outputs: int = 0


def stored_jobs(store: ObjectStore, limit: int) -> list[StoredJob]:
    """The latest jobs, newest first."""
    found: dict[str, StoredJob] = {}
    for entry in store.list(layout.JOBS):
        job_id, _, name = entry.key[len(layout.JOBS) :].partition("/")
        job = found.get(job_id) or StoredJob(job_id, entry.modified)
        if name == "request.json":
            job = replace(job, sent=entry.modified)
        elif name == "result.json":
            job = replace(job, ended=entry.modified)
        found[job_id] = job
    latest = sorted(found.values(), key=lambda job: -job.sent)[:limit]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda job: _with_result(store, job), latest))


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
        job, outcome=result.outcome.value, error=error.strip(), outputs=len(result.files)
    )
