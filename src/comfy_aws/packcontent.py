"""What a node pack needs of the files that its .gitignore names: code, and its user's own content.

Packs keep their repository clean of what users put into it: wildcards, styles, fonts, colour
tables. A workflow that runs here uses them, so they travel: texts and fonts, up to a size. What
holds a password or a path of this machine stays here, and so does what a pack writes as it runs,
because a pack that changes with each run would be sent, and started, with each run.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Final

from comfy_aws.hashing import Fingerprint

TEXTS: Final = frozenset(
    {
        ".py", ".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg",
        ".cube", ".3dl",
    }
)  # fmt: skip
FONTS: Final = frozenset({".ttf", ".otf", ".ttc"})

LARGEST_TEXT: Final = 2 * 1024 * 1024
LARGEST_FONT: Final = 32 * 1024 * 1024
"""Bytes; fonts of Chinese and Japanese have twenty million and more."""

_MADE: Final = re.compile(
    r"(?:^|[/._-])(?:logs?|history|caches?|cached|te?mp|backups?|bak|debug|"
    r"build|dist|outputs?|downloads?|htmlcov|test_?results?|[^/]*egg-info)(?=[/._-]|$)",
    re.IGNORECASE,
)
"""In a name: what is written by a run or a build."""

_SECRET_NAME: Final = re.compile(
    r"secret|credential|passw|api_?-?key|(?:^|[/._-])(?:tokens?|auth)(?=[/._-]|$)", re.IGNORECASE
)
_SECRET: Final = re.compile(
    r"""(?ix)
    (?: api[_-]?key | secret(?:[_-]?(?:access[_-]?)?key)? | passw(?:or)?d | authorization
      | \b(?:[a-z]+[_-])?token )
    ["']?\s*[:=]\s*["']?(?!none\b|null\b|true\b|false\b|your)[^\s"'{}\[\](),;]{8,}
    | \b(?:sk|hf|ghp|xox[bp])[-_][a-z0-9-_]{20,} | \bAKIA[0-9A-Z]{16}\b
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY
    """
)


class Verdict(str, Enum):
    """Whether a file that .gitignore names is part of the pack all the same."""

    TRAVELS = "travels"
    STAYS = "stays"
    WITHHELD = "withheld"


def is_made(name: str) -> bool:
    """Whether a file or folder of this name is written by a run or a build."""
    return _MADE.search(name) is not None


def look(name: str, path: str, pack: str, seen: Fingerprint) -> Verdict:
    """Judge an ignored file of the pack at `pack`, by its name, its size and its text."""
    suffix = Path(name).suffix.lower()
    if is_made(name) or name.startswith(".") or "/." in name:
        return Verdict.STAYS
    if suffix in FONTS:
        return Verdict.TRAVELS if seen.size <= LARGEST_FONT else Verdict.STAYS
    if suffix not in TEXTS or seen.size > LARGEST_TEXT:
        return Verdict.STAYS
    if _SECRET_NAME.search(name):
        return Verdict.WITHHELD
    return _read(path, pack, seen)


@lru_cache(maxsize=16384)
def _read(path: str, pack: str, _seen: Fingerprint) -> Verdict:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Verdict.STAYS
    if Path(path).suffix.lower() != ".py" and _names_this_machine(text, Path(pack)):
        return Verdict.STAYS
    return Verdict.WITHHELD if _SECRET.search(text) else Verdict.TRAVELS


def _names_this_machine(text: str, pack: Path) -> bool:
    """Whether there is a path of this ComfyUI or of this user in it."""
    plain = text.replace("\\\\", "/").replace("\\", "/")
    places = (pack.parents[min(1, len(pack.parents) - 1)], pack.resolve(), Path.home())
    return any(
        f"{place.as_posix()}/" in plain or f'{place.as_posix()}"' in plain
        for place in places
        if len(place.parts) > 1
    )
