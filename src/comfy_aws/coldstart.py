"""What the lines of a worker's log tell of its start: its phases, and how long each takes. Pure.

A worker that starts has no other channel: its endpoint takes no jobs yet, and SageMaker says
nothing but "Creating" or "Updating". The lines are those of `worker/server.py` and of
`worker/stage.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from comfy_aws.loglines import LogLine

STARTS: Final = "The worker starts."
READY: Final = "The worker is ready."
LOADING, LOADED = "Loading the models", ("Loaded the models", "The models of")

MACHINE, ENVIRONMENT, RESTORE, START, LOAD = "machine", "environment", "restore", "start", "load"
ORDER: Final = (MACHINE, ENVIRONMENT, RESTORE, START, LOAD)
"""Phases in the order in which they come: the machine with its image, Python packages, models and
node packs, ComfyUI, models into the memory."""

_TOLD: Final = re.compile(
    r"(environment|restore|start): (.*?)"
    r"(?: \((?P<done>\d+) of (?P<total>\d+)\))?(?P<end> \(\d+\.\d s\))?"
)


@dataclass(frozen=True)
class Phase:
    """One phase; `ended` is 0 while it lasts, `done` of `total` are bytes, 0 when not known."""

    name: str
    began: float
    ended: float = 0.0
    message: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Start:
    """The start of one instance. `ready` is when its worker could take jobs; 0 before that."""

    began: float
    phases: tuple[Phase, ...]
    ready: float = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """What each phase that is over took."""
        return {each.name: each.ended - each.began for each in self.phases if each.ended}


def read(lines: Iterable[LogLine], began: float) -> Start:
    """The start that one instance's lines tell of.

    Args:
        lines: of one log stream, in order.
        began: when the instance was asked for.
    """
    start = Start(began, (Phase(MACHINE, began),))
    for line in lines:
        if line.source != "worker" or line.job:
            continue
        if line.text == STARTS:  # a container that died begins anew on the same machine
            start = Start(began, (Phase(MACHINE, began, line.at),))
        elif line.text == READY:
            start = replace(_closed(start, line.at), ready=line.at)
        elif not start.ready:
            start = _with_line(start, line)
    return start


def _with_line(start: Start, line: LogLine) -> Start:
    told = _TOLD.fullmatch(line.text)
    if told:
        done, total = int(told["done"] or 0), int(told["total"] or 0)
        start = _in_phase(start, told[1], line.at, told[2], done, total)
        return _whole(_closed(start, line.at), told[1]) if told["end"] else start
    if line.text.startswith(LOADING):
        return _in_phase(start, LOAD, line.at)
    if line.text.startswith(LOADED):
        return _closed(start, line.at)
    return start


def _whole(start: Start, name: str) -> Start:
    """A phase that told its end has all of its bytes."""
    phases = tuple(
        replace(each, done=each.total) if each.name == name else each for each in start.phases
    )
    return replace(start, phases=phases)


def _in_phase(
    start: Start, name: str, at: float, message: str = "", done: int = 0, total: int = 0
) -> Start:
    phases = {each.name: each for each in _closed(start, at, but=name).phases}
    before = phases.get(name) or Phase(name, at)
    total = total or before.total
    phases[name] = replace(
        before, ended=0.0, message=message, done=done or before.done, total=total
    )
    return replace(start, phases=tuple(phases.values()))


def _closed(start: Start, at: float, but: str = "") -> Start:
    """Phases follow one another: what still lasts is over, except one."""
    phases = tuple(
        each if each.ended or each.name == but else replace(each, ended=at) for each in start.phases
    )
    return replace(start, phases=phases)
