"""What the source of a node pack tells: of others that it takes code or classes from, of tags.

Source is searched, not parsed: a pack has hundreds of files, and many are no valid Python for
this interpreter. Answers are kept until a file of the pack changes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from comfy_aws import packs

LARGEST_SOURCE: Final = 4 * 1024 * 1024
"""Bytes; larger files are tables, not code."""

# from X import …; import X, Y as Z; the names are told apart by a second look.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w.,\t ]+))", re.MULTILINE
)
_BELOW = re.compile(r"custom_nodes[./\\]+([\w.-]+)")
_LOADS = re.compile(r"custom_nodes|sys\.path|import_module|spec_from_file_location|__import__")
_TESTS = re.compile(r"(?:^|/)(?:tests?|examples?)/|(?:^|/)(?:test_[^/]*|setup|conftest)\.py$")
_QUOTED = re.compile(r"""["']([\w.-]+)["']""")
_CLASS = re.compile(r"""MAPPINGS\s*(?:\[|\.get\()\s*["']([^"'\n]+)["']""")
_SAMPLING = re.compile(r"SAMPLER|SCHEDULER|k_diffusion")
_TAG = re.compile(r"""<\\?lora|\blora:|["']lora["']""", re.IGNORECASE)


def imported(scanned: packs.Scan, others: Iterable[Path]) -> list[Path]:
    """Those of `others` (packs of the same ComfyUI) that a pack takes code from.

    Found are imports of another's folder name, ``custom_nodes.NAME`` in any form, and, in files
    that load code by path, the other's name in quotes.
    """
    by_name = {_module_name(other): other for other in others}
    own = _module_name(scanned.pack)
    mentioned = _names(scanned.pack, scanned.key(".py")) - {own}
    return [by_name[name] for name in sorted(mentioned & by_name.keys())]


def classes_used(source: Path) -> frozenset[str]:
    """The node classes that a file of source takes by name from ComfyUI's mappings."""
    try:
        seen = source.stat()
    except OSError:
        return frozenset()
    return _classes(source, (seen.st_size, seen.st_mtime_ns))


def adds_choice(scanned: packs.Scan, choice: str) -> bool:
    """Whether the pack's code names a choice, and adds samplers or schedulers to ComfyUI's own."""
    return choice in _added(scanned.pack, scanned.key(".py"))


def modules(scanned: packs.Scan) -> frozenset[str]:
    """The top names of all modules that the pack's code imports and does not have itself."""
    return _modules(scanned.pack, scanned.key(".py"))


def reads_lora_tags(scanned: packs.Scan) -> bool:
    """Whether the pack's code knows tags such as ``<lora:name:0.8>``."""
    return _reads_tags(scanned.pack, scanned.key(".py"))


def _module_name(pack: Path) -> str:
    return pack.stem if pack.suffix == ".py" else pack.name


@lru_cache(maxsize=256)
def _names(pack: Path, _seen: str) -> frozenset[str]:
    """Every name in the pack's source that could be another pack's."""
    found: set[str] = set()
    members = packs.scan(pack).members
    own = {each.name.split("/")[1].removesuffix(".py") for each in members if "/" in each.name}
    for text in _sources(members):
        for origin, listed in _IMPORT.findall(text):
            names = (
                [origin] if origin else [each.strip().split(" ")[0] for each in listed.split(",")]
            )
            found |= {name.partition(".")[0] for name in names} - sys.stdlib_module_names - own
        found |= set(_below(text))
        if _LOADS.search(text):
            found |= set(_QUOTED.findall(text))
    return frozenset(found)


@lru_cache(maxsize=256)
def _modules(pack: Path, _seen: str) -> frozenset[str]:
    members = [member for member in packs.scan(pack).members if not _TESTS.search(member.name)]
    found: set[str] = set()
    for text in _sources(members):
        for origin, listed in _IMPORT.findall(text):
            names = (
                [origin] if origin else [each.strip().split(" ")[0] for each in listed.split(",")]
            )
            found |= {name.partition(".")[0] for name in names}
    own = {part.partition(".")[0] for member in members for part in member.name.split("/")}
    return frozenset(filter(None, found - own))


def _below(text: str) -> Iterable[str]:
    """The packs behind ``custom_nodes.``; a dot ends the name in an import, not in a path."""
    for match in _BELOW.finditer(text):
        name = match[1].rstrip(".")
        yield from (name, name.removesuffix(".py"), name.partition(".")[0])


@lru_cache(maxsize=256)
def _classes(source: Path, _seen: tuple[int, int]) -> frozenset[str]:
    text = source.read_text(encoding="utf-8", errors="replace")
    return frozenset(_CLASS.findall(text))


@lru_cache(maxsize=256)
def _added(pack: Path, _seen: str) -> frozenset[str]:
    """What a pack's code has in quotes, where it has to do with samplers."""
    texts = list(_sources(packs.scan(pack).members))
    adds = any(_SAMPLING.search(text) for text in texts)
    return frozenset(name for text in texts for name in _QUOTED.findall(text) if adds)


@lru_cache(maxsize=256)
def _reads_tags(pack: Path, _seen: str) -> bool:
    return any(_TAG.search(text) for text in _sources(packs.scan(pack).members))


def _sources(members: Iterable[packs.Member]) -> Iterable[str]:
    for name, path, seen in members:
        if name.endswith(".py") and seen.size <= LARGEST_SOURCE:
            with suppress(OSError):  # the archive, which is made next, tells of it
                yield Path(path).read_text(encoding="utf-8", errors="replace")
