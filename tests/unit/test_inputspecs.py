"""Inputs that come and go, as newer ComfyUIs declare them: fitted to a graph, found, changed."""

from __future__ import annotations

import pytest

from comfy_aws.inputspecs import changed, choices, every, fitted, with_choices
from comfy_aws.models import ChosenInput
from comfy_aws.parameter_values import apply
from comfy_aws.parameters import check_chosen, parameters, settable
from comfy_aws.validation import validate

CROP = ["COMBO", {"options": ["disabled", "center"]}]
RESIZE = {
    "required": {
        "input": ["IMAGE,MASK", {}],
        "resize_type": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "scale dimensions", "inputs": {"required": {
                "width": ["INT", {"min": 0, "max": 16384}],
                "height": ["INT", {"min": 0, "max": 16384}],
                "crop": CROP}}},
            {"key": "scale by multiplier", "inputs": {"required": {
                "multiplier": ["FLOAT", {"min": 0.01, "max": 8.0}]}}},
            {"key": "match size", "inputs": {"required": {
                "match": ["IMAGE,MASK", {}],
                "crop": ["COMBO", {"options": ["disabled", "edge"]}]}}},
            {"key": "nothing", "inputs": {"required": {}}},
        ]}],
    },
    "optional": {"scale_method": [["area", "lanczos"]]},
}  # fmt: skip
"""The shape of ComfyUI's ResizeImageMaskNode."""

BATCH = {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {
    "input": {"required": {"image": ["IMAGE", {}]}},
    "prefix": "image", "min": 2, "max": 4}}]}}  # fmt: skip
NAMED = {"optional": {"files": ["COMFY_AUTOGROW_V3", {"template": {
    "input": {"required": {}, "optional": {"file": ["STRING", {"forceInput": True}]}},
    "names": ["a", "b"], "min": 1}}]}}  # fmt: skip
SLOT = {"optional": {"control": ["COMFY_DYNAMICSLOT_V3", {"slotType": "IMAGE", "inputs": {
    "required": {"strength": ["FLOAT", {"min": 0.0, "max": 1.0}]}}}]}}  # fmt: skip
