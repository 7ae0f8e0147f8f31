"""The command line as a tree, read from its parser: for completion, and for rules on all of it."""

# ruff: noqa: SLF001 – argparse has no public way to what a parser has been given

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_aws.cli.names import KINDS


@dataclass(frozen=True)
class Option:
    """One option; `values` are its choices, `takes` is ``file``, ``any`` or, for none, empty.

    `named`: the file of names that it takes one of, see `names`.
    """

    names: tuple[str, ...]
    about: str
    takes: str = ""
    values: tuple[str, ...] = ()
    named: str = ""


@dataclass(frozen=True)
class Node:
    """One word of the command line with what may follow it.

    `path` are the words up to it. `values` are the choices of its own arguments, `named` the file
    of names that they are of, see `names`.
    """

    path: tuple[str, ...]
    about: str
    words: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    values: tuple[str, ...]
    takes_files: bool
    named: str = ""


def nodes(topics: Any) -> Iterator[Node]:
    """The tree of commands, its root first."""
    words = tuple((action.dest, action.help or "") for action in topics._get_subactions())
    yield Node((), "", words, (Option(("-h", "--help"), "show help"),
               Option(("--version",), "show the version")), (), takes_files=False)  # fmt: skip
    for name, parser in topics.choices.items():
        yield from _below((name,), parser)


def _below(path: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Node]:
    words: tuple[tuple[str, str], ...] = ()
    options: list[Option] = []
    values: tuple[str, ...] = ()
    takes_files = False
    named = ""
    inner: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words = tuple((each.dest, each.help or "") for each in action._get_subactions())
            inner = dict(action.choices)
        elif action.option_strings:
            takes = "" if action.nargs == 0 else "file" if action.type is Path else "any"
            options.append(Option(tuple(action.option_strings), _help(action, parser), takes,
                                  tuple(map(str, action.choices or ())),
                                  KINDS.get(action.dest, "")))  # fmt: skip
        else:
            values += tuple(map(str, action.choices or ()))
            takes_files = takes_files or action.type is Path
            named = named or _named(path, action.dest)
    about = (parser.description or "").rstrip(".")
    yield Node(path, about, words, tuple(options), values, takes_files, named)
    for name, each in inner.items():
        yield from _below((*path, name), each)


def _named(path: tuple[str, ...], argument: str) -> str:
    """The file of an argument's names: it is called as what it is, or `name` below that word."""
    words = reversed(path) if argument == "name" else (argument,)
    return next((KINDS[word] for word in words if word in KINDS), "")


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return " ".join(text.split())
