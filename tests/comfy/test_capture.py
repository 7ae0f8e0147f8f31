"""What a real ComfyUI's nodes say that a prompt needs, by `comfy-aws deps`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from comfy_aws import cli
from tests.comfy.comfyui_process import REPO_ROOT, comfyui_path

PACKS = REPO_ROOT / "tests" / "support" / "node_packs"

Needs = dict[str, Any]


def safetensors(marker: str) -> bytes:
    """A whole safetensors file, whose one tensor holds the marker."""
    body = marker.encode()
    header = json.dumps(
        {"x": {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + body


MODELS = {
    "checkpoints/sub/base.safetensors": safetensors("base"),
    "checkpoints/sub/base.yaml": b"model: {}",
    "checkpoints/sub/base.png": b"a preview",
    "checkpoints/old.ckpt": b"pickle",
    "diffusion_models/same.safetensors": safetensors("as a diffusion model"),
    "vae/same.safetensors": safetensors("as a vae"),
    "vae/other.safetensors": safetensors("other"),
    "vae/extra.safetensors": safetensors("of the same name as a LoRA"),
    "checkpoints/extra.safetensors": safetensors("of the same name, too"),
    "vae_approx/taesd3_encoder.safetensors": safetensors("in"),
    "vae_approx/taesd3_decoder.safetensors": safetensors("out"),
    "embeddings/style.pt": b"style",
    "embeddings/sub/light(1).safetensors": safetensors("light"),
    "embeddings/deep/odd[v2],x.pt": b"odd",
    "embeddings/unused.pt": b"unused",
    "loras/deep/glow.safetensors": safetensors("glow"),
    "loras/row.safetensors": safetensors("row"),
    "loras/off.safetensors": safetensors("off"),
    "diffusers/pipe/model_index.json": b"{}",
    "diffusers/pipe/unet/weights.safetensors": safetensors("weights"),
    "diffusers/pipe/.cache/half.safetensors": b"half",
    "text_encoders/big-00001-of-00002.safetensors": safetensors("one"),
    "text_encoders/big-00002-of-00002.safetensors": safetensors("two"),
    "text_encoders/big.safetensors.index.json": b"{}",
    "upscale_models/short.safetensors": safetensors("cut")[:-1],
    "upscale_models/empty.pth": b"",
    "own/levels/dark.txt": b"0.1",
    "own/levels/light.txt": b"0.9",
    "own/bare/bare.txt": b"in a folder that is registered without extensions",
    "own/sets/night/moon.npy": b"moon",
    "own/sets/night/deep/star.npy": b"star",
    "own/sets/day/sun.npy": b"sun",
    "checkpoints/flux2/unused.ckpt": b"in a folder that is called like a choice of a widget",
}
INPUTS = {
    "input/a.png": b"a",
    "input/clipspace/mask-1.png": b"mask",
    "input/sound.wav": b"sound",
    "input/film.mp4": b"film",
    "input/3d/thing.glb": b"thing",
    "output/mesh/drawn.gltf": b'{"buffers": [{"uri": "parts/drawn.bin"}]}',
    "output/mesh/parts/drawn.bin": b"drawn",
    "input/latents.latent": b"latent",
    "input/notes.txt": b"notes",
    "input/linked/solo.png": b"elsewhere",
    "output/kept_00001_.png": b"kept",
    "temp/threed/seen.png": b"seen",
}
TEXT = (
    "a sea, (embedding:style:1.2)\nembedding:sub/light\\(1\\) and embedding:nowhere, "
    "embedding:odd[v2],x <lora:Glow:0.7> <lora:unknown:1> embedding:STYLE"
)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


PROMPT = {
    "ckpt": node("CheckpointLoaderSimple", ckpt_name="sub/base.safetensors"),
    "old": node("CheckpointLoaderSimple", ckpt_name="old.ckpt"),
    "unet": node("UNETLoader", unet_name="same.safetensors", weight_dtype="default"),
    "vae": node("VAELoader", vae_name="same.safetensors"),
    "tae": node("VAELoader", vae_name="taesd3"),
    "lora": node("LoraLoaderModelOnly", lora_name="extra.safetensors", strength_model=1.0),
    "pipe": node("DiffusersLoader", model_path="pipe"),
    "clip": node("CLIPLoader", clip_name="big-00001-of-00002.safetensors", type="flux2"),
    "up": node("UpscaleModelLoader", model_name="short.safetensors"),
    "text": node("CLIPTextEncode", text=TEXT, clip=["clip", 0]),
    "image": node("LoadImage", image="a.png"),
    "mask": node("LoadImageMask", image="clipspace/mask-1.png [input]", channel="red"),
    "out": node("LoadImageOutput", image="kept_00001_.png [output]"),
    "film": node("LoadVideo", file="film.mp4"),
    "three": node("Load3D", model_file="3d/thing.glb", width=64, height=64,
                  image={"image": "threed/seen.png [temp]", "camera_info": {"zoom": 1}}),
    "drawn": node("Load3D", model_file="mesh/drawn.gltf [output]", width=64, height=64, image={}),
    "dead": node("UNETLoader", unet_name="dead.safetensors", weight_dtype="default"),
    "empty": node("UpscaleModelLoader", model_name="empty.pth"),
    "bare": node("ReadsAnything", text="bare.txt", row={}, rows={}),
    "here": node("LoadImage", image="{base}/input/a.png"),
    "clip here": node("ReadsAnything", text="{base}/input/film.mp4", row={}, rows={}),
    "whole input": node("ReadsAnything", text="{base}/input", row={}, rows={}),
    "written": node("ReadsAnything", text="{base}/output/new/place", row={}, rows={}),
    "long": node("LoadImage", image="x" * 300 + ".png"),
    "latent": node("LoadLatent", latent="latents.latent"),
    "any": node("ReadsAnything", text="notes.txt",
                row={"on": True, "lora": "row.safetensors", "strength": 1},
                rows={"__value__": ["sound.wav", {"on": False, "lora": "off.safetensors"},
                                    {"on": True, "lora": "absent.safetensors"}]}),
    "grey": node("SharedGrey", text="plain"),
    "level": node("GreyLevel", level_name="dark.txt"),
    "set": node("GreySet", set_name="night"),
    "human": node("Humanized", size=5),
    "linked": node("LoadImage", image="linked/solo.png"),
    "path": node("ReadsAnything", text="/data/clip.mp4", row={}, rows={}),
    "half": node("VAELoader", vae_name="taesdxl"),
    "gone": node("LoadImage", image="gone.png"),
    "none": node("NoSuchNode", x=1),
}  # fmt: skip


def deps(base: Path, prompt: dict[str, Any]) -> tuple[int, Needs]:
    path = base / "prompt.json"
    path.write_text(json.dumps(prompt))
    extra = f"--extra-model-paths-config '{base / 'extra.yaml'}'"
    arguments = f"--base-directory '{base}' --disable-api-nodes {extra}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.main(["deps", str(path), "--comfyui", str(comfyui_path()), "--json",
                           "--arguments", arguments])  # fmt: skip
    return status, json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("deps")
    (base / "input").mkdir()
    (base / "elsewhere" / "photos").mkdir(parents=True)
    (base / "input" / "linked").symlink_to(base / "elsewhere" / "photos")
    files = {f"models/{name}": body for name, body in MODELS.items()} | INPUTS
    files["elsewhere/lora/extra.safetensors"] = safetensors("extra")
    files["extra.yaml"] = f"other:\n  base_path: {base}/elsewhere\n  loras: lora\n".encode()
    for name, body in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (base / "models/diffusion_models/dead.safetensors").symlink_to(base / "gone.safetensors")
    packs = base / "custom_nodes"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("imports_other", "shared_parts", "own_folder", "needs_pip", "broken"):
        shutil.copytree(PACKS / name, packs / name, ignore=ignore)
    shutil.copyfile(PACKS / "single_file.py", packs / "single_file.py")
    for name in ("__pycache__", "empty"):  # no packs, though a pack has their names in quotes
        (packs / name).mkdir()
    (packs / "__pycache__" / "single_file.pyc").write_bytes(b"")
    with (packs / "imports_other" / "__init__.py").open("a") as source:
        source.write('\nOTHERS = ("__pycache__", "empty")\n')
    (packs / "needs_pip" / ".gitignore").write_text("downloads/\n")
    (packs / "needs_pip" / "downloads").mkdir()
    (packs / "needs_pip" / "downloads" / "big.bin").write_bytes(b"x" * 1000)
    return base


@pytest.fixture(scope="module")
def told(base: Path) -> tuple[int, Needs]:
    with pytest.MonkeyPatch.context() as patch:
        # As in a ComfyUI without a base directory, whose own folder is on the path.
        patch.setenv("PYTHONPATH", str(base))
        return deps(base, json.loads(json.dumps(PROMPT).replace("{base}", str(base))))


@pytest.fixture(scope="module")
def needs(told: tuple[int, Needs]) -> Needs:
    return told[1]


def test_every_model_is_found_in_its_folder(needs: Needs) -> None:
    found = {f"{model['folder']}/{model['name']}" for model in needs["models"]}
    unused = {"checkpoints/sub/base.png", "vae/other.safetensors", "vae/extra.safetensors",
              "checkpoints/extra.safetensors", "embeddings/unused.pt",
              "checkpoints/flux2/unused.ckpt",
              "loras/off.safetensors", "diffusers/pipe/.cache/half.safetensors"}  # fmt: skip
    own = {name for name in MODELS if name.startswith("own/")}
    assert found == (MODELS.keys() - unused - own) | {
        "loras/extra.safetensors", "grey_levels/dark.txt", "grey_sets/night/moon.npy",
        "grey_sets/night/deep/star.npy", "grey_bare/bare.txt",
    }  # fmt: skip


def test_models_have_the_digests_of_their_files(needs: Needs) -> None:
    """Also where two folders have the same name: each node reads from its own."""
    for model in needs["models"]:
        body = MODELS.get(f"{model['folder']}/{model['name']}")
        if body is not None:
            digest = hashlib.sha256(body).hexdigest()
            assert (model["digest"], model["size"]) == (digest, len(body))


def test_every_input_is_found_in_its_place(needs: Needs) -> None:
    found = {f"{item['place']}/{item['name']}" for item in needs["inputs"]}
    assert found == INPUTS.keys()


def test_node_packs_with_what_they_import(needs: Needs) -> None:
    packs = {pack["name"]: pack for pack in needs["packs"]}
    assert packs.keys() == {
        "imports_other", "shared_parts", "own_folder", "needs_pip", "single_file.py"
    }  # fmt: skip
    assert packs["shared_parts"]["classes"] == []
    assert packs["imports_other"]["classes"] == ["SharedGrey"]
    assert packs["single_file.py"]["files"] == 1
    assert packs["needs_pip"]["left_out"] >= 1000
    assert packs["needs_pip"]["requirements"]
    assert packs["needs_pip"]["files"] == 3


def test_what_nobody_has_is_told_with_its_place(told: tuple[int, Needs]) -> None:
    status, needs = told
    missing = {(each["node_id"], each["input"]): each for each in needs["unresolved"]}
    assert missing.keys() == {
        ("gone", "image"), ("long", "image"), ("dead", "unet_name"), ("empty", "model_name"),
        ("none", ""), ("up", "model_name"),
    }  # fmt: skip
    assert "gone.png is neither on this machine" in missing["gone", "image"]["reason"]
    assert "is cut off" in missing["up", "model_name"]["reason"]
    assert "is empty" in missing["empty", "model_name"]["reason"]
    assert len(missing["long", "image"]["reason"]) < 300
    assert status == 1


def test_what_may_be_meant_otherwise_is_a_warning(needs: Needs) -> None:
    told = {(each["node_id"], each["value"].rpartition("/")[2]) for each in needs["warnings"]}
    assert told == {
        ("old", "old.ckpt"), ("text", "style.pt"), ("text", "nowhere"), ("text", "unknown"),
        ("text", "odd[v2],x.pt"), ("text", "STYLE"),
        ("any", "absent.safetensors"), ("path", "clip.mp4"), ("whole input", "input"),
        ("empty", "empty.pth"), ("half", "taesdxl"),
    }  # fmt: skip


def test_a_prompt_that_has_all_it_needs(base: Path) -> None:
    prompt = {"1": node("LoadImage", image="a.png"),
              "2": node("CLIPTextEncode", text="<lora:glow:1>", clip=["3", 0])}  # fmt: skip
    status, needs = deps(base, prompt)
    assert (status, needs["unresolved"], needs["warnings"]) == (0, [], [])
    assert needs["models"] == [], "a tag that no pack of the prompt reads was followed"
    assert needs["environment"]["comfyui"]
