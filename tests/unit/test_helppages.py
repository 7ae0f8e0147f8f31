"""Help of nodes is found with what it shows, and nothing else of a pack's web folder."""

from __future__ import annotations

import pytest

from comfy_aws import helppages
from comfy_aws.helppages import WebFolder, find, is_safe

PAGE = """# Node
![a](one.png) ![b]( <sub/two.webp> "title") ![c][ref] <img alt='x'
  src='../shared/three.jpg'> <video poster="four.gif" src="/extensions/pack/docs/five.mp4"></video>
![gone](gone.png) ![out](../../secret.png) ![far](https://example.com/far.png) ![bad](http://[)
![other](/extensions/other/docs/one.png) ![script](page.js) [link](Other.md) !![link](link.png)

[ref]: six%20six.svg
"""
SHOWN = ("docs/one.png", "docs/sub/two.webp", "shared/three.jpg", "docs/four.gif",
         "docs/five.mp4", "docs/six six.svg")  # fmt: skip


@pytest.fixture
def web(tmp_path):
    names = (*SHOWN, "docs/unshown.png", "docs/page.js", "docs/Other.md", "docs/Node/notes.txt",
             "docs/Node/ja.md", "../secret.png")  # fmt: skip
    for name in names:
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "web/docs/Node.md").write_text(PAGE)
    (tmp_path / "web/docs/link.png").symlink_to(tmp_path / "secret.png")
    return WebFolder("pack", tmp_path / "web")


def test_pages_of_the_classes_and_what_they_show(web):
    found = find({"Node": web, "Without": web})
    assert [(each.pack, each.name) for each in found] == [
        ("pack", name) for name in sorted((*SHOWN, "docs/Node.md", "docs/Node/ja.md"))
    ]
    assert all(each.path.is_file() for each in found)


def test_what_is_too_large_is_left_out(web, monkeypatch, caplog):
    (web.path / "docs/one.png").write_bytes(b"x" * (helppages.LARGEST_PICTURE + 1))
    names = [each.name for each in find({"Node": web})]
    assert "docs/one.png" not in names
    assert "docs/four.gif" in names
    assert "one.png is not published" in caplog.text
    monkeypatch.setattr(helppages, "LARGEST", len(PAGE) + 2)  # both pages and a picture
    assert [each.name for each in find({"Node": web})] == [
        "docs/Node.md", "docs/Node/ja.md", "docs/five.mp4"]  # fmt: skip


@pytest.mark.parametrize(
    ("pack", "name"),
    [("pack", "docs/../../a.md"), ("pack", "/a.md"), ("..", "a.md"), ("", "a.md"), ("pack", ""),
     ("a/b", "a.md"), ("pack", "a\\b.md"), ("pack", "a\0.md"), ("pack", "a.html"),
     ("pack", "a.js"), ("pack", "a")],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_run(pack, name):
    assert not is_safe(pack, name)
    assert is_safe("pack", "docs/a.md")


def test_the_pack_of_a_definition():
    assert helppages.pack_of("custom_nodes.some-pack@1.2.nodes") == "some-pack"
    assert helppages.pack_of("comfy_extras.nodes_x") == ""
