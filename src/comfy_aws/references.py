"""Names of files in widget texts that are no choices: prompts, paths, tags."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

LONGEST_NAME: Final = 1024
"""Characters; what is longer is a text, not the name of a file."""

EMBEDDING_SUFFIXES: Final = (".safetensors", ".pt", ".bin")
"""What ComfyUI puts behind an embedding's name that is no file's, in its order."""

# As ComfyUI's tokenizer reads it (comfy/sd1_clip.py): up to white space or a bracket, with the
# brackets of the name itself escaped; a weight behind a colon belongs to the bracket around it.
_EMBEDDING = re.compile(r"\bembedding:(?=((?:\\[()]|[^\s()])+))")
# What is left where packs have a grammar of their own around it: [a:b:0.5], {a|b}.
_PLAIN = re.compile(r"(?:\\[()]|[^\s,()\[\]{}<>|:\"])+")
_NAMED = re.compile(rf"\bembedding:{_PLAIN.pattern}|<lora:[^<>\n]+")
_LORA = re.compile(r"<lora:([^:<>\n]+)(?::[^<>\n]*)?>")
_FILE = re.compile(r"[^\n\r\0]*[^\s./\\]\.(?:[A-Za-z][A-Za-z0-9_]{1,11}|3mf|3gp|7z)")
_PLACE = re.compile(r" ?\[(?:input|output|temp)\]$")


def embeddings(text: str) -> list[tuple[str, ...]]:
    """What stands behind each ``embedding:``, with or without an extension, in the text's order.

    Each in the ways to read it, of which the first that names a file is meant: as ComfyUI reads it,
    and without what other packs may have put around it.
    """
    found: list[tuple[str, ...]] = []
    for word in _EMBEDDING.findall(text):
        plain = _PLAIN.match(word)
        if plain:
            ways = (word, word.strip(","), plain[0].rstrip(".;!?"))
            names = (re.sub(r"\\([()])", r"\1", way).replace("\\", "/") for way in ways)
            found.append(tuple(dict.fromkeys(filter(None, names))))
    return list(dict.fromkeys(filter(None, found)))


def embedding_files(
    roots: Iterable[Path], name: str, is_file: Callable[[Path], bool] = os.path.isfile
) -> list[tuple[str, Path]]:
    """(name below the embeddings folder, path) of what ComfyUI takes for an embedding.

    As comfy/sd1_clip.py looks for it: in each folder below `roots`, as it is or with a suffix. A
    file system that takes upper for lower case finds other files; so the name is as it was asked
    for, which is what a worker's ComfyUI will ask for, too.
    """
    wanted = PurePosixPath(name)
    if wanted.is_absolute() or ".." in wanted.parts or not wanted.parts:
        return []
    found: dict[str, Path] = {}
    for root in roots:
        for place, _, _ in os.walk(root, followlinks=True):
            names = (name, *(name + suffix for suffix in EMBEDDING_SUFFIXES))
            path = next((path for each in names if is_file(path := Path(place, each))), None)
            if path is not None:
                found.setdefault(path.relative_to(root).as_posix(), path)
    return sorted(found.items())


def loras(text: str) -> list[str]:
    """The names in tags such as ``<lora:name:0.8>``, in the text's order."""
    names = (name.strip().replace("\\", "/") for name in _LORA.findall(text))
    return list(dict.fromkeys(name for name in names if name))


def looks_like_file(text: str) -> bool:
    """Whether the whole text can be a file's name: one line that ends in an extension."""
    name = _PLACE.sub("", text)
    return len(name) <= LONGEST_NAME and "://" not in name and _FILE.fullmatch(name) is not None


def files_by_line(text: str) -> list[str]:
    """The lines of a text that has the name of a file on each; else nothing."""
    if "\n" not in text:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if all(map(looks_like_file, lines)) else []


def is_path_here(text: str) -> bool:
    """Whether the whole text is a path of this machine: one that is there, or an absolute one."""
    if len(text) > LONGEST_NAME or "\n" in text or "://" in text:
        return False
    there = os.path.exists(os.path.expanduser(text))  # noqa: PTH110, PTH111 – never raises
    if is_absolute(text):
        return there or looks_like_file(text)
    return there and ("/" in text or "\\" in text)


def may_be_path(text: str) -> bool:
    """Whether the whole text can be a path, not only a name."""
    is_line = len(text) <= LONGEST_NAME and "\n" not in text and "\0" not in text
    return is_line and "://" not in text and ("/" in text or "\\" in text)


def is_absolute(text: str) -> bool:
    """Whether a path says where it lies on one machine, whichever system that has."""
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def matching(listed: list[str], name: str, *, in_any_case: bool = False) -> list[str]:
    """Those of `listed` (relative paths) that `name` stands for.

    As ComfyUI's embeddings and most readers of tags take it: the name may lack the extension, and
    the folders above it.

    Args:
        in_any_case: take upper for lower case where nothing is written as `name` is.
    """
    exact = _matching(listed, name)
    if exact or not in_any_case:
        return exact
    folded = _matching([entry.casefold() for entry in listed], name.casefold())
    return [entry for entry in listed if entry.casefold() in folded]


def _matching(listed: list[str], name: str) -> list[str]:
    found = []
    for entry in listed:
        path = entry.replace("\\", "/")
        stem = path.rpartition(".")[0]
        if name in (path, stem) or path.endswith(f"/{name}") or stem.endswith(f"/{name}"):
            found.append(entry)
    return found


def with_posix_names(text: str, known: list[str]) -> str:
    """The text with / between the folders of what it names by an embedding or a tag."""

    def posix(match: re.Match[str]) -> str:
        name = re.sub(r"\\(?![()])", "/", match[0])
        plain = re.sub(r"\\([()])", r"\1", name).partition(":")[2]
        ways = filter(None, (plain.rstrip(".;!?"), plain.partition(":")[0]))
        return name if any(matching(known, way) for way in ways) else match[0]

    return _NAMED.sub(posix, text) if "\\" in text else text
