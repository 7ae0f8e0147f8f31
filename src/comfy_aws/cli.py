"""The command `comfy-aws`: local stack, templates, endpoints, models and jobs from a terminal.

Publishing and running need a ComfyUI that knows its nodes; they are done in its page.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from comfy_aws import __version__, config, deps, services, stack
from comfy_aws.differences import changes
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.errors import ComfyAwsError, ConfigError
from comfy_aws.garbage import DAY, GRACE, Collector
from comfy_aws.jobindex import stored_jobs
from comfy_aws.models import Endpoint, EndpointSpec, EndpointStatus, Json, to_dict
from comfy_aws.services import Cloud
from comfy_aws.stack import StackState

ERROR: Final = 1
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""

_SPEC = EndpointSpec(name="")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (usage errors leave with status 2)."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except ComfyAwsError as exc:
        print(f"comfy-aws: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


# -- the commands ------------------------------------------------------------------------------


def _stack_up(arguments: argparse.Namespace) -> int:
    settings = config.load()
    state, started = stack.up(settings.stack_home, port=arguments.port)
    config.save(settings.home, target="local")
    _show_stack(arguments, state, "started" if started else "runs already")
    return 0


def _stack_down(arguments: argparse.Namespace) -> int:
    stopped = stack.down(config.load().stack_home)
    text = "The local stack has stopped." if stopped else "The local stack was not running."
    _print(arguments, {"stopped": stopped}, [text])
    return 0


def _stack_status(arguments: argparse.Namespace) -> int:
    state = stack.status(config.load().stack_home)
    if state is None:
        text = "The local stack is not running. Start it: comfy-aws stack up."
        _print(arguments, {"running": False}, [text])
        return ERROR
    _show_stack(arguments, state, "is running")
    return 0


def _show_stack(arguments: argparse.Namespace, state: StackState, what: str) -> None:
    shown = dataclasses.asdict(state)
    del shown["secret_access_key"]  # terminals are logged
    lines = [
        f"The local stack {what} (process {state.pid}, since {_when(state.started)}).",
        f"  endpoint URL  {state.endpoint_url}",
        f"  region        {state.region}",
        f"  bucket        {state.bucket}",
    ]
    _print(arguments, {"running": True, **shown}, lines)


def _template_list(arguments: argparse.Namespace) -> int:
    found = _cloud().templates.list()
    rows = [(t.name, t.version, _when(t.updated), t.endpoint, t.description) for t in found]
    lines = _table(("NAME", "VERSION", "CHANGED", "ENDPOINT", "DESCRIPTION"), rows)
    _print(arguments, [to_dict(template) for template in found], lines or ["No templates."])
    return 0


def _template_show(arguments: argparse.Namespace) -> int:
    templates = _cloud().templates
    template = templates.get(arguments.name)
    version = templates.version(arguments.name, arguments.version or template.version)
    manifest = version.manifest
    rows = [
        *(("model", f"{m.folder}/{m.name}", _bytes(m.blob.size)) for m in manifest.models),
        *(("input", f"{i.place.value}/{i.name}", _bytes(i.blob.size)) for i in manifest.inputs),
        *(("node pack", p.name, _bytes(p.blob.size)) for p in manifest.packs),
    ]
    about = (
        f"{template.name}, version {version.version} of {_when(version.created)}, "
        f"{len(version.prompt)} nodes, ComfyUI {manifest.environment.comfyui or 'unknown'}"
    )
    lines = [about, *_table(("NEEDS", "NAME", "SIZE"), rows)]
    _print(arguments, {"template": to_dict(template), "version": to_dict(version)}, lines)
    return 0


def _template_delete(arguments: argparse.Namespace) -> int:
    _cloud().templates.delete(arguments.name)
    _print(arguments, {"deleted": arguments.name}, [f"Deleted the template {arguments.name}."])
    return 0


def _template_versions(arguments: argparse.Namespace) -> int:
    templates = _cloud().templates
    current = templates.get(arguments.name).version
    found = [templates.version(arguments.name, n) for n in templates.versions(arguments.name)]
    rows = [(v.version, "current" if v.version == current else "", _when(v.created), v.author,
             len(v.prompt), _bytes(sum(b.size for b in v.manifest.blobs().values())))
            for v in found]  # fmt: skip
    value: list[Json] = [
        {"version": v.version, "current": v.version == current, "created": v.created,
         "author": v.author} for v in found
    ]  # fmt: skip
    _print(arguments, value, _table(("VERSION", "", "CREATED", "AUTHOR", "NODES", "SIZE"), rows))
    return 0


def _template_diff(arguments: argparse.Namespace) -> int:
    templates = _cloud().templates
    before, after = (
        templates.version(arguments.name, n) for n in (arguments.before, arguments.after)
    )
    found = changes(before, after)
    rows = [(c.kind, c.name, _shown(c.before), _shown(c.after)) for c in found]
    lines = _table(("WHAT", "NAME", f"VERSION {before.version}", f"VERSION {after.version}"), rows)
    _print(arguments, [dataclasses.asdict(c) for c in found], lines or ["They are the same."])
    return 0


def _template_rollback(arguments: argparse.Namespace) -> int:
    template = _cloud().templates.roll_back(arguments.name, arguments.version)
    text = f"The current version of {template.name} is {template.version}."
    _print(arguments, to_dict(template), [text])
    return 0


def _models_list(arguments: argparse.Namespace) -> int:
    found = _cloud().library.list()
    rows = [(m.folder, m.name, _bytes(m.blob.size), m.blob.digest[:12]) for m in found]
    lines = _table(("FOLDER", "NAME", "SIZE", "SHA256"), rows) or ["No models."]
    _print(arguments, [to_dict(model) for model in found], lines)
    return 0


def _models_gc(arguments: argparse.Namespace) -> int:
    collector = Collector(_cloud().store)
    garbage = collector.plan(arguments.grace_days * DAY)
    if arguments.delete:
        collector.delete(garbage)
    verb = "Deleted" if arguments.delete else "Nothing names"
    lines = [f"{verb} {len(garbage.blobs)} blobs, {_bytes(garbage.size)}; {garbage.kept} stay."]
    if garbage.blobs and not arguments.delete:
        lines.append("  Delete them: comfy-aws models gc --delete")
    value: Json = {
        "deleted": arguments.delete,
        "blobs": [blob.key for blob in garbage.blobs],
        "models": list(garbage.models),
        "bytes": garbage.size,
        "kept": garbage.kept,
    }
    _print(arguments, value, lines)
    return 0


def _endpoint_list(arguments: argparse.Namespace) -> int:
    found = _cloud().endpoints.list()
    rows = [(e.name, e.status.value, e.instances, f"{e.min_instances}-{e.max_instances}",
             e.instance_type, e.template, e.failure) for e in found]  # fmt: skip
    head = ("NAME", "STATUS", "RUNNING", "SCALES", "TYPE", "TEMPLATE", "FAILURE")
    _print(arguments, [to_dict(e) for e in found], _table(head, rows) or ["No endpoints."])
    return 0


def _endpoint_create(arguments: argparse.Namespace) -> int:
    if not (arguments.name or arguments.template):
        raise ConfigError("An endpoint needs a name.", hint="Give one, or --template.")
    endpoints = _cloud().endpoints
    spec = spec_for(
        arguments.name or "",
        arguments.template,
        instance_type=arguments.type,
        min_instances=arguments.min,
        max_instances=arguments.max,
        initial_instances=arguments.initial,
        idle_seconds=arguments.idle,
    )
    endpoint = endpoints.create(spec)
    if arguments.wait:
        endpoint = endpoints.wait(endpoint.name, timeout=arguments.timeout)
    _show_endpoint(arguments, endpoint)
    return 0


def _endpoint_wait(arguments: argparse.Namespace) -> int:
    _show_endpoint(arguments, _cloud().endpoints.wait(arguments.name, timeout=arguments.timeout))
    return 0


def _show_endpoint(arguments: argparse.Namespace, endpoint: Endpoint) -> None:
    lines = [f"The endpoint {endpoint.name} is {endpoint.status.value}."]
    if endpoint.status is EndpointStatus.CREATING:
        lines.append(f"  Wait for it: comfy-aws endpoint wait {endpoint.name}")
    _print(arguments, to_dict(endpoint), lines)


def _endpoint_delete(arguments: argparse.Namespace) -> int:
    _cloud().endpoints.delete(arguments.name)
    _print(arguments, {"deleted": arguments.name}, [f"Deleting the endpoint {arguments.name}."])
    return 0


def _jobs(arguments: argparse.Namespace) -> int:
    found = stored_jobs(_cloud().store, arguments.limit)
    rows = [(job.id, _when(job.sent), job.outcome or "open",
             f"{job.ended - job.sent:.0f} s" if job.ended else "", job.outputs,
             job.error.partition("\n")[0]) for job in found]  # fmt: skip
    lines = _table(("ID", "SENT", "OUTCOME", "TOOK", "FILES", "ERROR"), rows) or ["No jobs."]
    _print(arguments, [dataclasses.asdict(job) for job in found], lines)
    return 0


def _deps(arguments: argparse.Namespace) -> int:
    needs = deps.needs_of(
        arguments.prompt,
        arguments.comfyui,
        python=arguments.python,
        arguments=shlex.split(arguments.arguments),
    )
    rows = [(kind, name, _bytes(size), ref[:16]) for kind, name, size, ref in deps.rows(needs)]
    lines = _table(("NEEDS", "NAME", "SIZE", "SHA256"), rows) or ["It needs no files."]
    _print(arguments, needs, [*lines, *deps.remarks(needs)])
    return ERROR if needs["unresolved"] else 0


def _cloud() -> Cloud:
    return services.connect(config.load())


# -- output ------------------------------------------------------------------------------------


def _print(arguments: argparse.Namespace, value: Json | list[Json], lines: Iterable[str]) -> None:
    text = json.dumps(value, indent=2) if arguments.json else "\n".join(lines)
    print(text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
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


def _shown(value: object) -> str:
    """A value in a table's cell: what is not there as a dash, what is long cut."""
    text = "-" if value is None else str(value)
    return text if len(text) <= 32 else text[:31] + "…"


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


