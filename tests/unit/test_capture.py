"""What is not on this machine comes from the template or the bucket, or is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_aws import hashing
from comfy_aws.capture import Capturer
from comfy_aws.errors import Unresolved
from comfy_aws.hashcache import HashCache
from comfy_aws.models import (
    BlobRef,
    Environment,
    InputFile,
    LocalPath,
    Manifest,
    ModelFile,
    NodePack,
)
from comfy_aws.resolve import ModelPath

REF = BlobRef("ab" * 32, 9)
BASE = Manifest(
    models=(
        *(ModelFile("text_encoders", f"m-0000{n}-of-00002.safetensors", REF) for n in (1, 2)),
        ModelFile("text_encoders", "m.safetensors.index.json", REF),
        ModelFile("diffusers", "pipe/unet/w.bin", REF),
        ModelFile("embeddings", "sub/style.pt", REF),
        ModelFile("loras", "glow.safetensors", REF),
        ModelFile("loras", "unused.safetensors", REF),
        ModelFile("faces", "unnamed.onnx", REF, reader="Reader"),
    ),
    inputs=(InputFile("a.png", REF),),
    packs=(NodePack("pack", REF, ("Theirs",)), NodePack("imported", REF)),
    environment=Environment(comfyui="0.3.75"),
)


class Nothing:
    """A ComfyUI that has no classes, files or packs: an inference port's."""

    def knows(self, class_type):
        return class_type == "Here"

    def signs_in(self, class_type):
        return False

    def pack_of(self, class_type):
        return None

    def siblings(self, pack):
        return []

    def source_of(self, class_type):
        return None

    def is_added(self, literal):
        return False

    def models_of(self, literal):
        return []

    def models_named(self, folder, name):
        return []

    def models_read_by(self, class_type, inputs):
        return []

    def inputs_of(self, literal):
        return []

    def path_of(self, literal):
        return None

    def wanted_file(self, literal):
        return literal.name == "file"

    def offers(self, literal):
        return literal.name != "choice"

    def environment(self):
        return Environment()


class Shelf:
    """A model library of one model."""

    def find(self, name, folder=""):
        return [ModelFile("embeddings", name, REF)] if name == "far.pt" else []


@pytest.fixture
def capture(tmp_path):
    cache = HashCache(tmp_path / "hashes.sqlite")
    capturer = Capturer(Nothing(), cache, tmp_path / "spool", library=Shelf())

    def run(base=BASE, class_type="Theirs", **inputs):
        prompt = {"7": {"class_type": class_type, "inputs": inputs}}
        return capturer.capture(prompt, base=base, is_present=lambda ref: True)

    yield run
    cache.close()


def names(capture):
    return {model.name for model in capture.manifest.models}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("m-00001-of-00002.safetensors", {m.name for m in BASE.models[:3]}),
        ("pipe", {"pipe/unet/w.bin"}),
        ("a sea, embedding:style, (embedding:far:1.1) <lora:glow:1>",
         {"sub/style.pt", "far.pt", "glow.safetensors"}),
        ({"on": True, "lora": "glow.safetensors"}, {"glow.safetensors"}),
        ("pipe\\unet\\w.bin", {"pipe/unet/w.bin"}),
        ("glow.safetensors\n\n unused.safetensors\r\n", {"glow.safetensors", "unused.safetensors"}),
        ("the lines of a poem\nglow.safetensors", set()),
    ],
    ids=["shards", "folder", "text", "row", "windows", "lines", "poem"],
)  # fmt: skip
def test_models_of_the_template_and_the_bucket(capture, value, found):
    got = capture(x=value)
    assert names(got) == found
    assert got.missing == ()


def test_a_model_that_is_here_and_in_the_template_is_taken_once_from_here(tmp_path):
    here = tmp_path / "glow.safetensors"
    here.write_bytes(b"other bytes")

    class Some(Nothing):
        def models_of(self, literal):
            named = literal.name == "offered"
            return [ModelPath("loras", here.name, here)] if named else []

    cache = HashCache(tmp_path / "hashes.sqlite")
    capturer = Capturer(Some(), cache, tmp_path / "spool", fault_of=lambda path: "")
    for inputs in ({"row": "glow.safetensors", "offered": "x"}, {"offered": "x", "row": here.name}):
        prompt = {"7": {"class_type": "Theirs", "inputs": inputs}}
        [model] = capturer.capture(prompt, base=BASE, is_present=lambda ref: True).manifest.models
        assert model == ModelFile("loras", here.name, hashing.of_file(here)[0])
    cache.close()


def test_models_that_nobody_names_come_with_the_node_that_reads_them(capture):
    assert names(capture(class_type="Reader")) == {"unnamed.onnx"}
    assert names(capture(class_type="Theirs")) == set()


def test_a_path_of_the_machine_that_published_comes_with_what_was_there(capture):
    """Where the template is from it was a path; here nothing lies there."""
    there = LocalPath("/home/me/input/set", "input", "set")
    model = LocalPath("D:\\models\\pipe", "models", "pipe", "diffusers")
    pipe = [model for model in BASE.models if model.folder == "diffusers"]
    inputs = tuple(InputFile(name, BlobRef("ef" * 32, 1)) for name in ("set/a.png", "settle.png"))
    base = replace(BASE, inputs=inputs, paths=(there, model))
    got = capture(base=base, x=there.value, y=model.value).manifest
    assert got.paths == (there, model)
    assert got.inputs == inputs[:1]
    assert pipe
    assert set(got.models) == set(pipe)
    assert capture(base=base, x="/home/me/input/other").manifest.paths == ()


def test_packs_come_with_what_they_import(capture):
    got = capture(image="a.png")
    assert [pack.name for pack in got.manifest.packs] == ["pack", "imported"]
    assert [item.name for item in got.manifest.inputs] == ["a.png"]


def test_pickles_and_names_without_effect_are_warnings(capture):
    got = capture(text="embedding:style embedding:nowhere", row={"lora": "gone.safetensors"},
                  path="/data/clip.mp4", choice="soft")  # fmt: skip
    assert [(each.value, each.input_name) for each in got.warnings] == [
        ("sub/style.pt", "text"), ("nowhere", "text"), ("gone.safetensors", "row"),
        ("/data/clip.mp4", "path"), ("soft", "choice"),
    ]  # fmt: skip
    got.check()


def test_what_nobody_has_is_an_error_at_its_node(capture):
    got = capture(class_type="Here", file="gone.safetensors")
    with pytest.raises(Unresolved, match=r"gone\.safetensors is neither") as caught:
        got.check()
    assert caught.value.node_errors == got.node_errors()
    [error] = caught.value.node_errors["7"]["errors"]
    assert error["extra_info"] == {"input_name": "file", "received_value": "gone.safetensors"}
    assert [each.class_type for each in capture(base=None).missing] == ["Theirs"]
    assert [each.class_type for each in capture(class_type="Unknown").warnings] == ["Unknown"]
