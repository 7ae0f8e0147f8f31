"""A node pack as one archive, the same bytes for the same files wherever it is made.

One archive a pack, because a pack is a thousand small files and S3 charges and waits by the
request. Times and owners are left out, so that a fresh clone of the same commit is the same blob.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfy_aws.errors import FileChanged

SKIPPED_FOLDERS: Final = frozenset(
    {
        ".git", ".github", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv", "env",
        "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache",
    }
)  # fmt: skip
SKIPPED_SUFFIXES: Final = frozenset({".pyc", ".pyo"})


def files_of(pack: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of a pack, sorted; a pack is a folder or a single .py file.

    Links are followed only when they stay inside the pack: what lies outside is not the pack.
    """
    if pack.is_file():
        yield pack.name, pack
        return
    root = pack.resolve()
    for folder, folders, names in os.walk(pack):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in SKIPPED_SUFFIXES or not path.is_file():
                continue
            if path.is_symlink() and root not in path.resolve().parents:
                continue
            yield f"{pack.name}/{path.relative_to(pack).as_posix()}", path


def key_of(files: list[tuple[str, Path]]) -> str:
    """What tells that none of the files has changed, without reading them.

    Raises:
        FileChanged: a file vanished meanwhile.
    """
    digest = hashlib.sha256()
    for name, path in files:
        try:
            stat = path.stat()
        except OSError as exc:
            raise _unreadable(path, exc) from exc
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\n".encode())
    return digest.hexdigest()


def archive(files: list[tuple[str, Path]], target: Path) -> None:
    """Write the archive to `target`.

    Raises:
        FileChanged: a file vanished or changed its size while it was read.
    """
    with (
        target.open("wb") as raw,
        # Level 1: node packs are text and small; the second it saves is worth more than bytes.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in files:
            try:
                body = path.open("rb")
            except OSError as exc:
                raise _unreadable(path, exc) from exc
            with body:
                info = tarfile.TarInfo(name)
                stat = os.fstat(body.fileno())
                info.size = stat.st_size
                info.mode = 0o755 if stat.st_mode & 0o100 else 0o644
                try:
                    tar.addfile(info, body)
                except OSError as exc:  # tarfile's word for "shorter than it was"
                    raise FileChanged(
                        f"The file {path} changed while it was read.",
                        hint="Wait until whatever writes it has finished, then retry.",
                    ) from exc


def _unreadable(path: Path, exc: OSError) -> FileChanged:
    return FileChanged(
        f"The file {path} cannot be read: {exc.strerror or exc}.", hint="Put it back and retry."
    )
