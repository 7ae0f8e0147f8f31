"""Multipart uploads that the next process can take up where a killed one stopped.

What is known of an unfinished upload lies in an `UploadLog`; what S3 has of it is asked of S3. A
part is sent again unless both agree on its ETag and it has the size it should have. Without a
log nobody could take an upload up, so it is aborted when it fails; with one it stays, also after
a cancel, and the bucket's rule AbortIncompleteMultipartUpload removes what nobody came back for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from comfy_aws.aws.mapping import mapped
from comfy_aws.callbacks import IsCancelled, OnBytes
from comfy_aws.errors import AwsError, Cancelled, FileChanged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART: Final = 16 * 1024 * 1024
"""Bytes of a part. Larger ones were no faster, and every part in flight is held in memory."""

MOST_PARTS: Final = 10_000
"""S3's limit; files beyond 160 GB get larger parts."""

WIDTH: Final = 8
"""Parts in flight at once, of all files together; more gained nothing on a 10 Gbit/s link."""

_GONE: Final = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
"""The upload was completed, aborted or expired meanwhile, or its parts are not what they were."""

_ATTEMPTS: Final = 3
"""Uploads begun for one call, when the one in the log and those after it turn out to be gone."""


@dataclass(frozen=True)
class Begun:
    """An upload that was begun and not completed, as far as is known here."""

    upload_id: str
    part_size: int
    etags: dict[int, str] = field(default_factory=dict)
    """Of the parts that S3 has confirmed, by number."""


class UploadLog(Protocol):
    """Remembers unfinished uploads across processes. `source` stands for unchanged bytes."""

    def begun(self, url: str, source: str) -> Begun | None: ...

    def begin(self, url: str, source: str, upload: Begun) -> None: ...

    def sent(self, upload_id: str, number: int, etag: str) -> None: ...

    def ended(self, url: str) -> None: ...


