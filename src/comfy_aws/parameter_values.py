"""Values for a template's parameters: held against their types, and put into the graph. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from comfy_aws.models import Json
from comfy_aws.parameters import Parameter, ParameterKind, raise_problems, shortened, shown

Offered = Callable[[str], bool]
"""Whether a choice that the definitions do not list can be had all the same."""


class Unfit(Exception):
    """Why a value cannot be taken; becomes a part of InvalidParameters."""


def no_more(_choice: str) -> bool:
    """For graphs that take the listed choices alone."""
    return False


def apply(
    prompt: Json,
    parameters: Sequence[Parameter],
    values: Mapping[str, Any],
    *,
    offered: Offered = no_more,
) -> Json:
    """A copy of the graph with new values.

    Args:
        values: by the parameter's name (``node id.input``), or by ``node title.input`` or label
            where only one has it. Numbers and booleans may come as text.
        offered: whether a choice that is not listed is there, such as a newer model.

    Raises:
        InvalidParameters: with a message for each name that is unknown or whose value does not
            fit.
    """
    problems: dict[str, str] = {}
    changed = {node_id: {**node, "inputs": dict(node.get("inputs", {}))}
               for node_id, node in prompt.items()}  # fmt: skip
    set_by: dict[str, str] = {}
    for name, value in values.items():
        try:
            parameter = named(parameters, name)
            other = set_by.setdefault(parameter.name, name)
            if other != name:
                raise Unfit(f"It is set already, as {other}.")
            checked = _checked(parameter, value, offered)
        except Unfit as exc:
            problems[name] = str(exc)
        else:
            changed[parameter.node]["inputs"][parameter.input] = checked
    raise_problems(problems)
    return changed


def named(parameters: Sequence[Parameter], name: str) -> Parameter:
    """The parameter that a name means. Raises Unfit when none or several are meant."""
    for key in (
        lambda each: each.name,
        lambda each: each.label,
        lambda each: f"{each.title}.{each.input}",
    ):
        found = [each for each in parameters if key(each) == name]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(each.name for each in found)
            raise Unfit(f"Several parameters are called so; use one of {names}.")
    every = [each.name for each in parameters]
    titled = [f"{each.title}.{each.input}" for each in parameters]
    labelled = [each.label for each in parameters if each.label]
    near = difflib.get_close_matches(name, [*every, *titled, *labelled], n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    known = shortened(", ".join(every) or "none", 500)
    raise Unfit(f"There is no such parameter.{guess} Known: {known}.")


def _checked(parameter: Parameter, value: Any, offered: Offered) -> Any:
    is_new = isinstance(value, str) and value not in map(str, parameter.choices)
    if parameter.kind is ParameterKind.CHOICE and is_new and offered(value):
        return value
    return _CHECKS[parameter.kind](parameter, value)


def _text(_parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str):
        raise Unfit(f"It is text; got {shown(value)}.")
    return value


def _int(parameter: Parameter, value: Any) -> int:
    number: Any = value
    if isinstance(value, str):
        try:
            number = int(value.strip())
        except ValueError:
            number = None
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool):
        raise Unfit(f"It is a whole number; got {shown(value)}.")
    _check_range(parameter, number)
    return number


def _float(parameter: Parameter, value: Any) -> float:
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        raise Unfit(f"It is a number; got {shown(value)}.")
    _check_range(parameter, number)
    return number


def _check_range(parameter: Parameter, number: float) -> None:
    low, high = parameter.minimum, parameter.maximum
    if low is not None and number < low:
        raise Unfit(f"It is at least {low}; got {number}.")
    if high is not None and number > high:
        raise Unfit(f"It is at most {high}; got {number}.")


def _boolean(_parameter: Parameter, value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise Unfit(f"It is true or false; got {shown(value)}.")
    return value


def _choice(parameter: Parameter, value: Any) -> Any:
    options = (*parameter.choices, parameter.value)
    if value in options and not isinstance(value, bool):
        return value
    as_text = [option for option in options if str(option) == value]
    if not as_text:
        known = shortened(", ".join(map(str, parameter.choices)), 500)
        raise Unfit(f"It is one of: {known}; got {shown(value)}.")
    return as_text[0]


def _file(_parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Unfit(f"It is the name of a file in the input folder; got {shown(value)}.")
    for path in (PurePosixPath(value), PureWindowsPath(value)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise Unfit(f"It is a name below the input folder; got {shown(value)}.")
    return value


_CHECKS: dict[ParameterKind, Callable[[Parameter, Any], Any]] = {
    ParameterKind.TEXT: _text,
    ParameterKind.INT: _int,
    ParameterKind.FLOAT: _float,
    ParameterKind.BOOLEAN: _boolean,
    ParameterKind.CHOICE: _choice,
    ParameterKind.FILE: _file,
}