DEEP = {"required": {"model": ["COMFY_DYNAMICCOMBO_V3", {"options": [
    {"key": "large", "inputs": {"required": {
        "files": BATCH["required"]["images"],
        "mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "fast", "inputs": {"optional": {"steps": ["INT", {"min": 1}]}}}]}]}}},
]}]}}  # fmt: skip


def names(declared, **inputs):
    return {group: list(found) for group, found in fitted(declared, inputs).items()}


def test_a_choice_brings_the_inputs_of_its_option():
    brought = names(RESIZE, resize_type="scale by multiplier")
    assert brought["required"] == ["input", "resize_type", "resize_type.multiplier"]
    assert brought["optional"] == ["scale_method"]
    dimensions = names(RESIZE, resize_type="scale dimensions")["required"]
    assert [name for name in dimensions if "." in name] == [
        "resize_type.width", "resize_type.height", "resize_type.crop"]  # fmt: skip
    assert names(RESIZE, resize_type="nothing")["required"] == ["input", "resize_type"]


def test_a_row_must_have_its_first_inputs():
    assert names(BATCH) == {
        "required": ["images.image0", "images.image1"],
        "optional": ["images.image2", "images.image3"],
    }
    assert names(NAMED) == {"required": [], "optional": ["files.a", "files.b"]}


def test_a_slot_brings_inputs_when_it_is_linked():
    assert names(SLOT) == {"required": [], "optional": []}
    linked = fitted(SLOT, {"control": ["1", 0]})
    assert linked["optional"]["control"][0] == "IMAGE"
    assert list(linked["required"]) == ["control.strength"]


def test_choices_within_choices():
    found = names(DEEP, **{"model": "large", "model.mode": "fast"})
    assert found == {
        "required": ["model", "model.files.image0", "model.files.image1", "model.mode"],
        "optional": ["model.files.image2", "model.files.image3", "model.mode.steps"],
    }


def test_every_input_is_known_with_the_choices_of_all_options():
    found = every(RESIZE)
    assert choices(found["resize_type.crop"]) == ["disabled", "center", "edge"]
    assert choices(found["resize_type"]) == [
        "scale dimensions", "scale by multiplier", "match size", "nothing"]  # fmt: skip
    assert found["resize_type.multiplier"][0] == "FLOAT"
    assert set(every(BATCH)) == {f"images.image{at}" for at in range(4)}
    assert {"model.mode.steps", "model.files.image3"} <= set(every(DEEP))


def test_choices_are_changed_wherever_they_lie():
    def more(name, spec):
        return with_choices(spec, ["new"]) if name == "resize_type.crop" else None

    other = changed(RESIZE, more)
    assert choices(every(other)["resize_type.crop"]) == ["new"]
    assert choices(every(RESIZE)["resize_type.crop"]) == ["disabled", "center", "edge"]
    assert other["optional"] is RESIZE["optional"]
    assert changed(RESIZE, lambda name, spec: None) is None


@pytest.mark.parametrize("broken", [
    {"required": {"a": ["COMFY_AUTOGROW_V3", {}]}}, {"required": {"a": []}}, {"required": None},
    {"required": {"a": ["COMFY_DYNAMICCOMBO_V3"]}}, {"required": {"a": ["COMFY_DYNAMICSLOT_V3"]}},
    {"required": {"a": ["COMFY_DYNAMICCOMBO_V3", {"options": ["x", {"key": "y"}]}]}},
])  # fmt: skip
def test_what_another_version_may_declare_breaks_nothing(broken):
    fitted(broken, {"a": "y"})
    every(broken)
    changed(broken, lambda name, spec: None)


INFO = {
    "Load": {"input": {"required": {}}, "output": ["IMAGE"]},
    "Any": {"input": {"required": {}}, "output": ["COMFY_MATCHTYPE_V3"]},
    "Both": {"input": {"required": {}}, "output": ["IMAGE,LATENT"]},
    "Resize": {"input": RESIZE, "output": ["COMFY_MATCHTYPE_V3"]},
    "Batch": {"input": BATCH, "output": ["IMAGE"]},
    "Save": {
        "input": {
            "required": {"images": ["IMAGE"], "path": ["STRING,FILE_3D", {"widgetType": "STRING"}]}
        },
        "output": [],
        "output_node": True,
    },
}


def graph(**resize):
    return {
        "1": {"class_type": "Load", "inputs": {}},
        "2": {"class_type": "Resize", "inputs": {"input": ["1", 0], "scale_method": "area",
                                                 **resize}},
        "3": {"class_type": "Batch", "inputs": {"images.image0": ["2", 0],
                                                "images.image1": ["1", 0]}},
        "4": {"class_type": "Save", "inputs": {"images": ["3", 0], "path": "a"}},
    }  # fmt: skip


def problems(prompt):
    errors = validate(prompt, INFO, offered=lambda class_type, value: False)
    return {(node, each["type"], each["extra_info"]["input_name"])
            for node, error in errors.items() for each in error["errors"]}  # fmt: skip


BY_TWO = {"resize_type": "scale by multiplier", "resize_type.multiplier": 2.0}


def test_a_graph_with_such_nodes_is_sound():
    assert problems(graph(**BY_TWO)) == set()
    matched = {"resize_type": "match size", "resize_type.match": ["1", 0],
               "resize_type.crop": "edge"}  # fmt: skip
    assert problems(graph(**matched)) == set()


def test_what_is_wrong_in_such_nodes_is_told_at_its_input():
    assert problems(graph(**{**BY_TWO, "resize_type.multiplier": 9})) == {
        ("2", "value_bigger_than_max", "resize_type.multiplier")}  # fmt: skip
    assert problems(graph(resize_type="match size")) == {
        ("2", "required_input_missing", "resize_type.match"),
        ("2", "required_input_missing", "resize_type.crop"),
    }
    assert problems(graph(resize_type="gone")) == {("2", "value_not_in_list", "resize_type")}
    short = graph(**BY_TWO)
    del short["3"]["inputs"]["images.image1"]
    assert problems(short) == {("3", "required_input_missing", "images.image1")}


def test_types_fit_as_in_comfyui():
    prompt = graph(**BY_TWO)
    prompt["5"] = {"class_type": "Both", "inputs": {}}
    prompt["6"] = {"class_type": "Any", "inputs": {}}
    prompt["3"]["inputs"] |= {"images.image0": ["5", 0], "images.image1": ["6", 0]}
    assert problems(prompt) == set()


def test_widgets_that_a_choice_brings_are_parameters():
    prompt = graph(**{"resize_type": "scale dimensions", "resize_type.width": 64,
                      "resize_type.height": 32, "resize_type.crop": "center"})  # fmt: skip
    by_role = {each.role: each.name for each in parameters(prompt, INFO)}
    assert by_role == {"width": "2.resize_type.width", "height": "2.resize_type.height"}
    known = settable(prompt, INFO)
    assert [each.input for each in known] == [
        "resize_type.width", "resize_type.height", "resize_type.crop", "scale_method",
        "path"]  # fmt: skip
    new = apply(prompt, known, {"2.resize_type.width": "128", "2.resize_type.crop": "disabled"})
    assert new["2"]["inputs"]["resize_type.width"] == 128
    assert new["2"]["inputs"]["resize_type.crop"] == "disabled"
    check_chosen(prompt, INFO, [ChosenInput("2", "resize_type.width")])
