"""S3: the objects of one bucket, with conditional writes and parallel transfers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_aws.aws import downloads, native
from comfy_aws.aws.downloads import Follow, RangedDownload
from comfy_aws.aws.mapping import client_error, mapped
from comfy_aws.aws.native import NativeDownloads
from comfy_aws.aws.session import Session
from comfy_aws.aws.uploads import PART, Buffers, MultipartUpload, Source, UploadLog
from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.errors import AwsNotFound

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing, or the head of one."""

    key: str
    size: int
    etag: str
    modified: float


class ObjectStore:
    """One bucket. Safe to share between threads.

    Args:
        part_size: bytes of a part of an upload and of a range of a download; S3 takes no parts
            below 5 MiB.
        natively: take the native client for larger downloads; None leaves the choice to where it
            is the faster way.
    """

    def __init__(
        self, session: Session, *, part_size: int = PART, natively: bool | None = None
    ) -> None:
        self._session = session
        self.bucket = session.access.bucket
        self.part_size = part_size
        self._buffers = Buffers()
        self._natively = natively
        self._ranges = threading.BoundedSemaphore(downloads.WIDTH)

    @property
    def _s3(self) -> S3Client:
        client: S3Client = self._session.client("s3")
        return client

    @cached_property
    def _native(self) -> NativeDownloads | None:
        wanted = native.usable(self._session) if self._natively is None else self._natively
        return NativeDownloads(self._session) if wanted else None

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

    def presigned(self, key: str, seconds: int) -> str:
        """A URL by which anybody may read the object for so long; S3 takes at most a week.

        It ends earlier with the credentials that signed it, where those are temporary.
        """
        with mapped("s3:GetObject", self._at(key)):
            return self._s3.generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
            )

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

    def delete_unchanged(self, key: str, etag: str) -> None:
        """Delete an object that still has this ETag. Raises AwsConflict, AwsNotFound."""
        with mapped("s3:DeleteObject", self._at(key)):
            self._s3.delete_object(Bucket=self.bucket, Key=key, IfMatch=etag)

    def upload(
        self,
        key: str,
        path: Path,
        size: int,
        *,
        verify: Callable[[], None],
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
        log: UploadLog | None = None,
        stands_for: str = "",
    ) -> None:
        """Upload a large file in parallel parts; it becomes visible whole or not at all.

        Args:
            verify: called after the last part is sent and before the object becomes visible;
                raises FileChanged when the file is no longer what it was.
            progress: called with the bytes sent since its last call, from several threads; bytes
                that an earlier upload has sent count, too.
            log: where an unfinished upload is remembered, so that the next one goes on.
            stands_for: tells the file's bytes from any others; only an upload that was begun
                with the same is taken up.
        """
        source = Source(path, size, stands_for, self.part_size)
        upload = MultipartUpload(self._s3, (self.bucket, key), source, self._buffers, log)
        upload.run(
            verify=verify,
            is_there=lambda: (head := self.head(key)) is not None and head.size == size,
            progress=progress,
            cancelled=cancelled,
        )

    def download(
        self,
        key: str,
        path: Path,
        size: int,
        *,
        follow: Follow | None = None,
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
    ) -> None:
        """Read an object of a known size into a new file, in parallel ranges.

        Args:
            follow: given all bytes in order, while later ones are still coming.

        Raises:
            AwsNotFound: the object does not exist.
            BlobCorrupted: the object is shorter than `size`.
        """
        at = (self.bucket, key)
        if size > self.part_size and (fast := self._native):
            run: Callable[..., None] = partial(fast.run, at, path, size)
        else:
            run = RangedDownload(
                self._s3, at, path, size, piece=self.part_size, slots=self._ranges
            ).run
        run(follow=follow, progress=progress, cancelled=cancelled)
