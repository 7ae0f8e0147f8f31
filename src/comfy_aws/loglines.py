"""Lines of logs: how the worker writes them, how all are read and chosen. Pure.

The worker writes `LEVEL job=ID source: text`, with `-` where no job runs. What others write has
no form; its level is told by its words, and a job by its id in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
"""From the least to the most important."""

_WORKER: Final = re.compile(r"(DEBUG|INFO|WARNING|ERROR) job=(\S+) (\w+): ?(.*)", re.DOTALL)
_ERROR: Final = re.compile(
    r"\b(error|exception|traceback|critical|fatal|failed)\b|!!!|\w(Error|Exception):", re.IGNORECASE
)
_WARNING: Final = re.compile(r"\bwarn(ing)?\b", re.IGNORECASE)
_JOB: Final = re.compile(r"\b(?:job|prompt)[ =]([A-Za-z0-9][A-Za-z0-9._-]{7,63})", re.IGNORECASE)
_TRACE: Final = "Traceback (most recent call last)"
_MARKS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What colours a terminal's text, and moves in it."""

_TAG: Final = re.compile(r"\[(DEBUG|DETAIL|INFO|WARNING|ERROR|CRITICAL)\](?: |$)")
_TAGS: Final = {"DETAIL": "debug", "CRITICAL": "error"}


@dataclass(frozen=True)
class LogLine:
    """One line; `at` in seconds since the epoch, `job` empty when it belongs to none.

    `source` is what wrote it: `designer`, `worker`, `runner`, or the name of a log.
    """

    at: float
    level: str
    job: str
    source: str
    text: str


@dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted: of a job, of a level or a higher one, with a text in any case."""

    job: str = ""
    level: str = ""
    text: str = ""

    def matches(self, line: LogLine) -> bool:
        if self.job and line.job != self.job and self.job not in line.text:
            return False
        if self.level and LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        return self.text.casefold() in line.text.casefold()


def written(level: str, job: str, source: str, text: str) -> str:
    """A line as the worker writes it."""
    return f"{level.upper()} job={job or '-'} {source}: {text}"


def plain(text: str) -> str:
    """A line without what colours it."""
    return _MARKS.sub("", text)


def tagged(text: str) -> tuple[str, str]:
    """The level that newer ComfyUIs put before a line, empty where there is none; the rest of it.

    That of a traceback is an error's, whatever it was logged as.
    """
    tag = _TAG.match(text)
    if tag is None:
        return "", text
    rest = text[tag.end() :]
    return "error" if rest.startswith(_TRACE) else _TAGS.get(tag[1], tag[1].lower()), rest


def level_of(text: str) -> str:
    """What the words of a line without a level tell."""
    if _ERROR.search(text):
        return "error"
    return "warning" if _WARNING.search(text) else "info"


class LineReader:
    """Reads the lines of one log in order: those of a traceback go with its first one."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._trace = False
        self._job = ""

    def read(self, at: float, text: str) -> LogLine:
        text = plain(text).rstrip()
        worker = _WORKER.fullmatch(text)
        if worker:
            level, job, source, said = worker.groups()
            return LogLine(at, level.lower(), "" if job == "-" else job, source, said)
        tag, text = tagged(text)
        self._trace = self._trace and not tag  # in a traceback no line says its level
        named = _JOB.search(text)
        job = named[1] if named else self._job if self._trace or text.startswith(_TRACE) else ""
        level = tag or ("error" if self._trace else level_of(text))
        if text.startswith(_TRACE):
            self._trace = True
        elif self._trace and not text.startswith((" ", "\t")):
            self._trace = False  # the exception itself ends it
        self._job = job
        return LogLine(at, level, job, self._source, text)
