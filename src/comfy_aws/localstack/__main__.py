"""`python -m comfy_aws.localstack --home DIR [--port N]`: the stack in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from comfy_aws.config import child_environment
from comfy_aws.errors import LocalStackError
from comfy_aws.localstack import how_to_install
from comfy_aws.stack import EXIT_ALREADY_RUNNING


def main(arguments: list[str] | None = None) -> int:
    """0 after an orderly stop, 75 when another stack runs in the home, else 1."""
    parser = argparse.ArgumentParser(prog="python -m comfy_aws.localstack", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder for all state")
    parser.add_argument("--port", type=int, default=None, help="default: a free one")
    options = parser.parse_args(arguments)
    try:
        from comfy_aws.localstack import daemon
    except ModuleNotFoundError as exc:
        needed = f"The local stack needs the package {exc.name}."
        print(f"{needed} {how_to_install()}", file=sys.stderr)
        return 1
    daemon.log_to_stderr()
    try:
        home = options.home.resolve()
        daemon.lock(home)
        asyncio.run(daemon.run(home, options.port, child_environment()))
    except daemon.AlreadyRunning as exc:
        print(exc, file=sys.stderr)
        return EXIT_ALREADY_RUNNING
    except (LocalStackError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    # Threads of long polls may run for seconds yet, and Python would wait for them.
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
