"""Validates a graph against stored node definitions, for machines without the nodes. Pure.

The rules and the shape of the errors are those of ComfyUI's own validation at queue time, as far
as definitions can tell: missing inputs, links, numbers in range, choices. What only the node's
code can tell is left to the worker's ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from comfy_aws import inputspecs
from comfy_aws.inputspecs import Spec
from comfy_aws.models import Json
from comfy_aws.prompt import Literal, is_link, needed, posix, unwrapped

MISSING: Final = "missing_node_type"

Problem = Json
_NUMBERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float}


def validate(prompt: Json, object_info: Json, *, offered: Callable[[str, str], bool]) -> Json:
    """ComfyUI's node_errors for a graph; empty when it is sound.

    Args:
        prompt: the graph in API format.
        object_info: definitions by class, as GET /object_info gives them.
        offered: whether a choice that the definition does not list, given as (class, value), can
            be had all the same, such as a model that is only in the bucket.
    """
    errors: Json = {}
    for node_id, node in prompt.items():
        definition = object_info.get(node["class_type"])
        problems = (
            list(_node_problems(prompt, object_info, node, definition, offered))
            if definition is not None
            else [_unknown_class(node["class_type"])]
        )
        if problems:
            errors[node_id] = {
                "errors": problems, "dependent_outputs": [], "class_type": node["class_type"],
            }  # fmt: skip
    return errors


def runnable(prompt: Json, errors: Json, outputs: Iterable[str]) -> tuple[tuple[str, ...], Json]:
    """What of a graph runs: as in ComfyUI, an output is held up by errors below itself alone.

    Args:
        errors: as `validate` gives them.
        outputs: ids of the output nodes that are asked for.

    Returns:
        The outputs that are sound, and the errors of those that are not with their
        `dependent_outputs`. A class that nobody has holds up all of them.
    """
    sound: list[str] = []
    told: Json = {key: error for key, error in errors.items() if _is_unknown(error)}
    everywhere = bool(told)
    for output in outputs:
        below = [key for key in needed(prompt, (output,)) if key in errors]
        for key in below:
            told[key] = errors[key]
            told[key]["dependent_outputs"].append(output)
        if not below and not everywhere:
            sound.append(output)
    return tuple(sound), told


def is_listed(object_info: Json, literal: Literal) -> bool:
    """Whether stored definitions have the value among the choices of its widget."""
    groups = object_info.get(literal.class_type, {}).get("input", {}).values()
    specs = [group[literal.name] for group in groups if literal.name in group]
    return any(literal.value in (inputspecs.choices(spec) or ()) for spec in specs)


def output_nodes(prompt: Json, object_info: Json) -> list[str]:
    """The ids of the nodes whose class is an output node."""
    return [
        node_id
        for node_id, node in prompt.items()
        if object_info.get(node["class_type"], {}).get("output_node")
    ]


def _node_problems(
    prompt: Json,
    object_info: Json,
    node: Json,
    definition: Json,
    offered: Callable[[str, str], bool],
) -> Iterator[Problem]:
    inputs = node.get("inputs", {})
    for group, specs in inputspecs.fitted(definition.get("input", {}), inputs).items():
        for name, spec in specs.items():
            if name not in inputs:
                if group == "required":
                    yield _problem("required_input_missing", "Required input is missing", name)
            elif is_link(inputs[name]):
                yield from _link_problems(prompt, object_info, name, spec, inputs[name])
            elif isinstance(inputs[name], list):
                text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
                yield _problem("bad_linked_input", text, name, inputs[name])
            else:
                value = unwrapped(inputs[name])
                yield from _value_problems(node["class_type"], name, spec, value, offered)


def _link_problems(
    prompt: Json, object_info: Json, name: str, spec: Spec, link: list[Any]
) -> Iterator[Problem]:
    source = prompt.get(link[0])
    if source is None:
        text = f"The input {name} is linked to node {link[0]}, which does not exist"
        yield _problem("bad_linked_input", text, name)
        return
    returns = object_info.get(source["class_type"], {}).get("output")
    if returns is None:
        return
    if not isinstance(link[1], int) or not 0 <= link[1] < len(returns):
        text = f"The input {name} is linked to output {link[1]} of node {link[0]}, which has none"
        yield _problem("bad_linked_input", text, name)
    elif not _fits(returns[link[1]], spec[0]):
        text = f"Return type mismatch between linked nodes: {returns[link[1]]} into {spec[0]}"
        yield _problem("return_type_mismatch", text, name)


def _fits(received: Any, wanted: Any) -> bool:
    if isinstance(wanted, list) or isinstance(received, list) or "COMBO" in (wanted, received):
        return True  # choices are compared by value when the node runs
    given, taken = ({name.strip() for name in str(kind).split(",")} for kind in (received, wanted))
    return bool(given & taken or (given | taken) & inputspecs.ANY_TYPE)


def _value_problems(
    class_type: str, name: str, spec: Spec, value: Any, offered: Callable[[str, str], bool]
) -> Iterator[Problem]:
    kind, extra = spec[0], inputspecs.details(spec)
    if isinstance(kind, str) and kind in _NUMBERS:
        yield from _number_problems(kind, name, extra, value)
        return
    options = inputspecs.choices(spec)
    if options is None or any(inputspecs.uploads(spec)):
        return
    if not options and kind == inputspecs.COMBO:
        return  # the page fetches them
    if value in options or (isinstance(value, list) and all(each in options for each in value)):
        return
    if isinstance(value, str) and posix(value) in {posix(o) for o in options if isinstance(o, str)}:
        return  # the definition or the graph comes from Windows
    if not (isinstance(value, str) and offered(class_type, value)):
        shown = str(options) if len(options) <= 20 else f"(list of length {len(options)})"
        problem = _problem("value_not_in_list", f"Value not in list: {value!r}", name, value)
        problem["details"] = f"{name}: '{value}' not in {shown}"
        yield problem


def _number_problems(kind: str, name: str, extra: Json, value: Any) -> Iterator[Problem]:
    try:
        number = _NUMBERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        text = f"Failed to convert an input value to a {kind} value: {value!r}"
        yield _problem("invalid_input_type", text, name, value)
        return
    low, high = extra.get("min"), extra.get("max")
    if low is not None and number < low:
        text = f"Value {number} smaller than min of {low}"
        yield _problem("value_smaller_than_min", text, name, value)
    if high is not None and number > high:
        yield _problem(
            "value_bigger_than_max", f"Value {number} bigger than max of {high}", name, value
        )


def _is_unknown(error: Json) -> bool:
    return bool(error["errors"][0]["type"] == MISSING)


def _unknown_class(class_type: str) -> Problem:
    text = f"The node class {class_type} is neither installed here nor in the template"
    return _problem(MISSING, text, "")


def _problem(kind: str, message: str, name: str, value: Any = None) -> Problem:
    extra = {"input_name": name, "received_value": value} if name else {}
    return {"type": kind, "message": message, "details": name, "extra_info": extra}
