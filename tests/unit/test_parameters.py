"""A template's parameters are found by rule, and take values that fit and no others."""

from __future__ import annotations

import copy
import json

import pytest

from comfy_aws.errors import InvalidParameters
from comfy_aws.models import ChosenInput
from comfy_aws.parameter_values import apply
from comfy_aws.parameters import check_chosen, every, parameters, settable, sifted

SEED = ["INT", {"min": 0, "max": 2**64 - 1}]
INFO = {
    "Encode": {
        "input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}},
        "output": ["CONDITIONING"], "display_name": "CLIP Text Encode",
    },
    "Zero": {"input": {"required": {"conditioning": ["CONDITIONING"]}},
             "output": ["CONDITIONING"]},
    "Join": {"input": {"required": {"a": ["STRING", {"multiline": True}],
                                    "b": ["STRING", {"multiline": True}]}}, "output": ["STRING"]},
    "Int": {"input": {"required": {"value": ["INT", {}]}}, "output": ["INT"]},
    "Latent": {
        "input": {"required": {"width": ["INT", {"min": 16, "max": 4096, "step": 8}],
                               "height": ["INT", {"min": 16, "max": 4096, "step": 8}]}},
        "output": ["LATENT"],
    },
    "Load": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}},
             "output": ["IMAGE"]},
    "Sampler": {
        "input": {
            "required": {
                "seed": SEED, "steps": ["INT", {"min": 1, "max": 100}],
                "cfg": ["FLOAT", {"min": 0.0, "max": 30.0, "step": 0.1}],
                "sampler": [["euler", "ddim"]], "mode": ["COMBO", {"options": [1, 2]}],
                "positive": ["CONDITIONING"], "negative": ["CONDITIONING"],
                "latent": ["LATENT"],
            },
            "optional": {"denoise": ["FLOAT", {"min": 0.0, "max": 1.0}],
                         "fast": ["BOOLEAN", {}], "image": ["IMAGE"]},
        },
        "output": ["LATENT"],
    },
    "Save": {"input": {"required": {"samples": ["LATENT"],
                                    "prefix": ["STRING", {"multiline": False}]}},
             "output": [], "output_node": True},
}  # fmt: skip

PROMPT = {
    "1": {"class_type": "Encode", "inputs": {"text": "fog"}, "_meta": {"title": "Not this"}},
    "2": {"class_type": "Join", "inputs": {"a": "a cat", "b": "on a roof"}},
    "3": {"class_type": "Encode", "inputs": {"text": ["2", 0]}},
    "4": {"class_type": "Zero", "inputs": {"conditioning": ["1", 0]}},
    "5": {"class_type": "Int", "inputs": {"value": 512}, "_meta": {"title": "Edge"}},
    "6": {"class_type": "Latent", "inputs": {"width": ["5", 0], "height": 256}},
    "7": {"class_type": "Load", "inputs": {"image": "a.png"}},
    "8": {"class_type": "Sampler",
          "inputs": {"seed": 7, "steps": 20, "cfg": 7.0, "sampler": "euler", "mode": 1,
                     "positive": ["3", 0], "negative": ["4", 0], "latent": ["6", 0],
                     "denoise": 0.5, "fast": False, "image": ["7", 0]}},
    "9": {"class_type": "Save", "inputs": {"samples": ["8", 0], "prefix": "out"}},
    "10": {"class_type": "Encode", "inputs": {"text": "reaches no output"}},
}  # fmt: skip


def problems(values):
    with pytest.raises(InvalidParameters) as caught:
        apply(PROMPT, every(PROMPT, INFO), values)
    assert caught.value.to_dict()["parameters"] == caught.value.parameters
    return caught.value.parameters


def test_the_main_parameters_are_found_by_rule():
    found = [(each.role, each.name) for each in parameters(PROMPT, INFO)]
    assert found == [
        ("prompt", "2.a"), ("prompt", "2.b"), ("negative_prompt", "1.text"), ("file", "7.image"),
        ("seed", "8.seed"), ("width", "5.value"), ("height", "6.height"), ("steps", "8.steps"),
        ("cfg", "8.cfg"), ("denoise", "8.denoise"),
    ]  # fmt: skip


