"""`comfy-aws jobs`: what ran, whichever ComfyUI sent it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from comfy_aws.cli.common import cloud, command, emit, moment, positive, table
from comfy_aws.jobindex import stored_jobs


def add(topics: Any) -> None:
    text = "list the latest jobs in the bucket, whichever ComfyUI sent them"
    jobs = command(topics, "jobs", _jobs, text)
    jobs.add_argument("--limit", type=positive, default=20, help="how many (%(default)s)")


def _jobs(arguments: argparse.Namespace) -> int:
    found = stored_jobs(cloud().store, arguments.limit)
    rows = [(job.id, moment(job.sent), job.outcome or "open",
             f"{job.ended - job.sent:.0f} s" if job.ended else "", job.outputs,
             job.error.partition("\n")[0]) for job in found]  # fmt: skip
    lines = table(("ID", "SENT", "OUTCOME", "TOOK", "FILES", "ERROR"), rows) or ["No jobs."]
    emit(arguments, [dataclasses.asdict(job) for job in found], lines)
    return 0
