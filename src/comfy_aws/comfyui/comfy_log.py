"""What this ComfyUI writes to its terminal, kept for the page.

ComfyUI keeps its last output itself and tells listeners of more (`app.logger`). Where a version
of it does not, what is logged is kept, without what is printed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from comfy_aws.logs import Ring

log = logging.getLogger(__name__)


class ComfyLog:
    """Listens from `install` on. Called while something is being written: it logs nothing."""

    def __init__(self) -> None:
        self.ring = Ring("designer")
        self._early: list[Any] = []

    def install(self) -> None:
        """Take what was written before, and listen."""
        try:
            from app.logger import get_logs, on_flush

            self._early = list(get_logs())
            self._take(self._early)
            on_flush(self._flushed)
        except (ImportError, AttributeError, TypeError):
            logging.getLogger().addHandler(_Listener(self.ring))
            log.info("Prompt on AWS: this ComfyUI keeps no log; its page shows what is logged.")

    def _flushed(self, entries: Iterable[Any]) -> None:
        # What was not flushed at first is told again: the very same objects.
        early, self._early = self._early, []
        self._take(entry for entry in entries if not any(entry is each for each in early))

    def _take(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            self.ring.feed(_moment(entry.get("t")), str(entry.get("m", "")))


class _Listener(logging.Handler):
    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring = ring

    def emit(self, record: logging.LogRecord) -> None:
        self._ring.feed(record.created, self.format(record) + "\n")


def _moment(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return time.time()
