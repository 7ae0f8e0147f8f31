"""How the worker logs: each line with its level, the job it belongs to, and who wrote it.

A worker runs one job at a time, so what is written meanwhile, the runner's output included,
belongs to that job. The form is that of `loglines`, which reads it back.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from comfy_aws import loglines

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
RUNNER: Final = "comfy_aws.runner"
"""The logger of the runner's output."""


class Journal(logging.Formatter):
    """Gives each line of a record, also those of a traceback, the same beginning."""

    job = ""
    """Id of the job that runs; empty while none does."""

    def format(self, record: logging.LogRecord) -> str:
        level = next(
            name for name, number in reversed(LEVELS.items())
            if record.levelno >= number or name == "debug"
        )  # fmt: skip
        source = "runner" if record.name == RUNNER else "worker"
        lines = super().format(record).splitlines() or [""]
        return "\n".join(loglines.written(level, self.job, source, line) for line in lines)


JOURNAL: Final = Journal()
"""Of this process: CloudWatch gets one stream of each container."""


def install() -> None:
    """Write all logs of the process to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JOURNAL)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
