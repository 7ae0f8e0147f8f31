"""`comfy-aws jobs`: what ran, whichever ComfyUI sent it."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, Final

from comfy_aws.cli import names
from comfy_aws.cli.common import (
    DONE,
    ERROR,
    cloud,
    command,
    emit,
    moment,
    positive,
    status_of_job,
    table,
)
from comfy_aws.cli.files import bring, job_lines, job_times
from comfy_aws.cli.progress import bar
from comfy_aws.errors import ConfigError
from comfy_aws.job_reports import EXPIRES, LONGEST, SHORTEST
from comfy_aws.jobindex import StoredJob, chosen_jobs
from comfy_aws.models import JobState, Outcome
from comfy_aws.orders import STATE_OF

OPEN: Final = "open"
STATES: Final = (OPEN, *(state.value for state in JobState if state.ended))
DAY: Final = 24 * 3600.0


def add(topics: Any) -> None:
    text = "list the latest jobs in the bucket, whichever ComfyUI sent them"
    jobs = command(topics, "jobs", _jobs, text)
    jobs.add_argument("--limit", type=positive, default=20, metavar="N",
                      help="how many (%(default)s)")  # fmt: skip
    jobs.add_argument("--state", choices=STATES, help="only these")
    jobs.add_argument("--template", default="", metavar="NAME", help="only runs of this template")
    jobs.add_argument("--endpoint", default="", metavar="NAME", help="only those on this one")
    jobs.add_argument("--days", type=positive, metavar="N", help="only those of the last N days")
    commands = jobs.add_subparsers(title="commands", metavar="COMMAND")
    show = command(commands, "show", _show, "show a job, why it failed, and its files", inner=True)
    show.add_argument("--urls", action="store_true", help="print a URL for each of its files")
    show.add_argument("--expires", type=positive, default=EXPIRES, metavar="SECONDS",
                      help="how long the URLs hold (%(default)s)")  # fmt: skip
    fetch = command(commands, "fetch", _fetch, "bring a job's files here", inner=True)
    fetch.add_argument("--output", type=Path, default=Path(), metavar="DIR",
                       help="where to, else here; no file is written over")  # fmt: skip
    for each in (show, fetch):
        each.add_argument("job", help="its id, as `comfy-aws jobs` shows it")


def state_of(job: StoredJob) -> str:
    if not job.outcome:
        return OPEN
    known = {outcome.value for outcome in Outcome}
    return STATE_OF[Outcome(job.outcome)].value if job.outcome in known else JobState.FAILED.value


def _jobs(arguments: argparse.Namespace) -> int:
    def wanted(job: StoredJob) -> bool:
        return (
            arguments.state in (None, state_of(job))
            and arguments.template in ("", job.usage.template)
            and arguments.endpoint in ("", job.usage.endpoint)
        )

    since = time.time() - arguments.days * DAY if arguments.days else 0.0
    found = chosen_jobs(cloud().store, wanted, arguments.limit, since=since)
    names.saw("job", [job.id for job in found])
    rows = [(job.id, moment(job.sent), job.outcome or OPEN,
             f"{job.ended - job.sent:.0f} s" if job.ended else "", job.outputs,
             job.usage.template, job.usage.endpoint, job.error.partition("\n")[0])
            for job in found]  # fmt: skip
    head = ("ID", "SENT", "OUTCOME", "TOOK", "FILES", "TEMPLATE", "ENDPOINT", "ERROR")
    value = [{**dataclasses.asdict(job), "state": state_of(job)} for job in found]
    emit(arguments, value, table(head, rows) or ["No jobs."])
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    if not SHORTEST <= arguments.expires <= LONGEST:
        raise ConfigError(f"URLs hold from {SHORTEST} to {LONGEST} seconds.")
    report = cloud().job_reports.of(arguments.job, expires=arguments.expires)
    lines = [*job_lines(report), job_times(report)]
    if arguments.urls:
        lines += [each["url"] for each in report["outputs"]]
    emit(arguments, report, lines)
    return DONE


def _fetch(arguments: argparse.Namespace) -> int:
    there = cloud()
    report = there.job_reports.of(arguments.job)
    with bar(arguments) as progress:
        bring(there, report, arguments.output, progress)
    lines = job_lines(report)
    if not report["outputs"]:
        lines.append("  It has no files.")
    emit(arguments, report, lines)
    if report["state"] == JobState.SUBMITTED.value:
        return ERROR
    return status_of_job(JobState(report["state"]))
