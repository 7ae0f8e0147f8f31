"""The command `comfy-aws`: Prompt on AWS from a terminal, one module a topic."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from comfy_aws import __version__
from comfy_aws.cli import (
    completion,
    cost,
    deploy,
    deps,
    doctor,
    endpoints,
    jobs,
    logs,
    models,
    ports,
    run,
    stack,
    templates,
)
from comfy_aws.cli.common import ERROR, INTERRUPTED, STATUSES, USAGE, status_of
from comfy_aws.errors import ComfyAwsError

_TOPICS = (
    deploy,
    stack,
    templates,
    endpoints,
    run,
    jobs,
    cost,
    models,
    logs,
    ports,
    deps,
    doctor,
    completion,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (usage errors leave with status 2)."""
    parser = _parser()
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help(sys.stderr)
        sys.exit(USAGE)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except ComfyAwsError as exc:
        _tell(exc, as_json=getattr(arguments, "json", False))
        return status_of(exc)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    return status


def _tell(exc: ComfyAwsError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": exc.to_dict()}), file=sys.stderr)
        return
    print(f"comfy-aws: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"  {exc.hint}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-aws",
        description="Prompt on AWS from a terminal: the local stack, templates, endpoints, jobs.",
        epilog="Where to: the bucket in COMFY_AWS_BUCKET or the settings, else the local stack "
        "once `comfy-aws stack up` has started it. Settings lie in ~/.comfy-aws, or in the folder "
        f"that COMFY_AWS_HOME names. With --json an error is a JSON object, too. {STATUSES}",
    )
    parser.add_argument("--version", action="version", version=f"comfy-aws {__version__}")
    topics = parser.add_subparsers(title="topics", metavar="TOPIC", required=True)
    for topic in _TOPICS:
        topic.add(topics)
    return parser
