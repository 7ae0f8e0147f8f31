"""The logs of the machine that a designer runs on: its service's journal, and its first start."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from comfy_aws.errors import NotFound
from comfy_aws.loglines import LineReader, LogFilter, LogLine
from comfy_aws.logs import LAST

UNIT: Final = "comfy"
"""The systemd unit that `comfy-aws deploy` makes."""

START_UP: Final = Path("/var/log/cloud-init-output.log")
TIMEOUT: Final = 30.0


class JournalTail:
    """Reads the journal of a systemd unit by `journalctl`.

    Raises:
        NotFound: this machine has no journal, or the unit never wrote to it.
    """

    def __init__(
        self,
        wanted: LogFilter,
        *,
        last: int = LAST,
        unit: str = UNIT,
        program: str = "journalctl",
    ) -> None:
        self._wanted = wanted
        self._last = last
        self._unit = unit
        self._program = program
        self._reader = LineReader("designer")
        self._cursor = ""

    def read(self) -> list[LogLine]:
        # The last lines that are wanted may lie far back.
        filtered = self._wanted != LogFilter()
        count = "all" if filtered else str(self._last)
        since = [f"--after-cursor={self._cursor}"] if self._cursor else [f"--lines={count}"]
        entries = list(self._entries(since))
        if not entries and not self._cursor:
            raise NotFound(
                f"The journal of this machine has nothing of the service {self._unit}.",
                hint="It is there on a machine made by `comfy-aws deploy`. Run this on it, as a "
                "user who may read the journal, or look at the page's log.",
            )
        if entries:
            self._cursor = str(entries[-1].get("__CURSOR", ""))
        lines = [self._line(entry) for entry in entries]
        found = list(filter(self._wanted.matches, lines))
        return found[-self._last :] if since[0].startswith("--lines") else found

    def _entries(self, since: list[str]) -> Iterator[dict[str, Any]]:
        program = shutil.which(self._program)
        if program is None:
            raise NotFound(
                "There is no journal on this machine: the program journalctl is missing.",
                hint="Run this on the designer's machine, or look at the page's log.",
            )
        command = [program, f"--unit={self._unit}", "--output=json", "--no-pager", "--quiet"]
        done = subprocess.run([*command, *since], capture_output=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise NotFound(
                f"The journal cannot be read: {said[-1] if said else 'journalctl failed'}.",
                hint="Run this as a user of the group systemd-journal.",
            )
        for line in done.stdout.splitlines():
            if line.strip():
                yield json.loads(line)

    def _line(self, entry: dict[str, Any]) -> LogLine:
        message = entry.get("MESSAGE") or ""
        if isinstance(message, list):  # bytes that are no text come as numbers
            message = bytes(message).decode(errors="replace")
        return self._reader.read(int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6, str(message))


class FileTail:
    """Reads a log file that is only written at its end.

    Raises:
        NotFound: there is no such file, or it may not be read.
    """

    def __init__(
        self,
        wanted: LogFilter,
        *,
        last: int = LAST,
        path: Path = START_UP,
        source: str = "start-up",
    ) -> None:
        self._wanted = wanted
        self._last: int | None = last
        self._path = path
        self._reader = LineReader(source)
        self._at = 0
        self._rest = b""

    def read(self) -> list[LogLine]:
        try:
            written = self._path.stat()
            with self._path.open("rb") as stream:
                if written.st_size < self._at:
                    self._at, self._rest = 0, b""  # it was begun anew
                stream.seek(self._at)
                body = self._rest + stream.read()
                self._at = stream.tell()
        except OSError as exc:
            raise NotFound(
                f"There is no start-up log {self._path} to read here: {exc.strerror}.",
                hint="It is there on a machine made by `comfy-aws deploy`; run this on it.",
            ) from exc
        *whole, self._rest = body.split(b"\n")
        lines = [
            self._reader.read(written.st_mtime, line.decode(errors="replace"))
            for line in whole
            if line.strip()
        ]
        found = list(filter(self._wanted.matches, lines))
        last, self._last = self._last, None
        return found if last is None else found[-last:]
