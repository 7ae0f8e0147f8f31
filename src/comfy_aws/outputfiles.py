"""Brings a job's files into folders of this machine without touching a file that is there."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from comfy_aws import hashing
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import BlobCorrupted, ComfyAwsError
from comfy_aws.models import BlobRef, OutputFile
from comfy_aws.naming import Numbered, Place, alternative, next_number, numbered

OUTPUT = "output"
"""ComfyUI's type of the files that a graph is run for; `temp` are previews."""

_claims = threading.Lock()


def fetch(store: ObjectStore, file: OutputFile) -> bytes:
    """The bytes of an output.

    Raises:
        BlobCorrupted: they are not what the worker sent.
        AwsError: they cannot be had.
    """
    body = store.get(file.key)
    if hashing.of_bytes(body) != BlobRef(file.digest, file.size):
        raise BlobCorrupted(
            f"The output {file.filename} arrived damaged.", hint="Run the job again."
        )
    return body


def wanted(files: Iterable[OutputFile]) -> list[OutputFile]:
    """The files that a graph was run for: its outputs, or its previews where it has no other."""
    every = list(files)
    return [file for file in every if file.type == OUTPUT] or every


def below(root: Path, place: Place) -> Path:
    """The path of a place below a folder. Raises ComfyAwsError when it leaves the folder."""
    root = root.resolve()
    path = (root / place.subfolder / place.filename).resolve()
    if root not in path.parents:
        raise ComfyAwsError(f"The output {place.subfolder}/{place.filename} leaves its folder.")
    return path


def write(wish: Path, body: bytes) -> Path:
    """Write a file under the first free name like the wished one, whole or not at all.

    Numbers go on as ComfyUI's own: ``name_00001_.png`` becomes the next free one.

    Raises:
        ComfyAwsError: it cannot be written.
    """
    folder = wish.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".aws-", delete=False) as part:
            temporary = Path(part.name)
            try:
                part.write(body)
            except BaseException:
                part.close()
                temporary.unlink(missing_ok=True)
                raise
        try:
            temporary.chmod(0o644)
            with _claims:
                return folder / _claim(temporary, folder, wish.name)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise ComfyAwsError(
            f"The output {wish.name} cannot be written to {folder}: {exc.strerror or exc}.",
            hint="Free space or mend the folder; the file stays in the bucket.",
        ) from exc


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
