"""`comfy-aws deps`: what a prompt stands on."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from comfy_aws import deps
from comfy_aws.cli.common import ERROR, command, emit, size_text, table


def add(topics: Any) -> None:
    text = "list the models, inputs and node packs that a prompt needs; status 1 when some are not"
    prompt = command(topics, "deps", _deps, f"{text} there")
    prompt.add_argument("prompt", type=Path, help="a prompt in API format, a JSON file")
    prompt.add_argument("--comfyui", type=Path, required=True, metavar="DIR",
                         help="ComfyUI's folder, whose nodes and models count")  # fmt: skip
    prompt.add_argument("--python", default=sys.executable, metavar="FILE",
                         help="that ComfyUI's Python (the one that runs this)")  # fmt: skip
    prompt.add_argument("--arguments", default="", metavar="TEXT",
                         help="for ComfyUI, as in --arguments='--base-directory DIR'")  # fmt: skip


def _deps(arguments: argparse.Namespace) -> int:
    needs = deps.needs_of(
        arguments.prompt,
        arguments.comfyui,
        python=arguments.python,
        arguments=shlex.split(arguments.arguments),
    )
    rows = [(kind, name, size_text(size), ref[:16]) for kind, name, size, ref in deps.rows(needs)]
    lines = table(("NEEDS", "NAME", "SIZE", "SHA256"), rows) or ["It needs no files."]
    emit(arguments, needs, [*lines, *deps.remarks(needs)])
    return ERROR if needs["unresolved"] else 0
