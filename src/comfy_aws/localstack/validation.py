"""Requests checked against botocore's own service models, with AWS's wording.

boto3 checks types and required members before it sends, but neither lengths, ranges, patterns
nor enumerations: those AWS checks, so the stack must.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Final

import botocore.session
from botocore.model import Shape

from comfy_aws.localstack.refusals import Refused

_JAVA_CLASSES: Final = {
    r"\p{ASCII}": r"\x00-\x7f",
    r"\p{Print}": r"\x20-\x7e",
    r"\p{L}": r"\w",
    r"\p{Z}": r"\s",
    r"\p{N}": r"\d",
}
_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}


@functools.lru_cache
def input_shape(service: str, name: str) -> Shape | None:
    """What an API call takes, by botocore's model; None for a call it does not know."""
    model = _service(service)
    return model.operation_model(name).input_shape if name in model.operation_names else None


@functools.lru_cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


def check(shape: Shape | None, value: dict[str, Any], code: str = "ValidationException") -> None:
    """Raises Refused, listing every violation, when `value` does not fit `shape`."""
    if shape is None:
        return
    found = list(_violations(shape, value, ""))
    if not found:
        return
    count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
    raise Refused(code, count + "; ".join(found), 400)


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    expected = _PYTHON_TYPES.get(kind)
    wrong = expected is not None and not isinstance(value, expected)
    if wrong or (kind != "boolean" and isinstance(value, bool)):
        yield _text(value, path, f"Member must be of type {kind}")
        return
    if kind == "structure":
        yield from _structure(shape, value, path)
    elif kind == "list":
        yield from _limits(shape, len(value), value, path, "length")
        for index, item in enumerate(value):
            yield from _violations(shape.member, item, f"{path}.{index + 1}.member")
    elif kind == "map":
        yield from _limits(shape, len(value), value, path, "length")
        for key, item in value.items():
            yield from _violations(shape.key, key, path)
            yield from _violations(shape.value, item, f"{path}.{key}")
    elif kind in ("string", "blob"):
        yield from _limits(shape, len(value), value, path, "length")
        if kind == "string":
            yield from _string(shape, value, path)
    elif kind in ("integer", "long", "float", "double"):
        yield from _limits(shape, value, value, path, "value")


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.metadata.get("required", []):
        if value.get(name) is None:
            yield _text("null", _join(path, name), "Member must not be null")
    for name, item in value.items():
        if name in shape.members and item is not None:
            yield from _violations(shape.members[name], item, _join(path, name))


def _limits(shape: Any, size: float, value: Any, path: str, what: str) -> Iterator[str]:
    unit = "have length" if what == "length" else "have value"
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    shown = value if len(str(value)) < 200 else f"({size} long)"
    if low is not None and size < low:
        yield _text(shown, path, f"Member must {unit} greater than or equal to {low}")
    if high is not None and size > high:
        yield _text(shown, path, f"Member must {unit} less than or equal to {high}")


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        listed = ", ".join(allowed)
        yield _text(value, path, f"Member must satisfy enum value set: [{listed}]")
    pattern = shape.metadata.get("pattern")
    compiled = _compiled(pattern) if pattern else None
    if compiled is not None and len(value) <= 4096 and not compiled.fullmatch(value):
        rule = f"Member must satisfy regular expression pattern: {pattern}"
        yield _text(value, path, rule)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """The Java pattern in Python's words; None when it has no translation."""
    inside = re.sub(r"\\p\{\w+\}", _translated, pattern).replace(r"\z", r"\Z")
    try:
        return re.compile(inside, re.DOTALL)
    except re.error:
        return None


def _translated(found: re.Match[str]) -> str:
    name = found.group()
    python = _JAVA_CLASSES.get(name, name)
    before = found.string[: found.start()]
    in_class = before.count("[") - before.count(r"\[") > before.count("]") - before.count(r"\]")
    return python if in_class else f"[{python}]"


def _join(path: str, name: str) -> str:
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _text(value: Any, path: str, rule: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {rule}"
