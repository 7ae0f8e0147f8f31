"""Names that a TAB offers: templates, endpoints and jobs as the last commands saw them.

A file a kind below `names` in the state folder, a name a line, which the scripts of `completion`
read without starting Python. What a page does meanwhile is in them after the next list.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from comfy_aws import config
from comfy_aws.errors import ComfyAwsError

KINDS: Final = {"template": "templates", "endpoint": "endpoints", "job": "jobs"}
"""The file of names for each word by which commands call an argument."""

MOST: Final = 1000
"""Names of a kind; of more the first ones, which are the newest."""

_PLAIN: Final = re.compile(r"[\w.-]+", re.ASCII)
"""What no shell reads anything into."""


def saw(kind: str, names: Iterable[str]) -> None:
    """These are all there are, the likeliest first."""
    plain = [name for name in dict.fromkeys(names) if _PLAIN.fullmatch(name)]
    with suppress(OSError):  # a state folder that cannot be written to completes nothing
        config.write_atomically(_file(kind), "".join(f"{name}\n" for name in plain[:MOST]))


def changed(kind: str, *, came: str = "", went: str = "") -> None:
    """One came, or went, or both: it was renamed."""
    saw(kind, [*filter(None, [came]), *(name for name in _known(kind) if name != went)])


def with_likely(exc: ComfyAwsError, arguments: argparse.Namespace) -> ComfyAwsError:
    """The error; of what is not found, with the known name that may have been meant."""
    for kind in KINDS:
        if f"There is no {kind} " in exc.message:
            given = getattr(arguments, kind, "") or getattr(arguments, "name", "")
            near = difflib.get_close_matches(str(given), _known(kind), n=1)
            if near and near[0] != given:
                exc.hint = f"Did you mean {near[0]}? {exc.hint}".rstrip()
    return exc


def _known(kind: str) -> list[str]:
    try:
        return _file(kind).read_text("utf-8", "replace").split()
    except OSError:
        return []


def _file(kind: str) -> Path:
    return config.default_home() / "names" / KINDS[kind]
