"""What is known of a graph by looking at it, and which bodies are refused."""

from __future__ import annotations

import json

import pytest

from comfy_aws import prompt as graphs
from comfy_aws.errors import InvalidWorkflow

GRAPH = {
    "1": {"class_type": "Load", "inputs": {"name": "a.safetensors", "strength": 1.0}},
    "2": {"class_type": "Text", "inputs": {"text": "a cat", "model": ["1", 0]}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "Save", "inputs": {"images": ["1", 0], "also": ["gone", 0]}},
}


@pytest.mark.parametrize(
    "prompt",
    [
        None, "", "not JSON", b"bytes", [], ["1"], 3, {},
        {"1": None}, {"1": []}, {"1": {}}, {"1": {"class_type": 5}},
        {"1": {"class_type": "A", "inputs": []}}, {"1": {"class_type": "A", "inputs": "x"}},
        {"nodes": [], "links": []},
        {"1": {"class_type": "A", "inputs": {"x": {1, 2}}}},
        {"1": {"class_type": "A", "inputs": {"x": b"raw"}}},
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(InvalidWorkflow) as caught:
        graphs.check_prompt(prompt)
    assert len(caught.value.message) < 300


def test_a_class_that_the_page_did_not_know_is_told_by_its_node():
    node = {"class_type": None, "inputs": {}, "_meta": {"title": "Caption" * 100}}
    with pytest.raises(InvalidWorkflow, match=r"'7:3', 'Caption.*not installed") as caught:
        graphs.check_prompt({"7:3": node})
    assert "node pack" in caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "workflow", [None, "", "{", [], {}, {"nodes": {}}, {"nodes": None}, GRAPH], ids=ascii
)
def test_what_is_no_workflow_is_refused(workflow):
    with pytest.raises(InvalidWorkflow, match="list of nodes"):
        graphs.check_workflow(workflow)


def test_too_large_is_refused_with_sizes_and_way_out():
    large = {"1": {"class_type": "A", "inputs": {"image": "x" * 50 * 2**20}}}
    with pytest.raises(InvalidWorkflow, match=r"at most 32 MiB.*this one has 50 MiB") as caught:
        graphs.check_prompt(large)
    assert "Load Image" in caught.value.hint
    with pytest.raises(InvalidWorkflow, match="workflow has at most 32 MiB"):
        graphs.check_workflow({"nodes": [large]})


def test_endless_nesting_is_refused():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidWorkflow, match="not JSON"):
        graphs.check_workflow({"nodes": nested})
    circle: list = []
    circle.append(circle)
    with pytest.raises(InvalidWorkflow, match="not JSON"):
        graphs.check_workflow({"nodes": circle})


def test_a_graph_is_returned_as_it_is():
    assert graphs.check_prompt(GRAPH) is GRAPH
    workflow = {"nodes": [], "extra": {}}
    assert graphs.check_workflow(workflow) is workflow


def test_literals_are_all_that_is_no_link():
    graph = {"1": {"class_type": "A", "inputs": {
        "text": "x", "number": 3, "link": ["2", 0], "wrapped": {"__value__": ["a", "b"]},
        "list": ["a", "b"], "object": {"k": 1}, "long": ["2", 0, 1],
    }}, "2": {"class_type": "B"}}  # fmt: skip
    found = {literal.name: literal.value for literal in graphs.literals(graph)}
    assert found == {
        "text": "x", "number": 3, "wrapped": ["a", "b"], "list": ["a", "b"],
        "object": {"k": 1}, "long": ["2", 0, 1],
    }  # fmt: skip


def test_strings_are_found_in_rows_and_lists():
    graph = {"1": {"class_type": "A", "inputs": {
        "text": "x", "empty": "", "number": 3, "link": ["2", 0],
        "row": {"on": True, "lora": "a.safetensors", "strength": 1}, "off": {"on": False, "l": "b"},
        "rows": {"__value__": ["c", {"deep": [{"d": "d"}]}]},
    }}}  # fmt: skip
    found = [(literal.name, literal.value) for literal in graphs.strings(graph)]
    assert found == [("text", "x"), ("row", "a.safetensors"), ("rows", "c"), ("rows", "d")]
    nested: list = ["deepest"]
    for _ in range(10_000):
        nested = [nested]
    assert list(graphs.strings({"1": {"class_type": "A", "inputs": {"x": {"x": nested}}}})) == []


