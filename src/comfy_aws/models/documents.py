"""Frozen values in and out of JSON, checked on the way in.

`to_json`/`from_json` are the only way into and out of stored documents; what does not fit its
type raises InvalidDocument with the path of the field.
"""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast

from comfy_aws.errors import InvalidDocument

Json = dict[str, Any]
T = TypeVar("T")


@cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter  # costs 0.1 s to import; only stored documents need it

    return TypeAdapter(cls)


def from_dict(cls: type[T], raw: object, *, where: str = "document") -> T:
    """Build `cls` from plain JSON values; unknown keys are ignored, so that newer writers work.

    Raises:
        InvalidDocument: a field is missing or has the wrong type.
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(cast("Any", cls)).validate_python(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "(top)"
        raise InvalidDocument(
            f"The {where} is not a valid {cls.__name__}: {path}: {first['msg']}.",
            hint="It was written by another version or is damaged; publish it again.",
        ) from exc
    return value


def from_json(cls: type[T], text: str | bytes, *, where: str = "document") -> T:
    """Like `from_dict`, from JSON text."""
    try:
        raw = json.loads(text)
    except ValueError as exc:
        raise InvalidDocument(f"The {where} is not JSON: {exc}.") from exc
    return from_dict(cls, raw, where=where)


def to_dict(value: Any) -> Json:
    """Plain JSON values of a dataclass; enums become their values."""
    plain: Json = json.loads(to_json(value))
    return plain


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(value: Any) -> str:
    """Compact JSON text of a dataclass.

    ASCII only: a graph may hold half a surrogate pair, which is legal in JSON and has no UTF-8.
    """
    return json.dumps(value, default=_plain, separators=(",", ":"))
