"""What this ComfyUI writes to its terminal, kept for the page.

ComfyUI keeps its last output itself (`app.logger`), too little for a page that looks every few
seconds: it is taken from there with each record that is logged, and before it is read. ComfyUI's
own `on_flush` is not used: of several listeners it tells only the first. Where a version keeps no
output, what is logged is kept, without what is printed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import takewhile
from typing import Any

from comfy_aws.logs import Ring

log = logging.getLogger(__name__)


class ComfyLog:
    """Listens from `install` on."""

    def __init__(self) -> None:
        self.ring = Ring("designer", refresh=self._catch_up)
        self._output: Callable[[], Iterable[Any]] = list
        self._seen: dict[int, Any] = {}
        """By identity: of equal lines each counts. A progress bar takes entries back."""

        self._lock = threading.Lock()

    def install(self) -> None:
        """Take what was written before, and listen."""
        try:
            from app.logger import get_logs

            list(get_logs())
        except (ImportError, TypeError):
            logging.getLogger().addHandler(_Listener(self._take))
            log.info("Prompt on AWS: this ComfyUI keeps no output; its page shows what is logged.")
        else:
            self._output = get_logs
            self._catch_up()
            logging.getLogger().addHandler(_Listener(lambda record: self._catch_up()))

    def _take(self, record: logging.LogRecord) -> None:
        self.ring.feed(record.created, record.getMessage() + "\n")

    def _catch_up(self) -> None:
        """Take what ComfyUI has kept since the last time. Logs nothing: it is called by logging."""
        with self._lock:
            entries = list(self._output())
            new = list(takewhile(lambda entry: id(entry) not in self._seen, reversed(entries)))
            if len(self._seen) > 2 * len(entries):
                self._seen = {id(entry): entry for entry in entries}
            for entry in reversed(new):
                self._seen[id(entry)] = entry
                self.ring.feed(_moment(entry.get("t")), str(entry.get("m", "")))


class _Listener(logging.Handler):
    def __init__(self, hear: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record)


def _moment(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return time.time()
