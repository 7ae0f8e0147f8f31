"""Without POSIX's own modules, as on Windows: all but worker and local stack can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_aws import stack
from comfy_aws.errors import LocalStackError

SRC = Path(__file__).resolve().parents[2] / "src"

# Parts that only run in a container or are the local stack, and those that need ComfyUI's modules.
ELSEWHERE = {"worker", "localstack"}
INSIDE_COMFYUI = {"comfyui"}

POSIX = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")

# Looks at what only POSIX has: its modules, and names of `os` and `signal`.
IMPORTS = """
import importlib, json, os, signal, sys, traceback
hidden, names = json.loads(sys.argv[1])
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in hidden:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
for name in ("fork", "getuid", "geteuid", "killpg", "getpgid", "setsid", "pread", "pwrite",
             "waitid", "uname"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGCHLD", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGPIPE"):
    delattr(signal, name)
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except Exception:
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


def module_names() -> list[str]:
    names = []
    for path in sorted((SRC / "comfy_aws").rglob("*.py")):
        parts = list(path.relative_to(SRC).with_suffix("").parts)
        if parts[1] in ELSEWHERE | INSIDE_COMFYUI or parts[-1] == "__main__":
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_modules_can_be_imported_without_posix() -> None:
    names = module_names()
    assert "comfy_aws.services" in names
    assert "comfy_aws.cli" in names
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS, json.dumps([POSIX, names])],
        env={"PYTHONPATH": str(SRC), "HOME": str(SRC)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ended.stdout) == {}


def test_the_designer_imports_nothing_of_posix() -> None:
    """The modules that need ComfyUI, and the extension's own, by their text."""
    folders = [SRC / "comfy_aws" / "comfyui", SRC.parent / "nodes"]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    for path in [*paths, SRC.parent / "__init__.py", SRC.parent / "server_routes.py"]:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in POSIX, f"{path}: {line}"


def test_the_local_stack_says_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(LocalStackError) as refused:
        stack.up(tmp_path)
    assert "Linux and macOS only" in refused.value.message
    assert "AWS account" in refused.value.hint
