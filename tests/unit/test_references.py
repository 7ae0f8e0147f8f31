"""Names of files in texts, and what they stand for."""

from __future__ import annotations

import pytest

from comfy_aws import references


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a cat", []),
        ("embedding:one", [("one",)]),
        ("a, embedding:one, embedding:two.pt\nembedding:one,",
         [("one,", "one"), ("two.pt",)]),
        ("(embedding:sub/one:1.2) [embedding:two]", [("sub/one:1.2", "sub/one"), ("two]", "two")]),
        (r"embedding:one\(v2\), x", [("one(v2),", "one(v2)")]),
        (r"embedding:sub\one", [("sub/one",)]),
        ("The end is embedding:one.", [("one.", "one")]),
        ("myembedding:one and embedding: two, embedding:[x]", []),
        ("embedding:bad-hands-5 {embedding:red|embedding:blue}",
         [("bad-hands-5",), ("red|embedding:blue}", "red"), ("blue}", "blue")]),
        ("embedding:style[v2] embedding:雪", [("style[v2]", "style"), ("雪",)]),
    ],
)  # fmt: skip
def test_embeddings(text, names):
    assert references.embeddings(text) == names


def test_embeddings_are_found_as_comfyui_finds_them(tmp_path):
    for name in ("one.pt", "one.bin", "sub/one.safetensors", "sub/two.txt", "own/deep/Three.PT"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)

    def found(name, **more):
        return dict(references.embedding_files([tmp_path], name, **more))

    assert list(found("one")) == ["one.pt", "sub/one.safetensors"]
    assert list(found("two.txt")) == ["sub/two.txt"]
    assert list(found("deep/Three.PT")) == ["own/deep/Three.PT"]
    assert list(found("x" * 5000)) == []
    assert not any(map(found, ("three", "two", "../one.pt", str(tmp_path / "one.pt"), "")))

    def is_file_in_any_case(path):
        return any(str(each).lower() == str(path).lower() for each in tmp_path.rglob("*.*"))

    # Under the name by which a worker's ComfyUI will look for it, where case counts.
    assert list(found("ONE", is_file=is_file_in_any_case)) == ["ONE.pt", "sub/ONE.safetensors"]
    assert list(found("three", is_file=is_file_in_any_case)) == ["own/deep/three.pt"]


def test_texts_of_windows_name_files_as_workers_do():
    known = ["sub/one.pt", "deep/glow (2).safetensors"]
    text = r"(embedding:sub\one:1.2), <lora:deep\glow (2):1> \(x\) embedding:{}, y"
    assert references.with_posix_names(text.format(r"sub\one"), known) == (
        r"(embedding:sub/one:1.2), <lora:deep/glow (2):1> \(x\) embedding:sub/one, y"
    )
    assert r"embedding:sub\two" in references.with_posix_names(text.format(r"sub\two"), known)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<lora:glow:0.8> x <lora:deep/rays:1:0.5><lora:glow>", ["glow", "deep/rays"]),
        ("<lora:two words:-1>", ["two words"]),
        ("lora:glow <hypernet:x:1> <lora::1>", []),
    ],
)
def test_loras(text, names):
    assert references.loras(text) == names


@pytest.mark.parametrize(
    "text",
    ["a.png", "sub/two words.safetensors", "x [1].mp4", "clipspace/m.png [input]", "a.glb [output]",
     "thing.3mf", "v1.5.ckpt", "ü.txt"],
)  # fmt: skip
def test_a_file(text):
    assert references.looks_like_file(text)


@pytest.mark.parametrize(
    "text",
    ["", "euler", "1.5", "sd1.5", "a.", ".hidden", "https://example.com/a.png", "a\nb.png",
     "A sentence. Another one.", "x" * 2000 + ".png", "folder/.gitignore"],
)  # fmt: skip
def test_no_file(text):
    assert not references.looks_like_file(text)


def test_matching():
    listed = ["one.pt", "sub/one.safetensors", "sub/deep/two.bin", "three", "win\\four.pt"]
    assert references.matching(listed, "one") == ["one.pt", "sub/one.safetensors"]
    assert references.matching(listed, "one.pt") == ["one.pt"]
    assert references.matching(listed, "deep/two") == ["sub/deep/two.bin"]
    assert references.matching(listed, "three") == ["three"]
    assert references.matching(listed, "four") == ["win\\four.pt"]
    assert references.matching(listed, "ne") == []
    assert references.matching(listed, "Deep/Two") == []
    assert references.matching(listed, "Deep/Two", in_any_case=True) == ["sub/deep/two.bin"]
    assert references.matching([*listed, "ONE.pt"], "ONE", in_any_case=True) == ["ONE.pt"]


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("{here}/a.png", True),
        ("{here}", True),
        ("{here}/gone", False),
        ("{here}/gone.mp4", True),
        ("C:\\clips\\gone.mp4", True),
        ("video/ComfyUI", False),
        ("a.png", False),
        ("tests/gone.png", False),
        ("./a.png", True),
        ("https://example.com/a.png", False),
        ("/imagine a cat", False),
        ("/" + "x" * 5000, False),
    ],
)
def test_paths_of_this_machine(tmp_path, monkeypatch, text, is_path):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert references.is_path_here(text.replace("{here}", str(tmp_path))) is is_path
