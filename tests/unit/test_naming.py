"""Numbering of output files goes on where the designer's own stands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from comfy_aws.naming import Place, alternative, next_number, numbered, places, renamed, viewed


def local_path(place: Place) -> Path:
    return Path("/home/mika", place.type, place.subfolder, place.filename)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ComfyUI_00001_.png", ("ComfyUI_", 1, "_.png")),
        ("a_b_00012_.webp", ("a_b_", 12, "_.webp")),
        ("x_123456_.png", ("x_", 123456, "_.png")),
        ("x_00001", ("x_", 1, "")),
        ("_00003_.png", ("_", 3, "_.png")),
        ("a_00001_00002_.png", ("a_00001_", 2, "_.png")),
        ("v_00001.mp4", ("v_", 1, ".mp4")),
        ("v_00001-audio.mp4", ("v_", 1, "-audio.mp4")),
        ("portrait_1700000000.png", None),
        ("img_20240101_120000.png", None),
        ("img_20240101_x.png", None),
        ("x_0001_.png", None),
        ("x00001_.png", None),
        ("plain.png", None),
        ("", None),
    ],
)
def test_parts_of_a_name(name, parts):
    found = numbered(name)
    assert found == parts
    if found is not None:
        assert found.with_number(found.number) == name


def test_next_number_is_one_above_the_highest():
    names = ["c_00001_.png", "C_00007_.PNG", "c_x_.png", "other_00099_.png", "c_", "", "c"]
    assert next_number("c_", names) == 8
    assert next_number("c_", []) == 1
    assert next_number("c_", ["c_100000_.png"]) == 100001
    assert next_number("c_", ["c_1700000000.png", "c_00003.mp4", "c_00004-audio.mp4"]) == 5
    assert next_number("c_", ["c_00009_00001_.png", "c_x_00010_.png"]) == 10  # as ComfyUI has it


@pytest.mark.parametrize("seed", range(50))
def test_a_new_number_never_meets_an_old_name(seed):
    dice = random.Random(seed)
    taken = {f"c_{dice.randrange(1, 99_000):05}{dice.choice(['_.png', '.webp', ''])}"
             for _ in range(dice.randrange(30))}  # fmt: skip
    fresh = f"c_{next_number('c_', taken):05}_.png"
    assert fresh not in taken
    assert numbered(fresh).number > max((numbered(name).number for name in taken), default=0)


@pytest.mark.parametrize(
    ("name", "other"),
    [("a.png", "a (2).png"), ("a.tar.gz", "a.tar (2).gz"), ("bare", "bare (2)")],
)
def test_another_name(name, other):
    assert alternative(name, 2) == other


def test_places_are_found_however_deep():
    output = {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}],
              "ui": {"deep": [[{"filename": "b.png"}]]}, "text": ["filename"],
              "odd": [{"filename": 3}, {"filename": ""}, None]}  # fmt: skip
    assert places(output) == [Place("a.png", "s", "output"), Place("b.png", "", "output")]


def test_renamed_copies_and_leaves_the_rest():
    output = {"images": [{"filename": "a.png", "subfolder": "", "type": "output", "extra": 1},
                         {"filename": "keep.png", "subfolder": "", "type": "temp"}],
              "animated": (False,)}  # fmt: skip
    names = {Place("a.png", "", "output"): Place("a_00002_.png", "sub", "output")}
    copy = renamed(output, names, local_path)
    assert copy == {
        "images": [{"filename": "a_00002_.png", "subfolder": "sub", "type": "output", "extra": 1},
                   {"filename": "keep.png", "subfolder": "", "type": "temp"}],
        "animated": [False],
    }  # fmt: skip
    assert output["images"][0]["filename"] == "a.png"


def test_what_an_entry_says_of_its_file_beside_its_name():
    """As a well-known pack's entries of videos do."""
    video = {"filename": "v_00001.mp4", "subfolder": "day 1", "type": "output", "format": "mp4",
             "workflow": "v_00001.png", "fullpath": "/opt/work/output/day 1/v_00001.mp4",
             "other": "/opt/work/output/v_00001.mp4", "relative": "day 1/v_00001.mp4"}  # fmt: skip
    names = {Place(f"v_00001.{end}", "day 1", "output"): Place(f"v_00004.{end}", "day 1", "output")
             for end in ("mp4", "png")}  # fmt: skip
    copy = renamed({"gifs": [video]}, names, local_path)
    assert copy == {"gifs": [{
        **video, "filename": "v_00004.mp4", "workflow": "v_00004.png",
        "fullpath": "/home/mika/output/day 1/v_00004.mp4",
    }]}  # fmt: skip


def test_files_that_are_named_by_their_path_alone():
    """As ComfyUI's viewers of 3D files do."""
    output = {"result": ["3d/a_00001_.glb", {"position": 1.5}, "temp/bg_1.png"], "text": ["b.glb"]}
    assert viewed(output) == [
        [Place("a_00001_.glb", "3d", "output"), Place("a_00001_.glb", "3d", "temp")],
        [Place("bg_1.png", "", "temp"), Place("bg_1.png", "temp", "output"),
         Place("bg_1.png", "temp", "temp")],
    ]  # fmt: skip
    names = {
        Place("a_00001_.glb", "3d", "output"): Place("a_00007_.glb", "3d", "output"),
        Place("bg_1.png", "", "temp"): Place("bg_1 (2).png", "", "temp"),
    }
    assert renamed({"5": output}, names, local_path) == {"5": {
        "result": ["3d/a_00007_.glb", {"position": 1.5}, "temp/bg_1 (2).png"],
        "text": ["b.glb"]}}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "no file", "/etc/passwd.txt", "../a.glb", "a/../../b.glb", "a\\b.glb", "a\nb.glb", 5, None,
     {"a.glb": 1}, ["a.glb"]],
)  # fmt: skip
def test_what_names_no_file(text):
    assert viewed({"result": [text]}) == []
    assert viewed([text]) == []


def test_only_a_list_is_looked_through():
    assert viewed({"result": "a.glb"}) == viewed({"result": {"a": "a.glb"}}) == viewed(None) == []
