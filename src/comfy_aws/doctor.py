"""Tries what the product needs of AWS, and says of each failure what to do about it.

Every check is a real call, on something of its own that it takes away again: a policy simulator
does not know of bucket policies, service control policies or a wrong region.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from comfy_aws import layout
from comfy_aws.aws import Identity, Logs, ObjectStore, Queues, SageMaker
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.errors import AwsDenied, AwsNotFound, ComfyAwsError

PROBE = f"{layout.TEMPLATES}.probe-"
"""Below a prefix that the designer's role may write to and delete from."""

QUEUE_SECONDS = 60
"""Retention of the probe's queue: the shortest that SQS knows."""


class CheckState(str, Enum):
    """How a check ended. SKIPPED: another one failed first."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One finding. `permission` is the IAM action that was tried, `hint` the cure."""

    name: str
    state: CheckState
    message: str
    hint: str = ""
    permission: str = ""


@dataclass(frozen=True)
class _Try:
    """A call to make: its answer is what there is to say when it passes."""

    name: str
    permission: str
    work: Callable[[], str]
    after: str = ""


class Doctor:
    """Checks a connection. Every check ends, whatever AWS answers."""

    def __init__(
        self,
        identity: Identity,
        store: ObjectStore,
        sagemaker: SageMaker,
        queues: Queues,
        logs: Logs,
        worker: WorkerImage,
        bucket: str,
    ) -> None:
        self._identity = identity
        self._store = store
        self._sagemaker = sagemaker
        self._queues = queues
        self._logs = logs
        self._worker = worker
        self._bucket = bucket

    def connection(self) -> list[Check]:
        """Credentials, bucket, endpoints, queues, logs, and what endpoints are made from."""
        failed: set[str] = set()
        found = []
        for each in self._tries():
            if each.after in failed:
                check = Check(each.name, CheckState.SKIPPED, f"Not tried: {each.after} failed.",
                              permission=each.permission)  # fmt: skip
            else:
                check = self._carry_out(each)
            if check.state is not CheckState.PASSED:
                failed.add(each.name)
            found.append(check)
        return [*found, *self._settings()]

    def _tries(self) -> Iterator[_Try]:
        key = f"{PROBE}{uuid.uuid4().hex}"
        yield _Try("credentials", "sts:GetCallerIdentity", self._who)
        yield _Try("bucket", "s3:ListBucket", self._list, "credentials")
        yield _Try("write", "s3:PutObject", lambda: self._write(key), "bucket")
        yield _Try("read", "s3:GetObject", lambda: self._read(key), "write")
        yield _Try("delete", "s3:DeleteObject", lambda: self._delete(key), "write")
        yield _Try("endpoints", "sagemaker:ListEndpoints", self._endpoints, "credentials")
        yield _Try("queues", "sqs:CreateQueue", self._queue, "credentials")
        yield _Try("logs", "logs:FilterLogEvents", self._read_logs, "credentials")

    def _carry_out(self, each: _Try) -> Check:
        try:
            message = each.work()
        except ComfyAwsError as exc:
            tried = getattr(exc, "operation", "")
            # Without a profile or a region there is not even a client to call with.
            permission = each.permission if not tried or tried.endswith(":client") else tried
            return failure(each.name, exc, permission, self._cure(exc, permission))
        return Check(each.name, CheckState.PASSED, message, permission=each.permission)

    def _cure(self, exc: ComfyAwsError, permission: str) -> str:
        if isinstance(exc, AwsNotFound) and permission.startswith("s3:"):
            return f"Create the bucket {self._bucket}, or name another one in the settings."
        if isinstance(exc, AwsDenied) and exc.aws_code.startswith("AccessDenied"):
            return (
                f"Allow {permission}. `comfy-aws iam-policy` prints the smallest policy that is "
                "enough."
            )
        return exc.hint or "See what AWS says, and try again."

    def _who(self) -> str:
        return f"Account {self._identity.account()}."

    def _list(self) -> str:
        next(iter(self._store.list(PROBE)), None)
        return f"{self._bucket} can be listed."

    def _write(self, key: str) -> str:
        self._store.put(key, b"probe")
        return "An object was written."

    def _read(self, key: str) -> str:
        self._store.get(key)
        return "It was read."

    def _delete(self, key: str) -> str:
        self._store.delete(key)
        return "It was deleted."

    def _endpoints(self) -> str:
        count = sum(1 for _ in self._sagemaker.endpoints())
        return f"{count} in this account and region."

    def _queue(self) -> str:
        url = self._queues.ensure(f"comfy-aws-check-{uuid.uuid4().hex}", retention=QUEUE_SECONDS)
        self._queues.delete(url)
        return "A queue was made and deleted."

    def _read_logs(self) -> str:
        self._logs.read(f"/aws/sagemaker/Endpoints/comfy-aws-check-{uuid.uuid4().hex}")
        return "Logs of endpoints can be read."

    def _settings(self) -> Iterator[Check]:
        for name, value, hint in (
            ("role", self._worker.role, "Set the execution role that `comfy-aws deploy` made."),
            ("image", self._worker.image, "Set the worker's image in ECR that the deploy built."),
        ):
            if value:
                yield Check(name, CheckState.PASSED, f"{value}.")
            else:
                text = "It is not set; endpoints cannot be created."
                yield Check(name, CheckState.FAILED, text, hint)


def failure(name: str, exc: ComfyAwsError, permission: str = "", hint: str = "") -> Check:
    """What failed, as a check."""
    return Check(name, CheckState.FAILED, exc.message, hint or exc.hint, permission)
