"""What git says of a node pack: files it tracks, files it ignores, where the pack comes from.

.gitignore files are read by pathspec, because many packs come as a zip, without a repository and
on machines without git; see docs/adr/0006-gitignore-by-pathspec.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

PATIENCE: Final = 20.0
"""Seconds for one call of git, which takes milliseconds."""

NOTES: Final = ".tracking"
"""Where ComfyUI-Manager notes what a zip of the Comfy Registry has brought."""


class Origin(NamedTuple):
    """Where a pack can be cloned from; empty when it is no clean clone."""

    url: str = ""
    commit: str = ""


class Ignored:
    """The rules of a folder's .gitignore files. Names are relative POSIX paths."""

    def __init__(self) -> None:
        self._rules: list[tuple[str, Any]] = []

    def enter(self, prefix: str, path: Path | None) -> None:
        """Take up the rules of the folder `prefix` (empty or with a slash at its end).

        Without a path it is a repository of its own: the rules around it do not count in it.
        """
        if path is None:
            self._rules.append((prefix, None))
            return
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        self._rules.append((prefix, _compiled(text)))

    def has(self, name: str) -> bool:
        """Whether the file, or the folder with a slash at its end, is ignored."""
        for prefix, rules in reversed(self._rules):  # the deepest file has the last word
            if name.startswith(prefix) and len(name) > len(prefix):
                if rules is None:
                    return False
                verdict = rules.check_file(name[len(prefix) :]).include
                if verdict is not None:
                    return bool(verdict)
        return False


def tracked(pack: Path) -> frozenset[str]:
    """The files that came with the pack, also those that .gitignore names.

    What git tracks; where the Comfy Registry's zip was unpacked, what ComfyUI-Manager has noted of
    it; else nothing.
    """
    folder = _git_folder(pack)
    if folder is None:
        return _noted(pack)
    try:
        stat = (folder / "index").stat()
    except OSError:
        stat = None
    return _tracked(pack, stat.st_mtime_ns, stat.st_size) if stat else frozenset()


def _noted(pack: Path) -> frozenset[str]:
    """The names in the `.tracking` file, a line each."""
    try:
        text = (pack / NOTES).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    names = (PurePosixPath(line.strip().replace("\\", "/")) for line in text.splitlines())
    return frozenset(
        str(name)
        for name in names
        if name.parts and not name.is_absolute() and ".." not in name.parts
    )


def origin(pack: Path) -> Origin:
    """The remote's URL, without credentials, and the commit, when nothing differs from it."""
    if not (pack / ".git").exists():
        return Origin()
    # Without optional locks it writes nothing: the index stays as `state` has seen it.
    changes = _git(
        pack, "--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=normal"
    )
    commit = _git(pack, "rev-parse", "HEAD")
    if changes is None or commit is None or any(map(_is_change, changes.split("\0"))):
        return Origin()
    url = _git(pack, "config", "--get", "remote.origin.url") or ""
    return Origin(_without_credentials(url.strip()), commit.strip())


def state(pack: Path) -> tuple[int, ...]:
    """Tells that `origin` may be another one, without a call of git; empty without a repository."""
    folder = _git_folder(pack)
    if folder is None:
        return ()
    times = []
    for name in ("HEAD", "index", "config", "logs/HEAD"):
        try:
            times.append((folder / name).stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return tuple(times)


def _git_folder(pack: Path) -> Path | None:
    """Where git keeps what it knows of a pack; .git is a file in submodules and worktrees."""
    git = pack / ".git"
    try:
        named = git.read_text(encoding="utf-8").strip() if git.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return None
    if named.startswith("gitdir: "):
        return pack / named.removeprefix("gitdir: ")
    return git if git.is_dir() else None


def _is_change(entry: str) -> bool:
    return bool(entry) and not entry.endswith(("__pycache__/", ".pyc"))


def _without_credentials(url: str) -> str:
    """Tokens are often part of a clone's URL, and must not reach the bucket."""
    return re.sub(r"^([A-Za-z][\w+.-]*://)[^/@]*@", r"\1", url)


@lru_cache(maxsize=256)
def _tracked(pack: Path, _mtime_ns: int, _size: int) -> frozenset[str]:
    listed = _git(pack, "ls-files", "--cached", "--recurse-submodules", "-z")
    return frozenset(name for name in (listed or "").split("\0") if name)


@lru_cache(maxsize=512)
def _compiled(text: str) -> Any:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(text.splitlines())


def _git(pack: Path, *arguments: str) -> str | None:
    """What git prints, or None when there is no git or it refuses."""
    program = shutil.which("git")
    if program is None:
        return None
    # A repository may name a program to be asked for changes; nothing here needs it.
    command = [program, "-C", str(pack), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
