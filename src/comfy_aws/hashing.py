"""sha256 of files and bytes, the name of every blob.

sha256 rather than a faster hash because Hugging Face and Civitai publish it, so that a model's
name in the bucket is the one its users know.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.errors import Cancelled, FileChanged
from comfy_aws.models import BlobRef

CHUNK = 4 * 1024 * 1024
"""Bytes a read; hashlib lets other threads run while it hashes a chunk this large."""


class Fingerprint(NamedTuple):
    """What tells that a file has not changed since it was hashed, without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Fingerprint:
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


def fingerprint(path: Path) -> Fingerprint:
    """Raises FileChanged when the file is not there."""
    try:
        return Fingerprint.of(path.stat())
    except OSError as exc:
        raise FileChanged(
            f"The file {path} cannot be read: {exc.strerror or exc}.", hint="Put it back and retry."
        ) from exc


def of_bytes(body: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(body).hexdigest(), len(body))


def of_file(
    path: Path,
    *,
    progress: OnBytes = no_bytes,
    cancelled: IsCancelled = never,
) -> tuple[BlobRef, Fingerprint]:
    """Hash a file that stays as it is meanwhile.

    Args:
        progress: called with the bytes read since the last call.
        cancelled: asked between chunks.

    Raises:
        FileChanged: the file vanished or changed while it was read.
        Cancelled: `cancelled` said so.
    """
    before = fingerprint(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            buffer = memoryview(bytearray(CHUNK))
            while count := stream.readinto(buffer):
                if cancelled():
                    raise Cancelled(f"Hashing {path.name} was cancelled.")
                digest.update(buffer[:count])
                progress(count)
            after = Fingerprint.of(os.fstat(stream.fileno()))
    except OSError as exc:
        raise FileChanged(
            f"The file {path} cannot be read: {exc.strerror or exc}.", hint="Put it back and retry."
        ) from exc
    if after != before or fingerprint(path) != before:
        raise FileChanged(
            f"The file {path} changed while it was read.",
            hint="Wait until whatever writes it has finished, then retry.",
        )
    return BlobRef(digest.hexdigest(), before.size), before