# -- arguments ---------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="comfy-aws",
        description="Prompt on AWS from a terminal: the local stack, templates, endpoints, jobs.",
        epilog="Where to: the bucket in COMFY_AWS_BUCKET or the settings, else the local stack "
        "once `comfy-aws stack up` has started it. Settings lie in ~/.comfy-aws, or in the folder "
        "that COMFY_AWS_HOME names. Exit status: 0 done, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"comfy-aws {__version__}")
    topics = parser.add_subparsers(title="topics", metavar="TOPIC", required=True)
    _add_stack(topics)
    _add_template(topics)
    _add_endpoint(topics)
    _add_models(topics)
    text = "list the latest jobs in the bucket, whichever ComfyUI sent them"
    jobs = _command(topics, "jobs", _jobs, text)
    jobs.add_argument("--limit", type=_positive, default=20, help="how many (%(default)s)")
    _add_deps(topics)
    return parser


def _add_deps(topics: Any) -> None:
    text = "list the models, inputs and node packs that a prompt needs; status 1 when some are not"
    command = _command(topics, "deps", _deps, f"{text} there")
    command.add_argument("prompt", type=Path, help="a prompt in API format, a JSON file")
    command.add_argument("--comfyui", type=Path, required=True, metavar="DIR",
                         help="ComfyUI's folder, whose nodes and models count")  # fmt: skip
    command.add_argument("--python", default=sys.executable, metavar="FILE",
                         help="that ComfyUI's Python (the one that runs this)")  # fmt: skip
    command.add_argument("--arguments", default="", metavar="TEXT",
                         help="for ComfyUI, as in --arguments='--base-directory DIR'")  # fmt: skip


