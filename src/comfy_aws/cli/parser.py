"""The parser of the command line: it tells a wrong usage as JSON, too, and what may be meant."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, whose subparsers are of its own class."""

    as_json = False

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, with the nearest of the choices."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as exc:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            if not near:
                raise
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of them; did you mean {near[0]!r}?"
            ) from exc

    def error(self, message: str) -> NoReturn:
        """Leave with status 2, having said what is wrong."""
        if not self.as_json:
            super().error(message)
        usage = " ".join(self.format_usage().split())
        told = {"code": "usage", "message": message, "hint": usage}
        print(json.dumps({"error": told}), file=sys.stderr)
        sys.exit(2)


def parser_of(words: Sequence[str]) -> type[Parser]:
    """The class of parser for a command line; with --json anywhere on it, errors are JSON."""
    return type("Parser", (Parser,), {"as_json": "--json" in words})
