"""What long work calls back, and the callbacks for a caller that does not listen. Pure."""

from __future__ import annotations

from collections.abc import Callable

from comfy_aws.models import Progress

OnProgress = Callable[[Progress], None]
OnBytes = Callable[[int], None]
"""Called with the bytes since the last call, possibly from several threads."""

IsCancelled = Callable[[], bool]
"""Asked at every step; the work ends with `Cancelled` soon after it says True."""


def no_progress(_step: Progress) -> None:
    """For callers that do not show progress."""


def no_bytes(_count: int) -> None:
    """For callers that do not count bytes."""


def never() -> bool:
    """For callers that do not cancel."""
    return False
