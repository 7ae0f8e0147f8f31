"""AGENTS.md names every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_agents_md_is_true() -> None:
    command = [sys.executable, str(ROOT / "tools" / "agents.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_file_says_what_it_is() -> None:
    lines = (ROOT / "AGENTS.md").read_text().partition("## Files")[2].splitlines()
    silent = [line for line in lines if line.startswith("- ") and len(line.split("` ")[1]) < 10]
    assert not silent
