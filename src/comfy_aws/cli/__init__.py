"""The command `comfy-aws`: Prompt on AWS from a terminal, one module a topic.

Only the module of the topic that is asked for is imported, and only by `main`, which keeps quiet
when it is interrupted meanwhile: for most commands the imports are what takes the time.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from comfy_aws.cli.parser import Parser
    from comfy_aws.errors import ComfyAwsError

_TOPICS: Final = {
    "deploy": ("deploy", "update", "status", "destroy", "iam-policy"),
    "stack": ("stack",),
    "templates": ("template",),
    "endpoints": ("endpoint",),
    "run": ("run", "cancel"),
    "jobs": ("jobs",),
    "cost": ("cost",),
    "models": ("models",),
    "logs": ("logs",),
    "ports": ("port",),
    "deps": ("deps",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}
"""The topics of each module, in the order of the help."""
_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (usage errors leave with status 2)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # on Windows a file or a pipe takes few letters
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    with _quiet_interrupts():
        parser = _parser(words)
        from comfy_aws.cli import names
        from comfy_aws.cli.common import USAGE, status_of
        from comfy_aws.errors import ComfyAwsError

    if not words:
        parser.print_help(sys.stderr)
        sys.exit(USAGE)
    arguments = parser.parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except ComfyAwsError as exc:
        _tell(names.with_likely(exc, arguments), as_json=getattr(arguments, "json", False))
        return status_of(exc)
    except OSError as exc:
        if exc.filename is None:
            raise
        hint = "Check that it is there, and that you may use it."
        trouble = ComfyAwsError(f"{exc.filename}: {exc.strerror}.", hint=hint)
        _tell(trouble, as_json=getattr(arguments, "json", False))
        return status_of(trouble)
    return status


@contextmanager
def _quiet_interrupts() -> Iterator[None]:
    """End at once and without a word on Ctrl+C, where Python would show what it was importing."""
    usual = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or usual is not signal.default_int_handler:
        yield
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(_INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _tell(exc: ComfyAwsError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": exc.to_dict()}), file=sys.stderr)
        return
    print(f"comfy-aws: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"  {exc.hint}", file=sys.stderr)


def _parser(words: Sequence[str] = ()) -> Parser:
    """The parser of a command line, or of all that there are."""
    from comfy_aws import __version__
    from comfy_aws.cli.common import STATUSES
    from comfy_aws.cli.parser import parser_of

    parser = parser_of(words)(
        prog="comfy-aws",
        description="Prompt on AWS from a terminal: the local stack, templates, endpoints, jobs.",
        epilog="Where to: the bucket in COMFY_AWS_BUCKET or the settings, else the local stack "
        "once `comfy-aws stack up` has started it. Settings lie in ~/.comfy-aws, or in the folder "
        f"that COMFY_AWS_HOME names. With --json an error is a JSON object, too. {STATUSES}",
    )
    parser.add_argument("--version", action="version", version=f"comfy-aws {__version__}")
    topics = parser.add_subparsers(title="topics", metavar="TOPIC", required=True)
    for module in _modules(words):
        import_module(f"comfy_aws.cli.{module}").add(topics)
    return parser


def _modules(words: Sequence[str]) -> list[str]:
    """Those that a command line needs: its topic's; all for help, completion and what is wrong."""
    first = words[0] if words else ""
    if first == "--version":
        return []
    own = [module for module, topics in _TOPICS.items() if first in topics]
    return own if own and own != ["completion"] else list(_TOPICS)
