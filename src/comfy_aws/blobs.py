"""Blobs in the bucket: content-addressed, immutable, sent once.

A blob that is already there, with the size its name promises, is not sent again; that is what
makes publishing the same models a second time free. Presence is remembered for the life of the
process, because a job asks for the same few hundred blobs again and again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfy_aws import hashing, layout
from comfy_aws.aws import ObjectStore, UploadLog
from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.errors import BlobCorrupted, Cancelled, FileChanged
from comfy_aws.models import BlobRef

LOOKUPS = 16
"""HeadObject calls in flight at once."""

UPLOADS = 4
"""Files in flight at once; large ones are sent in parallel parts of their own."""

CANCEL_LOOK = 0.2
"""Seconds between two looks for a cancel while another thread sends the same blob."""


@dataclass(frozen=True)
class LocalBlob:
    """A blob whose bytes lie in a local file that had this fingerprint when it was hashed."""

    ref: BlobRef
    path: Path
    seen: hashing.Fingerprint


OnBlobBytes = Callable[[LocalBlob, int], None]


def _ignore_bytes(_blob: LocalBlob, _count: int) -> None:
    """For callers that do not count bytes."""


class Blobs:
    """The bucket's blobs. Safe to share between threads.

    Args:
        key: where a blob with such a digest lies.
        uploads: remembers unfinished uploads, which are then taken up where they stopped.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        key: Callable[[str], str] = layout.blob_key,
        uploads: UploadLog | None = None,
    ) -> None:
        self._store = store
        self._key = key
        self._uploads = uploads
        self._present: set[str] = set()
        self._turns: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def has(self, ref: BlobRef) -> bool:
        """Whether the bucket has it whole; a truncated object counts as absent."""
        with self._lock:
            if ref.digest in self._present:
                return True
        head = self._store.head(self._key(ref.digest))
        if head is None or head.size != ref.size:
            return False
        self._remember(ref)
        return True

    def missing(self, refs: Iterable[BlobRef]) -> list[BlobRef]:
        """Those the bucket lacks, asked in parallel, in the order given."""
        wanted = list({ref.digest: ref for ref in refs}.values())
        with ThreadPoolExecutor(LOOKUPS) as pool:
            present = list(pool.map(self.has, wanted))
        return [ref for ref, there in zip(wanted, present, strict=True) if not there]

    def forget(self, refs: Iterable[BlobRef] | None = None) -> None:
        """Ask the bucket again next time, for these or for all: blobs may be gone or damaged."""
        with self._lock:
            if refs is None:
                self._present.clear()
            else:
                self._present -= {ref.digest for ref in refs}

    def put(self, body: bytes) -> BlobRef:
        """Store bytes unless they are there."""
        ref = hashing.of_bytes(body)
        if not self.has(ref):
            self._store.put(self._key(ref.digest), body)
            self._remember(ref)
        return ref

    def put_files(
        self,
        files: Iterable[LocalBlob],
        *,
        progress: OnBlobBytes = _ignore_bytes,
        cancelled: IsCancelled = never,
    ) -> None:
        """Upload files in parallel, each visible only once it is whole and unchanged.

        Args:
            progress: called with a file and the bytes of it sent since the last call.

        Raises:
            FileChanged: a file is no longer what it was when it was hashed.
            Cancelled: `cancelled` said so.
        """
        with ThreadPoolExecutor(UPLOADS) as pool:
            for _ in pool.map(lambda blob: self._put_file(blob, progress, cancelled), files):
                pass

    def _put_file(
        self,
        blob: LocalBlob,
        progress: OnBlobBytes,
        cancelled: IsCancelled,
    ) -> None:
        with self._turn(blob, cancelled):
            with self._lock:
                sent = blob.ref.digest in self._present
            if sent:
                progress(blob, blob.ref.size)
            else:
                self._send(blob, progress, cancelled)

    @contextmanager
    def _turn(self, blob: LocalBlob, cancelled: IsCancelled) -> Iterator[None]:
        """One upload of a blob at a time: of many jobs with the same new model, one sends it."""
        with self._lock:
            turn = self._turns.setdefault(blob.ref.digest, threading.Lock())
        waits = True
        while waits:
            if cancelled():
                raise Cancelled(f"The upload of {blob.path.name} was cancelled.")
            waits = not turn.acquire(timeout=CANCEL_LOOK)
        try:
            yield
        finally:
            turn.release()

    def _send(self, blob: LocalBlob, progress: OnBlobBytes, cancelled: IsCancelled) -> None:
        key = self._key(blob.ref.digest)
        if blob.ref.size <= self._store.part_size:
            self._store.put(key, _read_unchanged(blob))
            progress(blob, blob.ref.size)
        else:
            self._store.upload(
                key,
                blob.path,
                blob.ref.size,
                verify=lambda: _check_unchanged(blob),
                progress=lambda count: progress(blob, count),
                cancelled=cancelled,
                log=self._uploads,
                stands_for=f"{blob.path}|{tuple(blob.seen)}",
            )
        self._remember(blob.ref)

    def read(self, ref: BlobRef) -> bytes:
        """The bytes of a small blob.

        Raises:
            BlobCorrupted: they are not what the name says.
            AwsNotFound: the bucket does not have it.
        """
        body = self._store.get(self._key(ref.digest))
        if hashing.of_bytes(body) != ref:
            raise self._corrupted(ref)
        return body

    def download(
        self,
        ref: BlobRef,
        path: Path,
        *,
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
    ) -> None:
        """Write a blob to a new file at `path`, whole and checked, or not at all.

        Nothing waits for the disk: what a crash of the whole machine loses can be fetched again,
        and a process that is killed loses nothing that it has written.

        Raises:
            BlobCorrupted: the bytes are not what the name says.
            AwsNotFound: the bucket does not have it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        try:
            digest = hashlib.sha256()
            self._store.download(
                self._key(ref.digest),
                part,
                ref.size,
                follow=digest.update,
                progress=progress,
                cancelled=cancelled,
            )
            if digest.hexdigest() != ref.digest:
                raise self._corrupted(ref)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _corrupted(self, ref: BlobRef) -> BlobCorrupted:
        return BlobCorrupted(
            f"The blob {ref.digest} in the bucket is damaged: its bytes do not have that sha256.",
            hint=f"Delete {self._key(ref.digest)} from the bucket and publish again.",
        )

    def _remember(self, ref: BlobRef) -> None:
        with self._lock:
            self._present.add(ref.digest)


def _read_unchanged(blob: LocalBlob) -> bytes:
    try:
        body = blob.path.read_bytes()
    except OSError as exc:
        raise FileChanged(
            f"The file {blob.path} cannot be read: {exc.strerror or exc}.",
            hint="Put it back and retry.",
        ) from exc
    if hashing.of_bytes(body) != blob.ref:
        raise _changed(blob)
    return body


def _check_unchanged(blob: LocalBlob) -> None:
    if hashing.fingerprint(blob.path) != blob.seen:
        raise _changed(blob)


def _changed(blob: LocalBlob) -> FileChanged:
    return FileChanged(
        f"The file {blob.path} changed while it was uploaded.",
        hint="Wait until whatever writes it has finished, then retry.",
    )
