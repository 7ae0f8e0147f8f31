"""Remembers digests, so that a file that has not changed is never read again (SQLite).

A file is known by path, size, mtime in nanoseconds and inode. A pack of files is known by a key
that its owner derives from all of that. Unfinished uploads are remembered here as well, because
they, too, belong to a file that has not changed.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from comfy_aws import hashing
from comfy_aws.aws import Begun
from comfy_aws.callbacks import IsCancelled, OnBytes, never, no_bytes
from comfy_aws.models import BlobRef

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT);
CREATE TABLE IF NOT EXISTS packs (key TEXT PRIMARY KEY, digest TEXT, size INTEGER);
CREATE TABLE IF NOT EXISTS uploads (
    url TEXT PRIMARY KEY, source TEXT, upload_id TEXT, part_size INTEGER);
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT, number INTEGER, etag TEXT, PRIMARY KEY (upload_id, number));
"""


class HashCache:
    """Safe to share between threads and, through SQLite's lock, between processes.

    Of uploads it is the `UploadLog`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        # A lost entry costs one read of a file; waiting for the disk would cost every job.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def known(self, path: Path, seen: hashing.Fingerprint) -> BlobRef | None:
        with self._lock:
            row = self._db.execute(
                "SELECT digest FROM files WHERE path=? AND size=? AND mtime_ns=? AND inode=?",
                (str(path), *seen),
            ).fetchone()
        return BlobRef(row[0], seen.size) if row else None

    def hash(
        self,
        path: Path,
        *,
        progress: OnBytes = no_bytes,
        cancelled: IsCancelled = never,
    ) -> tuple[BlobRef, hashing.Fingerprint]:
        """The digest of a file, read only when the cache does not know it.

        Raises:
            FileChanged: it vanished or changed while it was read.
        """
        seen = hashing.fingerprint(path)
        ref = self.known(path, seen)
        if ref is None:
            ref, seen = hashing.of_file(path, progress=progress, cancelled=cancelled)
            with self._lock:
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?)",
                    (str(path), *seen, ref.digest),
                )
        return ref, seen

    def pack(self, key: str) -> BlobRef | None:
        with self._lock:
            row = self._db.execute("SELECT digest, size FROM packs WHERE key=?", (key,)).fetchone()
        return BlobRef(row[0], row[1]) if row else None

    def keep_pack(self, key: str, ref: BlobRef) -> None:
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO packs VALUES (?,?,?)", (key, ref.digest, ref.size)
            )

    def begun(self, url: str, source: str) -> Begun | None:
        """The unfinished upload of these very bytes to `url`."""
        with self._lock:
            row = self._db.execute(
                "SELECT upload_id, part_size FROM uploads WHERE url=? AND source=?", (url, source)
            ).fetchone()
            if row is None:
                return None
            parts = self._db.execute(
                "SELECT number, etag FROM parts WHERE upload_id=?", (row[0],)
            ).fetchall()
        return Begun(row[0], row[1], dict(parts))

    def begin(self, url: str, source: str, upload: Begun) -> None:
        """Remember an upload, in place of any other to `url`."""
        self.ended(url)
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?,?,?,?)",
                (url, source, upload.upload_id, upload.part_size),
            )

    def sent(self, upload_id: str, number: int, etag: str) -> None:
        """S3 has confirmed a part."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?,?,?)", (upload_id, number, etag)
            )

    def ended(self, url: str) -> None:
        """Forget the upload to `url`: it is completed, aborted or gone."""
        with self._lock:
            self._db.execute(
                "DELETE FROM parts WHERE upload_id IN (SELECT upload_id FROM uploads WHERE url=?)",
                (url,),
            )
            self._db.execute("DELETE FROM uploads WHERE url=?", (url,))
