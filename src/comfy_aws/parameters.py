"""The parameters of a template: the widgets that people change, with their types. Pure.

The main ones are found by rule, for forms and for programs that never look at the graph: prompts,
files, seeds, sizes, steps and strengths, also where the value comes from a node of its own (such
as a primitive). A designer may choose others; then exactly these are meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from comfy_aws import inputspecs
from comfy_aws.errors import InvalidParameters
from comfy_aws.inputspecs import Spec
from comfy_aws.models import ChosenInput, Json
from comfy_aws.prompt import is_link, needed, unwrapped
from comfy_aws.validation import output_nodes

ROLES: Final[dict[str, str]] = {
    "prompt": "prompt", "positive": "prompt", "positive_prompt": "prompt", "text": "prompt",
    "negative": "negative_prompt", "negative_prompt": "negative_prompt",
    "image": "file",
    "seed": "seed", "noise_seed": "seed",
    "width": "width", "height": "height", "batch_size": "batch_size",
    "steps": "steps", "cfg": "cfg", "guidance": "guidance",
    "denoise": "denoise", "strength": "strength", "strength_model": "strength",
}  # fmt: skip
"""What an input of this name is, when its kind fits."""

ORDER: Final = tuple(dict.fromkeys(ROLES.values()))
"""Roles as a form shows them."""


class ParameterKind(str, Enum):
    """What values a parameter takes. FILE is the name of a file in the input folder."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    FILE = "file"


_CHOSEN_KEYS = frozenset({"node", "input", "label"})
_SCALARS = {
    "STRING": ParameterKind.TEXT,
    "INT": ParameterKind.INT,
    "FLOAT": ParameterKind.FLOAT,
    "BOOLEAN": ParameterKind.BOOLEAN,
}
_FITTING: dict[str, frozenset[ParameterKind]] = {
    "prompt": frozenset({ParameterKind.TEXT}),
    "negative_prompt": frozenset({ParameterKind.TEXT}),
    "file": frozenset({ParameterKind.FILE}),
    **dict.fromkeys(("seed", "width", "height", "batch_size"), frozenset({ParameterKind.INT})),
    **dict.fromkeys(
        ("steps", "cfg", "guidance", "denoise", "strength"),
        frozenset({ParameterKind.INT, ParameterKind.FLOAT}),
    ),
}


@dataclass(frozen=True)
class Parameter:
    """One widget that can be set.

    `name` is ``node id.input`` and unique; `title` is the node's, `place` are the titles of the
    subgraphs that it stands in, the outermost first. `label` is what the designer
    calls it, else empty; `role` is one of ROLES' values, else empty. `minimum`, `maximum` and
    `step` are None where nothing bounds it. `media` is ``image``, ``audio``, ``video`` or
    ``file`` for a FILE.
    """

    name: str
    node: str
    input: str
    kind: ParameterKind
    value: Any
    title: str = ""
    label: str = ""
    role: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    multiline: bool = False
    media: str = ""
    tooltip: str = ""
    place: tuple[str, ...] = ()


def parameters(
    prompt: Json,
    object_info: Json,
    chosen: Sequence[ChosenInput] = (),
    workflow: Json | None = None,
) -> tuple[Parameter, ...]:
    """The parameters of a graph: those chosen, else those that the rules find.

    A chosen input that the graph no longer has is passed over: a later version may lack it. The
    graph as the page has it, `workflow`, alone tells the subgraphs.
    """
    everything = every(prompt, object_info, workflow)
    if chosen:
        by_name = {parameter.name: parameter for parameter in everything}
        return tuple(
            replace(by_name[name], label=each.label)
            for each in chosen
            if (name := f"{each.node}.{each.input}") in by_name
        )
    found = [parameter for parameter in everything if parameter.role]
    return tuple(sorted(found, key=lambda parameter: ORDER.index(parameter.role)))


def settable(
    prompt: Json,
    object_info: Json,
    chosen: Sequence[ChosenInput] = (),
    workflow: Json | None = None,
) -> tuple[Parameter, ...]:
    """Every widget that a program may set, those that the designer chose under their labels."""
    labels = {f"{each.node}.{each.input}": each.label for each in chosen}
    found = every(prompt, object_info, workflow)
    return tuple(replace(each, label=labels.get(each.name, "")) for each in found)


