"""Puts a job's files into the local output folders without touching a file that is there."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import folder_paths

from comfy_aws import hashing
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import BlobCorrupted, ComfyAwsError
from comfy_aws.models import BlobRef, OutputFile
from comfy_aws.naming import Numbered, Place, alternative, next_number, numbered


class Outputs:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # (the worker's place, digest) → where those bytes were put: a node that the worker did
        # not run again, because nothing changed, names the same file as it would here.
        self._saved: dict[tuple[Place, str], Place] = {}

    def save(
        self, store: ObjectStore, files: Iterable[OutputFile], cached: frozenset[str]
    ) -> dict[Place, Place]:
        """Download files and return their local places by the worker's.

        Args:
            cached: nodes that the worker did not run again.

        Raises:
            BlobCorrupted: a file is not what the worker sent.
            AwsError, ComfyAwsError: it cannot be had or written.
        """
        names: dict[Place, Place] = {}
        for file in files:
            remote = Place(file.filename, file.subfolder, file.type)
            known = self._saved.get((remote, file.digest)) if file.node_id in cached else None
            if known is not None and _path(known).is_file():
                names[remote] = known
                continue
            body = store.get(file.key)
            if hashing.of_bytes(body) != BlobRef(file.digest, file.size):
                raise BlobCorrupted(
                    f"The output {file.filename} arrived damaged.", hint="Run the job again."
                )
            local = self._write(remote, body)
            names[remote] = local
            self._saved[remote, file.digest] = local
        return names

    def _write(self, place: Place, body: bytes) -> Place:
        folder = _path(place).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".aws-", delete=False) as part:
                part.write(body)
            temporary = Path(part.name)
            try:
                temporary.chmod(0o644)
                with self._lock:
                    filename = _claim(temporary, folder, place.filename)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as exc:
            raise ComfyAwsError(
                f"The output {place.filename} cannot be written to {folder}: "
                f"{exc.strerror or exc}.",
                hint="Free space or mend the folder; the file stays in the bucket.",
            ) from exc
        return place._replace(filename=filename)


def _claim(temporary: Path, folder: Path, wanted: str) -> str:
    """Give the file the first free name; a name that exists is never taken over."""
    parts = numbered(wanted)
    attempt = 1
    filename = _next_name(folder, parts, wanted, attempt)
    while not _link(temporary, folder / filename):
        attempt += 1
        filename = _next_name(folder, parts, wanted, attempt)
    return filename


def _next_name(folder: Path, parts: Numbered | None, wanted: str, attempt: int) -> str:
    if parts is not None:
        return parts.with_number(
            next_number(parts.prefix, (entry.name for entry in folder.iterdir()))
        )
    return wanted if attempt == 1 else alternative(wanted, attempt)


def _link(temporary: Path, target: Path) -> bool:
    """Whether `target` was free and is now the file."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: reserve the name, then fill it
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        temporary.replace(target)
    return True


def _path(place: Place) -> Path:
    directory = folder_paths.get_directory_by_type(place.type)
    if directory is None:
        raise ComfyAwsError(f"{place.type!r} is not one of ComfyUI's folders.")
    root = Path(directory).resolve()
    path = (root / place.subfolder / place.filename).resolve()
    if root not in path.parents:
        raise ComfyAwsError(f"The output {place.subfolder}/{place.filename} leaves its folder.")
    return path
