"""A job as programs see it: its state, why it failed, and its files by URLs of the bucket.

Live jobs are known by the designer that sent them; of all others, also those of another machine,
the bucket tells.
"""

from __future__ import annotations

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsNotFound, InvalidDocument, NotFound
from comfy_aws.models import (
    Job,
    JobRequest,
    JobResult,
    JobState,
    Json,
    Outcome,
    OutputFile,
    from_json,
)
from comfy_aws.orders import STATE_OF, JobEnd, JobView, message_of
from comfy_aws.outputfiles import wanted

EXPIRES = 3600
"""Seconds that a URL holds, unless the caller says otherwise."""

SHORTEST, LONGEST = 60, 7 * 24 * 3600
"""Seconds; S3 signs for a week at most."""


class JobReports:
    """Safe to share between threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def of(self, job_id: str, view: JobView | None = None, *, expires: int = EXPIRES) -> Json:
        """A job in JSON.

        Args:
            view: the job as its designer knows it; without one the bucket tells.
            expires: seconds that the URLs hold.

        Raises:
            NotFound, InvalidName: there is no such job.
        """
        result = self.result(job_id) if view is None or view.job.state.ended else None
        view = view or self._stored(job_id, result)
        return {
            **view.to_dict(),
            "error": error_of(view.job, result),
            "seconds": result.timings.get("total", 0.0) if result else None,
            "outputs": self.outputs(result, expires) if result else [],
        }

    def outputs(self, result: JobResult, expires: int) -> list[Json]:
        """The files of a job in their order, each with a URL."""
        return [
            {
                "number": number, "node_id": file.node_id, "filename": file.filename,
                "subfolder": file.subfolder, "type": file.type, "size": file.size,
                "sha256": file.digest, "url": self._store.presigned(file.key, expires),
            } for number, file in enumerate(wanted(result.files), 1)
        ]  # fmt: skip

    def files(self, job_id: str) -> list[OutputFile]:
        """The files of an ended job, in the order of its report. Raises InvalidName."""
        result = self.result(job_id)
        return wanted(result.files) if result else []

    def output(self, job_id: str, number: int) -> OutputFile:
        """One file by its number. Raises NotFound, InvalidName."""
        files = self.files(job_id)
        if not 1 <= number <= len(files):
            raise NotFound(
                f"The job {job_id} has no output {number}.",
                hint=f"It has {len(files)}; a job that has not ended has none.",
            )
        return files[number - 1]

    def result(self, job_id: str) -> JobResult | None:
        """What the worker has written; None while there is nothing. Raises InvalidName."""
        key = layout.result_key(layout.check_job_id(job_id))
        try:
            return from_json(JobResult, self._store.get(key), where=key)
        except AwsNotFound:
            return None

    def cancel(self, job_id: str) -> JobState:
        """Ask the worker of any machine's job to stop; an ended job stays as it is.

        Returns:
            The state of the job: cancelled while it is asked, else how it has ended.

        Raises:
            NotFound, InvalidName: there is no such job.
        """
        result = self.result(job_id)
        if result is not None:
            return STATE_OF[result.outcome]
        if self._store.head(layout.request_key(job_id)) is None:
            raise _unknown(job_id)
        self._store.put(layout.cancel_key(job_id), b"")
        return JobState.CANCELLED

    def exists(self, job_id: str) -> bool:
        """Whether the bucket has the job. Raises InvalidName."""
        return self._store.head(layout.request_key(layout.check_job_id(job_id))) is not None

    def _stored(self, job_id: str, result: JobResult | None) -> JobView:
        sent = self._store.head(layout.request_key(job_id))
        if sent is None:
            raise _unknown(job_id)
        if result is None:
            usage = self._usage(job_id)
            job = Job(job_id, usage[0], JobState.SUBMITTED, sent.modified, sent.modified, usage[1])
            return JobView(job)
        state = STATE_OF[result.outcome]
        head = self._store.head(layout.result_key(job_id))
        ended = head.modified if head else sent.modified
        message = message_of(JobEnd(state, result, result.error))
        job = Job(job_id, result.usage.endpoint, state, sent.modified, ended,
                  result.usage.template, message=message)  # fmt: skip
        return JobView(job)

    def _usage(self, job_id: str) -> tuple[str, str]:
        """Endpoint and template of a job that has no result yet."""
        key = layout.request_key(job_id)
        try:
            usage = from_json(JobRequest, self._store.get(key), where=key).usage
        except (AwsNotFound, InvalidDocument):
            return "", ""
        return usage.endpoint, usage.template


def error_of(job: Job, result: JobResult | None) -> Json | None:
    """Why a job failed, in one shape whoever says so; None for other ends."""
    if job.state is not JobState.FAILED:
        return None
    told = result.error if result else {}
    node_id = told.get("node_id")
    codes = {Outcome.ERROR: "node", Outcome.INVALID: "prompt_rejected"}
    code = codes.get(result.outcome, "") if result else ""
    return {
        "code": code or str(told.get("code") or "failed"),
        "message": job.message or "The job failed.",
        "hint": str(told.get("hint") or ""),
        "node_id": None if node_id is None else str(node_id),
        "node_type": told.get("node_type"),
        "node_errors": result.node_errors if result else {},
    }


def _unknown(job_id: str) -> NotFound:
    return NotFound(
        f"There is no job {job_id}.", hint="Jobs are deleted some weeks after their end."
    )
