"""What is captured is enough: an empty worker gives the same pixels as the local run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import PACKS
from tests.support.client import Client


@pytest.fixture(scope="module")
def maker(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """A designer whose packs need each other, and keep models in a folder of their own."""
    base = tmp_path_factory.mktemp("maker")
    for name in ("imports_other", "shared_parts", "own_folder", "broken"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKS / name, base / "custom_nodes" / name, ignore=ignore)
    level = base / "models" / "own" / "levels" / "dark.txt"
    level.parent.mkdir(parents=True)
    level.write_text("0.1")
    env = {"COMFY_AWS_HOME": str(home)}
    with ComfyUIProcess(base, with_extension=True, env=env) as process:
        yield process


@pytest.fixture
def client(maker: ComfyUIProcess) -> Iterator[Client]:
    opened = Client(maker.url)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("source", "grey"),
    [
        ({"class_type": "GreyLevel", "inputs": {"level_name": "dark.txt"}}, 25),
        ({"class_type": "SharedGrey", "inputs": {"text": "<lora:none:1>"}}, 63),
    ],
    ids=["own folder", "imports another"],
)
def test_the_same_pixels(
    maker: ComfyUIProcess, client: Client, source: dict[str, Any], grey: int
) -> None:
    save = {"images": ["1", 0], "filename_prefix": "same"}
    prompt = {"1": source, "2": {"class_type": "SaveImage", "inputs": save}}
    pictures = []
    for aws in ({}, None):
        entry = client.end(client.queue(prompt, aws=aws))
        assert entry["status"]["status_str"] == "success", entry["status"]
        [saved] = entry["outputs"]["2"]["images"]
        with Image.open(maker.base_dir / "output" / saved["filename"]) as picture:
            pictures.append((picture.size, picture.getpixel((0, 0)), picture.tobytes()))
    assert pictures[0] == pictures[1]
    assert pictures[0][1] == (grey, grey, grey)


def test_the_pack_that_is_broken_here_is_not_known(client: Client) -> None:
    prompt = {"1": {"class_type": "NeverRegistered", "inputs": {}},
              "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}  # fmt: skip
    answer = client.submit(prompt, aws={})
    assert answer.status_code == 400
    errors = answer.json()["node_errors"]
    assert "NeverRegistered" in errors["1"]["errors"][0]["message"]
