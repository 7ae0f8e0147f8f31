"""`comfy-aws port`: inference ports for artists."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from comfy_aws import config
from comfy_aws.cli.common import positive, sentence
from comfy_aws.ports import PortEvent, PortPlan, Ports, comfyui_around

_WORDS = {
    "started": "port {port} is starting",
    "ready": "port {port} is ready: {url}",
    "ended": "port {port} ended: {message}",
    "stopped": "port {port} has stopped",
}


def add(topics: Any) -> None:
    about = "serve inference ports: ComfyUIs for artists, where every run goes to AWS"
    parser: argparse.ArgumentParser = topics.add_parser(
        "port", help=about,
        description=f"{sentence(about)} They need no GPU, models or node packs. Runs until Ctrl+C "
        "or SIGTERM; a port that dies is started again.",
    )  # fmt: skip
    parser.add_argument("--count", type=positive, default=1, metavar="N", help="how many (1)")
    parser.add_argument(
        "--first", type=positive, default=10001, metavar="PORT", help="number of the first (10001)"
    )
    parser.add_argument("--comfyui", default="", metavar="DIR", help="folder of the ComfyUI to run")
    parser.add_argument(
        "--python", default=sys.executable, metavar="FILE", help="its Python; this one by default"
    )
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="IP",
        help="address to listen on (127.0.0.1); ComfyUI has no login of its own, so put a proxy "
        "with one before any other",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object an event")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = config.load()
    plan = PortPlan(
        comfyui=comfyui_around(arguments.comfyui or settings.comfyui),
        count=arguments.count,
        home=settings.home,
        first=arguments.first,
        python=arguments.python,
        listen=arguments.listen,
    )
    stopped = threading.Event()

    def told(event: PortEvent) -> None:
        text = json.dumps(asdict(event)) if arguments.json else _WORDS[event.kind]
        print(text if arguments.json else text.format(**asdict(event)), flush=True)

    ports = Ports(plan, told)
    before = {number: signal.signal(number, lambda *_: stopped.set())
              for number in (signal.SIGINT, signal.SIGTERM)}  # fmt: skip
    try:
        ports.run(stopped)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
