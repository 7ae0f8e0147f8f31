"""What the designer's ComfyUI is started with, and its cloud runs have to keep to."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.models import JobRequest, from_json
from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import SLOW_NODES
from tests.support.client import LIMIT, Client


def prompt(prefix: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "SlowImage", "inputs": {"seconds": 0, "grey": 0.5, "batch": 1}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": prefix},
        },
    }


@pytest.fixture(scope="module")
def client(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with ComfyUIProcess(
        tmp_path_factory.mktemp("switches"),
        with_extension=True,
        env={"COMFY_AWS_HOME": str(home), "TZ": "<+1245>-12:45"},
        custom_nodes={"slow_nodes": SLOW_NODES},
        extra_args=["--multi-user", "--disable-metadata"],
    ) as process:
        client = Client(process.url)
        yield client
        client.close()


def as_user(client: Client, user: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Comfy-User": user}
    answer = requests.post(client.url + path, json=body, headers=headers, timeout=60)
    assert answer.ok, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_templates_and_jobs_bear_the_names_of_users(client: Client, bucket: ObjectStore) -> None:
    mika = client.post("/users", {"username": "Mika K"}).json()
    assert mika != "Mika K"
    publish = as_user(
        client,
        mika,
        "/aws/publishes",
        {"name": "OfMika", "workflow": {"nodes": []}, "prompt": prompt("user")},
    )["publish"]
    deadline = time.monotonic() + LIMIT
    while publish["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        publish = client.get(f"/aws/publishes/{publish['id']}")["publish"]
    assert publish["state"] == "done", publish
    templates = client.get("/aws/templates")["templates"]
    assert {each["author"] for each in templates if each["name"] == "OfMika"} == {"Mika K"}

    body = {"prompt": prompt("user"), "client_id": client.id, "extra_data": {"aws": {}}}
    job = as_user(client, mika, "/prompt", body)["prompt_id"]
    client.end(job)
    request = from_json(JobRequest, bucket.get(layout.request_key(job)))
    assert request.usage.user == "Mika K"


def test_dates_in_names_are_of_the_designers_clock(client: Client) -> None:
    def now() -> str:
        return datetime.now(timezone(timedelta(hours=12, minutes=45))).strftime("at-%H-%M-")

    for aws in (None, {}):
        moments = {now()}
        entry = client.end(client.queue(prompt("at-%hour%-%minute%-"), aws=aws))
        moments.add(now())
        (picture,) = entry["outputs"]["2"]["images"]
        assert picture["filename"].partition("_")[0] in moments


def test_pictures_of_cloud_jobs_hold_no_graph_where_local_ones_do_not(client: Client) -> None:
    for aws in (None, {}):
        workflow = {"extra_pnginfo": {"workflow": {"nodes": []}}}
        entry = client.end(client.queue(prompt("bare"), aws=aws, **workflow))
        (picture,) = entry["outputs"]["2"]["images"]
        answer = requests.get(f"{client.url}/view", params=picture, timeout=60)
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.text == {}
