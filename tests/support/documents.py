"""The commands of the documents: what stands behind `$` in their `console` blocks, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
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


@dataclass
class Terminal:
    """A shell of a user: a home, a working folder, and variables that `export` sets.

    Each command runs in a real bash, `comfy-aws` as it is installed. `instead` replaces what only
    exists elsewhere, such as an address on the web.
    """

    folder: Path
    variables: dict[str, str | None]
    instead: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: str, status: int = 0) -> str:
        """Returns what is printed; fails the test when the exit status is another one."""
        for written, real in self.instead.items():
            command = command.replace(written, real)
        merged = {**os.environ, "HOME": str(self.folder), **self.variables}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {name: value for name, value in merged.items() if value is not None}
        script = f"{command}\nstatus=$?\nenv -0 > .environment\nexit $status"
        ended = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env={**env, "PATH": path},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert ended.returncode == status, f"$ {command}\n{ended.stdout}"
        if command.startswith("export "):
            name = command.removeprefix("export ").partition("=")[0]
            entries = (self.folder / ".environment").read_text().split("\0")
            self.variables[name] = dict(e.partition("=")[::2] for e in entries)[name]
        return ended.stdout
