"""Files of cloud jobs in the list of assets that newer ComfyUIs keep."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.comfy.comfyui_process import ComfyUIProcess, comfyui_path
from tests.comfy.conftest import SLOW_NODES
from tests.functional.localstack_support import eventually
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


def is_of(client: Client, path: str, job: str) -> bool:
    return bool(client.get(path).get("job_id") == job)


def test_a_cloud_file_is_an_asset_as_a_local_one(client: Client) -> None:
    entries = {}
    for where, aws in (("here", None), ("cloud", {})):
        job = client.queue(grey(0.2 if aws is None else 0.4), aws=aws)
        history = client.end(job)
        (told,) = client.hear("executed", job, node="2")["output"]["images"]
        assert history["outputs"]["2"]["images"] == [told]
        entries[where] = told
        path = f"/api/assets/{told['id']}"
        assert client.get(path)["name"] == told["filename"]
        # ComfyUI itself notes the job after it has told its end.
        eventually(partial(is_of, client, path, job), "the asset is the job's")
    assert entries["here"].keys() == entries["cloud"].keys()
    assert entries["here"]["id"] != entries["cloud"]["id"]
