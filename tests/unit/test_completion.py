"""Completion: what a TAB gives, in real shells on a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from comfy_aws import cli, config
from comfy_aws.cli import names

STARTS = {"bash": ("bashrc", "--rcfile", "bashrc"), "zsh": (".zshrc",)}
"""The file that each shell reads, and how it is told."""

PREPARED = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D;"}

LIMIT = 30.0
"""Seconds that anything may take; never a measure of speed."""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


class Terminal:
    """A shell that somebody types at; `comfy-aws` prints its arguments there."""

    def __init__(self, shell: str, completion: Path) -> None:
        folder = completion.parent
        settings = folder / STARTS[shell][0]
        settings.write_text(
            f"PS1=; {PREPARED[shell]} source {completion}\n"
            "comfy-aws() { printf '<%s>' \"$@\"; echo; }\n"
        )
        self._here, there = pty.openpty()
        self._process = subprocess.Popen(
            [shell, *STARTS[shell][1:], "-i"], stdin=there, stdout=there, stderr=there,
            cwd=folder, env={**os.environ, "TERM": "dumb", "ZDOTDIR": str(folder)},
            start_new_session=True,
        )  # fmt: skip
        os.close(there)
        self._heard = ""

    def type(self, keys: str) -> None:
        os.write(self._here, keys.encode())

    def completed(self, line: str) -> str:
        """The arguments that a line has after a TAB and Return."""
        self.type(f"{line}\t")
        self._hear()
        self._heard = ""
        self.type("\n")
        until = time.monotonic() + LIMIT
        while not (found := [each for each in self._heard.splitlines() if each.startswith("<")]):
            assert time.monotonic() < until, self._heard
            self._hear()
        return found[-1].strip()

    def _hear(self) -> None:
        """What comes until there is a pause: zsh completes no files while keys wait."""
        while select.select([self._here], [], [], 0.2)[0]:
            self._heard += os.read(self._here, 65536).decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._here)


LINES = {
    "comfy-aws temp": "<template>",
    "comfy-aws template para": "<template><parameters>",
    "comfy-aws jobs --sta": "<jobs><--state>",
    "comfy-aws jobs --state canc": "<jobs><--state><cancelled>",
    "comfy-aws jobs --state=fa": "<jobs><--state=failed>",
    "comfy-aws jobs fe": "<jobs><fetch>",
    "comfy-aws jobs fetch --outp": "<jobs><fetch><--output>",
    "comfy-aws run Name --input a": "<run><Name><--input><a picture.png>",
    "comfy-aws run Name --endpoint a": "<run><Name><--endpoint><a>",
    "comfy-aws run Por": "<run><Portrait>",
    "comfy-aws template show Por": "<template><show><Portrait>",
    "comfy-aws run Name --endpoint post": "<run><Name><--endpoint><posters>",
    "comfy-aws endpoint wake post": "<endpoint><wake><posters>",
    "comfy-aws logs endpoint post": "<logs><endpoint><posters>",
    "comfy-aws jobs fetch 0f": "<jobs><fetch><0f7c-41>",
    "comfy-aws logs endpoint posters --job 0f": "<logs><endpoint><posters><--job><0f7c-41>",
    "comfy-aws iam-policy exec": "<iam-policy><execution>",
    "comfy-aws --vers": "<--version>",
}
"""What a TAB makes of a line, as the arguments that follow."""


@pytest.fixture(autouse=True)
def known(tmp_path, monkeypatch):
    """What commands have seen."""
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path / "home of mine"))
    names.saw("template", ["Portrait", "Studio"])
    names.changed("endpoint", came="posters")
    names.saw("job", ["0f7c-41", "$(touch never)"])


def test_names_come_and_go():
    file = config.default_home() / "names" / "templates"
    names.changed("template", came="New", went="Portrait")
    assert file.read_text() == "New\nStudio\n"
    names.saw("template", [])
    assert file.read_text() == ""
    assert "never" not in (config.default_home() / "names" / "jobs").read_text()


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")


@pytest.fixture(params=["bash", "zsh"])
def terminal(request, tmp_path, capsys):
    need(request.param)
    completion = tmp_path / "completion"
    completion.write_text(script(request.param, capsys))
    (tmp_path / "a picture.png").touch()
    opened = Terminal(request.param, completion)
    yield opened
    opened.close()


def test_a_tab_completes(terminal):
    for line, wanted in LINES.items():
        assert terminal.completed(line) == wanted, line


def test_a_tab_completes_in_fish(tmp_path, capsys):
    """fish tells what it would complete, without a terminal."""
    need("fish")
    (tmp_path / "completion.fish").write_text(script("fish", capsys))
    (tmp_path / "a picture.png").touch()
    for line, wanted in LINES.items():
        ask = f"source completion.fish; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", ask], cwd=tmp_path, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        told = [each.partition("\t")[0] for each in done.stdout.splitlines()]
        last = wanted.rpartition("<")[2][:-1]
        assert told == ([] if line.endswith(f" {last}") else [last]), line


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_every_word_and_option_is_in_every_script(shell, capsys):
    text = script(shell, capsys)
    for word in ("stack", "template", "publish", "endpoint", "sleep", "run", "cancel", "fetch"):
        assert word in text
    for option in ("--with-blobs", "--no-wait", "--designer-cidr"):
        assert (option if shell != "fish" else f"-l {option[2:]} ") in text


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_a_script_is_sound(shell, check, capsys, tmp_path):
    need(shell)
    path = tmp_path / "script"
    path.write_text(script(shell, capsys))
    done = subprocess.run([shell, check, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
