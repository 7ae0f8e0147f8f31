"""The five steps of docs/user-guide.md, done as it says, in a shell, on a local stack of its own.

Its commands are run in order, all of them, with a real ComfyUI and real workers. Those of
docs/programs.md are run in between, on the template and the endpoint that are there then.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest

from comfy_aws import config, stack
from comfy_aws.machinelogs import START_UP
from tests.comfy.comfyui_process import comfyui_path, free_port
from tests.pipeline import install as pipeline
from tests.support.documents import Terminal, commands_of, scripts_of
from tests.support.fileserver import served
from tests.unit.test_loglines import JOURNALCTL

GUIDE, PROGRAMS = "docs/user-guide.md", "docs/programs.md"
PORT = "comfy-aws port"
MODEL_URL = "https://example.com/files/model.safetensors"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Terminal]:
    """A home with a ComfyUI that has the test pipeline, its workflow beside it, and a journal."""
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
    PIL.Image.new("RGB", (64, 64), "teal").save(tmp_path / "fox.png")
    journal, journalctl = tmp_path / "journal", tmp_path / "bin" / "journalctl"
    journal.write_text("ComfyUI is up\n")
    journalctl.parent.mkdir()
    journalctl.write_text(JOURNALCTL.format(python=sys.executable, lines=str(journal)))
    journalctl.chmod(0o755)
    foreign = [name for name in os.environ if name.startswith(("AWS_", "COMFY_AWS_"))]
    variables: dict[str, str | None] = dict.fromkeys([*foreign, "COMFYUI_PATH"])
    variables |= {"COMFY_AWS_RUNNER_ARGS": "--cpu", "COMFY_AWS_FETCH_PRIVATE": "1"}
    first = free_port(2)
    instead = {"--count 2": f"--count 2 --first {first}", ":10001/": f":{first}/"}
    with served(_safetensors()) as site:
        try:
            yield Terminal(tmp_path, variables, {MODEL_URL: site.url, **instead})
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
            "logs designer --last": lambda told: self._has(told, "ComfyUI is up"),
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
            "template form": lambda told: self._has(told, "shows 2 parameters", "Steps"),
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


class Programs:
    """Does what docs/programs.md says: its commands in a shell, its scripts against a port."""

    def __init__(self, user: Terminal) -> None:
        self._user = user
        self.files = user.folder / "out"

    def over_http(self) -> None:
        """While a port serves."""
        run, ask, secret = scripts_of(PROGRAMS)
        job = json.loads(self._user.run(run))["job"]
        assert job["state"] == "succeeded", job
        [output] = job["outputs"]
        self._user.instead["JOB"] = job["id"]
        asked = json.loads(self._user.run(ask))["job"]
        assert (asked["id"], asked["outputs"][0]["sha256"]) == (job["id"], output["sha256"])
        assert self._user.run(secret).startswith("whsec_")

    def in_a_shell(self) -> None:
        told: dict[str, str] = {}
        for command in commands_of(PROGRAMS):
            told[command] = self._user.run(command)
            if "--no-wait" in command:
                job = json.loads(told[command])["id"]
                self._user.instead["JOB"] = job
            if "--state open" in command:
                self._wait(job)

        def of(start: str) -> str:
            return next(text for command, text in told.items() if command.startswith(start))

        assert "KSampler.steps" in of("comfy-aws template parameters")
        assert "is succeeded" in of("comfy-aws run Portrait --set KSampler.steps=20")
        fox = json.loads(of("comfy-aws run Portrait --set 3.image=@fox.png"))
        with PIL.Image.open(self._user.folder / fox["outputs"][0]["path"]) as opened:
            assert opened.size == (64, 64)
        last = json.loads(of("comfy-aws run Portrait --input fox.png").splitlines()[-1])
        assert last["job"]["state"] == "succeeded"
        assert "X-Amz-Expires=86400" in of("comfy-aws jobs show")
        assert "out/" in of("comfy-aws jobs fetch")
        assert "succeeded" in of("comfy-aws cancel")
        assert "complete" in of("comfy-aws completion bash")
        assert len(list(self.files.iterdir())) == 3, "no file is written over"

    def _wait(self, job: str) -> None:
        while json.loads(self._user.run(f"comfy-aws jobs show {job} --json"))["state"] in (
            "submitted",
            "running",
        ):
            pass


def other_than_to_its_end(user: Terminal, programs: Programs, command: str) -> bool:
    """Runs what never ends, or not well on this machine; whether the command is such a one."""
    if command.startswith(PORT):
        first = int(user.instead[":10001/"].strip(":/"))
        ready = [f"port {number} is ready" for number in (first, first + 1)]
        status, told = user.interrupted(command, *ready, meanwhile=programs.over_http)
        assert (status, told.count("has stopped")) == (0, 2), told
    elif command == "comfy-aws logs designer --follow":
        status, told = user.interrupted(command, "ComfyUI is up")
        assert status == 130, told
    elif command == "comfy-aws logs designer --start-up":
        there = START_UP.exists()
        told = user.run(command, status=0 if there else 1)
        assert there or "no start-up log" in told
    else:
        return False
    return True


@pytest.mark.stack
@pytest.mark.slow
def test_the_five_steps(user: Terminal) -> None:
    watched, programs = Watched(user), Programs(user)
    for command in commands_of(GUIDE):
        if other_than_to_its_end(user, programs, command):
            continue
        if command.startswith("comfy-aws endpoint delete"):
            programs.in_a_shell()
        watched.prepare(command)
        watched.check(command, user.run(command))
    assert watched.lora.exists()
    assert watched.used == set(watched.checks)
