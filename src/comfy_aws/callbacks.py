"""What long work calls back, and the callbacks for a caller that does not listen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from comfy_aws.models import ChosenInput, Progress

OnProgress = Callable[[Progress], None]
OnBytes = Callable[[int], None]
"""Called with the bytes since the last call, possibly from several threads."""

IsCancelled = Callable[[], bool]
"""Asked at every step; the work ends with `Cancelled` soon after it says True."""

OnDropped = Callable[[tuple[ChosenInput, ...]], None]
"""Told what a form shows no more because its nodes are gone, when there is any."""


def no_progress(_step: Progress) -> None:
    """For callers that do not show progress."""


def no_bytes(_count: int) -> None:
    """For callers that do not count bytes."""


def nothing_dropped(_chosen: tuple[ChosenInput, ...]) -> None:
    """For callers that do not tell what a form has lost."""


def never() -> bool:
    """For callers that do not cancel."""
    return False


class ByteCounter:
    """Adds up the bytes of one phase of long work; they come from several threads."""

    def __init__(self, phase: str, item: str, total: int, progress: OnProgress) -> None:
        self._phase, self._item, self._total = phase, item, total
        self._progress = progress
        self._lock = threading.Lock()
        self.done = 0

    def add(self, count: int) -> None:
        with self._lock:  # also around the call: one at a time, and never backwards
            self.done += count
            self._progress(Progress(self._phase, self._item, self.done, self._total))
