"""The commands of the documents: what stands behind `$` in their `console` blocks, in order.

Their `sh` blocks are scripts, each as a whole.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md", "README.ja.md", "README.zh.md", "CONTRIBUTING.md",
    "docs/user-guide.md", "docs/operator.md", "docs/architecture.md", "docs/api.md",
    "docs/commands.md", "docs/programs.md",
)  # fmt: skip


def blocks_of(document: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands_of(document: str) -> list[str]:
    return [
        line.removeprefix("$ ")
        for language, text in blocks_of(document)
        if language == "console"
        for line in text.splitlines()
    ]


def scripts_of(document: str) -> list[str]:
    return [text for language, text in blocks_of(document) if language == "sh"]


@dataclass
class Terminal:
    """A shell of a user: a home, a working folder, and variables that `export` sets.

    Each command runs in a real bash, `comfy-aws` as it is installed; programs in the home's `bin`
    come first. `instead` replaces what only exists elsewhere, such as an address on the web.
    """

    folder: Path
    variables: dict[str, str | None]
    instead: dict[str, str] = field(default_factory=dict)

    def _written(self, command: str) -> str:
        for written, real in self.instead.items():
            command = command.replace(written, real)
        return command

    def _environment(self) -> dict[str, str]:
        merged = {**os.environ, "HOME": str(self.folder), **self.variables}
        env = {name: value for name, value in merged.items() if value is not None}
        places = [str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        return {**env, "PATH": os.pathsep.join(places)}

    def run(self, command: str, status: int = 0) -> str:
        """Returns what is printed; fails the test when the exit status is another one."""
        command = self._written(command)
        script = f"{command}\nstatus=$?\nenv -0 > .environment\nexit $status"
        ended = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert ended.returncode == status, f"$ {command}\n{ended.stdout}"
        if command.startswith("export "):
            name = command.removeprefix("export ").partition("=")[0]
            entries = (self.folder / ".environment").read_text().split("\0")
            self.variables[name] = dict(e.partition("=")[::2] for e in entries)[name]
        return ended.stdout

    def interrupted(
        self, command: str, *awaited: str, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[int, str]:
        """Runs what only Ctrl+C ends: pressed when all that is awaited was printed, and `meanwhile`
        was done. Returns the exit status and what was printed.
        """
        # Tests that run in the background ignore Ctrl+C, and so would their children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._written(command)}"], cwd=self.folder,
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGINT, before)
        with process:
            assert process.stdout is not None
            told = ""
            try:
                while not all(text in told for text in awaited):
                    line = process.stdout.readline()
                    assert line, f"$ {command}\n{told}"
                    told += line
                meanwhile()
                process.send_signal(signal.SIGINT)
                told += process.communicate(timeout=120)[0]
            finally:
                process.kill()
        return process.returncode, told