def _add_stack(topics: Any) -> None:
    about = "start, stop and find the local stack: AWS's APIs on this machine alone"
    commands = _topic(topics, "stack", about)
    text = "start it, or find the one that runs, and make it the target of this user"
    up = _command(commands, "up", _stack_up, text)
    up.add_argument("--port", type=_positive, help="of the endpoint URL; a free one by default")
    text = "stop it with all its workers; templates, endpoints and jobs stay for the next start"
    _command(commands, "down", _stack_down, text)
    _command(commands, "status", _stack_status, "tell where it is; exit status 1 when it is not")


def _add_template(topics: Any) -> None:
    commands = _topic(topics, "template", "list, show and delete published workflows")
    _command(commands, "list", _template_list, "list all, the one changed last first")
    show = _command(commands, "show", _template_show, "show a version and what it needs")
    show.add_argument("name", help="the template, case-sensitive")
    show.add_argument("--version", type=_positive, default=0, help="its number; else the current")
    versions = _command(commands, "versions", _template_versions, "list its versions")
    diff = _command(commands, "diff", _template_diff, "tell what changed between two versions")
    text = "make an older version the current one; no version is lost"
    rollback = _command(commands, "rollback", _template_rollback, text)
    delete = _command(commands, "delete", _template_delete, "delete all its versions, at once")
    for command in (versions, diff, rollback, delete):
        command.add_argument("name", help="the template, case-sensitive")
    diff.add_argument("before", type=_positive, help="a version's number")
    diff.add_argument("after", type=_positive, nargs="?", default=0, help="another; else current")
    rollback.add_argument("version", type=_positive, help="the version's number")


