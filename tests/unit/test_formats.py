"""Broken model files are told from whole ones by their header."""

from __future__ import annotations

import json

import pytest

from comfy_aws import companions, formats
from comfy_aws.errors import FileChanged


def file_of(header, body=b"1234"):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


TENSOR = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (file_of(TENSOR), ""),
        (file_of({**TENSOR, "__metadata__": {"format": "pt"}}), ""),
        (file_of({}, b""), ""),
        (file_of(TENSOR)[:-1], "cut off: it has 72 of 73 bytes"),
        (file_of(TENSOR) + b"more", "behind its last tensor"),
        (b"", "no safetensors file"),
        (b"short", "no safetensors file"),
        (b"<!DOCTYPE html><html>not found</html>", "no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (file_of(b"{not JSON"), "broken safetensors header"),
        (file_of(b"[1]"), "broken safetensors header"),
        (file_of({"x": {"dtype": "F32"}}), "broken safetensors header"),
        (file_of({"x": None}), "broken safetensors header"),
        (file_of(b"\xff\xfe{}"), "broken safetensors header"),
    ],
)
def test_a_safetensors_file(tmp_path, body, fault):
    path = tmp_path / "model.safetensors"
    path.write_bytes(body)
    found = formats.fault_of(path)
    assert fault in found
    assert bool(fault) == bool(found)


def test_a_file_that_is_mended_is_read_again(tmp_path):
    path = tmp_path / "model.sft"
    path.write_bytes(b"half")
    assert formats.fault_of(path)
    path.write_bytes(file_of(TENSOR))
    assert formats.fault_of(path) == ""
    path.unlink()
    with pytest.raises(FileChanged):
        formats.fault_of(path)


def test_other_formats_are_not_read(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"not looked at")
    assert formats.fault_of(tmp_path / "a.ckpt") == ""
    for name, fault in (("a.ckpt", "is empty"), ("a.yaml", "")):
        (tmp_path / name).write_bytes(b"")
        assert formats.fault_of(tmp_path / name) == fault
    assert [formats.is_pickle(name) for name in ("a.CKPT", "a.pt", "a.safetensors", "a.gguf")] == [
        True, True, False, False,
    ]  # fmt: skip


def names(paths):
    return [path.name for path in paths]


def test_files_beside_a_model(tmp_path):
    for name in ("a.safetensors", "a.yaml", "a.json", "a.png", "a.txt", "ab.json"):
        (tmp_path / name).write_text("{}")
    assert names(companions.beside(tmp_path / "a.safetensors")) == ["a.json", "a.yaml"]
    assert names(companions.beside(tmp_path / "a.json")) == ["a.yaml"]


def test_shards_and_their_index(tmp_path):
    shards = [f"m-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = tmp_path / "m.safetensors.index.json"
    for name in shards:
        (tmp_path / name).write_text("")
    (tmp_path.parent / "secret").write_text("")
    weights = {"a": shards[0], "b": shards[1], "c": "../secret", "d": 5}
    index.write_text(json.dumps({"weight_map": weights}))
    assert names(companions.beside(index)) == shards[:2]
    assert names(companions.beside(tmp_path / shards[0])) == [*shards[1:], index.name]
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": ["x"]}}'):
        index.write_text(text)
        assert companions.beside(index) == []


@pytest.mark.parametrize(
    ("shards", "index"),
    [
        ("m.fp16-0000{}-of-00002.safetensors", "m.fp16.safetensors.index.json"),
        ("m.fp16-0000{}-of-00002.safetensors", "m.safetensors.index.fp16.json"),
        ("m.fp16-0000{}-of-00002.bin", "m.bin.fp16.index.json"),
        ("m-0000{}-of-00002.fp16.bin", "m.bin.index.fp16.json"),
        ("m-0000{}-of-000002.safetensors", "m.safetensors.index.json"),
    ],
)
def test_shards_of_a_variant(tmp_path, shards, index):
    wanted = [shards.format(n) for n in (1, 2)]
    others = ["m-00001-of-00003.safetensors", "m.bf16-00001-of-00002.safetensors",
              "m.bf16.safetensors.index.json", "n.fp16-00001-of-00002.bin"]  # fmt: skip
    for name in (*wanted, *others, index):
        (tmp_path / name).write_text("{}")
    assert names(companions.beside(tmp_path / wanted[0])) == sorted([wanted[1], index])
    assert companions.belongs(wanted[0], wanted[1])
    assert companions.belongs(wanted[0], index)
    assert not any(companions.belongs(wanted[0], other) for other in others[1:])
    # Whatever an index is called, what it lists is a part of it.
    (tmp_path / index).rename(tmp_path / "other.index.json")
    (tmp_path / "other.index.json").write_text(json.dumps({"weight_map": {"a": wanted[0]}}))
    assert names(companions.beside(tmp_path / wanted[0])) == [wanted[1], "other.index.json"]


def test_a_shard_that_is_gone_with_its_folder_has_nothing_beside_it(tmp_path):
    assert companions.beside(tmp_path / "gone" / "m-00001-of-00002.bin") == []


def test_what_a_folder_shares_belongs_to_each_of_its_models(tmp_path):
    for name in ("m.safetensors", "config.json", "merges.txt", "readme.txt", "tokenizer.json"):
        (tmp_path / name).write_text("")
    shared = ["config.json", "merges.txt", "tokenizer.json"]
    assert names(companions.beside(tmp_path / "m.safetensors", "qwen/m.safetensors")) == shared
    assert names(companions.beside(tmp_path / "m.safetensors", "qwen\\m.safetensors")) == shared
    assert companions.beside(tmp_path / "m.safetensors", "m.safetensors") == []
    assert companions.belongs("qwen/m.safetensors", "qwen/merges.txt")
    assert not companions.belongs("m.safetensors", "merges.txt")
    assert not companions.belongs("qwen/m.safetensors", "qwen/readme.txt")
    assert companions.is_model(tmp_path)


def test_what_belongs_together_by_name():
    shard = "sub/m-00001-of-00002.safetensors"
    for other in ("sub/m-00002-of-00002.safetensors", "sub/m.safetensors.index.json"):
        assert companions.belongs(shard, other)
        assert companions.belongs(other, shard)
        assert not companions.belongs(shard, other.removeprefix("sub/"))
    assert companions.belongs("a.safetensors", "a.yaml")
    assert not companions.belongs("a.safetensors", "a.safetensors")
    assert not companions.belongs("a.safetensors", "b.safetensors")
    assert not companions.belongs("a.yaml", "a.safetensors")


def test_a_folder_that_is_a_model(tmp_path):
    pipe = tmp_path / "pipe"
    for name in ("unet/w.bin", ".git/x", "a.txt"):
        (pipe / name).parent.mkdir(parents=True, exist_ok=True)
        (pipe / name).write_text("")
    assert not companions.is_model(pipe)
    (pipe / "model_index.json").write_text("{}")
    assert companions.is_model(pipe)
    assert names(companions.below(pipe)) == ["a.txt", "model_index.json", "w.bin"]
