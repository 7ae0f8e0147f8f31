"""A node pack as one archive, the same bytes for the same files wherever it is made.

One archive a pack, because a pack is a thousand small files and S3 charges and waits by the
request. Times and owners are left out, so that a fresh clone of the same commit is the same blob.

What is the pack's: its files without what its .gitignore files name (but with what git tracks all
the same), without caches and virtual environments, and without models that were downloaded into
it, which the pack downloads again where it runs.
"""

# Strings are twice as fast as paths, and every job walks through all the packs that it needs.
# ruff: noqa: PTH110, PTH113, PTH114, PTH118, PTH122, PTH202

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from comfy_aws import formats, gitfiles
from comfy_aws.errors import FileChanged

SKIPPED_FOLDERS: Final = frozenset(
    {
        ".git", ".github", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv", "env",
        "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache",
    }
)  # fmt: skip
SKIPPED_SUFFIXES: Final = (".pyc", ".pyo")

LARGEST_MODEL: Final = 16 * 1024 * 1024
"""Bytes of a model that a pack brings along untracked; a larger one was downloaded into it."""


def files_of(pack: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of a pack, sorted; a pack is a folder or a single .py file.

    Links are followed only when they stay inside the pack: what lies outside is not the pack.
    """
    if pack.is_file():
        yield pack.name, pack
        return
    root = os.path.realpath(pack)
    found = set(_walk(str(pack), gitfiles.Ignored()))
    found |= {name for name in gitfiles.tracked(pack) if _travels(name)}
    for name in sorted(found):
        path = os.path.join(pack, name)
        if not os.path.isfile(path):
            continue
        if os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):
            continue
        yield f"{pack.name}/{name}", Path(path)


def left_out(pack: Path) -> int:
    """Bytes below the pack's folder that do not travel, as far as they can be read."""
    if pack.is_file():
        return 0
    taken = {path for _, path in files_of(pack)}
    total = 0
    for folder, _, names in os.walk(pack):
        for name in names:
            path = Path(folder, name)
            if path not in taken and not path.is_symlink():
                with suppress(OSError):
                    total += path.stat().st_size
    return total


def _walk(pack: str, ignored: gitfiles.Ignored) -> Iterator[str]:
    """Relative names of the files that no rule leaves out."""
    for folder, folders, names in os.walk(pack):
        here = folder[len(pack) + 1 :].replace(os.sep, "/")
        prefix = f"{here}/" if here else ""
        if ".gitignore" in names:
            ignored.enter(prefix, Path(folder, ".gitignore"))
        folders[:] = [
            name
            for name in folders
            if name not in SKIPPED_FOLDERS
            and not ignored.has(f"{prefix}{name}/")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        ]
        for name in names:
            # .git is a file in submodules and worktrees, and names a folder of this machine.
            skipped = (
                name == ".git" or name.endswith(SKIPPED_SUFFIXES) or ignored.has(prefix + name)
            )
            if not skipped and not _is_download(folder, name):
                yield prefix + name


def _travels(name: str) -> bool:
    """Whether a tracked file is part of the pack all the same."""
    return not name.endswith(SKIPPED_SUFFIXES) and SKIPPED_FOLDERS.isdisjoint(name.split("/")[:-1])


def _is_download(folder: str, name: str) -> bool:
    if os.path.splitext(name)[1].lower() not in formats.MODELS:
        return False
    try:
        return os.path.getsize(os.path.join(folder, name)) > LARGEST_MODEL
    except OSError:
        return False


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
        line = f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
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
