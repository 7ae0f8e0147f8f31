"""Loggers whose lines carry the job that they belong to, wherever it is not said already.

A job's thread sets `JOB`; what is called from there need not know of jobs to be found by one. The
worker has a form of its own for the same (`worker/journal.py`); `loglines` reads both.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

JOB: ContextVar[str] = ContextVar("job", default="")
"""Id of the job that the running thread or task works for; empty for none."""

_CALLER = 2 if sys.version_info >= (3, 11) else 3
"""Frames up to the line that logs; Python 3.10 counts one of `logging`'s own, too."""

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:  # not subscriptable in Python 3.10
    _Adapter = logging.LoggerAdapter


class JobLogger(_Adapter):
    """Adds the job's id to a message that does not name it in its arguments."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        job = JOB.get()
        if job and job not in map(str, args):
            msg = f"job={job} {msg}"
        # The line's place is that of the caller, not this one.
        super().log(level, msg, *args, **{"stacklevel": _CALLER, **kwargs})

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


def logger(name: str) -> JobLogger:
    """In place of `logging.getLogger`, where work for jobs is done."""
    return JobLogger(logging.getLogger(name), {})
