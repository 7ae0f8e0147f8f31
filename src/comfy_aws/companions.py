"""Files that belong to a model without being named: shards, their index, configurations."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

CONFIGS: Final = (".yaml", ".yml", ".json")
"""Of the same stem as the model, such as the configuration of a checkpoint."""

INDEX: Final = ".index.json"
MARKS: Final = frozenset({"model_index.json", "config.json", "configuration.json"})
"""One of these makes a folder a model of several files (diffusers, transformers)."""

LARGEST_INDEX: Final = 64 * 1024 * 1024
"""Bytes; the index of a model of a trillion parameters is far below."""

_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<total>\d{5})(?P<suffix>\.[^.]+)")


def beside(path: Path) -> list[Path]:
    """The files next to `path` that are read with it, sorted; `path` itself is not among them."""
    found = {path.with_suffix(suffix) for suffix in CONFIGS}
    if path.name.endswith(INDEX):
        found |= _shards(path)
    shard = _SHARD.fullmatch(path.name)
    if shard:
        index = path.with_name(f"{shard['stem']}{shard['suffix']}{INDEX}")
        found |= {index, *_shards(index)}
        total = int(shard["total"])
        found |= {
            path.with_name(f"{shard['stem']}-{n:05}-of-{total:05}{shard['suffix']}")
            for n in range(1, total + 1)
        }
    return sorted(each for each in found if each != path and each.is_file())


def belongs(name: str, other: str) -> bool:
    """Whether `other` is read with `name`, by their names below a models folder alone."""
    path, more = PurePosixPath(name), PurePosixPath(other)
    if path == more or path.parent != more.parent:
        return False
    whole = _whole(path.name)
    is_config = more.suffix in CONFIGS and more.stem == path.stem
    return is_config or (whole != "" and whole == _whole(more.name))


def below(folder: Path) -> list[Path]:
    """Every file of a model that is a folder, sorted; hidden folders are tools' own."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in names if (path := Path(place, name)).is_file()]
    return sorted(found)


def is_model(folder: Path) -> bool:
    """Whether a folder is one model of several files."""
    return folder.is_dir() and any((folder / mark).is_file() for mark in MARKS)


def _whole(name: str) -> str:
    """The model that a shard or an index is of: m-00001-of-00002.sft → m.sft; else nothing."""
    shard = _SHARD.fullmatch(name)
    if shard:
        return f"{shard['stem']}{shard['suffix']}"
    return name.removesuffix(INDEX) if name.endswith(INDEX) else ""


def _shards(index: Path) -> set[Path]:
    try:
        if index.stat().st_size > LARGEST_INDEX:
            return set()
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    # A name with a folder in it is no shard, and would lead out of the model's folder.
    return {index.with_name(name) for name in names if isinstance(name, str) and _is_name(name)}


def _is_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", "..")
