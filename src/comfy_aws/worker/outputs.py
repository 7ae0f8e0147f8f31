"""The files that nodes write: found in their output, sent to the bucket, bounded on the disk."""

from __future__ import annotations

import mimetypes
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from comfy_aws import hashing, layout
from comfy_aws.aws import PART, ObjectStore
from comfy_aws.errors import FileChanged
from comfy_aws.models import OutputFile
from comfy_aws.worker.paths import below

KEPT_TYPES = frozenset({"output", "temp"})
"""`input` entries name files that the designer sent."""

KEPT_JOBS = 50
"""Files that none of so many jobs has written or shown go."""

KEPT_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Written:
    """A file as a node's output names it."""

    filename: str
    subfolder: str
    type: str


def written_files(output: object) -> list[Written]:
    """The files that a node's output names, under whatever key, each once."""
    return list(dict.fromkeys(_entries(output)))


def _entries(value: object) -> Iterator[Written]:
    if isinstance(value, dict):
        name, folder, kind = (value.get(key) for key in ("filename", "subfolder", "type"))
        if isinstance(name, str) and name and kind in KEPT_TYPES:
            yield Written(name, folder if isinstance(folder, str) else "", str(kind))
            return
        for entry in value.values():
            yield from _entries(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _entries(entry)


class Folder:
    """ComfyUI's output folder as a job found it.

    Many nodes save files, models for example, and name them in no output. What is new or has
    changed when the graph has ended is theirs.
    """

    def __init__(self, base: Path) -> None:
        self._root = base / "output"
        self._before = dict(self._files())

    def written(self) -> list[Written]:
        """The files that were not there, or were others, before; in the order of their writing."""
        new = {path: seen for path, seen in self._files() if self._before.get(path) != seen}
        return [self._entry(path) for path in sorted(new, key=lambda path: new[path].mtime_ns)]

    def _entry(self, path: Path) -> Written:
        folder = path.parent.relative_to(self._root).as_posix()
        return Written(path.name, "" if folder == "." else folder, "output")

    def _files(self) -> Iterator[tuple[Path, hashing.Fingerprint]]:
        for folder, folders, names in os.walk(self._root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if not name.startswith(".") and not path.is_symlink():
                    with suppress(FileChanged):
                        yield path, hashing.fingerprint(path)


class Uploads:
    """One job's output files on their way to the bucket. Safe to share between threads."""

    def __init__(self, job_id: str, base: Path, store: ObjectStore) -> None:
        self._job_id = job_id
        self._base = base
        self._store = store
        self._lock = threading.Lock()
        self._numbers: dict[Written, int] = {}

    def path(self, written: Written) -> Path:
        """Raises WorkerError when it does not lie in the output or temp folder."""
        parts = (written.subfolder, written.filename) if written.subfolder else (written.filename,)
        return below(self._base / written.type, *parts)

    def send(self, node_id: str, written: Written) -> OutputFile:
        """Upload one file.

        Raises:
            WorkerError: its path leads out of its folder.
            FileChanged: it is not there, or is being written.
            AwsError: the bucket does not take it.
        """
        path = self.path(written)
        with self._lock:
            number = self._numbers.setdefault(written, len(self._numbers) + 1)
        key = layout.output_key(self._job_id, number, path.name)
        if hashing.fingerprint(path).size <= PART:
            try:
                body = path.read_bytes()
            except OSError as exc:
                raise FileChanged(f"The output {path.name} cannot be read: {exc}.") from exc
            ref = hashing.of_bytes(body)
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self._store.put(key, body, content_type=kind)
        else:
            ref, seen = hashing.of_file(path)

            def verify() -> None:
                if hashing.fingerprint(path) != seen:
                    raise FileChanged(f"The output {path.name} changed while it was uploaded.")

            self._store.upload(key, path, ref.size, verify=verify)
        return OutputFile(
            node_id, written.filename, written.subfolder, written.type, key, ref.size, ref.digest
        )


class Shelf:
    """Bounds the runner's output and temp folders.

    What a cached node's output refers to must stay, because ComfyUI shows it again without
    writing it; every file that a job wrote or showed counts as used by that job.
    """

    def __init__(self, base: Path, *, jobs: int = KEPT_JOBS, size: int = KEPT_BYTES) -> None:
        self._roots = [base / kind for kind in sorted(KEPT_TYPES)]
        self._jobs = jobs
        self._size = size
        self._used: dict[Path, int] = {}
        self._number = 0
        self._unswept = 0

    def used(self, paths: set[Path]) -> None:
        """A job has ended that wrote or showed these."""
        self._number += 1
        self._unswept += 1
        for path in paths:
            self._used[path] = self._number

    @property
    def due(self) -> bool:
        return self._unswept >= max(1, self._jobs // 5)

    def sweep(self) -> None:
        """Delete what is too old or too much; the last job's files always stay."""
        self._unswept = 0
        files = list(self._files())
        room = sum(size for _, _, size in files)
        for used, path, size in sorted(files):
            if used >= self._number or (used > self._number - self._jobs and room <= self._size):
                continue
            path.unlink(missing_ok=True)
            self._used.pop(path, None)
            room -= size

    def _files(self) -> Iterator[tuple[int, Path, int]]:
        for root in self._roots:
            for folder, _, names in os.walk(root):
                for name in names:
                    path = Path(folder, name)
                    try:
                        size = path.lstat().st_size
                    except OSError:
                        continue
                    # A file that no job has named is as old as the first sweep that met it.
                    yield self._used.setdefault(path, self._number), path, size
