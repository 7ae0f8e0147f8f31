"""Answers a question by the nodes of the ComfyUI in a folder: the child of `comfy_aws.hosted`.

Runs as a process of its own in that ComfyUI's Python, and loads its nodes as its main.py does,
because only a node itself can say what its inputs mean. It serves nothing, and runs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

from comfy_aws import comfyui as edge
from comfy_aws.callbacks import OnProgress
from comfy_aws.errors import ComfyAwsError, ConfigError
from comfy_aws.hosted import STEP
from comfy_aws.models import Json, Progress, to_json


def answer(reply: Callable[[Json, OnProgress], Json]) -> NoReturn:
    """Write the answer, or ``{"error": …}``, into a file: packs print what they like."""
    parser = argparse.ArgumentParser()
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("question", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    try:
        question = json.loads(chosen.question.read_text(encoding="utf-8"))
        _load_nodes(chosen.comfyui, chosen.arguments)
        with chosen.answer.with_name("progress.jsonl").open("a", encoding="utf-8") as steps:
            told = reply(question, _Steps(steps))
    except ComfyAwsError as exc:
        told = {"error": exc.to_dict()}
    chosen.answer.write_text(json.dumps(told), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that packs have started must not keep a finished command alive


class _Steps:
    """Tells whoever has asked how far the work is, a line a step."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._at = 0.0

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._at >= STEP or step.done == step.total:
            self._at = now
            self._file.write(to_json(step) + "\n")
            self._file.flush()


def _load_nodes(comfyui: Path, arguments: list[str]) -> None:
    """Import ComfyUI with its packs. Raises ConfigError when the folder has none."""
    main_file = comfyui / "main.py"
    if not main_file.is_file():
        raise ConfigError(f"There is no ComfyUI in {comfyui}: main.py is missing.")
    sys.argv = [str(main_file), *arguments]
    sys.path.insert(0, str(comfyui))
    os.chdir(comfyui)
    importlib.import_module("main")  # reads the arguments, extra paths and prestartup scripts
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    args: Any = importlib.import_module("comfy.cli_args").args
    importlib.import_module("server").PromptServer(loop)  # packs add their routes to it
    edge.serves = False
    nodes: Any = importlib.import_module("nodes")
    loop.run_until_complete(
        nodes.init_extra_nodes(
            init_custom_nodes=not args.disable_all_custom_nodes,
            init_api_nodes=not args.disable_api_nodes,
        )
    )
