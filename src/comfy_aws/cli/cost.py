"""`comfy-aws cost`: what jobs have cost, and what instances cost an hour."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any, Final

from comfy_aws.cli.common import cloud, command, emit, positive, table, usd
from comfy_aws.costs import GROUPS
from comfy_aws.jobindex import stored_jobs
from comfy_aws.prices import SOURCE_AWS, InstanceType

DAY: Final = 24 * 3600.0
NOTE: Final = (
    "Estimates: time that workers were busy, at the price of their instance type. What instances "
    "wait for work is not in it."
)


def add(topics: Any) -> None:
    text = "estimate what the jobs of the last days have cost, whichever ComfyUI sent them"
    cost = command(topics, "cost", _cost, text)
    cost.add_argument("--days", type=positive, default=30, help="how many (%(default)s)")
    cost.add_argument("--by", choices=GROUPS, default="day", help="sums of what (%(default)s)")
    cost.add_argument("--prices", action="store_true", help="list instance types instead")


def _cost(arguments: argparse.Namespace) -> int:
    connected = cloud()
    if arguments.prices:
        return _show_prices(arguments, connected.prices.types())
    jobs = stored_jobs(connected.store, since=time.time() - arguments.days * DAY)
    ended = [job for job in jobs if job.outcome]
    sums = connected.costs.by(arguments.by, ended)
    total = connected.costs.total("total", ended)
    rows = [(c.name, c.jobs, f"{c.seconds / 60:.1f}", usd(c.usd)) for c in (*sums, total)]
    kinds = {job.usage.instance_type for job in ended}
    sources = [connected.prices.of(kind) for kind in sorted(kinds)]
    lines = [*table((arguments.by.upper(), "JOBS", "MINUTES", "ABOUT"), rows), NOTE]
    lines += [f"  {_source(kind)}" for kind in sources]
    value = {
        "days": arguments.days,
        "by": arguments.by,
        "costs": [dataclasses.asdict(each) for each in sums],
        "total": dataclasses.asdict(total),
        "prices": [dataclasses.asdict(kind) for kind in sources],
    }
    emit(arguments, value, lines)
    return 0


def _source(kind: InstanceType) -> str:
    """Where a price comes from, and how old it is."""
    if kind.price is None:
        return f"{kind.name or 'unknown type'}: no price is known."
    where = "AWS's" if kind.source == SOURCE_AWS else "built-in"
    return f"{kind.name}: {usd(kind.price)} an hour, {where} price of {kind.as_of}, {kind.region}."


def _show_prices(arguments: argparse.Namespace, types: list[InstanceType]) -> int:
    rows = [(t.name, f"{t.gpus} x {t.gpu}", f"{t.gpu_memory} GiB", usd(t.price), t.region,
             f"{t.source}, {t.as_of}") for t in types]  # fmt: skip
    head = ("TYPE", "GPU", "GPU MEMORY", "AN HOUR", "REGION", "PRICE FROM")
    emit(arguments, [dataclasses.asdict(each) for each in types], table(head, rows))
    return 0
