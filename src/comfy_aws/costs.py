"""What jobs have cost, by the seconds that workers were busy with them. Estimates.

A job costs the time from its worker's first step to its last, at the price of its instance type.
What an instance waits for work, and what S3 and the rest cost, is not in it: the bill and the
budget of the stack tell that.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from comfy_aws.errors import ConfigError, CostLimit
from comfy_aws.jobindex import StoredJob
from comfy_aws.models import Usage
from comfy_aws.pricelist import PriceList

GROUPS: Final = ("job", "endpoint", "template", "user", "day")

MONTH_KEPT: Final = 60.0
"""Seconds that the month's sum is used again."""

LONGEST: Final = 3600
"""SageMaker's maximum of InvocationTimeoutSeconds."""

LEAST: Final = 60
"""Seconds that a job gets, however low its limit: less would not load a model."""


@dataclass(frozen=True)
class Cost:
    """The cost of a group of jobs. `usd` is None when no price is known for one of them."""

    name: str
    jobs: int
    seconds: float
    usd: float | None


class Costs:
    """Estimates by a price list."""

    def __init__(self, pricelist: PriceList) -> None:
        self._prices = pricelist

    def of(self, usage: Usage, seconds: float) -> float | None:
        """USD for so many seconds of one instance; None when the price is not known."""
        price = self._prices.of(usage.instance_type).price
        return None if price is None else price * seconds / 3600

    def by(self, group: str, jobs: Iterable[StoredJob]) -> list[Cost]:
        """Sums, the dearest first. Raises ConfigError for a group that is none."""
        if group not in GROUPS:
            raise ConfigError(f"Costs are told by {', '.join(GROUPS)}; got {group!r}.")
        names: dict[str, list[StoredJob]] = defaultdict(list)
        for job in jobs:
            names[_name(group, job)].append(job)
        sums = [self.total(name, each) for name, each in names.items()]
        return sorted(sums, key=lambda cost: (-(cost.usd or 0.0), -cost.seconds, cost.name))

    def total(self, name: str, jobs: Iterable[StoredJob]) -> Cost:
        """The sum of some jobs."""
        ended = list(jobs)
        parts = [self.of(job.usage, job.seconds) for job in ended]
        known = [part for part in parts if part is not None]
        usd = sum(known) if len(known) == len(parts) else None
        return Cost(name, len(ended), sum(job.seconds for job in ended), usd)


class Limits:
    """What jobs may cost; None is no limit. Safe to share between threads.

    Args:
        job: USD of one job, which its worker is stopped at.
        month: USD of all jobs of a calendar month, after which no new one is taken.
        user: USD of one user's jobs of a calendar month, after which none of theirs is taken.
        jobs_since: the jobs that were sent after a time.
    """

    def __init__(
        self,
        costs: Costs,
        jobs_since: Callable[[float], list[StoredJob]],
        *,
        job: float | None = None,
        month: float | None = None,
        user: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._costs = costs
        self._jobs_since = jobs_since
        self._job = job
        self._month = month
        self._user = user
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = 0.0
        self._spent: dict[str, float] = {}

    def allow(self, usage: Usage, *, ran: float = 0.0) -> int:
        """How many seconds a job may run.

        Args:
            ran: seconds that it ran on a machine that was lost.

        Raises:
            CostLimit: the month's or the user's limit is reached, `ran` leaves too little of the
                job's own, or a limit is set and no price is known.
        """
        if self._job is self._month is self._user is None:
            return LONGEST
        hour = self.hour(usage)
        if hour is None:
            raise CostLimit(
                f"A cost limit is set, and the price of {usage.instance_type or usage.endpoint} "
                "is not known.",
                hint="Take another instance type, or unset the limit in the settings.",
            )
        spent = self._spent_this_month() if self._month or self._user else {}
        total, own = sum(spent.values()), spent.get(usage.user, 0.0)
        if self._month is not None and total >= self._month:
            raise CostLimit(
                f"The jobs of this month have cost about {total:.2f} USD; the limit is "
                f"{self._month:.2f} USD.",
                hint="Raise cost_limit_month in the settings, or wait for the next month.",
            )
        if self._user is not None and own >= self._user:
            raise CostLimit(
                f"The jobs of {usage.user or 'nobody by name'} have cost about {own:.2f} USD this "
                f"month; the limit of each user is {self._user:.2f} USD.",
                hint="Raise cost_limit_user in the settings, or wait for the next month.",
            )
        if self._job is None or not hour:
            return LONGEST
        left = int(self._job / hour * 3600 - ran)
        if ran and left < LEAST:
            raise CostLimit(
                f"The job has cost most of its limit of {self._job:.2f} USD.",
                hint="Raise cost_limit_job in the settings, and run it again.",
            )
        return max(LEAST, min(LONGEST, left))

    def hour(self, usage: Usage) -> float | None:
        """USD an hour of what a job uses; None when the price is not known."""
        return self._costs.of(usage, 3600)

    def _spent_this_month(self) -> dict[str, float]:
        """USD by user; kept for a while."""
        now = self._clock()
        with self._lock:
            if now - self._asked > MONTH_KEPT:
                today = time.localtime(now)
                start = time.mktime((today.tm_year, today.tm_mon, 1, 0, 0, 0, 0, 0, -1))
                spent: dict[str, float] = defaultdict(float)
                for job in self._jobs_since(start):
                    spent[job.usage.user] += self._costs.of(job.usage, job.seconds) or 0.0
                self._asked, self._spent = now, dict(spent)
            return self._spent


def _name(group: str, job: StoredJob) -> str:
    if group == "day":
        return time.strftime("%Y-%m-%d", time.localtime(job.sent))
    names = {"job": job.id, "endpoint": job.usage.endpoint, "template": job.usage.template,
             "user": job.usage.user}  # fmt: skip
    return names[group] or "-"
