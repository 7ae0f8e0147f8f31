"""`comfy-aws run` and `cancel`: a template on AWS without any ComfyUI on this machine."""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from comfy_aws import config, services
from comfy_aws.cli import names
from comfy_aws.cli.common import (
    DONE,
    INTERRUPTED,
    TERMINATED,
    cloud,
    command,
    emit,
    positive,
    status_of_job,
)
from comfy_aws.cli.files import bring, job_lines
from comfy_aws.cli.progress import Bar, bar
from comfy_aws.errors import InvalidFile, InvalidParameters
from comfy_aws.models import Event, InputPlace, JobState, Json, to_dict
from comfy_aws.naming import alternative
from comfy_aws.orders import JobEnd, JobView, Order
from comfy_aws.parameter_values import Unfit, named
from comfy_aws.parameters import Parameter, ParameterKind
from comfy_aws.resolve import InputPath
from comfy_aws.terminal_runs import TerminalRuns

LOOK: Final = 1.0
"""Seconds; Windows hears Ctrl+C between two waits only."""


def add(topics: Any) -> None:
    text = "run a template on AWS, with other values, and bring its files here"
    run = command(topics, "run", _run, text)
    run.add_argument("template", help="as `comfy-aws template list` shows it")
    run.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="values",
        help="set a parameter, NODE.INPUT by the node's id or its title, or by its label; "
        "NAME=@FILE sends a file. `comfy-aws template parameters` lists them",
    )  # fmt: skip
    run.add_argument(
        "--values", type=Path, metavar="FILE", dest="values_file",
        help="a JSON object of values, or - for standard input; --set goes before it",
    )  # fmt: skip
    run.add_argument(
        "--input", action="append", default=[], type=Path, metavar="FILE", dest="inputs",
        help="send a file for the template's only file parameter",
    )  # fmt: skip
    run.add_argument("--output", type=Path, metavar="DIR",
                     help="bring the files here; none that is there is written over")  # fmt: skip
    run.add_argument("--version", type=positive, default=0, metavar="N",
                     help="run this version; else the current")  # fmt: skip
    run.add_argument("--endpoint", default="", help="run here, not on the template's own")
    run.add_argument("--events", action="store_true",
                     help="print each event as a line of JSON, last the job")  # fmt: skip
    run.add_argument("--disable-metadata", action="store_true",
                     help="keep the graph out of the files, as ComfyUI itself can")  # fmt: skip
    run.add_argument("--no-wait", action="store_true",
                     help="return once it is sent; see `jobs show` and `jobs fetch`")  # fmt: skip
    text = "ask a job to stop, whichever ComfyUI sent it"
    cancel = command(topics, "cancel", _cancel, text)
    cancel.add_argument("job", help="its id, as `comfy-aws jobs` shows it")


def _run(arguments: argparse.Namespace) -> int:
    settings = config.load()
    there = services.connect(settings)
    shown = bar(arguments) if not arguments.events else Bar(shown=False)
    runs = services.terminal_runs(
        settings, there, listens=not arguments.no_wait, disable_metadata=arguments.disable_metadata
    )
    with _terminable(), runs as desk, shown:
        order = _order(arguments, desk, shown)
        watcher = Watcher(events=arguments.events, shown=shown)
        desk.jobs.start(order, watcher)
        status = watcher.follow(desk, order.job_id, until_sent=arguments.no_wait)
        view = desk.jobs.view(order.job_id)
    names.changed("job", came=order.job_id)
    report = there.job_reports.of(order.job_id, view)
    if arguments.output is not None:
        with shown:
            bring(there, report, arguments.output, shown)
    _show(arguments, report)
    return status or status_of_job(view.job.state)


def _show(arguments: argparse.Namespace, report: Json) -> None:
    if arguments.events:
        print(json.dumps({"type": "job", "job": report}), flush=True)
        return
    lines = job_lines(report)
    if report["outputs"] and arguments.output is None:
        lines.append(f"Fetch them: comfy-aws jobs fetch {report['id']} --output DIR")
    emit(arguments, report, lines)


# -- what is ordered ---------------------------------------------------------------------------


