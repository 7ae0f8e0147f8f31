"""Completion: what a TAB gives, in a real bash on a terminal; and the scripts of other shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from comfy_aws import cli

LIMIT = 30.0
"""Seconds that anything may take; never a measure of speed."""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


class Terminal:
    """A bash that somebody types at; `comfy-aws` prints its arguments there."""

    def __init__(self, completion: Path) -> None:
        settings = completion.with_name("bashrc")
        settings.write_text(
            f"PS1=; source {completion}; comfy-aws() {{ printf '<%s>' \"$@\"; echo; }}\n"
        )
        self._here, there = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "--rcfile", str(settings), "-i"], stdin=there, stdout=there, stderr=there,
            cwd=completion.parent, env={**os.environ, "TERM": "dumb"},
            start_new_session=True,
        )  # fmt: skip
        os.close(there)
        self._heard = ""

    def type(self, keys: str) -> None:
        os.write(self._here, keys.encode())

    def completed(self, line: str) -> str:
        """The arguments that a line has after a TAB and Return."""
        self._heard = ""
        self.type(f"{line}\t\n")
        until = time.monotonic() + LIMIT
        while not (found := [each for each in self._heard.splitlines() if each.startswith("<")]):
            assert time.monotonic() < until, self._heard
            if select.select([self._here], [], [], 0.2)[0]:
                self._heard += os.read(self._here, 65536).decode()
        return found[-1].strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._here)


@pytest.fixture
def terminal(tmp_path, capsys):
    completion = tmp_path / "completion.bash"
    completion.write_text(script("bash", capsys))
    (tmp_path / "a picture.png").touch()
    opened = Terminal(completion)
    yield opened
    opened.close()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_tab_completes_in_bash(terminal):
    for line, wanted in {
        "comfy-aws temp": "<template>",
        "comfy-aws template para": "<template><parameters>",
        "comfy-aws jobs --sta": "<jobs><--state>",
        "comfy-aws jobs --state canc": "<jobs><--state><cancelled>",
        "comfy-aws jobs --state=fa": "<jobs><--state=failed>",
        "comfy-aws jobs fe": "<jobs><fetch>",
        "comfy-aws jobs fetch --outp": "<jobs><fetch><--output>",
        "comfy-aws run Name --input a": "<run><Name><--input><a picture.png>",
        "comfy-aws run Name --endpoint a": "<run><Name><--endpoint><a>",
        "comfy-aws iam-policy exec": "<iam-policy><execution>",
        "comfy-aws --vers": "<--version>",
    }.items():
        assert terminal.completed(line) == wanted, line


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_every_word_and_option_is_in_every_script(shell, capsys):
    text = script(shell, capsys)
    for word in ("stack", "template", "publish", "endpoint", "sleep", "run", "cancel", "fetch"):
        assert word in text
    for option in ("--with-blobs", "--no-wait", "--designer-cidr"):
        assert (option if shell != "fish" else f"-l {option[2:]} ") in text


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_a_script_is_sound(shell, check, capsys, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    path = tmp_path / "script"
    path.write_text(script(shell, capsys))
    done = subprocess.run([shell, check, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
