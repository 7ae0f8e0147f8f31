"""What a 3D file refers to comes with it, and nothing from elsewhere."""

from __future__ import annotations

import json

import pytest

from comfy_aws import meshes


def names(folder, path):
    return [each.relative_to(folder).as_posix() for each in meshes.referred(path)]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "3d"
    for name in ("two words.bin", "tex/skin.png", "a.mtl", "b c.mtl", "x.jpg", "bump.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (tmp_path / "secret.bin").write_text("")
    return folder


def test_a_gltf_with_buffers_and_pictures(folder):
    path = folder / "thing.gltf"
    uris = ["two%20words.bin", "data:application/octet-stream;base64,AA==", "../secret.bin",
            str(folder / "x.jpg"), "gone.bin", "https://example.com/x.jpg", 5]  # fmt: skip
    document = {"buffers": [{"uri": uri} for uri in uris] + [{}, 7],
                "images": [{"uri": "tex/skin.png"}]}  # fmt: skip
    path.write_text(json.dumps(document))
    assert names(folder, path) == ["tex/skin.png", "two words.bin"]


def test_an_obj_with_its_materials_and_their_textures(folder):
    (folder / "b c.mtl").write_text("newmtl m\nmap_Kd -s 1 1 1 tex\\skin.png\n  bump bump.png\n")
    (folder / "thing.OBJ").write_text("# made by hand\nmtllib b c.mtl\nv 0 0 0\n")
    assert names(folder, folder / "thing.OBJ") == ["b c.mtl", "bump.png", "tex/skin.png"]
    (folder / "a.mtl").write_text("map_Kd\nmap_Ka x.jpg\n")
    (folder / "two.obj").write_text("mtllib a.mtl gone.mtl\n")
    assert names(folder, folder / "two.obj") == ["a.mtl", "x.jpg"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"buffers": 3, "images": {"uri": "x.jpg"}}'])
def test_what_is_no_gltf_refers_to_nothing(folder, text):
    (folder / "thing.gltf").write_text(text)
    assert meshes.referred(folder / "thing.gltf") == []
    assert meshes.referred(folder / "gone.gltf") == []
    assert meshes.referred(folder / "x.jpg") == []
