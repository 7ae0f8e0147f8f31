"""What an endpoint does, as CloudWatch tells it: jobs that wait or run, or since when none did.

SageMaker sends a metric a minute. The backlog is a sample, in which a short job may not be seen;
so an endpoint counts as idle only when no job was processed either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from comfy_aws import joblog
from comfy_aws.aws import SageMaker
from comfy_aws.endpoint_plan import VARIANT
from comfy_aws.errors import AwsError

FRESH: Final = 300.0
"""Seconds; an older value says nothing of now."""

WINDOW: Final = 3 * 3600.0
"""Seconds that are looked back; who has been idle for longer is told to be so for as long."""

MINUTE: Final = 60.0

log = joblog.logger(__name__)


@dataclass(frozen=True)
class Activity:
    """`backlog` and `idle_since` as in `models.Endpoint`."""

    backlog: int | None = None
    idle_since: float = 0.0


def seen(sagemaker: SageMaker, name: str, now: float, *, awake_since: float) -> Activity:
    """What CloudWatch tells of an endpoint; nothing when it cannot be asked.

    Args:
        awake_since: when the endpoint last changed; 0 when it has no instance.
    """
    try:
        look = partial(sagemaker.metric, name, since=now - WINDOW, now=now)
        waiting = look("ApproximateBacklogSize")
        fresh = [value for at, value in waiting if at >= now - FRESH]
        if not fresh:
            return Activity()
        backlog = int(fresh[-1])
        if backlog or not awake_since:
            return Activity(backlog)
        done = look("InvocationsProcessed", variant=VARIANT)
    except AwsError as exc:  # what it tells is worth less than the endpoint
        log.warning("The queue of %s cannot be seen: %s", name, exc)
        return Activity()
    return Activity(backlog, idle_since(waiting + done, now, awake_since))


def idle_since(points: list[tuple[float, float]], now: float, awake_since: float) -> float:
    """Since when none of the points was above 0. Pure.

    Args:
        points: (time, value) of a minute each, by the minute's beginning.
    """
    busy = max((at + MINUTE for at, value in points if value > 0), default=now - WINDOW)
    return min(now, max(busy, awake_since))
