"""Files that a 3D file refers to: buffers and pictures of a glTF, materials of an OBJ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a glTF or of a material that are read; both are descriptions."""

HEAD: Final = 64 * 1024
"""Bytes of an OBJ in which it names its materials; geometry follows."""


def referred(path: Path) -> list[Path]:
    """The files that are read with a 3D file, sorted: those that are there, below its folder."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        each = waiting.pop()
        named = {each.parent.joinpath(*name.parts) for name in _names(each)}
        new = {file for file in named if file.is_file()} - found - {path}
        found |= new
        waiting += new
    return sorted(found)


def _names(path: Path) -> Iterator[PurePosixPath]:
    readers = {".gltf": _of_gltf, ".obj": _of_obj, ".mtl": _of_material}
    reader = readers.get(path.suffix.lower())
    try:
        for name in reader(path) if reader else ():
            relative = PurePosixPath(name.replace("\\", "/"))
            if relative.parts and not relative.is_absolute() and ".." not in relative.parts:
                yield relative
    except (OSError, ValueError):  # no such file in truth: whoever reads it will tell
        return


def _of_gltf(path: Path) -> Iterator[str]:
    document = json.loads(_head(path, LARGEST))
    if not isinstance(document, dict):
        return
    for kind in ("buffers", "images"):
        listed = document.get(kind)
        for each in listed if isinstance(listed, list) else ():
            uri = each.get("uri") if isinstance(each, dict) else None
            if isinstance(uri, str) and not urlsplit(uri).scheme:  # bytes may stand there as data:
                yield unquote(uri)


def _of_obj(path: Path) -> Iterator[str]:
    for line in _head(path, HEAD).splitlines():
        word, _, names = line.strip().partition(" ")
        if word == "mtllib":
            yield names.strip()
            yield from names.split()


def _of_material(path: Path) -> Iterator[str]:
    for line in _head(path, LARGEST).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.lower().startswith(("map_", "bump", "disp", "decal", "refl", "norm")):
            yield rest.strip()
            yield rest.split()[-1] if rest.split() else ""  # options stand before the name


def _head(path: Path, size: int) -> str:
    with path.open("rb") as stream:
        return stream.read(size).decode("utf-8", errors="replace")
