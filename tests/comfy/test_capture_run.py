"""What is captured is enough: an empty worker gives the same pixels as the local run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import PACKS
from tests.comfy.test_capture import safetensors
from tests.support.client import Client

# In the order in which ColourOfModels reads them.
MODELS = {
    "elsewhere/lora/名前 (v1.2), 🎨.safetensors": safetensors(
        "in a folder of extra_model_paths.yaml"
    ),
    "models/embeddings/スタイル.pt": b"style",
    "models/loras/glow.safetensors": safetensors("glow"),
    "models/text_encoders/big-00001-of-00002.safetensors": safetensors("one"),
    "models/text_encoders/big-00002-of-00002.safetensors": safetensors("two"),
    "models/text_encoders/big.safetensors.index.json": b"{}",
    "models/diffusers/pipe/model_index.json": b"{}",
    "models/diffusers/pipe/unet/weights.safetensors": safetensors("weights"),
}


@pytest.fixture(scope="module")
def maker(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """A designer whose packs need each other, and keep models in a folder of their own."""
    base = tmp_path_factory.mktemp("maker")
    for name in ("imports_other", "shared_parts", "own_folder", "silent_reader", "needs_pip",
                 "broken", "adds_sampler"):  # fmt: skip
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKS / name, base / "custom_nodes" / name, ignore=ignore)
    for name in ("single_file.py", "borrower.py"):
        shutil.copyfile(PACKS / name, base / "custom_nodes" / name)
    # What users put into a pack is none of its repository's.
    words = base / "custom_nodes" / "own_folder" / "words"
    words.mkdir()
    (words / "dusk.txt").write_text("0.2")
    (words.parent / ".gitignore").write_text("/words/\n")
    for name, body in MODELS.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (base / "extra.yaml").write_text(f"other:\n  base_path: {base}/elsewhere\n  loras: lora\n")
    level = base / "models" / "own" / "levels" / "dark.txt"
    level.parent.mkdir(parents=True)
    level.write_text("0.1")
    for size, grey in (("small", "0.1"), ("large", "0.4")):
        (base / "models" / "silent" / size).mkdir(parents=True)
        (base / "models" / "silent" / size / "level.txt").write_text(grey)
    # As packs download models into themselves: too large to be a part of them, or ignored.
    inner = base / "custom_nodes" / "silent_reader" / "weights" / "inner.pth"
    inner.parent.mkdir()
    inner.write_bytes(b"weights")
    (inner.parents[1] / ".gitignore").write_text("weights/\n")
    # The folder lies elsewhere, as models on a second disk do.
    silent = shutil.move(base / "models" / "silent", tmp_path_factory.mktemp("disk") / "silent")
    (base / "models" / "silent").symlink_to(silent)
    for name in ("scale", "native"):
        save_file({"scale": torch.tensor([2.0])}, silent / f"{name}.safetensors")
    for name in ("face.onnx", "tagger/config.json", "tagger/weights.bin", "thread.txt",
                 "small/pool.txt", "large/pool.txt", "process.txt"):  # fmt: skip
        (silent / name).parent.mkdir(exist_ok=True)
        (silent / name).write_text(name)
    (silent / "memory.txt").write_text("0.3")
    (silent / "lazy.gguf").write_bytes(b"gguf")
    # As in a ComfyUI without a base directory, whose own folder is on the path.
    env = {"COMFY_AWS_HOME": str(home), "PYTHONPATH": str(base)}
    more = ["--extra-model-paths-config", str(base / "extra.yaml")]
    with ComfyUIProcess(base, with_extension=True, env=env, extra_args=more) as process:
        yield process


@pytest.fixture
def client(maker: ComfyUIProcess) -> Iterator[Client]:
    opened = Client(maker.url)
    yield opened
    opened.close()


def test_the_same_pixels_of_models_that_are_named_in_every_way(
    maker: ComfyUIProcess, client: Client
) -> None:
    named = {"text": "a sea, (embedding:スタイル:1.2) <lora:glow:0.7>",
             "lora": "名前 (v1.2), 🎨.safetensors",
             "encoder": "big-00001-of-00002.safetensors", "pipe": "pipe"}  # fmt: skip
    source = {"class_type": "ColourOfModels", "inputs": named}
    digest = hashlib.sha256(b"".join(MODELS.values())).digest()
    assert _run(maker, client, source, on_aws=True) == tuple(digest[:3])
    assert _run(maker, client, source, on_aws=False) == tuple(digest[:3])
    # What a text has named is no silent read: another text does not bring it along.
    source["inputs"]["text"] = "a sea"
    there = needed_by(maker, source)
    assert not {each for each in there if each.startswith(("embeddings/", "loras/glow"))}
    assert "text_encoders/big-00001-of-00002.safetensors" in there


def test_inputs_of_any_name_and_place(maker: ComfyUIProcess, client: Client) -> None:
    """With spaces, accents and signs, in folders of the output folder, and without a byte."""
    names = {"input/with space/ünï 🎈 #1.PNG": 10, "output/day 1/sub/kept_00001_.png": 20}
    for name, grey in names.items():
        path = maker.base_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (grey, grey, grey)).save(path, "png")
    (maker.base_dir / "input" / "EMPTY.TXT").touch()
    reader = {"class_type": "ReadsAnything", "inputs": {"text": "EMPTY.TXT"}}
    for name, grey in names.items():
        place, _, rest = name.partition("/")
        source = {"class_type": "LoadImage", "inputs": {"image": f"{rest} [{place}]"}}
        assert _run(maker, client, source, on_aws=True, more={"3": reader}) == (grey, grey, grey)


def test_a_package_that_only_the_worker_installs(client: Client) -> None:
    prompt = {"1": {"class_type": "Humanized", "inputs": {"size": 3_000_000}}}
    entry = client.end(client.queue(prompt, aws={}))
    assert entry["outputs"]["1"] == {"text": ["3.0 MB"]}


@pytest.mark.parametrize(
    ("source", "grey"),
    [
        ({"class_type": "GreyLevel", "inputs": {"level_name": "dark.txt"}}, 25),
        ({"class_type": "SharedGrey", "inputs": {"text": "<lora:none:1>"}}, 63),
        ({"class_type": "GreyWord", "inputs": {"word": "dusk"}}, 51),
        ({"class_type": "BorrowedGrey", "inputs": {"word": "dusk"}}, 51),
    ],
    ids=["own folder", "imports another", "the user's own files", "another's node"],
)
def test_the_same_pixels(
    maker: ComfyUIProcess, client: Client, source: dict[str, Any], grey: int
) -> None:
    assert _run(maker, client, source, on_aws=True) == (grey, grey, grey)
    assert _run(maker, client, source, on_aws=False) == (grey, grey, grey)


def test_a_sampler_that_a_pack_adds_brings_its_pack(maker: ComfyUIProcess, client: Client) -> None:
    def packs_for(sampler: str) -> set[str]:
        prompt["1"]["inputs"]["sampler_name"] = sampler
        answer = requests.post(f"{maker.url}/aws/preflight", json={"prompt": prompt}, timeout=60)
        return {each["name"] for each in answer.json()["packs"]}

    prompt = {"1": {"class_type": "KSamplerSelect", "inputs": {}},
              "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}  # fmt: skip
    assert packs_for("euler") == set()
    assert packs_for("grey_2s") == {"adds_sampler"}
    entry = client.end(client.queue(prompt, aws={}))
    assert entry["status"]["status_str"] == "success", entry["status"]


def pictured(node: dict[str, Any]) -> dict[str, Any]:
    """A prompt that shows the image of a node."""
    return {"1": node, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def needed_by(maker: ComfyUIProcess, node: dict[str, Any]) -> set[str]:
    """The models that a preflight names for a node, as folder/name."""
    prompt = pictured(node)
    answer = requests.post(f"{maker.url}/aws/preflight", json={"prompt": prompt}, timeout=60)
    return {f"{each['folder']}/{each['name']}" for each in answer.json()["models"]}


def test_a_model_that_is_kept_in_memory_belongs_to_other_choices_too(
    maker: ComfyUIProcess, client: Client
) -> None:
    def node(log: str) -> dict[str, Any]:
        return {"class_type": "RememberingGrey", "inputs": {"log": log}}

    assert _run(maker, client, node("quiet"), on_aws=False) == (76, 76, 76)
    assert needed_by(maker, node("quiet")) == {"silent/memory.txt"}
    assert needed_by(maker, node("loud")) == set()
    assert _run(maker, client, node("loud"), on_aws=False) == (76, 76, 76)
    assert needed_by(maker, node("loud")) == {"silent/memory.txt"}


def test_a_library_that_a_node_loads_as_it_runs_is_watched_at_once(
    maker: ComfyUIProcess, client: Client
) -> None:
    node = {"class_type": "LazyGrey", "inputs": {"grey": 0.3}}
    assert _run(maker, client, node, on_aws=False) == (76, 76, 76)
    assert needed_by(maker, node) == {"silent/lazy.gguf"}


def test_models_that_no_widget_names_are_known_after_a_local_run(
    maker: ComfyUIProcess, client: Client
) -> None:
    def needed(size: str, seed: int) -> set[str]:
        inputs = {"size": size, "seed": seed}
        return needed_by(maker, {"class_type": "SilentGrey", "inputs": inputs})

    assert needed("large", 1) == set()
    source = {"class_type": "SilentGrey", "inputs": {"size": "large", "seed": 1}}
    assert _run(maker, client, source, on_aws=False) == (204, 204, 204)
    assert needed("large", 2) == {
        "silent/large/level.txt", "silent/scale.safetensors", "silent/native.safetensors",
        "silent/face.onnx",
        "silent/tagger/config.json", "silent/tagger/weights.bin", "silent/thread.txt",
        "silent/large/pool.txt", "silent/process.txt",
        "custom_nodes/silent_reader/weights/inner.pth",
    }  # fmt: skip
    assert needed("small", 1) == set()  # what it reads then was never seen
    small = {"class_type": "SilentGrey", "inputs": {"size": "small", "seed": 1}}
    assert _run(maker, client, small, on_aws=False) == (51, 51, 51)
    assert "silent/small/pool.txt" in needed("small", 1)
    assert "silent/large/pool.txt" not in needed("small", 1)
    # The same read once more, of a folder that has got a file since.
    (maker.base_dir / "models/silent/tagger/vocabulary.txt").write_text("cat")
    client.post("/free", {"unload_models": True, "free_memory": True})
    assert _run(maker, client, source, on_aws=False) == (204, 204, 204)
    assert "silent/tagger/vocabulary.txt" in needed("large", 2)
    source["inputs"]["seed"] = 3
    assert _run(maker, client, source, on_aws=True) == (204, 204, 204)


@pytest.mark.parametrize(
    ("place", "is_relative"),
    [("input/steps", False), ("input/steps/deep/b.txt", False), ("models/own/levels", False),
     ("models/own/levels/dark.txt", True), ("input/steps", True)],
)  # fmt: skip
def test_paths_below_comfyuis_folders_lead_there_on_the_worker(
    maker: ComfyUIProcess, client: Client, place: str, is_relative: bool
) -> None:
    for name, grey in (("a.txt", "0.2"), ("deep/b.txt", "0.4")):
        path = maker.base_dir / "input" / "steps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(grey)
    at = maker.base_dir / place
    files = [path for path in at.rglob("*") if path.is_file()] if at.is_dir() else [at]
    grey = int(sum(float(path.read_text()) for path in files) / 2 * 255)
    target = maker.base_dir / "output" / "notes" / "seen.txt"
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    paths = {"path": place if is_relative else str(at), "target": str(target)}
    source = {"class_type": "GreyPath", "inputs": paths}
    assert _run(maker, client, source, on_aws=True) == (grey, grey, grey)
    # It came by the bucket: beside one that the worker had written here, it would be a second one.
    assert list(target.parent.iterdir()) == [target]


def _run(
    maker: ComfyUIProcess,
    client: Client,
    source: dict[str, Any],
    *,
    on_aws: bool,
    more: dict[str, Any] | None = None,
) -> tuple[int, ...]:
    """The colour of the one-coloured image that a node makes."""
    save = {"images": ["1", 0], "filename_prefix": "same"}
    prompt = {"1": source, "2": {"class_type": "SaveImage", "inputs": save}, **(more or {})}
    entry = client.end(client.queue(prompt, aws={} if on_aws else None))
    assert entry["status"]["status_str"] == "success", entry["status"]
    [saved] = entry["outputs"]["2"]["images"]
    with Image.open(maker.base_dir / "output" / saved["filename"]) as picture:
        [(_, colour)] = picture.getcolors()
    return tuple(colour)


def test_the_pack_that_is_broken_here_is_not_known(client: Client) -> None:
    prompt = {"1": {"class_type": "NeverRegistered", "inputs": {}},
              "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}  # fmt: skip
    answer = client.submit(prompt, aws={})
    assert answer.status_code == 400
    errors = answer.json()["node_errors"]
    assert "NeverRegistered" in errors["1"]["errors"][0]["message"]
