"""`comfy-aws deps` says at once what it cannot work with."""

from __future__ import annotations

import sys

import pytest

from comfy_aws import cli


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prompt.json").write_text('{"1": {"class_type": "A"}}')
    (tmp_path / "main.py").write_text("raise SystemExit('no torch here')")
    return tmp_path


def deps(folder, *arguments):
    return cli.main(["deps", str(folder / "prompt.json"), "--comfyui", str(folder), *arguments])


def test_a_comfyui_that_does_not_load(folder, capfd):
    assert deps(folder) == 1
    error = capfd.readouterr().err
    assert "could not load its nodes (status 1)" in error
    assert "no torch here" in error


def test_no_comfyui(folder, capfd):
    (folder / "main.py").unlink()
    assert deps(folder) == 1
    assert "main.py is missing" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["", "{", None])
def test_no_prompt(folder, capfd, text):
    (folder / "prompt.json").unlink()
    if text is not None:
        (folder / "prompt.json").write_text(text)
    assert deps(folder) == 1
    assert "cannot be read as JSON" in capfd.readouterr().err


def test_no_python(folder, capfd):
    assert deps(folder, "--python", str(folder / "python")) == 1
    assert "cannot be started" in capfd.readouterr().err


def test_a_prompt_that_is_a_workflow(folder, capfd):
    """Told by the child, which is where prompts are understood."""
    (folder / "main.py").write_text("")
    for name, text in {
        "comfy/cli_args.py": "class args: disable_all_custom_nodes = disable_api_nodes = True",
        "server.py": "class PromptServer:\n    def __init__(self, loop): pass",
        "nodes.py": "async def init_extra_nodes(**wishes): pass\nNODE_CLASS_MAPPINGS = {}",
        "folder_paths.py": "",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "prompt.json").write_text('{"nodes": [], "links": []}')
    assert deps(folder, "--python", sys.executable) == 1
    assert "Node 'nodes' of the prompt has no class_type" in capfd.readouterr().err
