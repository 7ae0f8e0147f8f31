"""How fast this machine sends: a transfer under way, and the bucket as last measured."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

LEAST_BYTES: Final = 1024 * 1024
"""A smaller upload measures the bucket's answers, not the line."""


WINDOW: Final = 8.0
"""Seconds over which a transfer's speed is told: a line has ups and downs."""

LEAST_SECONDS: Final = 1.5
"""What a transfer does sooner tells of its start alone: connections open, buffers fill."""


class Speed:
    """The speed of one transfer, from its progress.

    Args:
        clock: seconds that never go backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[tuple[float, int]] = deque()

    def take(self, done: int) -> float:
        """Bytes a second now that `done` bytes are through; 0 while nothing can be said."""
        now = self._clock()
        if self._steps and done < self._steps[-1][1]:
            self._steps.clear()  # another transfer
        self._steps.append((now, done))
        while len(self._steps) > 2 and now - self._steps[1][0] >= WINDOW:
            self._steps.popleft()
        began, before = self._steps[0]
        return (done - before) / (now - began) if now - began >= LEAST_SECONDS else 0.0


class UploadRate:
    """Kept in a file over restarts; safe to share between threads.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rate = _stored(path)

    def measured(self, size: int, seconds: float) -> None:
        """Take up that `size` bytes took so long."""
        if size < LEAST_BYTES or seconds <= 0:
            return
        with self._lock:
            self._rate = size / seconds
            with suppress(OSError):  # the estimate is then lost with the process, no more
                self._path.parent.mkdir(parents=True, exist_ok=True)
                text = json.dumps({"bytes_per_second": self._rate})
                self._path.write_text(text, encoding="ascii")

    def seconds_for(self, size: int) -> float | None:
        """How long so many bytes will take; None while nothing has been measured."""
        if size == 0:
            return 0.0
        with self._lock:
            return round(size / self._rate, 1) if self._rate else None


def _stored(path: Path) -> float:
    try:
        rate = float(json.loads(path.read_text(encoding="ascii"))["bytes_per_second"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return rate if 0 < rate < float("inf") else 0.0