def test_a_prompt_that_is_both_is_no_negative_one():
    prompt = copy.deepcopy(PROMPT)
    prompt["8"]["inputs"]["positive"] = ["1", 0]
    roles = {each.name: each.role for each in parameters(prompt, INFO)}
    assert roles["1.text"] == "prompt"


def test_types_come_from_the_definitions():
    by_name = {each.name: each for each in every(PROMPT, INFO)}
    height = by_name["6.height"]
    assert (height.kind, height.value, height.minimum, height.maximum, height.step) == (
        "int", 256, 16, 4096, 8)  # fmt: skip
    assert by_name["8.sampler"].choices == ("euler", "ddim")
    assert by_name["8.mode"].choices == (1, 2)
    assert (by_name["7.image"].kind, by_name["7.image"].media) == ("file", "image")
    assert by_name["1.text"].title == "Not this"
    assert by_name["1.text"].multiline
    assert "10.text" not in by_name
    assert "9.samples" not in by_name


def test_a_parameter_tells_the_subgraphs_that_its_node_stands_in():
    graph = {"7:3:1": PROMPT["1"], "7:8": {**PROMPT["8"], "inputs": {
        **PROMPT["8"]["inputs"], "positive": ["7:3:1", 0], "negative": ["1", 0]}},
        "1": PROMPT["1"], "9": {**PROMPT["9"], "inputs": {"samples": ["7:8", 0]}}}  # fmt: skip
    words = {"id": "b", "name": "Words", "nodes": [{"id": 1, "type": "Encode"}]}
    look = {"id": "a", "name": "Look", "nodes": [{"id": 3, "type": "b"}, {"id": 8}]}
    workflow = {"nodes": [{"id": 7, "type": "a", "title": "First"}, {"id": 1}],
                "definitions": {"subgraphs": [words, look]}}  # fmt: skip
    places = {each.name: each.place for each in every(graph, INFO, workflow)}
    assert places["7:3:1.text"] == ("First", "Words")
    assert places["7:8.steps"] == ("First",)
    assert places["1.text"] == ()

    for broken in ({}, {"nodes": 5}, {"nodes": [None, {"id": 7, "type": "a"}]},
                   {"nodes": [{"id": 7, "type": []}], "definitions": {"subgraphs": ["a"]}},
                   {**workflow, "definitions": [look]}):  # fmt: skip
        found = every(graph, INFO, broken)
        assert {each.name for each in found} == places.keys()
        assert {each.place for each in found} <= {(), ("First",)}


def test_what_the_designer_chose_and_nothing_else():
    chosen = (
        ChosenInput("8", "sampler", "Way"),
        ChosenInput("99", "gone"),
        ChosenInput("8", "cfg"),
    )
    found = parameters(PROMPT, INFO, chosen)
    assert [(each.name, each.label, each.role) for each in found] == [
        ("8.sampler", "Way", ""), ("8.cfg", "", "cfg")]  # fmt: skip


def test_a_choice_that_is_no_widget_is_refused():
    check_chosen(PROMPT, INFO, [ChosenInput("8", "cfg")])
    for wrong in (ChosenInput("99", "gone"), ChosenInput("8", "latent")):
        with pytest.raises(InvalidParameters, match="no such widget"):
            check_chosen(PROMPT, INFO, [ChosenInput("8", "cfg"), wrong])
    with pytest.raises(InvalidParameters, match="chosen twice"):
        check_chosen(PROMPT, INFO, [ChosenInput("8", "cfg")] * 2)


def test_values_reach_the_graph_and_leave_the_old_one_alone():
    before = json.dumps(PROMPT)
    values = {"2.a": "a dog", "8.seed": str(2**64 - 1), "8.cfg": 3, "8.steps": 4.0,
              "8.fast": "True", "8.mode": "2", "Edge.value": 64,
              "7.image": "sub/b.png"}  # fmt: skip
    after = apply(PROMPT, every(PROMPT, INFO), values)
    assert json.dumps(PROMPT) == before
    assert after["2"]["inputs"] == {"a": "a dog", "b": "on a roof"}
    assert after["5"]["inputs"]["value"] == 64
    assert after["7"]["inputs"]["image"] == "sub/b.png"
    sampler = after["8"]["inputs"]
    assert (sampler["seed"], sampler["cfg"], sampler["steps"]) == (2**64 - 1, 3.0, 4)
    assert (sampler["fast"], sampler["mode"]) == (True, 2)
    assert after["1"]["_meta"] == {"title": "Not this"}


