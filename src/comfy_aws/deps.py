"""Asks the ComfyUI of a folder what a prompt needs; see `comfy_aws.comfyui.deps`, which answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from comfy_aws import hosted
from comfy_aws.callbacks import OnProgress, no_progress
from comfy_aws.errors import InvalidWorkflow
from comfy_aws.models import Json


def needs_of(
    prompt: Path,
    comfyui: Path,
    *,
    python: str = sys.executable,
    arguments: Sequence[str] = (),
    progress: OnProgress = no_progress,
) -> Json:
    """What a prompt needs, as `preflight.needs` says it.

    Args:
        prompt: a file with the graph in API format.

    Raises:
        InvalidWorkflow: the file is no prompt.
        ConfigError, ComfyUIError: as `hosted.ask`, which has the other arguments, too.
    """
    question = {"prompt": read_graph(prompt, "Export (API)")}
    module = "comfy_aws.comfyui.deps"
    return hosted.ask(
        module, question, comfyui, python=python, arguments=arguments, progress=progress
    )


def rows(needs: Json) -> list[tuple[str, str, int, str]]:
    """(kind, name, bytes, digest) of everything that is needed."""
    return [
        *(("model", f"{m['folder']}/{m['name']}", m["size"], m["digest"]) for m in needs["models"]),
        *(("input", f"{i['place']}/{i['name']}", i["size"], i["digest"]) for i in needs["inputs"]),
        *(("node pack", p["name"], p["size"], p["digest"]) for p in needs["packs"]),
    ]


def remarks(needs: Json) -> Iterable[str]:
    """What could not be resolved, and the warnings, a line each."""
    for kind, findings in (("missing", needs["unresolved"]), ("warning", needs["warnings"])):
        for each in findings:
            place = ".".join(filter(None, (each["class_type"], each["input"])))
            yield f"{kind}: node {each['node_id']} ({place}): {each['reason']}"


def read_graph(path: Path, command: str) -> object:
    """The JSON of a file that a command of ComfyUI's menu has written. Raises InvalidWorkflow."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise InvalidWorkflow(
            f"{path} cannot be read as JSON: {exc}.", hint=f"Save it with '{command}'."
        ) from exc
