"""Blobs on the worker's disk: content-addressed, bounded, checked.

    {root}/aa/{digest}

A blob is downloaded once, also when two callers want it at the same time, and appears whole or
not at all. Its modification time is made from its digest, so that a file which somebody wrote to
through a hard link is recognised without reading it, after a restart too. Eviction goes by when
a blob was last asked for, and after a restart by its access time.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from comfy_aws.blobs import Blobs
from comfy_aws.errors import AwsNotFound, WorkerError
from comfy_aws.models import BlobRef

DOWNLOADS = 4
"""Blobs in flight at once; large ones are fetched in parallel ranges of their own."""

FREE_SHARE = 0.9
"""Of the disk that is free or held by the cache at start, for a budget of 0."""


class BlobCache:
    """Safe to share between threads.

    Args:
        budget: bytes; 0 takes nine tenths of what the disk has to give at start.
        evicted: called with the digest of a blob that went.
    """

    def __init__(
        self,
        root: Path,
        blobs: Blobs,
        *,
        budget: int = 0,
        evicted: Callable[[str], None] = lambda digest: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._blobs = blobs
        self._evicted = evicted
        self._clock = clock
        self._lock = threading.Lock()
        self._coming: dict[str, Future[Path]] = {}
        self._held: dict[str, tuple[int, float]] = {}
        root.mkdir(parents=True, exist_ok=True)
        self._scan()
        self.budget = budget or int((shutil.disk_usage(root).free + self.size) * FREE_SHARE)

    @property
    def size(self) -> int:
        """Bytes held."""
        with self._lock:
            return sum(size for size, _ in self._held.values())

    def path(self, ref: BlobRef) -> Path:
        return self._root / ref.digest[:2] / ref.digest

    def has(self, ref: BlobRef) -> bool:
        """Whether the blob is here, whole and as it was written."""
        try:
            stat = self.path(ref).stat()
        except OSError:
            return False
        return stat.st_size == ref.size and stat.st_mtime == _stamp(ref.digest)

    def fetch(
        self,
        refs: Iterable[BlobRef],
        *,
        keep: Iterable[BlobRef] = (),
        progress: Callable[[BlobRef, int], None] = lambda ref, count: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Have these blobs here, downloading what is missing.

        Args:
            keep: blobs that must not be evicted to make room, besides the ones asked for.
            progress: called with a blob and the bytes of it that came since the last call.

        Raises:
            WorkerError: they do not fit into the budget.
            AwsNotFound: the bucket lacks one.
            BlobCorrupted: one is truncated or damaged in the bucket.
            Cancelled: `cancelled` said so.
        """
        wanted = {ref.digest: ref for ref in refs}
        missing = [ref for ref in wanted.values() if not self.has(ref)]
        self.used(wanted.values())
        if not missing:
            return
        self._make_room(missing, {*wanted, *(ref.digest for ref in keep)})
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            for _ in pool.map(lambda ref: self._get(ref, progress, cancelled), missing):
                pass

    def used(self, refs: Iterable[BlobRef]) -> None:
        """Note that blobs are in use; costs no I/O."""
        now = self._clock()
        with self._lock:
            for ref in refs:
                if ref.digest in self._held:
                    self._held[ref.digest] = (ref.size, now)

    def _get(
        self,
        ref: BlobRef,
        progress: Callable[[BlobRef, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Download, or wait for the thread that is downloading it already."""
        with self._lock:
            coming = self._coming.get(ref.digest)
            mine: Future[Path] = Future()
            if coming is None:
                self._coming[ref.digest] = mine
        if coming is not None:
            coming.result()
            return
        try:
            if not self.has(ref):
                self._download(ref, progress, cancelled)
            mine.set_result(self.path(ref))
        except BaseException as exc:
            mine.set_exception(exc)
            raise
        finally:
            with self._lock:
                del self._coming[ref.digest]

    def _download(
        self,
        ref: BlobRef,
        progress: Callable[[BlobRef, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        path = self.path(ref)
        try:
            self._blobs.download(
                ref, path, progress=lambda count: progress(ref, count), cancelled=cancelled
            )
        except AwsNotFound as exc:
            raise AwsNotFound(
                f"The blob {ref.digest} is not in the bucket.",
                operation=exc.operation, aws_code=exc.aws_code,
                hint="Publish the template again, or send the prompt again.",
            ) from exc  # fmt: skip
        except OSError as exc:
            raise WorkerError(
                f"The worker cannot store the blob {ref.digest}: {exc.strerror or exc}.",
                hint="Choose an instance type with more disk.",
            ) from exc
        # Its hard links are what the runner sees: nothing there may write through them.
        path.chmod(0o444)
        now = self._clock()
        os.utime(path, (now, _stamp(ref.digest)))
        with self._lock:
            self._held[ref.digest] = (ref.size, now)

    def _make_room(self, missing: list[BlobRef], keep: set[str]) -> None:
        need = sum(ref.size for ref in missing)
        with self._lock:
            for ref in missing:  # what lies there under the name is not the blob
                self._held.pop(ref.digest, None)
            held = sum(size for size, _ in self._held.values())
            kept = sum(size for digest, (size, _) in self._held.items() if digest in keep)
            if need + kept > self.budget:
                raise WorkerError(
                    f"The job's files take {need + kept:,} bytes; the worker's cache has room for "
                    f"{self.budget:,}.",
                    hint="Choose an instance type with more disk, or set COMFY_AWS_CACHE_BYTES.",
                )
            oldest = sorted(self._held, key=lambda digest: self._held[digest][1])
            gone = []
            for digest in oldest:
                if held + need <= self.budget:
                    break
                if digest not in keep:
                    held -= self._held.pop(digest)[0]
                    gone.append(digest)
        for digest in gone:
            (self._root / digest[:2] / digest).unlink(missing_ok=True)
            self._evicted(digest)

    def _scan(self) -> None:
        for path in self._root.glob("*/*"):
            if path.suffix == ".part":  # a download that the last process did not finish
                path.unlink(missing_ok=True)
                continue
            stat = path.stat()
            self._held[path.name] = (stat.st_size, stat.st_atime)


def _stamp(digest: str) -> float:
    """A time in the 1970s: exact on every file system, and no editor writes it by chance."""
    return float(int(digest[:7], 16))
