"""The command `comfy-aws`: Prompt on AWS from a terminal, one module a topic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from comfy_aws import __version__
from comfy_aws.cli import cost, deploy, deps, endpoints, jobs, logs, models, ports, stack, templates
from comfy_aws.cli.common import ERROR, INTERRUPTED
from comfy_aws.errors import ComfyAwsError

_TOPICS = (deploy, stack, templates, endpoints, jobs, cost, models, logs, ports, deps)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (usage errors leave with status 2)."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except ComfyAwsError as exc:
        print(f"comfy-aws: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-aws",
        description="Prompt on AWS from a terminal: the local stack, templates, endpoints, jobs.",
        epilog="Where to: the bucket in COMFY_AWS_BUCKET or the settings, else the local stack "
        "once `comfy-aws stack up` has started it. Settings lie in ~/.comfy-aws, or in the folder "
        "that COMFY_AWS_HOME names. Exit status: 0 done, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"comfy-aws {__version__}")
    topics = parser.add_subparsers(title="topics", metavar="TOPIC", required=True)
    for topic in _TOPICS:
        topic.add(topics)
    return parser
