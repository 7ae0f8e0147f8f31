"""`comfy-aws logs`: what the designer's machine, an endpoint's workers, or a job wrote."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from typing import Any, Final

from comfy_aws.cli.common import cloud, moment, positive, sentence, topic
from comfy_aws.loglines import LEVELS, LogFilter, LogLine
from comfy_aws.logs import LAST, Tail, endpoint_tail, job_tail
from comfy_aws.machinelogs import FileTail, JournalTail

LOOK: Final = 2.0
"""Seconds between two looks for new lines; CloudWatch allows five requests a second."""


def add(topics: Any) -> None:
    commands = topic(topics, "logs", "read the log of the designer, an endpoint or a job")
    text = "this machine's ComfyUI: the journal of its service `comfy`"
    designer = _command(commands, "designer", _designer, text)
    text = "the machine's first start instead (cloud-init)"
    designer.add_argument("--start-up", action="store_true", help=text)
    endpoint = _command(commands, "endpoint", _endpoint, "all workers of an endpoint")
    endpoint.add_argument("name", help="as `comfy-aws endpoint list` shows it")
    job = _command(commands, "job", _job, "what workers wrote while they ran a job")
    job.add_argument("job", metavar="id", help="as `comfy-aws jobs` shows it")
    for each in (designer, endpoint):
        each.add_argument("--job", default="", metavar="ID", help="only lines of this job")


def _command(commands: Any, name: str, tail: Any, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=sentence(about)
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    parser.add_argument("--last", type=positive, default=LAST, metavar="N",
                        help="lines to begin with (%(default)s)")  # fmt: skip
    parser.add_argument("--level", choices=LEVELS, default="", help="only these and worse ones")
    parser.add_argument("--text", default="", help="only lines that hold this, in any case")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.set_defaults(run=lambda arguments: _print(arguments, tail(arguments)))
    return parser


def _wanted(arguments: argparse.Namespace) -> LogFilter:
    return LogFilter(arguments.job, arguments.level, arguments.text)


def _designer(arguments: argparse.Namespace) -> Tail:
    wanted = _wanted(arguments)
    if arguments.start_up:
        return FileTail(wanted, last=arguments.last)
    return JournalTail(wanted, last=arguments.last)


def _endpoint(arguments: argparse.Namespace) -> Tail:
    there = cloud()
    wanted = _wanted(arguments)
    return endpoint_tail(there.logs, there.endpoints, arguments.name, wanted, last=arguments.last)


def _job(arguments: argparse.Namespace) -> Tail:
    return job_tail(cloud(), _wanted(arguments), last=arguments.last)


def _print(arguments: argparse.Namespace, tail: Tail) -> int:
    while True:
        for line in tail.read():
            text = json.dumps(dataclasses.asdict(line)) if arguments.json else _text(line)
            print(text, flush=True)
        if not arguments.follow:
            return 0
        time.sleep(LOOK)


def _text(line: LogLine) -> str:
    job = f" job={line.job}" if line.job else ""
    return f"{moment(line.at)} {line.level.upper():7} {line.source}{job}: {line.text}"
