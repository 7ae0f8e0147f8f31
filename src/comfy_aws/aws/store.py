"""S3: the objects of one bucket, with conditional writes and parallel transfers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfy_aws.aws.mapping import client_error, mapped
from comfy_aws.aws.session import Session
from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.errors import AwsError, AwsNotFound, BlobCorrupted, Cancelled, FileChanged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MiB: Final = 1024 * 1024
PART: Final = 64 * MiB
"""Part of a multipart upload; S3 allows 10,000 parts, so files up to 640 GB."""

SLICE: Final = 16 * MiB
"""Range of a parallel download."""

WIDTH: Final = 8
"""Parts or ranges in flight at once; more gained nothing on a 10 Gbit/s link."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing, or the head of one."""

    key: str
    size: int
    etag: str
    modified: float


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
        with mapped("s3:PutObject", self._at(key)):
            answer = self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **extra
            )
        return answer["ETag"]

    def get(self, key: str) -> bytes:
        """Raises AwsNotFound when the object does not exist."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and ETag. Raises AwsNotFound."""
        with mapped("s3:GetObject", self._at(key)):
            answer = self._s3.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), answer["ETag"]

    def head(self, key: str) -> StoredObject | None:
        """The object's head, or None when it does not exist."""
        try:
            with mapped("s3:HeadObject", self._at(key)):
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
        with mapped("s3:ListBucket", self._at(prefix)):
            for page in pages:
                for entry in page.get("Contents", []):
                    modified = entry["LastModified"].timestamp()
                    yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], modified)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names one level below a prefix that end with a slash, without it."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        )
        with mapped("s3:ListBucket", self._at(prefix)):
            for page in pages:
                for entry in page.get("CommonPrefixes", []):
                    yield entry["Prefix"][len(prefix) : -1]

    def delete(self, *keys: str) -> None:
        """Delete objects; those that do not exist are no error."""
        for start in range(0, len(keys), 1000):  # DeleteObjects takes at most 1,000
            chunk = keys[start : start + 1000]
            with mapped("s3:DeleteObject", self._at(chunk[0])):
                if len(chunk) == 1:
                    self._s3.delete_object(Bucket=self.bucket, Key=chunk[0])
                    continue
                answer = self._s3.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True},
                )
            for failed in answer.get("Errors", []):  # a 200 may hold refusals of single keys
                raise client_error(
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
        with mapped("s3:PutObject", self._at(key)):
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
            with mapped("s3:PutObject", self._at(key)):
                answer = self._s3.upload_part(**part_of, PartNumber=number + 1, Body=body)
            progress(len(body))
            return {"PartNumber": number + 1, "ETag": answer["ETag"]}

        try:
            with ThreadPoolExecutor(WIDTH) as pool:
                parts: list[Any] = list(pool.map(send, range(max(1, -(-size // PART)))))
            if cancelled():
                raise Cancelled(f"The upload of {path.name} was cancelled.")
            verify()
            with mapped("s3:PutObject", self._at(key)):
                self._s3.complete_multipart_upload(**part_of, MultipartUpload={"Parts": parts})
        except BaseException:
            # Best effort: why the upload failed matters more than that its parts stay.
            with suppress(AwsError), mapped("s3:AbortMultipartUpload", self._at(key)):
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
            with mapped("s3:GetObject", self._at(key)):
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
