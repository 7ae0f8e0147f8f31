"""Ranged downloads: several connections write to their places in one file.

boto3's own download passes every 256 KiB through one thread; ranges written straight to their
place run several times as fast. Whoever wants the digest follows the ranges in order, reading
them back while they are still in the page cache: that costs a copy, and no memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.callbacks import IsCancelled, OnBytes
from comfy_aws.errors import AwsError, AwsUnreachable, BlobCorrupted, Cancelled

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MiB: Final = 1024 * 1024

WIDTH: Final = 8
"""Ranges in flight at once, of all files together."""

ATTEMPTS: Final = 4
"""Connections that may break within one range; each goes on where the last stopped."""

PAUSE: Final = 0.25
"""Seconds before the second connection, and once more as many before each further one."""

_READ: Final = MiB

Follow = Callable[[memoryview], object]
"""Given the bytes of the object from the first to the last, such as a hash's `update`."""


class RangedDownload:
    """Reads one object of a known size into a new file. Its `run` may be called once.

    Args:
        piece: bytes of a range.
        slots: held while a range comes; shared by all downloads.
    """

    def __init__(
        self,
        s3: S3Client,
        at: tuple[str, str],
        path: Path,
        size: int,
        *,
        piece: int,
        slots: threading.Semaphore,
    ) -> None:
        self._s3 = s3
        self._bucket, self._key = at
        self._url = f"s3://{self._bucket}/{self._key}"
        self._path = path
        self._size = size
        self._piece = piece
        self._slots = slots

    def run(self, *, follow: Follow | None, progress: OnBytes, cancelled: IsCancelled) -> None:
        """As `ObjectStore.download`."""

        def fetch(start: int) -> int:
            with self._slots:
                if cancelled():
                    raise Cancelled(f"The download of {self._key} was cancelled.")
                count = min(self._piece, self._size - start)
                self._fetch(start, count)
            progress(count)
            return count

        with self._path.open("wb") as made:
            made.truncate(self._size)
        starts = range(0, self._size, self._piece)
        with (
            self._path.open("rb", buffering=0) as back,
            ThreadPoolExecutor(max(1, min(WIDTH, len(starts)))) as pool,
        ):
            buffer = memoryview(bytearray(_READ if follow else 0))
            for count in pool.map(fetch, starts):
                left = count if follow else 0
                while left and follow:
                    got = back.readinto(buffer[:left]) or 0
                    if not got:
                        raise BlobCorrupted(f"{self._path} was made shorter while it was written.")
                    follow(buffer[:got])
                    left -= got

    def _fetch(self, start: int, count: int) -> None:
        done, attempt = 0, 1
        buffer = memoryview(bytearray(min(_READ, count)))
        with self._path.open("r+b", buffering=0) as stream:
            stream.seek(start)
            while done < count:
                try:
                    with mapped("s3:GetObject", self._url):
                        answer = self._s3.get_object(
                            Bucket=self._bucket,
                            Key=self._key,
                            Range=f"bytes={start + done}-{start + count - 1}",
                        )
                        with closing(answer["Body"]) as body:
                            if answer["ContentLength"] != count - done:
                                raise shorter(self._url, self._size)
                            while got := body.readinto(buffer):  # type: ignore[arg-type]
                                stream.write(buffer[:got])
                                done += got
                except AwsUnreachable:
                    attempt += 1
                    if attempt > ATTEMPTS:
                        raise
                    time.sleep(PAUSE * attempt)
                except AwsError as exc:
                    if exc.aws_code in {"InvalidRange", "416"}:
                        raise shorter(self._url, self._size) from exc
                    raise


def shorter(url: str, size: int) -> BlobCorrupted:
    """The error for an object that ends before its `size`."""
    return BlobCorrupted(
        f"{url} is shorter than the {size:,} bytes it should have.",
        hint="Delete it from the bucket and publish again.",
    )
