"""What can be known of a workflow by looking at it. Pure.

A *prompt* is ComfyUI's API format: ``{node_id: {"class_type": str, "inputs": {…}}}``, where an
input is a literal or a link ``[node_id, slot]``. A *workflow* is the UI's graph.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from comfy_aws import references
from comfy_aws.errors import InvalidWorkflow
from comfy_aws.models import Json

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest workflow or prompt as JSON; the largest seen in the wild is below 5 MB."""

MAX_DEPTH: Final = 8
"""Objects in objects in which names of files are looked for; widgets have two."""

SENSITIVE_KEYS: Final = frozenset({"auth_token_comfy_org", "api_key_comfy_org"})
"""extra_data that ComfyUI keeps out of history and that never leaves this machine."""

MARK: Final = "aws"
"""The key of extra_data that asks for a run on AWS."""

USER: Final = "aws_user"
"""The key of extra_data under which this server notes who has sent a prompt."""


_ANNOTATION: Final = re.compile(r" \[(?:input|output|temp)\]$")


class Literal(NamedTuple):
    """One widget value of a node."""

    node_id: str
    class_type: str
    name: str
    value: Any


def check_prompt(prompt: object) -> Json:
    """Return `prompt` when it is a graph in API format.

    Raises:
        InvalidWorkflow: it is not, or it is too large.
    """
    if not isinstance(prompt, dict) or not prompt:
        raise InvalidWorkflow(
            f"A prompt is a JSON object of nodes in API format, with at least one node; "
            f"got {_shown(prompt)}.",
            hint="Export the workflow with 'Export (API)'.",
        )
    for node_id, node in prompt.items():
        if isinstance(node, dict) and node.get("class_type", "") is None:
            # How ComfyUI's page writes a node in a subgraph whose class is not installed.
            raise InvalidWorkflow(
                f"The class of node {node_id!r}, {_shown(title_of(prompt, node_id))}, is not "
                "installed here.",
                hint="Install the node pack that has it, or take the node out of its subgraph.",
            )
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise InvalidWorkflow(
                f"Node {node_id!r} of the prompt has no class_type.",
                hint="Export the workflow with 'Export (API)'; the UI format is another one.",
            )
        if not isinstance(node.get("inputs", {}), dict):
            raise InvalidWorkflow(f"The inputs of node {node_id!r} are no JSON object.")
    _check_size(prompt, "prompt")
    return prompt


def check_workflow(workflow: object) -> Json:
    """Return `workflow` when it is a graph of the UI.

    Raises:
        InvalidWorkflow: it is not, or it is too large.
    """
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        raise InvalidWorkflow(
            f"A workflow is a JSON object with a list of nodes; got {_shown(workflow)}.",
            hint="Save it with 'Save' or 'Export' in ComfyUI.",
        )
    _check_size(workflow, "workflow")
    return workflow


def classes(prompt: Json) -> dict[str, list[str]]:
    """The node ids of each class used."""
    found: dict[str, list[str]] = {}
    for node_id, node in prompt.items():
        found.setdefault(node["class_type"], []).append(node_id)
    return found


def literals(prompt: Json) -> Iterator[Literal]:
    """Every input that is not a link."""
    for node_id, node in prompt.items():
        for name, value in node.get("inputs", {}).items():
            if not is_link(value):
                yield Literal(node_id, node["class_type"], name, unwrapped(value))


def strings(prompt: Json) -> Iterator[Literal]:
    """Every text in the literals, also inside lists and objects, unless it is empty.

    An object that is switched off by ``"on": false`` is passed over: nodes with many rows keep
    the rows that are not used.
    """
    for literal in literals(prompt):
        for text in _texts(literal.value):
            yield literal._replace(value=text)


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif depth < MAX_DEPTH and isinstance(value, (list, dict)):
        if isinstance(value, dict) and value.get("on") is False:
            return
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each, depth + 1)


def is_link(value: object) -> bool:
    """As ComfyUI's graph_utils.is_link decides it."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


def unwrapped(value: Any) -> Any:
    """A widget's value: lists travel in an object, because a bare list means a link."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def with_lists_wrapped(prompt: Json) -> Json:
    """The graph as another ComfyUI takes it: validation here has unwrapped the lists in it."""

    def wrapped(value: Any) -> Any:
        return {"__value__": value} if isinstance(value, list) and not is_link(value) else value

    return {
        node_id: {**node, "inputs": {k: wrapped(v) for k, v in node.get("inputs", {}).items()}}
        for node_id, node in prompt.items()
    }


