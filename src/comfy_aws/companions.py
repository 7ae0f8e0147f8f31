"""Files that belong to a model without being named: shards, their index, configurations."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

from comfy_aws import formats

CONFIGS: Final = (".yaml", ".yml", ".json")
"""Of the same stem as the model, such as the configuration of a checkpoint."""

TOKENIZERS: Final = frozenset({
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "merges.txt",
    "sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model", "spm.model",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
})  # fmt: skip
"""What a tokenizer is made of, by the names that transformers gives."""

MARKS: Final = frozenset({
    "adapter_config.json", "config.json", "configuration.json", "model_index.json",
    "open_clip_config.json", "preprocessor_config.json", "scheduler_config.json",
    "tokenizer.json", "tokenizer_config.json",
})  # fmt: skip
"""One of these makes a folder a model of several files (diffusers, transformers)."""

SHARED: Final = TOKENIZERS | MARKS | {
    "feature_extractor_config.json", "generation_config.json", "image_processor_config.json",
    "processor_config.json", "video_preprocessor_config.json",
}  # fmt: skip
"""What belongs to every model of its folder."""

LARGEST_INDEX: Final = 64 * 1024 * 1024
"""Bytes; the index of a model of a trillion parameters is far below."""

# Variants, such as fp16, stand where each version of diffusers and transformers puts them:
# m.fp16-00001-of-00002.bin, m-00001-of-00002.fp16.bin; m.fp16.bin.index.json,
# m.bin.index.fp16.json, m.bin.fp16.index.json.
_SHARD: Final = re.compile(r"(?P<stem>.+)-\d{5,6}-of-(?P<total>\d{5,6})(?P<suffix>(\.[^.]+){1,2})")
_INDEX: Final = re.compile(r"(?P<of>.+)\.index(?P<variant>\.[^.]+)?\.json")
_VARIANT: Final = re.compile(r"(?P<stem>.+)(?P<suffix>\.[^.]+)(?P<variant>\.[^.]+)")


def beside(path: Path, name: str = "") -> list[Path]:
    """The files next to `path` that are read with it, sorted; `path` itself is not among them.

    Args:
        name: its name below a models folder, which tells whether it has a folder of its own.
    """
    found = {path.with_suffix(suffix) for suffix in CONFIGS}
    if PurePosixPath(name.replace("\\", "/")).parent.parts:
        found |= {path.with_name(each) for each in SHARED}
    if _whole(path.name):
        found |= _shards(path)
        # Only who asks for a part lists the folder: most models are whole.
        around = _files_around(path)
        for index in (each for each in around if _INDEX.fullmatch(each.name)):
            shards = _shards(index)
            if path in shards or _whole(index.name) == _whole(path.name):
                found |= {index, *shards}
        shard = _SHARD.fullmatch(path.name)
        if shard:
            found |= {each for each in around if _is_of_same(shard, each.name)}
    return sorted(each for each in found if each != path and each.is_file())


def belongs(name: str, other: str) -> bool:
    """Whether `other` is read with `name`, by their names below a models folder alone."""
    path, more = PurePosixPath(name), PurePosixPath(other)
    if path == more or path.parent != more.parent:
        return False
    if more.name in SHARED and path.parent.parts:
        return True
    whole = _whole(path.name)
    is_config = more.suffix in CONFIGS and more.stem == path.stem
    return is_config or (whole != "" and whole == _whole(more.name))


def may_be(name: str) -> bool:
    """Whether a file of this name can be what belongs to a model."""
    path = PurePosixPath(name)
    return path.suffix in CONFIGS or path.name in SHARED


def below(folder: Path) -> list[Path]:
    """Every file of a model that is a folder, sorted; hidden folders are tools' own."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in names if (path := Path(place, name)).is_file()]
    return sorted(found)


def is_model(folder: Path) -> bool:
    """Whether a folder is one model of several files."""
    return os.path.isdir(folder) and any(  # noqa: PTH112 – whatever is asked, no error
        (folder / mark).is_file() for mark in MARKS
    )


def _whole(name: str) -> str:
    """The model that a shard or an index is of: m-00001-of-00002.sft → m.sft; else nothing."""
    shard = _SHARD.fullmatch(name)
    if shard:
        variant, _, suffix = shard["suffix"].rpartition(".")
        return f"{shard['stem']}{variant}.{suffix}"
    index = _INDEX.fullmatch(name)
    if index is None:
        return ""
    parts = _VARIANT.fullmatch(index["of"] + (index["variant"] or ""))
    if parts and parts["suffix"] in formats.MODELS:
        return f"{parts['stem']}{parts['variant']}{parts['suffix']}"
    return index["of"]


def _files_around(path: Path) -> list[Path]:
    try:
        return [path.with_name(name) for name in os.listdir(path.parent)]  # noqa: PTH208
    except OSError:  # gone with its folder
        return []


def _is_of_same(shard: re.Match[str], name: str) -> bool:
    other = _SHARD.fullmatch(name)
    return (
        other is not None
        and other["total"] == shard["total"]
        and _whole(name) == _whole(shard.string)
    )


def _shards(index: Path) -> set[Path]:
    if not _INDEX.fullmatch(index.name):
        return set()
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
