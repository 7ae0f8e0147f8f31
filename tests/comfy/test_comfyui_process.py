"""The test support itself: what it says when ComfyUI fails, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIError, ComfyUIProcess

pytestmark = pytest.mark.usefixtures("not_preloaded")

# Stands for main.py: a ComfyUI that never answers, with a child process of its own.
SILENT = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("child", child.pid, flush=True)
time.sleep(600)
"""


def fake_comfyui(folder: Path, source: str) -> Path:
    folder.mkdir()
    (folder / "main.py").write_text(source)
    return folder


def wait_for(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_early_end_is_told_with_the_log(tmp_path):
    comfyui = fake_comfyui(tmp_path / "source", "raise SystemExit('no such device')")
    with pytest.raises(ComfyUIError, match=r"status 1(.|\n)*no such device"):  # noqa: SIM117
        with ComfyUIProcess(tmp_path / "base", comfyui=comfyui):
            pass


def test_silence_is_told_and_the_whole_group_ends(tmp_path):
    comfyui = fake_comfyui(tmp_path / "source", SILENT)
    process = ComfyUIProcess(tmp_path / "base", comfyui=comfyui)
    process.start()
    try:
        wait_for(lambda: "child" in process.log)
        with pytest.raises(ComfyUIError, match="did not answer within 0 s"):
            process.wait_ready(timeout_s=0.2)
        child = int(process.log.split()[-1])
        assert alive(child)
    finally:
        process.stop(grace_s=0.2)
    assert not process.running
    wait_for(lambda: not alive(child))


def test_kill_of_the_owner_ends_comfyui(tmp_path):
    comfyui = fake_comfyui(tmp_path / "source", SILENT)
    owner = (
        f"import sys, time; sys.path.insert(0, {str(REPO_ROOT)!r})\n"
        "from pathlib import Path\n"
        "from tests.comfy.comfyui_process import ComfyUIProcess\n"
        f"p = ComfyUIProcess(Path({str(tmp_path / 'base')!r}), comfyui=Path({str(comfyui)!r}))\n"
        "p.start(); print(p.pid, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", owner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        (log,) = (tmp_path / "base").glob("*.log")
        wait_for(lambda: "child" in log.read_text())
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid))
    os.kill(int(log.read_text().split()[-1]), signal.SIGKILL)  # the stand-in's own child


def test_base_directory_is_prepared(tmp_path):
    comfyui = fake_comfyui(tmp_path / "source", SILENT)
    pack = tmp_path / "pack"
    pack.mkdir()
    process = ComfyUIProcess(
        tmp_path / "base",
        comfyui=comfyui,
        custom_nodes={"my-pack": pack},
        with_extension=True,
        settings={"Comfy.Locale": "ja"},
        env={"MARK": "1", "COMFYUI_PATH": None},
    )
    process.start()
    process.kill()
    custom_nodes = process.base_dir / "custom_nodes"
    assert (custom_nodes / "my-pack").resolve() == pack
    assert (custom_nodes / "prompt-on-aws").resolve() == REPO_ROOT
    settings = json.loads((process.base_dir / "user/default/comfy.settings.json").read_text())
    assert settings["Comfy.Locale"] == "ja"
    assert settings["Comfy.TutorialCompleted"] is True
