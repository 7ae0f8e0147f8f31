"""What the commands share: how they are declared, and how they print."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from comfy_aws import config
from comfy_aws.errors import Cancelled, ComfyAwsError, InvalidParameters
from comfy_aws.models import JobState, Json

if TYPE_CHECKING:
    from comfy_aws.services import Cloud

DONE: Final = 0
ERROR: Final = 1
USAGE: Final = 2
CANCELLED: Final = 3
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""

TERMINATED: Final = 143
"""128 + SIGTERM."""

STATUSES: Final = (
    "Exit status: 0 done, 1 failed, 2 wrong usage (also a value that a template does not take), "
    "3 cancelled by somebody, 130 by Ctrl+C, 143 by SIGTERM."
)


def status_of(exc: ComfyAwsError) -> int:
    """The exit status of a command that ends with an error."""
    if isinstance(exc, InvalidParameters):
        return USAGE
    return CANCELLED if isinstance(exc, Cancelled) else ERROR


def status_of_job(state: JobState) -> int:
    """The exit status of a command whose job has come so far."""
    return {JobState.FAILED: ERROR, JobState.CANCELLED: CANCELLED}.get(state, DONE)


def cloud() -> Cloud:
    """The configured one. The services are most of the library, which help can do without."""
    from comfy_aws import services

    return services.connect(config.load())


# -- output ------------------------------------------------------------------------------------


def emit(arguments: argparse.Namespace, value: Json | list[Json], lines: Iterable[str]) -> None:
    """Print `value` as JSON when the user asked for it, else the lines."""
    text = json.dumps(value, indent=2) if arguments.json else "\n".join(lines)
    print(text)


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Aligned columns; empty without rows. Columns that say nothing are left out."""
    if not rows:
        return []
    cells = [head, *(tuple(str(cell) for cell in row) for row in rows)]
    columns = [column for column in zip(*cells, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def cell(value: object) -> str:
    """A value in a table's cell: what is not there as a dash, what is long cut."""
    text = "-" if value is None else str(value)
    return text if len(text) <= 32 else text[:31] + "…"


def moment(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def usd(amount: float | None) -> str:
    """An amount of money; a dash for one that is not known."""
    if amount is None:
        return "-"
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def size_text(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


# -- arguments ---------------------------------------------------------------------------------


def topic(topics: Any, name: str, about: str) -> Any:
    parser = topics.add_parser(name, help=about, description=sentence(about))
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    *,
    inner: bool = False,
) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        inner: it belongs to another one, whose --json must hold for it.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=sentence(about)
    )
    default: Any = argparse.SUPPRESS if inner else False
    parser.add_argument("--json", action="store_true", default=default, help="print JSON")
    parser.set_defaults(run=run)
    return parser


def comfyui_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose nodes, models and inputs count; `hosted_by` reads them."""
    parser.add_argument("--comfyui", type=Path, required=True, metavar="DIR",
                        help="ComfyUI's folder, whose nodes and models count")  # fmt: skip
    parser.add_argument("--python", default=sys.executable, metavar="FILE",
                        help="that ComfyUI's Python (the one that runs this)")  # fmt: skip
    parser.add_argument("--arguments", default="", metavar="TEXT",
                        help="for ComfyUI, as in --arguments='--base-directory DIR'")  # fmt: skip


def hosted_by(arguments: argparse.Namespace) -> dict[str, Any]:
    """As `hosted.ask` takes them."""
    return {
        "comfyui": arguments.comfyui,
        "python": arguments.python,
        "arguments": shlex.split(arguments.arguments),
    }


def sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
