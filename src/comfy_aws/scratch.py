"""Places for large files on their way, and what killed processes have left of them.

A system's own folder for such files may lie in its memory.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "on-its-way-"
ABANDONED: Final = 24 * 3600.0
"""Seconds after which what nobody has written to belongs to a process that was killed."""


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, which goes again, as do those that killed processes have left.

    Raises:
        OSError: there can be none.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, f"{PREFIX}*")
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as folder:
        yield Path(folder)


def sweep(folder: Path, pattern: str) -> None:
    """Remove the files and folders of these names that are abandoned."""
    for left in folder.glob(pattern):
        with suppress(OSError):  # somebody else was faster
            if time.time() - left.stat().st_mtime < ABANDONED:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
