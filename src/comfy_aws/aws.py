"""The AWS seam: the only importer of boto3, one class a service, typed in and out.

Every botocore error leaves here as one of `comfy_aws.errors`. Clients are made on first use
(an import of boto3 takes 0.3 s) and are safe to share between threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.config import AwsAccess
from comfy_aws.errors import (
    AwsConflict,
    AwsDenied,
    AwsError,
    AwsNotFound,
    AwsUnreachable,
    BlobCorrupted,
    Cancelled,
    FileChanged,
)

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

MiB: Final = 1024 * 1024
PART: Final = 64 * MiB
"""Part of a multipart upload; S3 allows 10,000 parts, so files up to 640 GB."""

SLICE: Final = 16 * MiB
"""Range of a parallel download."""

WIDTH: Final = 8
"""Parts or ranges in flight at once; more gained nothing on a 10 Gbit/s link."""

INLINE_BODY: Final = 128_000
"""Largest body, in bytes, that InvokeEndpointAsync takes in place of an InputLocation."""

_DENIED = frozenset(
    {
        "403", "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException",
        "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException",
        "SignatureDoesNotMatch", "UnrecognizedClientException", "AuthFailure",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException",
        "IncompleteSignature", "NotAuthorized",
    }
)  # fmt: skip
_MISSING = frozenset(
    {
        "404", "NoSuchKey", "NoSuchBucket", "NotFound", "ResourceNotFound",
        "ResourceNotFoundException", "ObjectNotFoundException", "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)  # fmt: skip
_CONFLICT = frozenset(
    {"409", "412", "PreconditionFailed", "ConditionalRequestConflict", "ResourceInUse"}
)
_BUSY = frozenset(
    {
        "500", "502", "503", "504", "InternalError", "InternalFailure", "RequestTimeout",
        "ServiceUnavailable", "SlowDown",
    }
)  # fmt: skip


@contextmanager
def _mapped(operation: str, what: str = "") -> Iterator[None]:
    """Turn botocore's errors into ours. `what` names the resource for the message."""
    from botocore import exceptions as boto

    about = f" for {what}" if what else ""
    try:
        yield
    except boto.ClientError as exc:
        raise _client_error(exc.response, operation, about) from exc
    except (
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound,
        boto.TokenRetrievalError, boto.SSOError, boto.CredentialRetrievalError,
    ) as exc:  # fmt: skip
        raise AwsDenied(
            f"No AWS credentials for {operation}: {exc}.", operation=operation,
            hint="Set AWS_PROFILE, run `aws configure`, or give the machine a role.",
        ) from exc  # fmt: skip
    except boto.ParamValidationError as exc:
        raise AwsError(
            f"{operation}{about} was called wrongly: {exc}", operation=operation
        ) from exc
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError) as exc:
        raise AwsUnreachable(
            f"AWS cannot be reached for {operation}{about}: {exc}.", operation=operation,
            hint="Check the network, the region, and that the local stack is up if you use it.",
        ) from exc  # fmt: skip
    except boto.BotoCoreError as exc:
        raise AwsError(f"{operation}{about} failed: {exc}.", operation=operation) from exc


def _client_error(response: Any, operation: str, about: str) -> AwsError:
    code = str(response.get("Error", {}).get("Code", ""))
    text = str(response.get("Error", {}).get("Message", "")) or code
    detail = {"operation": operation, "aws_code": code}
    message = f"{operation}{about}: {text} ({code})"
    # SageMaker says ValidationException for what does not exist.
    lost = "could not find" in text.lower() or "not found" in text.lower()
    if code in _DENIED:
        return AwsDenied(
            message, hint=f"Check the credentials and the permission {operation}.", **detail
        )
    if code in _MISSING or (code in {"ValidationException", "ValidationError"} and lost):
        return AwsNotFound(message, **detail)
    if code in _CONFLICT or "already exist" in text.lower():
        return AwsConflict(message, **detail)
    if code in _BUSY:
        return AwsUnreachable(message, hint="Try again in a moment.", **detail)
    return AwsError(message, **detail)


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing, or the head of one."""

    key: str
    size: int
    etag: str
    modified: float


@dataclass(frozen=True)
class Message:
    """One received queue message; `receipt` deletes it."""

    body: str
    receipt: str


@dataclass(frozen=True)
class Accepted:
    """SageMaker's answer to an accepted invocation."""

    inference_id: str
    output: str
    failure: str