def test_lists_are_wrapped_for_the_way_and_links_are_not():
    graph = {"1": {"class_type": "A", "inputs": {"choice": ["a", "b"], "link": ["2", 0]}},
             "2": {"class_type": "B"}}  # fmt: skip
    assert graphs.with_lists_wrapped(graph) == {
        "1": {"class_type": "A", "inputs": {"choice": {"__value__": ["a", "b"]},
                                            "link": ["2", 0]}},
        "2": {"class_type": "B", "inputs": {}},
    }  # fmt: skip
    once = graphs.with_lists_wrapped(graph)
    assert graphs.with_lists_wrapped(once) == once


def test_classes_with_their_nodes():
    assert graphs.classes(GRAPH) == {"Load": ["1"], "Text": ["2"], "Save": ["3", "4"]}


def test_needed_part_of_the_graph():
    assert list(graphs.needed(GRAPH, ("3",))) == ["1", "2", "3"]
    assert list(graphs.needed(GRAPH, ("4",))) == ["1", "4"]
    assert graphs.needed(GRAPH, ()) == GRAPH
    assert graphs.needed(GRAPH, ("unknown",)) == {}


def test_needed_ends_on_a_circle():
    circle = {
        "1": {"class_type": "A", "inputs": {"x": ["2", 0]}},
        "2": {"class_type": "A", "inputs": {"x": ["1", 0]}},
    }
    assert graphs.needed(circle, ("1",)) == circle


def test_names_of_files_become_posix_and_texts_stay():
    rows = {"lora": "sub\\b.pt", "on": True, "note": "a\\b"}
    inputs = {
        "name": "sub\\a.pt", "folder": "pipe\\unet", "image": "in\\x.png [output]",
        "text": "sub\\c.pt", "regex": r"sub\a.pt|\d", "row": rows,
        "list": {"__value__": ["sub\\a.pt"]}, "link": ["1", 0], "seed": 5,
    }  # fmt: skip
    graph = {"1": {"class_type": "A", "inputs": inputs}, "2": {"class_type": "B"}}
    names = ["sub/a.pt", "sub/b.pt", "pipe/unet/w.bin", "in/x.png"]
    changed = {
        "name": "sub/a.pt", "folder": "pipe/unet", "image": "in/x.png [output]",
        "row": rows | {"lora": "sub/b.pt"}, "list": {"__value__": ["sub/a.pt"]},
    }  # fmt: skip
    assert graphs.with_posix_names(graph, names) == {
        "1": {"class_type": "A", "inputs": inputs | changed}, "2": {"class_type": "B"},
    }  # fmt: skip
    assert inputs["name"] == "sub\\a.pt", "what the canvas gets back is untouched"


def test_secrets_and_marks_stay_here():
    extra = {
        "auth_token_comfy_org": "t", "api_key_comfy_org": "k", "aws": {}, "client_id": "c",
        "more_secret": "s", "extra_pnginfo": {"workflow": {}},
    }  # fmt: skip
    public = graphs.public_extra_data(extra, frozenset({"more_secret"}))
    assert public == {"extra_pnginfo": {"workflow": {}}}


def test_node_error_has_comfyuis_shape():
    error = graphs.node_error("Load", "gone", input_name="name", value="x")
    assert json.loads(json.dumps(error)) == {
        "class_type": "Load", "dependent_outputs": [],
        "errors": [{"type": "aws", "message": "gone", "details": "name",
                    "extra_info": {"input_name": "name", "received_value": "x"}}],
    }  # fmt: skip


def test_paths_of_another_machine_lead_elsewhere():
    def graph(at, name):
        rows = {"on": True, "files": [at, "b"], "link": ["/a", 0]}
        first = {"class_type": "X", "inputs": {"p": at, "t": "see /a", "rows": rows}}
        return {"1": first, "/a": {"class_type": name, "inputs": {"x": ["1", 0]}}}

    paths = {"/a": "/worker/a"}
    assert graphs.with_paths(graph("/a", "/a"), paths) == graph("/worker/a", "/a")
    assert graphs.with_paths(graph("/a", "/a"), {}) == graph("/a", "/a")
