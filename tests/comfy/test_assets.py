"""Files of cloud jobs in the list of assets that newer ComfyUIs keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.comfy.comfyui_process import ComfyUIProcess, comfyui_path
from tests.comfy.conftest import SLOW_NODES
from tests.support.client import Client

if not (comfyui_path() / "comfy_execution" / "asset_enrichment.py").is_file():
    pytest.skip("this ComfyUI gives files no id", allow_module_level=True)


@pytest.fixture
def client(home: Path, tmp_path: Path) -> Iterator[Client]:
    with ComfyUIProcess(
        tmp_path,
        with_extension=True,
        env={"COMFY_AWS_HOME": str(home)},
        custom_nodes={"slow_nodes": SLOW_NODES},
        extra_args=["--enable-assets"],
    ) as process:
        client = Client(process.url)
        yield client
        client.close()


def grey(value: float) -> dict[str, Any]:
    image = {"seconds": 0, "grey": value, "batch": 1}
    return {
        "1": {"class_type": "SlowImage", "inputs": image},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "asset"},
        },
    }


def test_a_cloud_file_is_an_asset_as_a_local_one(client: Client) -> None:
    entries = {}
    for where, aws in (("here", None), ("cloud", {})):
        job = client.queue(grey(0.2 if aws is None else 0.4), aws=aws)
        history = client.end(job)
        (told,) = client.hear("executed", job, node="2")["output"]["images"]
        assert history["outputs"]["2"]["images"] == [told]
        entries[where] = told
        asset = client.get(f"/api/assets/{told['id']}")
        assert asset["name"] == told["filename"]
        assert asset["job_id"] == job
    assert entries["here"].keys() == entries["cloud"].keys()
    assert entries["here"]["id"] != entries["cloud"]["id"]