class Session:
    """One boto3 session and its clients, made once each."""

    def __init__(self, access: AwsAccess) -> None:
        self.access = access
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._session: Any = None

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        access = self.access
        url = (access.s3_endpoint_url if service == "s3" else "") or access.endpoint_url
        with _mapped(f"{service}:client"):
            if self._session is None:
                self._session = boto3.Session(
                    profile_name=access.profile or None,
                    region_name=access.region or None,
                    aws_access_key_id=access.access_key_id or None,
                    aws_secret_access_key=access.secret_access_key or None,
                )
            options: dict[str, Any] = {
                "retries": {"mode": "standard", "max_attempts": 4},
                "connect_timeout": 5,
                "read_timeout": 60,
                "max_pool_connections": 32,
            }
            if service == "s3":
                options |= {
                    "signature_version": "s3v4",
                    # The digest in the key is the checksum; a second one costs a third of the rate.
                    "request_checksum_calculation": "when_required",
                    "response_checksum_validation": "when_required",
                    "s3": {
                        "payload_signing_enabled": False,
                        "addressing_style": "path" if url else "auto",
                    },
                }
            return self._session.client(service, endpoint_url=url or None, config=Config(**options))


class ObjectStore:
    """One bucket."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.bucket = session.access.bucket

    @property
    def _s3(self) -> S3Client:
        client: S3Client = self._session.client("s3")
        return client

    def _at(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def url(self, key: str) -> str:
        """``s3://bucket/key``, as SageMaker wants locations."""
        return self._at(key)

    def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_none_match: bool = False,
        if_match: str = "",
    ) -> str:
        """Write an object and return its ETag.

        Args:
            if_none_match: only when no object is there.
            if_match: only when the object's ETag is this one.

        Raises:
            AwsConflict: the condition does not hold.
        """
        extra: dict[str, Any] = {}
        if if_none_match:
            extra["IfNoneMatch"] = "*"
        if if_match:
            extra["IfMatch"] = if_match
        with _mapped("s3:PutObject", self._at(key)):
            answer = self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **extra
            )
        return answer["ETag"]

    def get(self, key: str) -> bytes:
        """Raises AwsNotFound when the object does not exist."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and ETag. Raises AwsNotFound."""
        with _mapped("s3:GetObject", self._at(key)):
            answer = self._s3.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), answer["ETag"]

    def head(self, key: str) -> StoredObject | None:
        """The object's head, or None when it does not exist."""
        try:
            with _mapped("s3:HeadObject", self._at(key)):
                answer = self._s3.head_object(Bucket=self.bucket, Key=key)
        except AwsNotFound:
            return None
        modified = answer["LastModified"].timestamp()
        return StoredObject(key, answer["ContentLength"], answer["ETag"], modified)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix, in key order."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        with _mapped("s3:ListBucket", self._at(prefix)):
            for page in pages:
                for entry in page.get("Contents", []):
                    modified = entry["LastModified"].timestamp()
                    yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], modified)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names one level below a prefix that end with a slash, without it."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        )
        with _mapped("s3:ListBucket", self._at(prefix)):
            for page in pages:
                for entry in page.get("CommonPrefixes", []):
                    yield entry["Prefix"][len(prefix) : -1]

    def delete(self, *keys: str) -> None:
        """Delete objects; those that do not exist are no error."""
        for start in range(0, len(keys), 1000):  # DeleteObjects takes at most 1,000
            chunk = keys[start : start + 1000]
            with _mapped("s3:DeleteObject", self._at(chunk[0])):
                if len(chunk) == 1:
                    self._s3.delete_object(Bucket=self.bucket, Key=chunk[0])
                    continue
                answer = self._s3.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True},
                )
            for failed in answer.get("Errors", []):  # a 200 may hold refusals of single keys
                raise _client_error(
                    {"Error": failed}, "s3:DeleteObject", f" for {self._at(failed['Key'])}"
                )

    def upload(
        self,
        key: str,
        path: Path,
        size: int,
        *,
        verify: Callable[[], None],
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
    ) -> None:
        """Upload a large file in parallel parts; it becomes visible whole or not at all.

        Args:
            verify: called after the last part is sent and before the object becomes visible;
                raises when the file is no longer what it was.
            progress: called with the bytes sent since its last call, from several threads.
        """
        with _mapped("s3:PutObject", self._at(key)):
            started = self._s3.create_multipart_upload(Bucket=self.bucket, Key=key)
        part_of: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": key,
            "UploadId": started["UploadId"],
        }

        def send(number: int) -> dict[str, Any]:
            if cancelled():
                raise Cancelled(f"The upload of {path.name} was cancelled.")
            body = _read_part(path, number * PART, min(PART, size - number * PART))
            with _mapped("s3:PutObject", self._at(key)):
                answer = self._s3.upload_part(**part_of, PartNumber=number + 1, Body=body)
            progress(len(body))
            return {"PartNumber": number + 1, "ETag": answer["ETag"]}

        try:
            with ThreadPoolExecutor(WIDTH) as pool:
                parts: list[Any] = list(pool.map(send, range(max(1, -(-size // PART)))))
            verify()
            with _mapped("s3:PutObject", self._at(key)):
                self._s3.complete_multipart_upload(**part_of, MultipartUpload={"Parts": parts})
        except BaseException:
            # Best effort: why the upload failed matters more than that its parts stay.
            with suppress(AwsError), _mapped("s3:AbortMultipartUpload", self._at(key)):
                self._s3.abort_multipart_upload(**part_of)
            raise

    def download(
        self,
        key: str,
        path: Path,
        size: int,
        *,
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
    ) -> None:
        """Read an object of a known size into a new file, in parallel ranges.

        boto3's own download passes every 256 KiB through one thread; ranges written straight
        to their place run several times as fast.

        Raises:
            AwsNotFound: the object does not exist.
            BlobCorrupted: the object is shorter than `size`.
        """
        with path.open("wb") as stream:
            stream.truncate(size)
            lock = threading.Lock()

            def fetch(start: int) -> None:
                if cancelled():
                    raise Cancelled(f"The download of {key} was cancelled.")
                want = min(SLICE, size - start)
                body = self._range(key, start, want)
                if len(body) != want:
                    raise BlobCorrupted(
                        f"{self._at(key)} is shorter than the {size:,} bytes it should have.",
                        hint="Delete it from the bucket and publish again.",
                    )
                _write_at(stream.fileno(), body, start, lock)
                progress(want)

            with ThreadPoolExecutor(WIDTH) as pool:
                for _ in pool.map(fetch, range(0, size, SLICE)):
                    pass

    def _range(self, key: str, start: int, count: int) -> bytes:
        """Up to `count` bytes; none when the object ends before `start`."""
        try:
            with _mapped("s3:GetObject", self._at(key)):
                answer = self._s3.get_object(
                    Bucket=self.bucket, Key=key, Range=f"bytes={start}-{start + count - 1}"
                )
                return answer["Body"].read()
        except AwsError as exc:
            if exc.aws_code in {"InvalidRange", "416"}:
                return b""
            raise


def _read_part(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            body = stream.read(count)
    except OSError as exc:
        raise FileChanged(
            f"The file {path} cannot be read: {exc.strerror or exc}.", hint="Put it back and retry."
        ) from exc
    if len(body) != count:
        raise FileChanged(
            f"The file {path} became shorter while it was uploaded.",
            hint="Wait until whatever writes it has finished, then retry.",
        )
    return body


def _write_at(handle: int, body: bytes, start: int, lock: threading.Lock) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(handle, body, start)
        return
    with lock:  # Windows has no positioned write
        os.lseek(handle, start, os.SEEK_SET)
        os.write(handle, body)


class Queues:
    """SQS standard queues: at least once, in any order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _sqs(self) -> SQSClient:
        client: SQSClient = self._session.client("sqs")
        return client

    def ensure(self, name: str, *, retention: int) -> str:
        """Create the queue unless it is there, and return its URL. `retention` in seconds."""
        with _mapped("sqs:CreateQueue", name):
            answer = self._sqs.create_queue(
                QueueName=name, Attributes={"MessageRetentionPeriod": str(retention)}
            )
        return answer["QueueUrl"]

    def send(self, url: str, body: str) -> None:
        with _mapped("sqs:SendMessage", url):
            self._sqs.send_message(QueueUrl=url, MessageBody=body)

    def receive(self, url: str, *, wait: int = 20) -> list[Message]:
        """Long-poll for up to ten messages; `wait` in seconds, at most 20."""
        with _mapped("sqs:ReceiveMessage", url):
            answer = self._sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
            )
        return [Message(m["Body"], m["ReceiptHandle"]) for m in answer.get("Messages", [])]

    def delete_messages(self, url: str, messages: list[Message]) -> None:
        if not messages:
            return
        with _mapped("sqs:DeleteMessage", url):
            self._sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message.receipt}
                    for number, message in enumerate(messages)
                ],
            )

    def delete(self, url: str) -> None:
        with _mapped("sqs:DeleteQueue", url):
            self._sqs.delete_queue(QueueUrl=url)


class SageMaker:
    """Models, endpoint configurations, endpoints and their invocations.

    The control-plane methods take SageMaker's own request members, which `endpoints.py` plans
    as data.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _control(self) -> SageMakerClient:
        client: SageMakerClient = self._session.client("sagemaker")
        return client

    @property
    def _runtime(self) -> SageMakerRuntimeClient:
        client: SageMakerRuntimeClient = self._session.client("sagemaker-runtime")
        return client

    @property
    def _scaling(self) -> ApplicationAutoScalingClient:
        client: ApplicationAutoScalingClient = self._session.client("application-autoscaling")
        return client

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one control-plane operation by its method name, such as ``create_model``."""
        with _mapped(f"sagemaker:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(self._control, operation)(**request)
        return answer

    def scale(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one Application Auto Scaling operation by its method name."""
        with _mapped(f"application-autoscaling:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(self._scaling, operation)(**request)
        return answer

    def alarm(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call one CloudWatch operation by its method name, such as ``put_metric_alarm``."""
        client = self._session.client("cloudwatch")
        with _mapped(f"cloudwatch:{_camel(operation)}", _named(request)):
            answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer

    def endpoints(self, name_contains: str = "") -> Iterator[dict[str, Any]]:
        """Summaries of the region's endpoints, newest first."""
        extra: dict[str, Any] = {"NameContains": name_contains} if name_contains else {}
        with _mapped("sagemaker:ListEndpoints"):
            for page in self._control.get_paginator("list_endpoints").paginate(**extra):
                for entry in page["Endpoints"]:
                    yield dict(entry)

    def invoke_async(
        self,
        endpoint: str,
        inference_id: str,
        *,
        body: bytes = b"",
        input_location: str = "",
        timeout: int = 3600,
        ttl: int = 21600,
    ) -> Accepted:
        """Queue one invocation, with `body` inline or from `input_location`.

        Args:
            timeout: seconds the container may take, 1 to 3600.
            ttl: seconds the request may wait, 60 to 21600.
        """
        request: dict[str, Any] = {
            "EndpointName": endpoint, "ContentType": "application/json",
            "Accept": "application/json", "InferenceId": inference_id,
            "InvocationTimeoutSeconds": timeout, "RequestTTLSeconds": ttl,
        }  # fmt: skip
        request |= {"Body": body} if body else {"InputLocation": input_location}
        with _mapped("sagemaker:InvokeEndpointAsync", endpoint):
            answer = self._runtime.invoke_endpoint_async(**request)
        return Accepted(
            answer["InferenceId"], answer.get("OutputLocation", ""), answer["FailureLocation"]
        )


class Logs:
    """CloudWatch Logs, read only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(
        self, group: str, *, since: float = 0.0, text: str = "", limit: int = 1000
    ) -> list[tuple[float, str, str]]:
        """(seconds since the epoch, stream, line) in order of time; empty without the group."""
        client: CloudWatchLogsClient = self._session.client("logs")
        request: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000)}
        if text:
            request["filterPattern"] = f'"{text}"'
        lines: list[tuple[float, str, str]] = []
        try:
            with _mapped("logs:FilterLogEvents", group):
                for page in client.get_paginator("filter_log_events").paginate(**request):
                    lines += [
                        (e["timestamp"] / 1000, e["logStreamName"], e["message"])
                        for e in page["events"]
                    ]
        except AwsNotFound:
            return []
        return sorted(lines)[-limit:]


class Identity:
    """Who the credentials belong to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def account(self) -> str:
        """The account number. Raises AwsDenied when the credentials are not valid."""
        client: STSClient = self._session.client("sts")
        with _mapped("sts:GetCallerIdentity"):
            return client.get_caller_identity()["Account"]


def seconds(moment: datetime | None) -> float:
    """A botocore time as seconds since the epoch; 0 for none."""
    return moment.timestamp() if moment else 0.0


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def _named(request: dict[str, Any]) -> str:
    for key in ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId"):
        if key in request:
            return str(request[key])
    return ""