def _add_models(topics: Any) -> None:
    commands = _topic(topics, "models", "list the bucket's models, and delete what nothing names")
    _command(commands, "list", _models_list, "list every model that was ever sent")
    text = "find blobs that no version and no recent job names; deletes only with --delete"
    collect = _command(commands, "gc", _models_gc, text)
    collect.add_argument("--delete", action="store_true", help="delete them")
    collect.add_argument("--grace-days", type=float, default=GRACE / DAY, metavar="DAYS",
                         help="what is younger stays (%(default)g)")  # fmt: skip


def _add_endpoint(topics: Any) -> None:
    commands = _topic(topics, "endpoint", "create, list, await and delete SageMaker endpoints")
    _command(commands, "list", _endpoint_list, "list the endpoints that this product made")
    text = "start an endpoint; any endpoint can run any template"
    create = _command(commands, "create", _endpoint_create, text)
    create.add_argument("name", nargs="?", help="by default it follows from the template's name")
    create.add_argument("--template", default="", help="template to make ready at the start")
    create.add_argument("--type", default=_SPEC.instance_type, help="instance type (%(default)s)")
    for name, default, text in (
        ("min", _SPEC.min_instances, "fewest instances, 0 to stop when idle"),
        ("max", _SPEC.max_instances, "most instances"),
        ("initial", _SPEC.initial_instances, "instances at the start"),
        ("idle", _SPEC.idle_seconds, "seconds without jobs before an instance stops"),
    ):
        create.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text} (%(default)s)"
        )
    create.add_argument("--wait", action="store_true", help="return when it is InService")
    wait = _command(commands, "wait", _endpoint_wait, "return when it is InService, or has failed")
    delete = _command(commands, "delete", _endpoint_delete, "delete it with all that belongs to it")
    for command in (create, wait):
        command.add_argument("--timeout", type=_positive, default=3600, metavar="SECONDS",
                             help="give up waiting after this long (%(default)s)")  # fmt: skip
    for command in (wait, delete):
        command.add_argument("name", help="the endpoint")


def _topic(topics: Any, name: str, about: str) -> Any:
    parser = topics.add_parser(name, help=about, description=_sentence(about))
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=_sentence(about)
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