def test_a_label_names_its_parameter():
    found = parameters(PROMPT, INFO, (ChosenInput("8", "steps", "Quality"),))
    assert apply(PROMPT, found, {"Quality": 9})["8"]["inputs"]["steps"] == 9


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("8.nothing", 1, "no such parameter"),
        ("2.a", 1, "It is text; got 1"),
        ("8.steps", "many", "It is a whole number; got 'many'"),
        ("8.steps", True, "It is a whole number"),
        ("8.steps", 1.5, "It is a whole number"),
        ("8.steps", None, "It is a whole number"),
        ("8.steps", 0, "It is at least 1; got 0"),
        ("8.steps", 101, "It is at most 100; got 101"),
        ("8.cfg", "nan", "It is a number"),
        ("8.cfg", float("inf"), "It is a number"),
        ("8.cfg", True, "It is a number"),
        ("8.cfg", [1], "It is a number"),
        ("8.fast", 1, "It is true or false"),
        ("8.sampler", "heun", "It is one of: euler, ddim; got 'heun'"),
        ("8.mode", True, "It is one of: 1, 2"),
        ("7.image", "", "name of a file"),
        ("7.image", "../secret.png", "below the input folder"),
        ("7.image", "C:\\secret.png", "below the input folder"),
        ("7.image", "/etc/passwd", "below the input folder"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit(name, value, says):
    assert says in problems({name: value})[name]


def test_every_problem_is_told_at_once():
    assert set(problems({"8.steps": 0, "8.cfg": 99, "8.seed": 1})) == {"8.steps", "8.cfg"}


def test_a_title_that_several_have_is_not_guessed():
    prompt = copy.deepcopy(PROMPT)
    prompt["3"]["inputs"]["text"] = "cat"
    del prompt["1"]["_meta"]
    with pytest.raises(InvalidParameters, match=r"use one of 1\.text, 3\.text"):
        apply(prompt, every(prompt, INFO), {"CLIP Text Encode.text": "x"})


def test_a_name_that_is_nearly_one_is_guessed():
    for wrong, meant in {
        "8.step": "8.steps",
        "8.sede": "8.seed",
        "Edge.valu": "Edge.value",
    }.items():
        assert f"Did you mean {meant}?" in problems({wrong: 1})[wrong]
    assert "Did you mean" not in problems({"something else": 1})["something else"]


def test_one_widget_is_not_set_under_two_names():
    found = problems({"5.value": 64, "Edge.value": 128})
    assert found == {"Edge.value": "It is set already, as 5.value."}


def test_a_choice_that_can_be_had_is_taken_as_it_is():
    values = {"8.sampler": "newer", "8.mode": "1"}
    after = apply(PROMPT, every(PROMPT, INFO), values, offered=lambda choice: choice == "newer")
    assert (after["8"]["inputs"]["sampler"], after["8"]["inputs"]["mode"]) == ("newer", 1)
    with pytest.raises(InvalidParameters, match="It is one of: euler, ddim"):
        apply(PROMPT, every(PROMPT, INFO), {"8.sampler": "newest"}, offered=lambda choice: False)


def test_everything_may_be_set_under_the_designers_labels():
    found = settable(PROMPT, INFO, (ChosenInput("8", "steps", "Quality"), ChosenInput("99", "x")))
    assert {each.name for each in found} == {each.name for each in every(PROMPT, INFO)}
    assert apply(PROMPT, found, {"Quality": 9, "8.cfg": 2})["8"]["inputs"]["steps"] == 9


def test_chosen_inputs_that_the_graph_has_no_more_are_told():
    there, gone = ChosenInput("8", "steps", "Quality"), ChosenInput("99", "x")
    assert sifted(PROMPT, INFO, (gone, there)) == ((there,), (gone,))
