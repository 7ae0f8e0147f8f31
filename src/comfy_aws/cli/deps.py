"""`comfy-aws deps`: what a prompt stands on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from comfy_aws import deps
from comfy_aws.cli.common import (
    ERROR,
    comfyui_arguments,
    command,
    emit,
    hosted_by,
    size_text,
    table,
)
from comfy_aws.cli.progress import bar


def add(topics: Any) -> None:
    text = "list the models, inputs and node packs that a prompt needs; status 1 when some are not"
    prompt = command(topics, "deps", _deps, f"{text} there")
    prompt.add_argument("prompt", type=Path, help="a prompt in API format, a JSON file")
    comfyui_arguments(prompt)


def _deps(arguments: argparse.Namespace) -> int:
    with bar(arguments) as progress:
        needs = deps.needs_of(arguments.prompt, progress=progress, **hosted_by(arguments))
    rows = [(kind, name, size_text(size), ref[:16]) for kind, name, size, ref in deps.rows(needs)]
    lines = table(("NEEDS", "NAME", "SIZE", "SHA256"), rows) or ["It needs no files."]
    emit(arguments, needs, [*lines, *deps.remarks(needs)])
    return ERROR if needs["unresolved"] else 0
