"""The five steps of docs/user-guide.md, done as it says, in a shell, on a local stack of its own.

Its commands are run in order, all of them, with a real ComfyUI and real workers.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest

from comfy_aws import config, stack
from tests.comfy.comfyui_process import comfyui_path
from tests.pipeline import install as pipeline
from tests.support.documents import Terminal, commands_of
from tests.support.fileserver import served

GUIDE = "docs/user-guide.md"
MODEL_URL = "https://example.com/files/model.safetensors"

# What cannot be run here, and what runs it.
ELSEWHERE = {
    "comfy-aws logs designer --last 200": "needs systemd's journal; test_logs.py has one",
    "comfy-aws logs designer --start-up": "needs cloud-init's log; test_loglines.py has one",
    "comfy-aws logs designer --follow": "never ends; test_logs.py ends it",
    "comfy-aws port --count 2 --comfyui ~/ComfyUI": "never ends; tests/comfy/test_port.py ends it",
}


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Terminal]:
    """A home with a ComfyUI that has the test pipeline, and its workflow beside it."""
    comfyui = tmp_path / "ComfyUI"
    source = comfyui_path()
    not_source = {"custom_nodes", "input", "models", "output", "tests", "user"}
    shutil.copytree(
        source, comfyui, ignore=lambda at, names: not_source if Path(at) == source else ()
    )
    pipeline.install(comfyui)
    (comfyui / "models" / "loras").mkdir()  # as every ComfyUI has it
    (tmp_path / "portrait-workflow.json").write_text(json.dumps(pipeline.load_workflow()))
    (tmp_path / "portrait.json").write_text(json.dumps(pipeline.load_prompt()))
    foreign = [name for name in os.environ if name.startswith(("AWS_", "COMFY_AWS_"))]
    variables: dict[str, str | None] = dict.fromkeys([*foreign, "COMFYUI_PATH"])
    variables |= {"COMFY_AWS_RUNNER_ARGS": "--cpu", "COMFY_AWS_FETCH_PRIVATE": "1"}
    with served(_safetensors()) as site:
        try:
            yield Terminal(tmp_path, variables, {MODEL_URL: site.url})
        finally:
            stack.down(config.load(tmp_path / ".comfy-aws", {}).stack_home)


def _safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"lora"


class Watched:
    """Looks, after commands, whether they have done what the guide says."""

    def __init__(self, user: Terminal) -> None:
        self._user = user
        self.lora = user.folder / "ComfyUI" / "models" / "loras" / "detail.safetensors"
        self.checks: dict[str, Callable[[str], None]] = {
            "stack status": lambda told: self._has(told, "is running", "bucket"),
            "models add": lambda told: self._file(self.lora),
            "deps": self._deps,
            "template publish Portrait --workflow": lambda told: self._has(told, "Portrait"),
            "template show": self._show,
            "template versions": lambda told: self._has(told, "1", "2"),
            "template diff": lambda told: self._has(told, f"{pipeline.SAMPLER_ID}.seed", "7"),
            "template rollback": self._rolled_back,
            "template export": lambda told: self._file(user.folder / "portrait.zip"),
            "template rename": lambda told: self._has(self._list("template"), "Studio"),
            "cost --prices": lambda told: self._has(told, "ml.g5.xlarge"),
            "endpoint create": lambda told: self._has(told, "portraits is InService"),
            "endpoint list": lambda told: self._has(told, "portraits", "InService", "0-2"),
            "endpoint scale": lambda told: self._has(self._list("endpoint"), "0-3"),
            "template parameters": lambda told: self._has(told, "KSampler.seed", "KSampler.steps"),
            "run Portrait": self._ran,
            "jobs": lambda told: self._has(told, "Portrait", "success"),
            "models push": self._in_bucket,
            "models rm": lambda told: self._has_not(self._list("models"), "detail.safetensors"),
            "logs endpoint portraits --last": lambda told: self._has(told, "job="),
            "endpoint delete": lambda told: self._has_not(self._list("endpoint"), "InService"),
            "template delete": lambda told: self._has(told, "Deleted the template"),
            "stack down": lambda told: self._has(told, "has stopped"),
        }
        self.used: set[str] = set()

    def prepare(self, command: str) -> None:
        if "--new-version" in command:  # of what has not changed there is none
            changed = json.dumps(pipeline.load_prompt(seed=7))
            (self._user.folder / "portrait.json").write_text(changed)

    def check(self, command: str, told: str) -> None:
        for start, look in self.checks.items():
            if command.startswith(f"comfy-aws {start}"):
                self.used.add(start)
                look(told)

    @staticmethod
    def _has(told: str, *words: str) -> None:
        assert [word for word in words if word not in told] == [], told

    @staticmethod
    def _has_not(told: str, word: str) -> None:
        assert word not in told

    @staticmethod
    def _file(path: Path) -> None:
        assert path.stat().st_size

    def _list(self, topic: str) -> str:
        return self._user.run(f"comfy-aws {topic} list")

    def _deps(self, told: str) -> None:
        self._has(told, pipeline.INPUT_IMAGE, pipeline.NODE_PACK, Path(pipeline.MODELS[0]).name)

    def _show(self, told: str) -> None:
        self._deps(told)
        shown = json.loads(self._user.run("comfy-aws template show Portrait --json"))
        assert shown["template"]["description"] == "Studio light"
        assert shown["version"]["prompt"] == pipeline.load_prompt()

    def _rolled_back(self, told: str) -> None:
        listed = json.loads(self._user.run("comfy-aws template list --json"))
        assert {each["name"]: each["version"] for each in listed} == {"Portrait": 1}

    def _ran(self, told: str) -> None:
        [image] = (self._user.folder / "results").iterdir()
        with PIL.Image.open(image) as opened:
            assert opened.size == (128, 128)
        [job] = json.loads(self._user.run("comfy-aws jobs --json"))
        log = self._user.run(f"comfy-aws logs job {job['id']}")
        self._has(log, job["id"])

    def _in_bucket(self, told: str) -> None:
        listed = json.loads(self._user.run("comfy-aws models list --json"))
        assert ("loras", "detail.safetensors") in {
            (each["folder"], each["name"]) for each in listed
        }
        self.lora.unlink()  # the pull that follows brings it back


@pytest.mark.stack
@pytest.mark.slow
def test_the_five_steps(user: Terminal) -> None:
    watched = Watched(user)
    skipped = set()
    for command in commands_of(GUIDE):
        if command in ELSEWHERE:
            skipped.add(command)
            continue
        watched.prepare(command)
        watched.check(command, user.run(command))
    assert watched.lora.exists()
    assert skipped == set(ELSEWHERE)
    assert watched.used == set(watched.checks)
