"""Validation by stored node definitions gives ComfyUI's kinds of error."""

from __future__ import annotations

import pytest

from comfy_aws.prompt import Literal
from comfy_aws.validation import is_listed, output_nodes, runnable, validate

INFO = {
    "Load": {
        "input": {"required": {
            "name": [["a.pt", "b.pt"]],
            "kind": ["COMBO", {"options": ["x", "y"]}],
        }, "optional": {"steps": ["INT", {"min": 1, "max": 10}], "cfg": ["FLOAT", {"min": 0.0}]}},
        "output": ["MODEL", "INT,FLOAT"], "output_node": False,
    },
    "Image": {"input": {"required": {"image": [["in.png"], {"image_upload": True}]}},
              "output": ["IMAGE"]},
    "Save": {
        "input": {"required": {"model": ["MODEL"]}, "optional": {
            "any": ["*"], "number": ["INT,FLOAT,STRING"], "text": ["STRING", {}],
            "flag": ["BOOLEAN"], "far": ["COMBO", {"remote": {}}]}},
        "output": [], "output_node": True,
    },
}  # fmt: skip


def load(**inputs):
    return {"class_type": "Load", "inputs": {"name": "a.pt", "kind": "x", **inputs}}


def save(**inputs):
    return {"class_type": "Save", "inputs": {"model": ["1", 0], **inputs}}


def problems(offered=lambda class_type, value: False, **nodes):
    errors = validate(nodes, INFO, offered=offered)
    for error in errors.values():
        assert set(error) == {"errors", "dependent_outputs", "class_type"}
        for each in error["errors"]:
            assert set(each) == {"type", "message", "details", "extra_info"}
    return {node: [each["type"] for each in error["errors"]] for node, error in errors.items()}


def test_a_sound_graph():
    graph = {"1": load(steps=3, cfg=0.5), "2": save(any=["1", 1], number=["1", 1], text=5)}
    assert problems(**graph) == {}
    assert output_nodes(graph, INFO) == ["2"]


@pytest.mark.parametrize(
    ("inputs", "kinds"),
    [
        ({"steps": 0}, ["value_smaller_than_min"]),
        ({"steps": 11}, ["value_bigger_than_max"]),
        ({"steps": "7"}, []),
        ({"steps": {"__value__": 7}}, []),
        ({"steps": "seven"}, ["invalid_input_type"]),
        ({"steps": None}, ["invalid_input_type"]),
        ({"steps": float("inf")}, ["invalid_input_type"]),
        ({"steps": float("nan")}, ["invalid_input_type"]),
        ({"cfg": -1}, ["value_smaller_than_min"]),
        ({"cfg": {}}, ["invalid_input_type"]),
        ({"name": "c.pt"}, ["value_not_in_list"]),
        ({"kind": "z"}, ["value_not_in_list"]),
        ({"kind": 5}, ["value_not_in_list"]),
        ({"kind": {"__value__": ["x", "y"]}}, []),
        ({"kind": {"__value__": ["x", "z"]}}, ["value_not_in_list"]),
        ({"kind": ["x", "y", "x"]}, ["bad_linked_input"]),
        ({"unknown": {"any": ["thing"]}}, []),
    ],
    ids=ascii,
)
def test_values(inputs, kinds):
    assert problems(**{"1": load(**inputs)}) == ({"1": kinds} if kinds else {})


def test_missing_input():
    assert problems(**{"1": {"class_type": "Load"}}) == {"1": ["required_input_missing"] * 2}


def test_unknown_class():
    assert problems(**{"1": {"class_type": "Gone", "inputs": {}}}) == {"1": ["missing_node_type"]}


@pytest.mark.parametrize(
    ("link", "kinds"),
    [
        (["9", 0], ["bad_linked_input"]),
        (["1", 2], ["bad_linked_input"]),
        (["1", -1], ["bad_linked_input"]),
        (["1", 0.5], ["bad_linked_input"]),
        (["1", 1], ["return_type_mismatch"]),
    ],
)
def test_links(link, kinds):
    assert problems(**{"1": load(), "2": save(model=link)}) == {"2": kinds}


def test_a_choice_that_only_the_bucket_has():
    asked = []

    def offered(class_type, value):
        asked.append((class_type, value))
        return True

    assert problems(offered, **{"1": load(name="far.pt", steps=2)}) == {}
    assert asked == [("Load", "far.pt")]


def test_a_definition_and_a_graph_of_different_systems():
    info = {"Load": {"input": {"required": {"name": [["sub\\a.pt", 5]]}}}}
    graph = {"1": {"class_type": "Load", "inputs": {"name": "sub/a.pt"}}}
    assert validate(graph, info, offered=lambda class_type, value: False) == {}


def test_uploads_and_remote_choices_are_left_to_the_worker():
    image = {"class_type": "Image", "inputs": {"image": "new.png"}}
    assert problems(**{"1": load(), "2": save(far="anything"), "3": image}) == {}


def test_long_lists_are_not_sent_back():
    info = {"Load": {"input": {"required": {"name": [[f"{n}.pt" for n in range(21)]]}}}}
    graph = {"1": {"class_type": "Load", "inputs": {"name": "x"}}}
    [error] = validate(graph, info, offered=lambda c, v: False)["1"]["errors"]
    assert error["details"] == "name: 'x' not in (list of length 21)"


def test_an_output_is_held_up_by_what_is_below_it_alone():
    graph = {
        "1": load(), "2": save(), "3": load(steps=0), "4": save(model=["3", 0]),
        "5": load(steps=99), "6": save(model=["3", 0]),
    }  # fmt: skip
    errors = validate(graph, INFO, offered=lambda class_type, value: False)
    assert errors.keys() == {"3", "5"}
    sound, told = runnable(graph, errors, ["2", "4", "6"])
    assert sound == ("2",)
    assert told == {"3": {**errors["3"], "dependent_outputs": ["4", "6"]}}


def test_a_class_that_nobody_has_holds_up_all_outputs():
    graph = {"1": load(), "2": save(), "7": {"class_type": "Gone", "inputs": {}}}
    errors = validate(graph, INFO, offered=lambda class_type, value: False)
    sound, told = runnable(graph, errors, ["2"])
    assert (sound, list(told)) == ((), ["7"])


def test_a_choice_that_a_template_has():
    assert is_listed(INFO, Literal("1", "Load", "kind", "y"))
    assert is_listed(INFO, Literal("1", "Load", "name", "a.pt"))
    assert not is_listed(INFO, Literal("1", "Load", "kind", "z"))
    assert not is_listed(INFO, Literal("1", "Load", "steps", "y"))
    assert not is_listed(INFO, Literal("1", "Gone", "kind", "y"))
