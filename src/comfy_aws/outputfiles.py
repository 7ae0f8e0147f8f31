"""Brings a job's files into folders of this machine without touching a file that is there."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from comfy_aws.aws import PART, ObjectStore
from comfy_aws.callbacks import OnBytes, no_bytes
from comfy_aws.errors import BlobCorrupted, ComfyAwsError
from comfy_aws.models import OutputFile
from comfy_aws.naming import Numbered, Place, alternative, next_number, numbered
from comfy_aws.scratch import sweep

OUTPUT = "output"
"""ComfyUI's type of the files that a graph is run for; `temp` are previews."""

PART_PREFIX: Final = ".aws-"

_claims = threading.Lock()


def wanted(files: Iterable[OutputFile]) -> list[OutputFile]:
    """The files that a graph was run for: its outputs, or its previews where it has no other."""
    every = list(files)
    return [file for file in every if file.type == OUTPUT] or every


def below(root: Path, place: Place) -> Path:
    """The path of a place below a folder, where links lead on as they do for ComfyUI itself.

    Raises ComfyAwsError when it leaves the folder.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 – resolve() would follow links
    path = Path(os.path.normpath(root / place.subfolder / place.filename))
    if root not in path.parents:
        raise ComfyAwsError(f"The output {place.subfolder}/{place.filename} leaves its folder.")
    return path


def bring(store: ObjectStore, file: OutputFile, wish: Path, progress: OnBytes = no_bytes) -> Path:
    """Fetch a file and write it as `claim` does, whole or not at all.

    Raises: as `fetch` and `claim`.
    """
    part = fetch(store, file, wish, progress)
    try:
        return claim(part, wish)
    finally:
        part.unlink(missing_ok=True)


def fetch(store: ObjectStore, file: OutputFile, wish: Path, progress: OnBytes = no_bytes) -> Path:
    """Fetch a file to where it is wished, under a name that nobody looks for.

    Raises:
        BlobCorrupted: it is not what the worker sent.
        AwsError: it cannot be had.
        ComfyAwsError: it cannot be written.
    """
    with _explained(wish):
        wish.parent.mkdir(parents=True, exist_ok=True)
        if file.size > PART:
            sweep(wish.parent, f"{PART_PREFIX}*")
        with tempfile.NamedTemporaryFile(dir=wish.parent, prefix=PART_PREFIX, delete=False) as made:
            part = Path(made.name)
        try:
            _fill(store, file, part, progress)
            part.chmod(0o644)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return part


def _fill(store: ObjectStore, file: OutputFile, part: Path, progress: OnBytes) -> None:
    digest = hashlib.sha256()
    if file.size:
        store.download(file.key, part, file.size, follow=digest.update, progress=progress)
    if (digest.hexdigest(), part.stat().st_size) != (file.digest, file.size):
        raise BlobCorrupted(
            f"The output {file.filename} arrived damaged.", hint="Run the job again."
        )


def claim(part: Path, wish: Path) -> Path:
    """Give a fetched file the first free name like the wished one.

    Numbers go on as ComfyUI's own: ``name_00001_.png`` becomes the next free one.

    Raises:
        ComfyAwsError: it cannot have one.
    """
    with _explained(wish), _claims:
        return wish.parent / _claim(part, wish.parent, wish.name)


@contextmanager
def _explained(wish: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ComfyAwsError(
            f"The output {wish.name} cannot be written to {wish.parent}: {exc.strerror or exc}.",
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
        number = next_number(parts.prefix, (entry.name for entry in folder.iterdir()))
        return parts.with_number(number + attempt - 1)
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
