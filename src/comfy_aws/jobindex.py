"""The jobs that the bucket knows, whichever designer sent them.

A designer's ledger knows only its own jobs, and lies in its ComfyUI's user folder; the bucket is
what every machine can ask.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsNotFound, InvalidDocument
from comfy_aws.models import JobResult, Usage, from_json

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
    latest = sorted(recent, key=lambda job: -job.sent)[:limit]
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda job: known.get(job.id) or _with_result(store, job), latest))
    known.update({job.id: job for job in read if job.outcome})
    return read


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
