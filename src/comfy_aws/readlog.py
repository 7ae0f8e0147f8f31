"""Remembers which model files a node has read without naming them (SQLite).

A node is known by its class and what was chosen in its combo widgets, because these decide what
it reads: a face analyser reads other files for another choice of model, but not for another seed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

READS = "model-reads.sqlite"
"""Its file in the folder of a designer's state."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS silent_reads (
    class_type TEXT, choices TEXT, folder TEXT, name TEXT, path TEXT,
    PRIMARY KEY (class_type, choices, folder, name));
DROP TABLE IF EXISTS reads;
"""


class ReadLog:
    """Safe to share between threads and between processes. Opened at its first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def add(
        self, class_type: str, choices: Mapping[str, Any], files: Iterable[tuple[str, str, Path]]
    ) -> None:
        """Remember files as (ComfyUI's folder, name below it, path)."""
        key = _key(choices)
        rows = [(class_type, key, folder, name, str(path)) for folder, name, path in files]
        with self._lock:
            self._open().executemany("INSERT OR REPLACE INTO silent_reads VALUES (?,?,?,?,?)", rows)

    def of(self, class_type: str, choices: Mapping[str, Any]) -> list[tuple[str, str, Path]]:
        """What `add` was told, without the files that are gone."""
        with self._lock:
            if self._db is None and not self._path.exists():
                return []
            rows = (
                self._open()
                .execute(
                    "SELECT folder, name, path FROM silent_reads WHERE class_type=? AND choices=? "
                    "ORDER BY folder, name",
                    (class_type, _key(choices)),
                )
                .fetchall()
            )
        found = [(folder, name, Path(path)) for folder, name, path in rows]
        return [each for each in found if each[2].is_file()]

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self._path, check_same_thread=False, isolation_level=None, timeout=30
            )
            # A lost entry comes again with the next local run.
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")
        return self._db


def _key(choices: Mapping[str, Any]) -> str:
    return json.dumps(choices, sort_keys=True, default=str)
