"""Names of files in widget texts that are no choices: prompts, paths, tags."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

LONGEST_NAME: Final = 1024
"""Characters; what is longer is a text, not the name of a file."""

# As ComfyUI's tokenizer reads it (comfy/sd1_clip.py): up to white space or a bracket, with the
# brackets of the name itself escaped; a weight behind a colon belongs to the bracket around it.
_EMBEDDING = re.compile(r"\bembedding:((?:\\[()]|[^\s,()\[\]{}<>|:\"])+)")
_LORA = re.compile(r"<lora:([^:<>\n]+)(?::[^<>\n]*)?>")
_FILE = re.compile(r"[^\n\r\0]*[^\s./\\]\.(?:[A-Za-z][A-Za-z0-9_]{1,11}|3mf|3gp|7z)")
_PLACE = re.compile(r" ?\[(?:input|output|temp)\]$")


def embeddings(text: str) -> list[str]:
    """The names behind ``embedding:``, with or without an extension, in the text's order."""
    names = (re.sub(r"\\([()])", r"\1", name) for name in _EMBEDDING.findall(text))
    found = (name.rstrip(".;!?").replace("\\", "/") for name in names)
    return list(dict.fromkeys(name for name in found if name))


def loras(text: str) -> list[str]:
    """The names in tags such as ``<lora:name:0.8>``, in the text's order."""
    names = (name.strip().replace("\\", "/") for name in _LORA.findall(text))
    return list(dict.fromkeys(name for name in names if name))


def looks_like_file(text: str) -> bool:
    """Whether the whole text can be a file's name: one line that ends in an extension."""
    name = _PLACE.sub("", text)
    return len(name) <= LONGEST_NAME and "://" not in name and _FILE.fullmatch(name) is not None


def is_path_here(text: str) -> bool:
    """Whether the whole text is a path of this machine: one that is there, or an absolute one."""
    if len(text) > LONGEST_NAME or "\n" in text or "://" in text:
        return False
    there = os.path.exists(os.path.expanduser(text))  # noqa: PTH110, PTH111 – never raises
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return there or looks_like_file(text)
    return there and ("/" in text or "\\" in text)


def matching(listed: list[str], name: str) -> list[str]:
    """Those of `listed` (relative paths) that `name` stands for.

    As ComfyUI's embeddings and most readers of tags take it: the name may lack the extension, and
    the folders above it.
    """
    found = []
    for entry in listed:
        path = entry.replace("\\", "/")
        stem = path.rpartition(".")[0]
        if name in (path, stem) or path.endswith(f"/{name}") or stem.endswith(f"/{name}"):
            found.append(entry)
    return found
