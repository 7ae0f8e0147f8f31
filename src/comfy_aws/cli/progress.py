"""A progress bar for long work: on a terminal alone, and never in the way of JSON."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from types import TracebackType
from typing import Final

from comfy_aws.cli.common import size_text
from comfy_aws.models import JobState, Progress
from comfy_aws.orders import JobView

WIDTH: Final = 24
"""Characters of the bar itself."""

EVERY: Final = 0.1
"""Seconds between two drawings; a terminal far away is no faster."""

_STATES: Final = {
    JobState.PREPARING: "preparing",
    JobState.SUBMITTED: "waiting for a machine",
    JobState.RUNNING: "running",
}


class Bar:
    """One line of standard error that is drawn again and again, and wiped at the end."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._text = ""
        self._phase = ""
        self._at = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _exc: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.wipe()

    def __call__(self, step: Progress) -> None:
        """Draw a step of a transfer; bytes where they are known."""
        of = f" of {size_text(step.total)}" if step.total else ""
        done = f" {size_text(step.done)}{of}" if step.done or step.total else ""
        part = step.done / step.total if step.total else None
        self.draw(f"{step.phase} {step.item}".strip() + done, part, step.phase)

    def job(self, view: JobView) -> None:
        """Draw how far a job is."""
        phase, progress = view.phase, view.progress
        if phase:
            total = phase.get("total") or 0
            text = str(phase.get("message") or phase.get("phase"))
            self.draw(text, phase.get("done", 0) / total if total else None)
            return
        if view.job.state is not JobState.RUNNING or not view.nodes_total:
            self.draw(_STATES.get(view.job.state, view.job.state.value), None)
            return
        text = f"{view.nodes_done} of {view.nodes_total} nodes"
        within = 0.0
        if progress and progress.get("max"):
            within = progress["value"] / progress["max"]
            text += f", node {progress['node']}: {progress['value']:g} of {progress['max']:g}"
        self.draw(text, min(1.0, (view.nodes_done + within) / view.nodes_total))

    def draw(self, text: str, part: float | None, phase: str = "") -> None:
        """Draw a text, with a bar where it is known which part is done; a new phase at once."""
        now = time.monotonic()
        seldom = now - self._at < EVERY and phase == self._phase and part != 1.0
        if not self._shown or seldom:
            return
        self._phase = phase
        if part is not None:
            filled = int(part * WIDTH)
            text = f"[{'#' * filled}{'-' * (WIDTH - filled)}] {part:4.0%} {text}"
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be wiped
        if text != self._text:
            self._text, self._at = text, now
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Leave an empty line behind."""
        if self._shown and self._text:
            self._text = ""
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def bar(arguments: argparse.Namespace) -> Bar:
    """A bar where somebody looks at a terminal, and has not asked for JSON."""
    return Bar(shown=sys.stderr.isatty() and not arguments.json)
