"""How output files are numbered. Pure.

ComfyUI names files ``prefix_00001_.png`` and takes the highest number in the folder plus one, so
the worker's numbers say nothing here: the designer's own numbering goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from comfy_aws.models import Json

VIEWED: Final = "result"
"""The key under which viewers name their file by its path alone, without its folder's type."""

LONGEST: Final = 1024
"""Characters of a path."""

_FILE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.?/)[^\\\0\n]*[^/\\\0\n]\.[A-Za-z0-9]{1,8}")
# ComfyUI's own counter ends with an underscore, those of packs have its five digits. Other numbers
# are words of the name, such as a seed or a time.
_NUMBERED = re.compile(
    r"(?P<prefix>.*_)(?P<number>\d{5,}(?=_(?:\.|$))|\d{5}(?=[.-]|$))(?P<rest>.*)"
)


class Numbered(NamedTuple):
    """A file name in its parts: ``prefix`` ends with the underscore before the number."""

    prefix: str
    number: int
    rest: str

    def with_number(self, number: int) -> str:
        return f"{self.prefix}{number:05}{self.rest}"


class Place(NamedTuple):
    """Where ComfyUI says that a file is: its own three keys of an output entry."""

    filename: str
    subfolder: str
    type: str


PathOf = Callable[[Place], Path]


def numbered(filename: str) -> Numbered | None:
    """The parts of a numbered name; None for a name of another kind."""
    match = _NUMBERED.fullmatch(filename)
    return Numbered(match["prefix"], int(match["number"]), match["rest"]) if match else None


def next_number(prefix: str, names: Iterable[str]) -> int:
    """The number that ComfyUI would give the next file of this prefix.

    Names are compared without case, because the file system may be.
    """
    return max((_count(prefix, name) for name in names), default=0) + 1


def _count(prefix: str, name: str) -> int:
    """The number of a name, where it has one and this prefix; else 0."""
    if name[: len(prefix)].lower() != prefix.lower():
        return 0
    word = name[len(prefix) :].partition("_")[0]  # what ComfyUI itself takes for the number
    if word.isdecimal():
        return int(word)
    parts = numbered(name)
    return parts.number if parts is not None and len(parts.prefix) == len(prefix) else 0


def alternative(filename: str, attempt: int) -> str:
    """Another name for a file whose unnumbered name is taken: ``name (2).ext``."""
    stem, dot, suffix = filename.rpartition(".")
    return f"{stem} ({attempt}){dot}{suffix}" if dot else f"{filename} ({attempt})"


def places(output: object) -> list[Place]:
    """Every file that an output entry names, however deep."""
    found: list[Place] = []
    if isinstance(output, dict):
        place = _place(output)
        if place:
            found.append(place)
        for value in output.values():
            found += places(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            found += places(value)
    return found


def viewed(output: object) -> list[list[Place]]:
    """The files that a node's output names by paths alone: of each where it may be, best first."""
    listed = output.get(VIEWED) if isinstance(output, dict) else None
    return [*filter(None, map(_places_of, listed))] if isinstance(listed, list) else []


def renamed(output: object, names: dict[Place, Place], path_of: PathOf) -> object:
    """A copy of an output entry in which files have their local names.

    Args:
        path_of: gives the path of a file by its place here.
    """
    if isinstance(output, dict):
        copy: Json = {key: renamed(value, names, path_of) for key, value in output.items()}
        if isinstance(copy.get(VIEWED), list):
            copy[VIEWED] = [_shown_as(value, names) for value in copy[VIEWED]]
        place = _place(output)
        if place in names:
            copy |= _beside(output, place, names, path_of)
            copy |= {"filename": names[place].filename, "subfolder": names[place].subfolder}
        return copy
    if isinstance(output, (list, tuple)):
        return [renamed(value, names, path_of) for value in output]
    return output


def _beside(entry: Json, place: Place, names: dict[Place, Place], path_of: PathOf) -> Json:
    """What else an entry says of its file, as those of videos do: a picture of it, its path."""
    local: Json = {}
    for key, value in entry.items():
        if isinstance(value, str) and key not in Place._fields:
            other = place._replace(filename=value)
            if other in names:
                local[key] = names[other].filename
            elif _is_path_of(value, place):
                local[key] = str(path_of(names[place]))
    return local


def _is_path_of(text: str, place: Place) -> bool:
    """Whether a text is an absolute path that leads to a file."""
    end = "/".join(filter(None, (place.subfolder, place.filename)))
    return text.startswith("/") and text.endswith(f"/{end}")


def _shown_as(value: object, names: dict[Place, Place]) -> object:
    place = next((each for each in _places_of(value) if each in names), None)
    if place is None:
        return value
    parts = (place.type, names[place].subfolder, names[place].filename)
    is_marked = str(value).startswith(f"{place.type}/")
    return "/".join(filter(None, parts if is_marked else parts[1:]))


def _places_of(value: object) -> list[Place]:
    if not isinstance(value, str) or len(value) > LONGEST or not _FILE.fullmatch(value):
        return []
    folder, _, name = value.rpartition("/")
    kind, _, below = folder.partition("/")
    found = [Place(name, folder, each) for each in ("output", "temp")]
    return [Place(name, below, kind), *found] if kind in ("output", "temp") else found


def _place(entry: Json) -> Place | None:
    filename = entry.get("filename")
    if not isinstance(filename, str) or not filename:
        return None
    return Place(filename, str(entry.get("subfolder") or ""), str(entry.get("type") or "output"))
