"""Asks the ComfyUI of a folder what a prompt needs; see `comfy_aws.comfyui.deps`, which answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from comfy_aws.errors import ComfyAwsError, ComfyUIError, ConfigError, InvalidWorkflow
from comfy_aws.models import Json

SOURCES: Final = Path(__file__).resolve().parents[1]
"""Where the child finds `comfy_aws`."""

LOG_LINES: Final = 12
"""Lines of ComfyUI's last words that an error carries."""


def needs_of(
    prompt: Path, comfyui: Path, *, python: str = sys.executable, arguments: Sequence[str] = ()
) -> Json:
    """What a prompt needs, as `preflight.needs` says it.

    Args:
        prompt: a file with the graph in API format.
        comfyui: ComfyUI's source folder.
        python: that ComfyUI's interpreter.
        arguments: for ComfyUI, such as ``--base-directory``.

    Raises:
        ConfigError: there is no ComfyUI, or no such interpreter.
        InvalidWorkflow: the file is no prompt.
        ComfyUIError: ComfyUI could not load its nodes.
    """
    if not (comfyui / "main.py").is_file():
        raise ConfigError(
            f"There is no ComfyUI in {comfyui}: main.py is missing.",
            hint="Give the folder that has it: --comfyui DIR.",
        )
    _check_prompt(prompt)
    with tempfile.TemporaryDirectory(prefix="comfy-aws-") as folder:
        answer = Path(folder, "answer.json")
        command = [
            python, "-m", "comfy_aws.comfyui.deps", str(comfyui.resolve()), str(prompt.resolve()),
            str(answer), "--cpu", *arguments,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=SOURCES, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        except OSError as exc:
            raise ConfigError(f"{python} cannot be started: {exc.strerror or exc}.") from exc
        if not answer.is_file():
            last = done.stdout.decode(errors="replace").strip().splitlines()[-LOG_LINES:]
            raise ComfyUIError(
                f"ComfyUI in {comfyui} could not load its nodes (status {done.returncode}).",
                hint="Its last words:\n" + "\n".join(last),
            )
        needs: Json = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in needs:
        error = needs["error"]
        raise _Answered(error["code"], error["message"], error["hint"])
    return needs


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


class _Answered(ComfyAwsError):
    """An error that the child has met and told."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def _check_prompt(path: Path) -> None:
    """Before ComfyUI is loaded, which takes seconds."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise InvalidWorkflow(
            f"{path} cannot be read as JSON: {exc}.", hint="Export it with 'Export (API)'."
        ) from exc