def every(prompt: Json, object_info: Json, workflow: Json | None = None) -> tuple[Parameter, ...]:
    """Every widget of every node that an output stands on, in the order of the graph."""
    outputs = tuple(output_nodes(prompt, object_info))
    graph = _Graph(needed(prompt, outputs), object_info)
    roles = graph.roles()
    return tuple(
        replace(each, role=roles.get(each.name, ""), place=_place(workflow or {}, each.node))
        for each in graph.widgets.values()
    )


def chosen_of(value: object) -> tuple[ChosenInput, ...]:
    """Chosen inputs from JSON: ``[{"node", "input", "label"?}]``. Raises InvalidParameters."""
    if not isinstance(value, list):
        raise InvalidParameters(f"The parameters are a list; got {shown(value)}.", parameters={})
    for each in value:
        fits = isinstance(each, dict) and {"node", "input"} <= each.keys() <= _CHOSEN_KEYS
        if not fits or not all(isinstance(text, str) for text in each.values()):
            raise InvalidParameters(
                'A chosen parameter is {"node": ID, "input": NAME, "label": TEXT}; '
                f"got {shown(each)}.",
                parameters={},
            )
    return tuple(ChosenInput(**each) for each in value)


def sifted(
    prompt: Json, object_info: Json, chosen: Sequence[ChosenInput]
) -> tuple[tuple[ChosenInput, ...], tuple[ChosenInput, ...]]:
    """Of chosen inputs those that the graph has, and those that it has no more."""
    known = {parameter.name for parameter in every(prompt, object_info)}
    kept = tuple(each for each in chosen if f"{each.node}.{each.input}" in known)
    return kept, tuple(each for each in chosen if each not in kept)


def check_chosen(prompt: Json, object_info: Json, chosen: Sequence[ChosenInput]) -> None:
    """Raises InvalidParameters when a chosen input is no widget of the graph, or is named twice."""
    known = {parameter.name for parameter in every(prompt, object_info)}
    names = [f"{each.node}.{each.input}" for each in chosen]
    problems = {name: "The template has no such widget." for name in names if name not in known}
    problems |= {name: "It is chosen twice." for name in names if names.count(name) > 1}
    raise_problems(problems)


def raise_problems(problems: dict[str, str]) -> None:
    """Raises InvalidParameters when there are any; the message tells the first."""
    if problems:
        name, first = next(iter(problems.items()))
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise InvalidParameters(f"{name}: {first}{more}", parameters=problems)


def shown(value: Any) -> str:
    """A value as messages have it: cut when it is long."""
    return shortened(repr(value), 60)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


# -- the graph ---------------------------------------------------------------------------------


