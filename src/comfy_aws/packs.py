"""A node pack as one archive, the same bytes for the same files wherever it is made.

One archive a pack, because a pack is a thousand small files and S3 charges and waits by the
request. Times and owners are left out, so that a fresh clone of the same commit is the same blob.

What is the pack's: its files without what its .gitignore files name (but with what git tracks all
the same, and with the user's own content among it, see `packcontent`), without caches and virtual
environments, and without models that were downloaded into it: those that a local run has read
travel as models, others the pack downloads again where it runs.
"""

# Strings are twice as fast as paths, and every job walks through all the packs that it needs.
# ruff: noqa: PTH110, PTH113, PTH114, PTH116, PTH118, PTH122, PTH123, PTH202

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from comfy_aws import formats, gitfiles, packcontent
from comfy_aws.errors import FileChanged
from comfy_aws.hashing import Fingerprint
from comfy_aws.packcontent import Verdict

SKIPPED_FOLDERS: Final = frozenset(
    {
        ".git", ".github", ".hg", ".svn", ".idea", ".vscode", ".venv", "__pycache__",
        "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache",
    }
)  # fmt: skip
ENVIRONMENT: Final = ("pyvenv.cfg", "conda-meta", "bin/activate", "Scripts/activate.bat")
"""One of these makes a folder a virtual environment, whatever its name."""
SKIPPED_SUFFIXES: Final = (".pyc", ".pyo")

LARGEST_MODEL: Final = 16 * 1024 * 1024
"""Bytes of a model that a pack brings along untracked; a larger one was downloaded into it."""


class Member(NamedTuple):
    """A file of a pack: its name in the archive, where it lies, what it looked like."""

    name: str
    path: str
    seen: Fingerprint


@dataclass(frozen=True)
class Scan:
    """A pack's files at one moment, by name.

    `secrets` are names of files that would travel if they did not hold a key or a password.
    """

    pack: Path
    members: tuple[Member, ...]
    secrets: tuple[str, ...] = ()

    def key(self, suffix: str = "") -> str:
        """What tells that no file (whose name ends so) has changed, without reading any."""
        digest = hashlib.sha256()
        for name, _, seen in self.members:
            if name.endswith(suffix):
                line = f"{name}\0{seen.size}\0{seen.mtime_ns}\0{seen.inode}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def scan(pack: Path) -> Scan:
    """Look at a pack, which is a folder or a single .py file.

    Nothing is read but small texts that .gitignore names, each once as long as it is the same.
    Links are followed only when they stay inside the pack: what lies outside is not the pack.
    """
    top = str(pack)
    if os.path.isfile(top):
        found = _seen(pack.name, top)
        return Scan(pack, (found,) if found else ())
    members, secrets = {}, []
    root = os.path.realpath(top) + os.sep
    names = dict(_walk(top, gitfiles.Ignored()))
    names |= dict.fromkeys(filter(_travels, gitfiles.tracked(pack)), False)
    for name, is_ignored in names.items():
        path = f"{top}{os.sep}{name}"
        if os.path.islink(path) and not os.path.realpath(path).startswith(root):
            continue
        found = _seen(f"{pack.name}/{name}", path)
        if found is None:
            continue
        verdict = packcontent.look(name, path, top, found.seen) if is_ignored else Verdict.TRAVELS
        if verdict is Verdict.TRAVELS:
            members[name] = found
        elif verdict is Verdict.WITHHELD:
            secrets.append(name)
    travelling = tuple(found for _, found in sorted(members.items()))
    return Scan(pack, travelling, tuple(sorted(secrets)))


def _seen(name: str, path: str) -> Member | None:
    """A regular file; None for all else, and for what is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Member(name, path, Fingerprint.of(found)) if stat.S_ISREG(found.st_mode) else None


def left_out(pack: Path) -> int:
    """Bytes below the pack's folder that do not travel, as far as they can be read."""
    if pack.is_file():
        return 0
    total = 0
    for folder, _, names in os.walk(pack):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with suppress(OSError):
                    total += os.path.getsize(path)
    travels = (each.seen.size for each in scan(pack).members if not os.path.islink(each.path))
    return max(0, total - sum(travels))


def _walk(pack: str, ignored: gitfiles.Ignored) -> Iterator[tuple[str, bool]]:
    """Relative names of the files, and whether a .gitignore names them."""
    inside: set[str] = set()
    for folder, folders, names in os.walk(pack):
        here = folder[len(pack) + 1 :].replace(os.sep, "/")
        prefix = f"{here}/" if here else ""
        if ".git" in (*folders, *names) and here:
            # A repository that the pack has fetched is code, though the pack's own git ignores it.
            inside.discard(here)
            ignored.enter(prefix, None)
        if ".gitignore" in names:
            ignored.enter(prefix, Path(folder, ".gitignore"))
        is_inside = here in inside
        folders[:] = [
            name
            for name in folders
            if name not in SKIPPED_FOLDERS
            and not any(os.path.exists(f"{folder}/{name}/{mark}") for mark in ENVIRONMENT)
            and not (packcontent.is_made(name) and (is_inside or ignored.has(f"{prefix}{name}/")))
        ]
        inside |= {
            f"{prefix}{name}" for name in folders if is_inside or ignored.has(f"{prefix}{name}/")
        }
        for name in names:
            # .git is a file in submodules and worktrees, and names a folder of this machine.
            if name == ".git" or name.endswith(SKIPPED_SUFFIXES) or _is_download(folder, name):
                continue
            yield prefix + name, is_inside or ignored.has(prefix + name)


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


def archive(scanned: Scan, target: Path) -> None:
    """Write the archive to `target`.

    Raises:
        FileChanged: a file has changed or vanished since the scan, or does while it is read.
    """
    with (
        target.open("wb") as raw,
        # Level 1: node packs are text and small; the second it saves is worth more than bytes.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path, seen in scanned.members:
            info = tarfile.TarInfo(name)
            info.size = seen.size
            try:
                with open(path, "rb") as body:
                    before = os.fstat(body.fileno())
                    info.mode = 0o755 if before.st_mode & 0o100 else 0o644
                    if Fingerprint.of(before) != seen:
                        raise _changed(path)
                    try:
                        tar.addfile(info, body)
                    except OSError as exc:  # tarfile's word for "shorter than it was"
                        raise _changed(path) from exc
                    if Fingerprint.of(os.fstat(body.fileno())) != seen:
                        raise _changed(path)
            except OSError as exc:
                raise FileChanged(
                    f"The file {path} cannot be read: {exc.strerror or exc}.",
                    hint="Put it back and retry.",
                ) from exc


def _changed(path: str) -> FileChanged:
    return FileChanged(
        f"The file {path} changed while it was packed.",
        hint="Wait until whatever writes it has finished, then retry.",
    )
