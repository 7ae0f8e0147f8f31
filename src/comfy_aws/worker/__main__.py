"""``python -m comfy_aws.worker [serve]``: what the container's entry point runs."""

from __future__ import annotations

import asyncio
import logging
import sys

from comfy_aws.config import load_worker
from comfy_aws.errors import ComfyAwsError
from comfy_aws.worker import journal
from comfy_aws.worker.server import serve


def main(arguments: list[str]) -> int:
    journal.install()
    if arguments not in ([], ["serve"]):
        print("usage: python -m comfy_aws.worker [serve]", file=sys.stderr)
        return 2
    try:
        return asyncio.run(serve(load_worker()))
    except ComfyAwsError as exc:
        logging.getLogger(__name__).error("The worker cannot start: %s", exc)  # noqa: TRY400 – for its owner, who needs no trace
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
