"""POST /aws/preflight: what a prompt would send, told before anything is sent."""

from __future__ import annotations

import os
from typing import Any

import pytest
import requests
from PIL import Image

from comfy_aws.aws import ObjectStore
from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.test_routes import call
from tests.pipeline import install as pipeline
from tests.support.client import Client

PATH = "/aws/preflight"
LOADER_ID, IMAGE_ID = "1", "3"


def keys(bucket: ObjectStore) -> set[str]:
    return {entry.key for entry in bucket.list("")}


def preflight(designer: ComfyUIProcess, **body: Any) -> dict[str, Any]:
    status, answer = call(designer, "POST", PATH, body)
    assert status == 200
    return dict(answer)


def test_what_a_prompt_would_send(designer: ComfyUIProcess, bucket: ObjectStore) -> None:
    picture = designer.base_dir / "input" / "preflight.png"
    picture.write_bytes(os.urandom(2_000_000))
    prompt = pipeline.load_prompt()
    prompt[IMAGE_ID]["inputs"]["image"] = picture.name
    before = keys(bucket)
    answer = preflight(designer, prompt=prompt, workflow=pipeline.load_workflow())
    assert keys(bucket) == before, "a preflight sent something"
    models = {f"{model['folder']}/{model['name']}" for model in answer["models"]}
    assert models == set(pipeline.MODELS)
    [item] = answer["inputs"]
    assert (item["name"], item["size"], item["in_bucket"]) == (picture.name, 2_000_000, False)
    assert [pack["name"] for pack in answer["packs"]] == [pipeline.NODE_PACK]
    assert answer["unresolved"] == answer["warnings"] == []
    parts = [*answer["models"], *answer["inputs"], *answer["packs"]]
    absent = [part for part in parts if not part["in_bucket"]]
    assert answer["bytes_to_upload"] == sum(part["size"] for part in absent)
    assert answer["files"] == len(absent)


def test_what_the_endpoint_has_after_a_job(designer: ComfyUIProcess, client: Client) -> None:
    picture = designer.base_dir / "input" / "resident.png"
    Image.effect_noise((300, 300), 90).save(picture)
    prompt = pipeline.load_prompt()
    prompt[IMAGE_ID]["inputs"]["image"] = picture.name
    before = preflight(designer, prompt=prompt)["endpoint"]
    assert before["instances"] >= 1
    assert before["bytes_to_fetch"] >= picture.stat().st_size
    entry = client.end(client.queue(prompt, aws={}))
    assert entry["status"]["status_str"] == "success"
    assert preflight(designer, prompt=prompt)["endpoint"]["bytes_to_fetch"] == 0


def test_after_a_publish_nothing_is_left_to_send(designer: ComfyUIProcess) -> None:
    prompt = pipeline.load_prompt()
    body = {"name": "Preflight", "workflow": pipeline.load_workflow(), "prompt": prompt}
    publish = call(designer, "POST", "/aws/publishes", body)[1]["publish"]
    while publish["state"] == "running":
        publish = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])[1]["publish"]
    answer = preflight(designer, prompt=prompt, template="Preflight")
    assert (answer["bytes_to_upload"], answer["files"]) == (0, 0)
    assert answer["expected_seconds"] == 0
    assert all(part["in_bucket"] for part in [*answer["models"], *answer["packs"]])


def test_what_nobody_has(designer: ComfyUIProcess) -> None:
    broken = designer.base_dir / "models" / "diffusion_models" / "cut.safetensors"
    broken.write_bytes(b"half a header")
    prompt = pipeline.load_prompt()
    prompt[LOADER_ID]["inputs"]["unet_name"] = broken.name
    prompt[IMAGE_ID]["inputs"]["image"] = "nowhere.png"
    prompt["99"] = {"class_type": "NoSuchNode", "inputs": {}}
    answer = preflight(designer, prompt=prompt)
    told = {(each["node_id"], each["input"]): each["reason"] for each in answer["unresolved"]}
    assert told.keys() == {(LOADER_ID, "unet_name"), (IMAGE_ID, "image"), ("99", "")}
    assert "no safetensors file" in told[LOADER_ID, "unet_name"]
    assert "nowhere.png is neither on this machine" in told[IMAGE_ID, "image"]
    assert answer["node_errors"].keys() == {LOADER_ID, IMAGE_ID, "99"}
    assert answer["node_errors"][IMAGE_ID]["errors"][0]["extra_info"]["input_name"] == "image"


def test_a_broken_model_is_an_error_before_anything_is_sent(
    designer: ComfyUIProcess, bucket: ObjectStore
) -> None:
    broken = designer.base_dir / "models" / "diffusion_models" / "half.safetensors"
    broken.write_bytes(b"half another header")
    prompt = pipeline.load_prompt()
    prompt[LOADER_ID]["inputs"]["unet_name"] = broken.name
    before = keys(bucket)
    body = {"name": "HalfModel", "workflow": pipeline.load_workflow(), "prompt": prompt}
    publish = call(designer, "POST", "/aws/publishes", body)[1]["publish"]
    while publish["state"] == "running":
        publish = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])[1]["publish"]
    assert publish["state"] == "failed"
    assert "half.safetensors is no safetensors file" in publish["error"]["message"]
    assert keys(bucket) == before


def test_a_pickle_file_is_a_warning(designer: ComfyUIProcess) -> None:
    (designer.base_dir / "models" / "diffusion_models" / "old.ckpt").write_bytes(b"pickle")
    prompt = pipeline.load_prompt()
    prompt[LOADER_ID]["inputs"]["unet_name"] = "old.ckpt"
    answer = preflight(designer, prompt=prompt)
    assert answer["unresolved"] == []
    [warning] = answer["warnings"]
    assert (warning["node_id"], warning["value"]) == (LOADER_ID, "old.ckpt")
    assert "can run code" in warning["reason"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_workflow"),
        ({"prompt": {"nodes": []}}, 400, "invalid_workflow"),
        ({"prompt": {"1": {"class_type": "SlowImage"}}, "template": "Nobody"}, 404, "not_found"),
        ({"prompt": {"1": {"class_type": "SlowImage"}}, "template": "../x"}, 400, "invalid_name"),
    ],
)
def test_what_cannot_be_looked_over(
    designer: ComfyUIProcess, body: dict[str, Any], status: int, code: str
) -> None:
    found, answer = call(designer, "POST", PATH, body)
    assert (found, answer["error"]["code"]) == (status, code)


def test_a_body_that_is_no_json(designer: ComfyUIProcess) -> None:
    answer = requests.post(designer.url + PATH, data="{", timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_workflow")
