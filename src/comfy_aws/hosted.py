"""Asks the ComfyUI of a folder, in a process of its own: its nodes know the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from comfy_aws.callbacks import OnProgress, no_progress
from comfy_aws.errors import ComfyAwsError, ComfyUIError, ConfigError
from comfy_aws.models import Json, Progress, from_json

SOURCES: Final = Path(__file__).resolve().parents[1]
"""Where the child finds `comfy_aws`."""

STEP: Final = 0.2
"""Seconds between two looks how far the child is."""

LOG_LINES: Final = 12
"""Lines of ComfyUI's last words that an error carries."""


def ask(
    module: str,
    question: Json,
    comfyui: Path,
    *,
    python: str = sys.executable,
    arguments: Sequence[str] = (),
    progress: OnProgress = no_progress,
) -> Json:
    """The answer of one of our modules, run as `comfyui.hosted` runs them.

    Args:
        module: such as ``comfy_aws.comfyui.deps``.
        comfyui: ComfyUI's source folder.
        python: that ComfyUI's interpreter.
        arguments: for ComfyUI, such as ``--base-directory``.
        progress: called with what the module tells on its way.

    Raises:
        ConfigError: there is no ComfyUI, or no such interpreter.
        ComfyUIError: ComfyUI could not load its nodes.
        ComfyAwsError: what the module has raised.
    """
    if not (comfyui / "main.py").is_file():
        raise ConfigError(
            f"There is no ComfyUI in {comfyui}: main.py is missing.",
            hint="Give the folder that has it: --comfyui DIR.",
        )
    with tempfile.TemporaryDirectory(prefix="comfy-aws-") as folder:
        asked, answered = Path(folder, "question.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(question), encoding="utf-8")
        command = [
            python, "-m", module, str(comfyui.resolve()), str(asked), str(answered),
            "--cpu", *arguments,
        ]  # fmt: skip
        status, said = _run(command, python, Path(folder, "progress.jsonl"), progress)
        if not answered.is_file():
            last = said.decode(errors="replace").strip().splitlines()[-LOG_LINES:]
            raise ComfyUIError(
                f"ComfyUI in {comfyui} could not load its nodes (status {status}).",
                hint="Its last words:\n" + "\n".join(last),
            )
        answer: Json = json.loads(answered.read_text(encoding="utf-8"))
    if "error" in answer:
        raise Answered(answer["error"])
    return answer


def _run(
    command: Sequence[str], python: str, steps: Path, progress: OnProgress
) -> tuple[int, bytes]:
    """Exit status and output of the child; `steps` is where it tells how far it is."""
    steps.touch()
    try:
        process = subprocess.Popen(
            command, cwd=SOURCES, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as exc:
        raise ConfigError(f"{python} cannot be started: {exc.strerror or exc}.") from exc
    with process, steps.open(encoding="utf-8") as told:
        try:
            while True:
                try:
                    said, _ = process.communicate(timeout=STEP)
                except subprocess.TimeoutExpired:
                    _hear(told, progress)
                    continue
                _hear(told, progress)
                return process.returncode, said
        except BaseException:
            process.kill()
            raise


def _hear(told: IO[str], progress: OnProgress) -> None:
    """Pass on the last step; one that is still being written is read the next time."""
    start = told.tell()
    whole, _, rest = told.read().rpartition("\n")
    if rest:
        told.seek(start)
    elif whole:
        progress(from_json(Progress, whole.rpartition("\n")[2]))


class Answered(ComfyAwsError):
    """An error that the child has met and told; the nodes it is about are in the message."""

    def __init__(self, error: Json) -> None:
        nodes = error.get("node_errors", {}).items()
        lines = [
            f"node {node_id} ({node['class_type']}): {each['message']}"
            for node_id, node in nodes
            for each in node["errors"]
        ]
        super().__init__("\n".join([error["message"], *lines]), hint=error["hint"])
        self.code = error["code"]
