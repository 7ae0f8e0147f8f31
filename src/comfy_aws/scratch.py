"""Folders for large files on their way: a system's own one for them may lie in its memory."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "on-its-way-"
ABANDONED: Final = 24 * 3600.0
"""Seconds after which an unchanged folder belongs to a process that was killed."""


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, which goes again, as do those that killed processes have left.

    Raises:
        OSError: there can be none.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{PREFIX}*"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as folder:
        yield Path(folder)