def posix(name: str) -> str:
    """A file's name as workers have it; Windows puts backslashes between folders."""
    return name.replace("\\", "/")


def with_posix_names(prompt: Json, names: Iterable[str]) -> Json:
    """The graph as workers take it: what names one of these files, or their folder, is POSIX.

    All other texts stay as they are, whatever backslashes they have.
    """
    files = list(names)
    known: set[str] = set()
    for name in files:
        known |= {name, *map(str, PurePosixPath(name).parents)}

    def renamed(value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            name = posix(value)
            is_file = name != value and _ANNOTATION.sub("", name) in known
            if is_file or name == value:
                return name
            return references.with_posix_names(value, files)
        if depth < MAX_DEPTH and isinstance(value, list):
            return [renamed(each, depth + 1) for each in value]
        if depth < MAX_DEPTH and isinstance(value, dict):
            return {key: renamed(each, depth + 1) for key, each in value.items()}
        return value

    return {
        node_id: {**node, "inputs": renamed(node["inputs"])} if "inputs" in node else node
        for node_id, node in prompt.items()
    }


def with_paths(prompt: Json, paths: Mapping[str, str]) -> Json:
    """The graph with other values in place of those that are paths of another machine."""
    if not paths:
        return prompt

    def translated(value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return paths.get(value, value)
        if depth >= MAX_DEPTH or is_link(value):
            return value
        if isinstance(value, dict):
            return {key: translated(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list):
            return [translated(each, depth + 1) for each in value]
        return value

    return {
        node_id: {**node, "inputs": {
            name: translated(value) for name, value in node.get("inputs", {}).items()
        }}
        for node_id, node in prompt.items()
    }  # fmt: skip


def needed(prompt: Json, outputs: tuple[str, ...]) -> Json:
    """The part of the prompt that `outputs` stand on, in the prompt's order; all when empty.

    Links to nodes that are not there are left for ComfyUI's validation to report.
    """
    if not outputs:
        return prompt
    reached: set[str] = set()
    waiting = [node_id for node_id in outputs if node_id in prompt]
    while waiting:
        node_id = waiting.pop()
        if node_id in reached:
            continue
        reached.add(node_id)
        inputs = prompt[node_id].get("inputs", {}).values()
        waiting += [v[0] for v in inputs if is_link(v) and v[0] in prompt]
    return {node_id: node for node_id, node in prompt.items() if node_id in reached}


def prompt_id_of(job_id: str) -> str:
    """The id of a job's prompt in a worker's ComfyUI, of which newer ones take UUIDs alone."""
    try:
        is_uuid = str(uuid.UUID(job_id)) == job_id
    except ValueError:
        is_uuid = False
    return job_id if is_uuid else str(uuid.uuid5(uuid.NAMESPACE_OID, job_id))


def as_job(told: Any, job_id: str) -> Any:
    """What a worker's ComfyUI tells of a job's prompt, under the id of the job."""
    prompt_id = prompt_id_of(job_id)

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: job_id if (key, each) == ("prompt_id", prompt_id) else renamed(each)
                    for key, each in value.items()}  # fmt: skip
        return [*map(renamed, value)] if isinstance(value, list) else value

    return told if prompt_id == job_id else renamed(told)


def title_of(prompt: Json, node_id: str) -> str:
    """What people call a node: its title, else its class; empty without such a node."""
    node = prompt.get(node_id) or {}
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else ""
    return str(title or node.get("class_type") or "")


def public_extra_data(extra_data: Json, sensitive: frozenset[str] = SENSITIVE_KEYS) -> Json:
    """extra_data as it may leave this machine."""
    local = sensitive | SENSITIVE_KEYS | {MARK, USER, "client_id"}
    return {key: value for key, value in extra_data.items() if key not in local}


def node_error(
    class_type: str, message: str, *, input_name: str = "", value: object = None, kind: str = "aws"
) -> Json:
    """One entry of ComfyUI's node_errors. The canvas shows `message` and may hide details."""
    extra: Json = {"received_value": value}
    if input_name:
        extra["input_name"] = input_name
    error = {"type": kind, "message": message, "details": input_name, "extra_info": extra}
    return {"class_type": class_type, "dependent_outputs": [], "errors": [error]}


def _check_size(value: object, what: str) -> None:
    try:
        size = len(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidWorkflow(f"The {what} is not JSON: {exc}.") from exc
    if size > MAX_BYTES:
        raise InvalidWorkflow(
            f"A {what} has at most {MAX_BYTES // 2**20} MiB as JSON; this one has "
            f"{size / 2**20:.0f} MiB.",
            hint="Keep images in files and load them with Load Image, not inside the graph.",
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