class Buffers:
    """Room for `WIDTH` parts, shared by all uploads and given back when none runs."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(WIDTH)
        self._lock = threading.Lock()
        self._spare: list[bytearray] = []
        self._out = 0

    @contextmanager
    def one(self, size: int) -> Iterator[bytearray]:
        with self._slots:
            with self._lock:
                self._out += 1
                buffer = self._spare.pop() if self._spare else bytearray()
            if len(buffer) != size:
                buffer = bytearray(size)
            try:
                yield buffer
            finally:
                with self._lock:
                    self._out -= 1
                    self._spare.append(buffer)
                    if not self._out:
                        self._spare.clear()


@dataclass(frozen=True)
class Source:
    """The file of an upload. `stands_for` tells its bytes from any others it may have had."""

    path: Path
    size: int
    stands_for: str = ""
    part_size: int = PART

    def parts(self, part_size: int) -> range:
        return range(1, max(1, -(-self.size // part_size)) + 1)

    def extent(self, number: int, part_size: int) -> tuple[int, int]:
        """Start and length of a part."""
        start = (number - 1) * part_size
        return start, min(part_size, self.size - start)


class MultipartUpload:
    """Sends one file to one key. Its `run` may be called once."""

    def __init__(
        self,
        s3: S3Client,
        at: tuple[str, str],
        source: Source,
        buffers: Buffers,
        log: UploadLog | None,
    ) -> None:
        self._s3 = s3
        self._bucket, self._key = at
        self._url = f"s3://{self._bucket}/{self._key}"
        self._source = source
        self._buffers = buffers
        self._log = log

    def run(
        self,
        *,
        verify: Callable[[], None],
        is_there: Callable[[], bool],
        progress: OnBytes,
        cancelled: IsCancelled,
    ) -> None:
        """As `ObjectStore.upload`.

        Args:
            is_there: whether somebody else has completed the object meanwhile.
        """
        meter = _Meter(progress)
        for attempt in range(1, _ATTEMPTS + 1):
            meter.restart()
            upload = self._take_up() or self._begin()
            try:
                self._finish(upload, verify, meter.count, cancelled)
                return
            except FileChanged:
                self._abort(upload)
                raise
            except AwsError as exc:
                if exc.aws_code not in _GONE:
                    self._leave(upload)
                    raise
                self._abort(upload)
                if is_there():
                    meter.fill(self._source.size)
                    return
                if attempt == _ATTEMPTS:
                    raise
            except BaseException:
                self._leave(upload)
                raise

    def _take_up(self) -> Begun | None:
        known = self._log.begun(self._url, self._source.stands_for) if self._log else None
        if known is None:
            return None
        try:
            there = self._listed(known)
        except AwsError as exc:
            if exc.aws_code not in _GONE:
                raise
            self._abort(known)
            return None
        etags = {
            number: etag
            for number, etag in known.etags.items()
            if (number, etag, self._source.extent(number, known.part_size)[1]) in there
        }
        return Begun(known.upload_id, known.part_size, etags)

    def _listed(self, upload: Begun) -> set[tuple[int, str, int]]:
        """Number, ETag and size of the parts that S3 has; some servers list a part twice."""
        pages = self._s3.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=self._key, UploadId=upload.upload_id
        )
        with mapped("s3:ListMultipartUploadParts", self._url):
            return {
                (part["PartNumber"], part["ETag"], part["Size"])
                for page in pages
                for part in page.get("Parts", [])
            }

    def _begin(self) -> Begun:
        with mapped("s3:PutObject", self._url):
            answer = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key)
        part_size = max(self._source.part_size, -(-self._source.size // MOST_PARTS))
        upload = Begun(answer["UploadId"], part_size)
        if self._log:
            self._log.begin(self._url, self._source.stands_for, upload)
        return upload

    def _finish(
        self,
        upload: Begun,
        verify: Callable[[], None],
        progress: OnBytes,
        cancelled: IsCancelled,
    ) -> None:
        def look() -> None:
            if cancelled():
                raise Cancelled(f"The upload of {self._source.path.name} was cancelled.")

        def send(number: int) -> dict[str, Any]:
            start, count = self._source.extent(number, upload.part_size)
            etag = upload.etags.get(number, "")
            if not etag:
                with self._buffers.one(upload.part_size) as buffer:
                    look()
                    etag = self._send(upload, number, _filled(buffer, self._source, start, count))
            progress(count)
            return {"PartNumber": number, "ETag": etag}

        with ThreadPoolExecutor(WIDTH) as pool:
            parts: list[Any] = list(pool.map(send, self._source.parts(upload.part_size)))
        look()
        verify()
        with mapped("s3:PutObject", self._url):
            self._s3.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": parts},
            )
        if self._log:
            self._log.ended(self._url)

    def _send(self, upload: Begun, number: int, body: bytearray) -> str:
        with mapped("s3:PutObject", self._url):
            answer = self._s3.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload.upload_id,
                PartNumber=number,
                Body=body,  # type: ignore[arg-type]  # botocore takes it; the stubs forgot
            )
        if self._log:
            self._log.sent(upload.upload_id, number, answer["ETag"])
        return answer["ETag"]

    def _leave(self, upload: Begun) -> None:
        """Keep the parts for the next try, if there can be one."""
        if self._log is None:
            self._abort(upload)

    def _abort(self, upload: Begun) -> None:
        # Best effort: why the upload failed matters more than that its parts stay.
        with suppress(AwsError), mapped("s3:AbortMultipartUpload", self._url):
            self._s3.abort_multipart_upload(
                Bucket=self._bucket, Key=self._key, UploadId=upload.upload_id
            )
        if self._log:
            self._log.ended(self._url)


class _Meter:
    """Counts an upload's bytes once, also when it begins anew."""

    def __init__(self, progress: OnBytes) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._done = self._told = 0

    def restart(self) -> None:
        self._done = 0

    def count(self, count: int) -> None:
        with self._lock:
            self._done += count
            news = self._done - self._told
            self._told = max(self._told, self._done)
        if news > 0:
            self._progress(news)

    def fill(self, size: int) -> None:
        """Somebody else sent the rest."""
        self.restart()
        self.count(size)


def _filled(buffer: bytearray, source: Source, start: int, count: int) -> bytearray:
    """`count` bytes of the file from `start`; a copy only where a part is shorter than the rest."""
    view = memoryview(buffer)[:count]
    done = 0
    try:
        with source.path.open("rb", buffering=0) as stream:
            stream.seek(start)
            while done < count and (got := stream.readinto(view[done:])):
                done += got
    except OSError as exc:
        raise FileChanged(
            f"The file {source.path} cannot be read: {exc.strerror or exc}.",
            hint="Put it back and retry.",
        ) from exc
    if done != count:
        raise FileChanged(
            f"The file {source.path} became shorter while it was uploaded.",
            hint="Wait until whatever writes it has finished, then retry.",
        )
    return buffer if count == len(buffer) else buffer[:count]
