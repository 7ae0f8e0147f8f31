"""What a node's definition says of its inputs: their choices, and inputs that come and go. Pure.

A definition is ComfyUI's INPUT_TYPES, which GET /object_info shows. In newer ComfyUIs it has inputs
that stand for others: a choice whose options bring inputs of their own, a row of equal inputs that
grows, a slot that brings inputs when it is linked. In a graph the others have dotted names, such
as ``resize_type.width``; in a definition they lie below the one that they come with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from comfy_aws.models import Json

GROUPS: Final = ("required", "optional")

COMBO: Final = "COMBO"
CHOICE: Final = "COMFY_DYNAMICCOMBO_V3"
ROW: Final = "COMFY_AUTOGROW_V3"
SLOT: Final = "COMFY_DYNAMICSLOT_V3"
ANY_TYPE: Final = frozenset({"*", "COMFY_MATCHTYPE_V3"})
"""Fits every other type; which ones match a template is the page's to tell."""

Spec: TypeAlias = Any
"""``[type, {…}]``, or ``[[choice, …], {…}]``; a tuple where the node's class itself is asked."""


def details(spec: Spec) -> Json:
    """What is said of an input besides its type."""
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def choices(spec: Spec) -> list[Any] | None:
    """The choices of a combo; None for every other input."""
    if isinstance(spec[0], list):
        return spec[0]
    if spec[0] == COMBO:
        offered = details(spec).get("options")
        return offered if isinstance(offered, list) else list(offered or ())
    if spec[0] == CHOICE:
        return [option.get("key") for option in _options(spec)]
    return None


def with_choices(spec: Spec, offered: list[Any]) -> Spec:
    """A combo with other choices."""
    if spec[0] == COMBO:
        return [COMBO, {**details(spec), "options": offered}, *spec[2:]]
    return [offered, *spec[1:]]


def uploads(spec: Spec) -> Iterator[str]:
    """The kinds of files (``image``, ``audio``, …) that can be uploaded for an input."""
    for key, value in details(spec).items():
        if key.endswith("_upload") and value:
            yield key.removesuffix("_upload")


def brings_others(spec: Spec) -> bool:
    """Whether other inputs come and go with this one."""
    return spec[0] in (CHOICE, ROW, SLOT)


def fitted(declared: Json, inputs: Json) -> dict[str, dict[str, Spec]]:
    """The inputs that a node takes which is set to `inputs`: group → name → specification.

    They are those that ComfyUI's own validation looks at. A choice that is none stays among them,
    so that it can be told; one that is not made is left to the node, as there.
    """
    found: dict[str, dict[str, Spec]] = {group: {} for group in GROUPS}
    _fit(declared, inputs, "", found)
    return found


def every(declared: Json) -> dict[str, Spec]:
    """All inputs that a node can have, by name.

    The options of a choice may have inputs of the same name: of combos the choices are joined.
    """
    found: dict[str, Spec] = {}
    for name, spec in _every(declared, ""):
        known, offered = found.get(name), choices(spec)
        before = choices(known) if known is not None else None
        if known is None:
            found[name] = spec
        elif before is not None and offered is not None:
            more = [choice for choice in offered if choice not in before]
            found[name] = with_choices(known, [*before, *more]) if more else known
    return found


def changed(declared: Json, change: Callable[[str, Spec], Spec | None]) -> Json | None:
    """A copy in which `change` has replaced inputs; None when it gave None for each.

    Args:
        change: asked for each input by its name in a graph.
    """
    return _changed(declared, change, "")


def _fit(declared: Json, inputs: Json, prefix: str, found: dict[str, dict[str, Spec]]) -> None:
    for group, name, spec in _inputs(declared, prefix):
        if spec[0] == ROW:
            required, template = _row(spec)
            for at, each in enumerate(_names(spec)):
                least = details(spec)["template"].get("min", 0) if required else 0
                found["required" if at < least else "optional"][f"{name}.{each}"] = template
        elif spec[0] == CHOICE and name in inputs:
            option = next((o for o in _options(spec) if o.get("key") == inputs[name]), None)
            found[group][name] = spec
            if option is not None:
                _fit(option.get("inputs") or {}, inputs, f"{name}.", found)
        elif spec[0] == SLOT and name in inputs:
            found[group][name] = [details(spec).get("slotType", "*"), *spec[1:]]
            _fit(details(spec).get("inputs") or {}, inputs, f"{name}.", found)
        elif not brings_others(spec):
            found[group][name] = spec


def _every(declared: Json, prefix: str) -> Iterator[tuple[str, Spec]]:
    for _, name, spec in _inputs(declared, prefix):
        if spec[0] == ROW:
            _, template = _row(spec)
            yield from ((f"{name}.{each}", template) for each in _names(spec))
            continue
        yield name, spec
        if spec[0] == CHOICE:
            for option in _options(spec):
                yield from _every(option.get("inputs") or {}, f"{name}.")
        elif spec[0] == SLOT:
            yield from _every(details(spec).get("inputs") or {}, f"{name}.")


def _changed(
    declared: Json, change: Callable[[str, Spec], Spec | None], prefix: str
) -> Json | None:
    new: Json = {}
    for group, name, spec in _inputs(declared, prefix):
        other = change(name, spec)
        if spec[0] == CHOICE:
            below = [_changed(option.get("inputs") or {}, change, f"{name}.")
                     for option in _options(spec)]  # fmt: skip
            if any(each is not None for each in below):
                options = [option if each is None else {**option, "inputs": each}
                           for option, each in zip(_options(spec), below, strict=True)]  # fmt: skip
                other = [spec[0], {**details(spec), "options": options}, *spec[2:]]
        elif spec[0] == SLOT:
            inner = _changed(details(spec).get("inputs") or {}, change, f"{name}.")
            if inner is not None:
                other = [spec[0], {**details(spec), "inputs": inner}, *spec[2:]]
        if other is not None:
            new.setdefault(group, dict(declared[group]))[name.removeprefix(prefix)] = other
    return {**declared, **new} if new else None


def _inputs(declared: Json, prefix: str) -> Iterator[tuple[str, str, Spec]]:
    for group in GROUPS:
        inputs = declared.get(group)
        for name, spec in inputs.items() if isinstance(inputs, dict) else ():
            if isinstance(spec, (list, tuple)) and spec:
                yield group, f"{prefix}{name}", spec


def _options(spec: Spec) -> list[Json]:
    """The options of a choice that brings others: ``{"key", "inputs"}``."""
    offered = details(spec).get("options")
    return [each for each in offered or () if isinstance(each, dict)]


def _row(spec: Spec) -> tuple[bool, Spec]:
    """Whether the first inputs of a row must be there, and what each of them is."""
    template = details(spec).get("template") or {}
    for group, _, each in _inputs(template.get("input") or {}, ""):
        return group == "required", each
    return False, ["*", {}]


def _names(spec: Spec) -> list[str]:
    template = details(spec).get("template") or {}
    if "names" in template:
        return [str(name) for name in template["names"]]
    return [f"{template.get('prefix', '')}{at}" for at in range(int(template.get("max", 0)))]
