"""The folder of a process's own state, where several processes share a folder.

The lock of SQLite tells who has it, on every system, and ends with its process, however that ends.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from comfy_aws.errors import ComfyAwsError

LOCK: Final = "own.sqlite"

MOST: Final = 64
"""Processes that may share a folder; where more are refused, the file system has no locks."""


class OwnFolder:
    """`path` is this process's alone, until it ends or calls `close`.

    Args:
        shared: the first process has this folder itself, each further one a numbered one below it.

    Raises:
        ComfyAwsError: nothing there can be locked.
    """

    def __init__(self, shared: Path) -> None:
        for number in range(1, MOST + 1):
            self.path = shared if number == 1 else shared / str(number)
            self.path.mkdir(parents=True, exist_ok=True)
            if self._is_free():
                return
        raise ComfyAwsError(
            f"None of {MOST} folders below {shared} can be locked.",
            hint="ComfyUI's user folder must be on a file system that has locks.",
        )

    def close(self) -> None:
        self._db.close()

    def _is_free(self) -> bool:
        """Whether nobody had the folder, which is then ours."""
        self._db = sqlite3.connect(
            self.path / LOCK, check_same_thread=False, isolation_level=None, timeout=0
        )
        try:
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as exc:
            self._db.close()
            if "locked" not in str(exc):
                raise
            return False
        return True
