"""What long work calls back, and the callbacks for a caller that does not listen. Pure."""

from __future__ import annotations

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
