"""Which packs a pack takes code from, told by its source."""

from __future__ import annotations

import pytest

from comfy_aws import packimports, packs


def pack(root, name, **files):
    for file, text in (files or {"__init__": ""}).items():
        path = root / name / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import other_pack", ["other_pack"]),
        ("    from other_pack.nodes import x", ["other_pack"]),
        ("import os, other_pack as o", ["other_pack"]),
        ("from custom_nodes.other_pack import x", ["other_pack"]),
        ("import custom_nodes.other_pack.nodes", ["other_pack"]),
        ("import_module('custom_nodes.Other-Pack')", ["Other-Pack"]),
        ("sys.path.append(os.path.join(root, 'Other-Pack'))", ["Other-Pack"]),
        ("open('custom_nodes/single.py')", ["single"]),
        ("from . import other_pack", []),
        ("from .other_pack import x", []),
        ("name = 'Other-Pack'", []),
        ("import json, another", []),
        ("import own", []),
        ("# see other_pack", []),
    ],
)
def test_one_file(tmp_path, source, found):
    mine = pack(tmp_path, "mine", __init__=source, own="")
    (tmp_path / "single.py").write_text("")
    others = [pack(tmp_path, "other_pack"), pack(tmp_path, "Other-Pack"), pack(tmp_path, "json"),
              pack(tmp_path, "own"), tmp_path / "single.py"]  # fmt: skip
    assert [each.stem for each in packimports.imported(packs.scan(mine), others)] == found


def test_a_change_is_seen_and_a_single_file_is_read(tmp_path):
    other = pack(tmp_path, "other_pack")
    single = tmp_path / "single.py"
    single.write_text("import other_pack")
    assert packimports.imported(packs.scan(single), [other]) == [other]
    single.write_text("nothing = 1")
    assert packimports.imported(packs.scan(single), [other]) == []


def test_reading_tags(tmp_path):
    assert packimports.reads_lora_tags(packs.scan(pack(tmp_path, "a", x='TAG = r"<lora:([^>]+)>"')))
    assert packimports.reads_lora_tags(packs.scan(pack(tmp_path, "b", x='if kind == "lora":')))
    assert not packimports.reads_lora_tags(packs.scan(pack(tmp_path, "c", x="explored = 'loras'")))


def test_classes_that_are_taken_by_name(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "nodes.NODE_CLASS_MAPPINGS['One']()\nALL_NODE_CLASS_MAPPINGS.get( \"Two (x)\" )\n"
        "NODE_CLASS_MAPPINGS = {'Own': Own}\nNODE_CLASS_MAPPINGS[name]\n"
    )
    assert packimports.classes_used(source) == {"One", "Two (x)"}
    source.write_text("")
    assert packimports.classes_used(source) == set()
    assert packimports.classes_used(tmp_path / "gone.py") == set()


def test_packs_that_add_choices(tmp_path):
    adds = pack(tmp_path, "adds", __init__="KSampler.SAMPLERS += list(NEW)", new='NEW = ["res_2s"]')
    tells = pack(tmp_path, "tells", __init__='print("res_2s")')
    assert packimports.adds_choice(packs.scan(adds), "res_2s")
    assert not packimports.adds_choice(packs.scan(adds), "res_3s")
    assert not packimports.adds_choice(packs.scan(tells), "res_2s")