class _Graph:
    """The widgets of a graph, and what their values reach."""

    def __init__(self, prompt: Json, object_info: Json) -> None:
        self._prompt = prompt
        self._info = object_info
        self._inputs = list(self._look())
        self.widgets = {each.name: each for each in self._widgets()}

    def roles(self) -> dict[str, str]:
        """Role by the name of the widget that the value comes from."""
        found: dict[str, str] = {}
        for node_id, name, spec in self._inputs:
            kind = _kind(spec)
            role = self._role(node_id, name, kind, spec)
            if not role or kind is None:
                continue
            sources = list(self._sources(node_id, name, kind, set()))
            if len(sources) == 1 or role in ("prompt", "negative_prompt"):
                for source in sources:
                    found.setdefault(source, role)
        return found

    def _role(self, node_id: str, name: str, kind: ParameterKind | None, spec: Spec) -> str:
        if kind is ParameterKind.FILE:
            return "file"
        multiline = bool(inputspecs.details(spec).get("multiline"))
        role = ROLES.get(name.rpartition(".")[2], "")
        if kind is ParameterKind.TEXT and "CONDITIONING" in self._returns(node_id):
            if not (multiline or role):
                return ""
            return "negative_prompt" if self._is_negative(node_id) else "prompt"
        if kind not in _FITTING.get(role, ()):
            return ""
        # A short text named so may be anything; a prompt has room to be written in.
        return role if kind is not ParameterKind.TEXT or multiline else ""

    def _is_negative(self, node_id: str) -> bool:
        """Whether a node's conditioning reaches inputs called negative alone."""
        reached: set[str] = set()
        waiting, seen = [node_id], {node_id}
        while waiting:
            source = waiting.pop()
            for consumer, node in self._prompt.items():
                for name, value in node.get("inputs", {}).items():
                    if not is_link(value) or value[0] != source:
                        continue
                    if name in ("positive", "negative"):
                        reached.add(name)
                    elif "CONDITIONING" in self._returns(consumer) and consumer not in seen:
                        seen.add(consumer)
                        waiting.append(consumer)
        return reached == {"negative"}

    def _sources(
        self, node_id: str, name: str, kind: ParameterKind, seen: set[str]
    ) -> Iterator[str]:
        """The widgets whose values come to an input, which may be a widget itself."""
        value = self._prompt[node_id].get("inputs", {}).get(name)
        if not is_link(value):
            if f"{node_id}.{name}" in self.widgets:
                yield f"{node_id}.{name}"
            return
        source = value[0]
        if source in seen or source not in self._prompt:
            return
        seen.add(source)
        for other, inner, spec in self._inputs:
            if other == source and _kind(spec) is kind:
                yield from self._sources(other, inner, kind, seen)

    def _look(self) -> Iterator[tuple[str, str, Spec]]:
        for node_id, node in self._prompt.items():
            definition, inputs = self._info.get(node["class_type"], {}), node.get("inputs", {})
            for specs in inputspecs.fitted(definition.get("input", {}), inputs).values():
                yield from ((node_id, name, spec) for name, spec in specs.items() if name in inputs)

    def _returns(self, node_id: str) -> list[Any]:
        definition = self._info.get(self._prompt[node_id]["class_type"], {})
        return list(definition.get("output") or ())

    def _widgets(self) -> Iterator[Parameter]:
        for node_id, name, spec in self._inputs:
            node = self._prompt[node_id]
            kind, value = _kind(spec), node["inputs"][name]
            if kind is None or is_link(value):
                continue
            extra = inputspecs.details(spec)
            definition = self._info[node["class_type"]]
            title = (node.get("_meta") or {}).get("title") or definition.get("display_name")
            yield Parameter(
                name=f"{node_id}.{name}",
                node=node_id,
                input=name,
                kind=kind,
                value=unwrapped(value),
                title=str(title or node["class_type"]),
                minimum=_number(extra.get("min")),
                maximum=_number(extra.get("max")),
                step=_number(extra.get("step")),
                choices=tuple(inputspecs.choices(spec) or ()),
                multiline=bool(extra.get("multiline")),
                media=_media(spec) if kind is ParameterKind.FILE else "",
                tooltip=str(extra.get("tooltip") or ""),
            )


def _place(workflow: Json, node_id: str) -> tuple[str, ...]:
    """Titles of the subgraphs around a node: node ``7:3`` is in that of node 7.

    Passes over what is no graph of the page: only people read the answer.
    """
    definitions = workflow.get("definitions")
    known = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    titles, nodes = [], workflow.get("nodes")
    for part in node_id.split(":")[:-1]:
        node = _with(nodes, "id", part)
        inside = _with(known, "id", str(node.get("type")))
        titles.append(str(node.get("title") or inside.get("name") or ""))
        nodes = inside.get("nodes")
    return tuple(filter(None, titles))


def _with(many: object, key: str, text: str) -> Json:
    """The object of a list whose value reads so; an empty one without it."""
    every_one = many if isinstance(many, list) else []
    fitting = (each for each in every_one if isinstance(each, dict) and str(each.get(key)) == text)
    return next(fitting, {})


def _kind(spec: Spec) -> ParameterKind | None:
    if inputspecs.brings_others(spec):
        return None  # another choice takes other inputs than the graph has
    if inputspecs.choices(spec) is not None:
        return ParameterKind.FILE if _media(spec) else ParameterKind.CHOICE
    kind = inputspecs.details(spec).get("widgetType") or spec[0]  # of several types one is typed
    return _SCALARS.get(kind) if isinstance(kind, str) else None


def _media(spec: Spec) -> str:
    return next(inputspecs.uploads(spec), "")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
