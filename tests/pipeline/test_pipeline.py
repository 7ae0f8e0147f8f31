"""The test pipeline on a real ComfyUI: it samples, previews, depends on its seed and repeats."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import websocket
from PIL import Image, ImageChops

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.pipeline.install import INPUT_IMAGE, SAVE_ID, STEPS, install, load_prompt, load_workflow

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

PREVIEW_EVENT = 1  # first four bytes of a binary message


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory):
    base_dir = tmp_path_factory.mktemp("pipeline")
    install(base_dir)
    with ComfyUIProcess(base_dir, extra_args=["--cache-none"]) as process:
        yield process


def run(comfyui: ComfyUIProcess, prompt: dict[str, Any]) -> tuple[Image.Image, Counter[str]]:
    """Executes `prompt`; the saved image and the number of events of each kind."""
    events: Counter[str] = Counter()
    file = None
    socket = websocket.create_connection(comfyui.url.replace("http", "ws") + "/ws?clientId=test")
    try:
        body = json.dumps({"prompt": prompt, "client_id": "test"}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(comfyui.url + "/prompt", body, headers)
        urllib.request.urlopen(request).close()
        while not events["execution_success"]:
            message = socket.recv()
            if isinstance(message, bytes):
                events["preview"] += int.from_bytes(message[:4], "big") == PREVIEW_EVENT
                continue
            event = json.loads(message)
            events[event["type"]] += 1
            assert event["type"] != "execution_error", event
            if event["type"] == "executed" and event["data"]["node"] == SAVE_ID:
                file = event["data"]["output"]["images"][0]["filename"]
    finally:
        socket.close()
    assert file is not None
    with Image.open(comfyui.base_dir / "output" / file) as image:
        return image.convert("RGB"), events


def differs(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is not None


def test_same_seed_gives_equal_pixels_and_another_seed_does_not(comfyui):
    first, events = run(comfyui, load_prompt())
    again, _ = run(comfyui, load_prompt())
    other, _ = run(comfyui, load_prompt(seed=7))

    assert first.size == (128, 128)
    assert events["progress"] == STEPS
    assert events["preview"] == STEPS
    assert not differs(first, again)
    assert differs(first, other)


def test_input_image_and_conditioning_reach_the_result(comfyui):
    plain, _ = run(comfyui, load_prompt())

    other_text = load_prompt()
    other_text["4"]["inputs"]["text"] = "a forest"
    assert differs(plain, run(comfyui, other_text)[0])

    with Image.open(comfyui.base_dir / "input" / INPUT_IMAGE) as image:
        image.rotate(180).save(comfyui.base_dir / "input" / "turned.png")
    turned = load_prompt()
    turned["3"]["inputs"]["image"] = "turned.png"
    assert differs(plain, run(comfyui, turned)[0])


def test_workflow_and_prompt_are_the_same_graph():
    """tests/pipeline/workflow.json is what a person opens, prompt.json what is posted."""
    workflow, prompt = load_workflow(), load_prompt()
    kinds = {str(node["id"]): node["type"] for node in workflow["nodes"]}
    assert kinds == {node_id: node["class_type"] for node_id, node in prompt.items()}

    names = {
        (node["id"], slot): socket["name"]
        for node in workflow["nodes"]
        for slot, socket in enumerate(node["inputs"])
    }
    drawn = {
        (str(target), names[target, slot]): [str(source), output]
        for _, source, output, target, slot, _ in workflow["links"]
    }
    posted = {
        (node_id, name): value
        for node_id, node in prompt.items()
        for name, value in node["inputs"].items()
        if isinstance(value, list)
    }
    assert drawn == posted

    for node in workflow["nodes"]:
        inputs = prompt[str(node["id"])]["inputs"]
        literals = [value for value in inputs.values() if not isinstance(value, list)]
        # The page adds a "fixed" after each seed, and "image" after an upload.
        added = {"fixed", "image"}
        assert [value for value in node["widgets_values"] if value not in added] == literals


def test_base_directory_has_all_that_the_pipeline_needs(tmp_path: Path):
    install(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "custom_nodes/tiny_conditioning/__init__.py",
        "custom_nodes/tiny_conditioning/embedding.py",
        "custom_nodes/tiny_conditioning/requirements.txt",
        "custom_nodes/tiny_conditioning/styles.json",
        "custom_nodes/tiny_conditioning/web/docs/TinyConditioning.md",
        "custom_nodes/tiny_conditioning/web/docs/TinyConditioning/ja.md",
        "custom_nodes/tiny_conditioning/web/docs/pictures/way.png",
        "input/tiny_input.png",
        "models/diffusion_models/tiny_sd3.safetensors",
        "models/vae_approx/taesd3_decoder.safetensors",
        "models/vae_approx/taesd3_encoder.safetensors",
    }
