"""The example workflows: ComfyUI offers them, knows all that they name, and runs them on AWS."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from PIL import Image

from tests.comfy.comfyui_process import (
    EXTENSION_FOLDER,
    REPO_ROOT,
    ComfyUIProcess,
    comfyui_path,
)
from tests.support.client import Client

EXAMPLES = sorted((REPO_ROOT / "example_workflows").glob("*.json"))
WITHOUT_MODELS = "First run on AWS"
NOTE = "MarkdownNote"  # the page's own; the server does not know it
SCALARS = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
LARGEST_PICTURE = 100_000  # bytes
SKY, SUN = (0x1D, 0x35, 0x57), (0xF4, 0xA2, 0x61)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def object_info(designer: ComfyUIProcess) -> Json:
    found: Json = requests.get(f"{designer.url}/object_info", timeout=60).json()
    return found


def widgets(definition: Json) -> Iterator[tuple[str, Any, Json]]:
    """Name, type and options of each value that a node saves, as ComfyUI's page orders them."""
    for group in ("required", "optional"):
        for name, (kind, *more) in definition["input"].get(group, {}).items():
            extra = more[0] if more else {}
            options = extra.get("options") if kind == "COMBO" else kind
            if not (isinstance(options, list) or kind in SCALARS) or extra.get("forceInput"):
                continue
            yield name, options, extra
            if extra.get("control_after_generate"):
                yield "", ["fixed", "increment", "decrement", "randomize"], {}
            if extra.get("image_upload"):
                yield "", ["image"], {}


def fits(value: Any, kind: Any, extra: Json, node: Json) -> bool:
    if isinstance(kind, list):
        models = {model["name"] for model in node["properties"].get("models", [])}
        is_shipped = (comfyui_path() / "input" / str(value)).is_file()
        return value in kind or value in models or bool(extra.get("image_upload") and is_shipped)
    if not isinstance(value, SCALARS[kind]) or isinstance(value, bool) != (kind == "BOOLEAN"):
        return False
    return kind in ("STRING", "BOOLEAN") or extra["min"] <= value <= extra["max"]


def prompt_of(workflow: Json, object_info: Json) -> Json:
    """The graph in API format; every value and link is checked on the way."""
    links = {link[0]: link for link in workflow["links"]}
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] != NOTE}
    made: Json = {}
    for node in nodes.values():
        definition = object_info[node["type"]]
        wanted = list(widgets(definition))
        values = node["widgets_values"]
        later = wanted[len(values) :]  # of a newer ComfyUI; its page takes the defaults
        assert all("default" in extra for _, _, extra in later), node
        values = [*values, *(extra["default"] for _, _, extra in later)]
        wrong = [
            (name, value)
            for value, (name, kind, extra) in zip(values, wanted, strict=True)
            if not fits(value, kind, extra, node)
        ]
        assert not wrong, (node["type"], wrong)
        inputs = {name: value for value, (name, _, _) in zip(values, wanted, strict=True) if name}
        for slot, entry in enumerate(node["inputs"]):
            if entry["link"] is None:
                assert entry["name"] in definition["input"].get("optional", {}), (node, entry)
                continue
            _, source, output, target, at, kind = links[entry["link"]]
            assert (target, at) == (node["id"], slot)
            assert entry["link"] in nodes[source]["outputs"][output]["links"]
            assert object_info[nodes[source]["type"]]["output"][output] == kind == entry["type"]
            inputs[entry["name"]] = [str(source), output]
        missing = definition["input"]["required"].keys() - inputs.keys()
        assert not missing, (node["type"], missing)
        made[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return made


def test_comfyui_offers_every_example_with_a_picture(designer: ComfyUIProcess) -> None:
    offered = requests.get(f"{designer.url}/workflow_templates", timeout=60).json()
    assert set(offered[EXTENSION_FOLDER]) == {path.stem for path in EXAMPLES}
    for path in EXAMPLES:
        place = f"{designer.url}/api/workflow_templates/{EXTENSION_FOLDER}/{quote(path.stem)}"
        assert requests.get(f"{place}.json", timeout=60).json() == json.loads(path.read_text())
        picture = requests.get(f"{place}.jpg", timeout=60)
        assert picture.headers["Content-Type"] == "image/jpeg"
        assert len(picture.content) < LARGEST_PICTURE
        assert min(Image.open(io.BytesIO(picture.content)).size) >= 200


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_comfyui_knows_all_that_an_example_names(path: Path, object_info: Json) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    notes = [node for node in workflow["nodes"] if node["type"] == NOTE]
    assert any("Prompt on AWS" in note["widgets_values"][0] for note in notes)
    assert prompt_of(workflow, object_info)


def test_the_example_without_models_runs_on_aws(
    designer: ComfyUIProcess, client: Client, object_info: Json
) -> None:
    path = REPO_ROOT / "example_workflows" / f"{WITHOUT_MODELS}.json"
    prompt = prompt_of(json.loads(path.read_text(encoding="utf-8")), object_info)
    entry = client.end(client.queue(prompt, aws={}))
    assert entry["status"]["status_str"] == "success"
    [output] = entry["outputs"].values()
    [image] = output["images"]
    made = designer.base_dir / "output" / image["subfolder"] / image["filename"]
    with Image.open(made) as picture:
        assert picture.size == (512, 512)
        for place, colour in (((5, 5), SKY), ((256, 192), SUN)):
            found = picture.getpixel(place)
            assert all(abs(one - other) <= 1 for one, other in zip(found, colour, strict=True))