def _order(arguments: argparse.Namespace, desk: TerminalRuns, shown: Bar) -> Order:
    stored, known = desk.runs.settable(arguments.template, arguments.version)
    values = {**_values_of(arguments.values_file), **dict(map(_pair, arguments.values))}
    files: dict[str, Path] = {}
    for name, value in values.items():
        if isinstance(value, str) and value.startswith("@") and _is_file(known, name):
            values[name] = _entered(files, Path(value[1:]))
    values |= _for_inputs(arguments.inputs, known, values, files)

    def find(name: str) -> InputPath | None:
        return InputPath(InputPlace.INPUT, name, files[name]) if name in files else None

    return desk.runs.order(
        arguments.template, values, version=stored.version, endpoint=arguments.endpoint,
        find_input=find, user=config.user_name(), progress=shown,
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidParameters(
            f"A value is set by NAME=VALUE; got {text!r}.",
            parameters={}, hint="Such as --set KSampler.steps=20.",
        )  # fmt: skip
    return name, value


def _values_of(path: Path | None) -> Json:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as exc:
        raise InvalidFile(f"The values in {path} cannot be read: {exc}.") from exc
    if not isinstance(values, dict):
        raise InvalidFile(f"The values in {path} are no JSON object.")
    return values


def _is_file(known: list[Parameter], name: str) -> bool:
    parameter = _meant(known, name)
    return parameter is not None and parameter.kind is ParameterKind.FILE


def _meant(known: list[Parameter], name: str) -> Parameter | None:
    try:
        return named(known, name)
    except Unfit:
        return None  # told with all other problems


def _entered(files: dict[str, Path], path: Path) -> str:
    """The name under which a file travels: its own, unless another one has it."""
    path = path.expanduser()
    if not path.is_file():
        raise InvalidFile(f"There is no file {path}.", hint="Give the path of a file to send.")
    name, attempt = path.name, 1
    while files.setdefault(name, path) != path:
        attempt += 1
        name = alternative(path.name, attempt)
    return name


def _for_inputs(
    inputs: list[Path], known: list[Parameter], values: Mapping[str, Any], files: dict[str, Path]
) -> dict[str, str]:
    """The values of --input: the file parameter that it can only be for."""
    if not inputs:
        return {}
    set_already = {each.name for name in values if (each := _meant(known, name)) is not None}
    free = [
        each for each in known
        if each.kind is ParameterKind.FILE and each.name not in set_already
    ]  # fmt: skip
    if len(free) != 1 or len(inputs) != 1:
        names = ", ".join(each.name for each in free) or "none"
        raise InvalidParameters(
            f"--input is for a template's only file parameter; those that are not set: {names}.",
            parameters={}, hint="Give each by --set NAME=@FILE.",
        )  # fmt: skip
    return {free[0].name: _entered(files, inputs[0])}


# -- what is seen of it ------------------------------------------------------------------------


class Watcher:
    """A `jobs.Listener` whose calls the command's own thread takes up."""

    def __init__(self, *, events: bool, shown: Bar) -> None:
        self._events = events
        self._shown = shown
        self._heard: queue.SimpleQueue[JobView | Event | JobEnd] = queue.SimpleQueue()

    def changed(self, view: JobView) -> None:
        self._heard.put(view)

    def event(self, event: Event) -> None:
        self._heard.put(event)

    def arriving(self, end: JobEnd) -> JobEnd:
        return end

    def ended(self, end: JobEnd) -> None:
        self._heard.put(end)

    def released(self) -> None:
        """The command is over."""

    def follow(self, desk: TerminalRuns, job_id: str, *, until_sent: bool) -> int:
        """Show the job until it is over, or sent; Ctrl+C cancels it, twice leaves it alone.

        Returns:
            The exit status that a signal asks for, else 0.
        """
        try:
            self._show(until_sent=until_sent)
        except KeyboardInterrupt as exc:
            self._shown.wipe()
            print("Cancelling the job; once more to leave at once.", file=sys.stderr, flush=True)
            desk.jobs.cancel(job_id)
            self._show(until_sent=False)
            return TERMINATED if isinstance(exc, _Terminated) else INTERRUPTED
        return DONE

    def _show(self, *, until_sent: bool) -> None:
        state: JobState | None = None
        while True:
            try:
                heard = self._heard.get(timeout=LOOK)
            except queue.Empty:
                continue
            if isinstance(heard, JobEnd):
                return
            if isinstance(heard, Event):
                self._print("event", to_dict(heard))
                continue
            self._shown.job(heard)
            if heard.job.state is not state:
                state = heard.job.state
                self._print("state", {"id": heard.job.id, "state": state.value})
                if until_sent and state is not JobState.PREPARING:
                    return

    def _print(self, kind: str, value: Json) -> None:
        if self._events:
            print(json.dumps({"type": kind, **value}), flush=True)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which `timeout` and service managers send: the job must not run on for nobody."""


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- cancel ------------------------------------------------------------------------------------


def _cancel(arguments: argparse.Namespace) -> int:
    state = cloud().job_reports.cancel(arguments.job)
    asked = state is JobState.CANCELLED
    text = "is asked to stop" if asked else f"has ended already: {state.value}"
    value = {"id": arguments.job, "state": state.value}
    emit(arguments, value, [f"The job {arguments.job} {text}."])
    return DONE
