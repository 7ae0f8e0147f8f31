"""`comfy-aws template`: published workflows and their versions."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import getpass
from pathlib import Path
from typing import Any

from comfy_aws import hosted
from comfy_aws.cli import names
from comfy_aws.cli.common import (
    cell,
    cloud,
    comfyui_arguments,
    command,
    emit,
    hosted_by,
    moment,
    positive,
    size_text,
    table,
    topic,
)
from comfy_aws.cli.progress import bar
from comfy_aws.deps import read_graph
from comfy_aws.differences import changes
from comfy_aws.errors import InvalidFile
from comfy_aws.models import Json, Progress, to_dict
from comfy_aws.parameters import (
    Parameter,
    ParameterKind,
    chosen_of,
    parameters,
    settable,
    shortened,
)


def add(topics: Any) -> None:
    commands = topic(topics, "template", "list, show and delete published workflows")
    command(commands, "list", _list, "list all, the one changed last first")
    show = command(commands, "show", _show, "show a version and what it needs")
    show.add_argument("name", help="the template, case-sensitive")
    show.add_argument("--version", type=positive, default=0, help="its number; else the current")
    text = "list the parameters that a run may set"
    listed = command(commands, "parameters", _parameters, text)
    listed.add_argument("--version", type=positive, default=0, help="its number; else the current")
    listed.add_argument("--main", action="store_true", help="only those of the form")
    text = "list what its form shows, or choose it anew: no byte is published again"
    form = command(commands, "form", _form, text)
    choice = form.add_mutually_exclusive_group()
    text = "a parameter that it shows, such as 7.steps=Steps; more of them in this order"
    choice.add_argument("--parameter", type=_chosen, action="append", metavar="NAME[=LABEL]",
                        help=text)  # fmt: skip
    choice.add_argument("--by-rule", action="store_true", help="those that the rules find")
    versions = command(commands, "versions", _versions, "list its versions")
    diff = command(commands, "diff", _diff, "tell what changed between two versions")
    text = "make an older version the current one; no version is lost"
    rollback = command(commands, "rollback", _rollback, text)
    delete = command(commands, "delete", _delete, "delete all its versions, at once")
    rename = command(commands, "rename", _rename, "give it another name; its versions stay")
    export = command(commands, "export", _export, "write a version into a file")
    for each in (listed, form, versions, diff, rollback, delete, rename, export):
        each.add_argument("name", help="the template, case-sensitive")
    rename.add_argument("new", help="1 to 20 letters and digits")
    export.add_argument("file", type=Path, nargs="?", help="the zip to write; else NAME.zip")
    export.add_argument("--version", type=positive, default=0, help="its number; else the current")
    text = "also write models, inputs and node packs, for a bucket that does not have them"
    export.add_argument("--with-blobs", action="store_true", help=text)
    taken_in = command(commands, "import", _import, "make a template of an exported file")
    taken_in.add_argument("file", type=Path, help="the zip that `export` has written")
    taken_in.add_argument("--name", default="", help="its name; else that in the file")
    _add_publish(commands)
    diff.add_argument("before", type=positive, help="a version's number")
    diff.add_argument("after", type=positive, nargs="?", default=0, help="another; else current")
    rollback.add_argument("version", type=positive, help="the version's number")


def _list(arguments: argparse.Namespace) -> int:
    found = cloud().templates.list()
    names.saw("template", [each.name for each in found])
    rows = [(t.name, t.version, size_text(t.size), moment(t.updated), t.author, t.endpoint,
             t.description) for t in found]  # fmt: skip
    head = ("NAME", "VERSION", "SIZE", "CHANGED", "AUTHOR", "ENDPOINT", "DESCRIPTION")
    lines = table(head, rows)
    emit(arguments, [to_dict(template) for template in found], lines or ["No templates."])
    return 0


def _show(arguments: argparse.Namespace) -> int:
    services = cloud()
    template = services.templates.get(arguments.name)
    version = services.templates.version(arguments.name, arguments.version or template.version)
    manifest = version.manifest
    fault = services.pack_faults.of(manifest.packs)
    rows = [
        *(("model", f"{m.folder}/{m.name}", size_text(m.blob.size)) for m in manifest.models),
        *(("input", f"{i.place.value}/{i.name}", size_text(i.blob.size)) for i in manifest.inputs),
        *(("node pack", p.name, size_text(p.blob.size)) for p in manifest.packs),
    ]
    about = (
        f"{template.name}, version {version.version} of {moment(version.created)}, "
        f"{len(version.prompt)} nodes, ComfyUI {manifest.environment.comfyui or 'unknown'}"
    )
    lines = [about, *table(("NEEDS", "NAME", "SIZE"), rows)]
    if fault:
        lines += ["", f"On a worker, {moment(fault.at)}: {fault.message}", fault.hint]
    whole = {"template": to_dict(template), "version": to_dict(version),
             "fault": to_dict(fault) if fault else None}  # fmt: skip
    emit(arguments, whole, lines)
    return 0


def _parameters(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    template = templates.get(arguments.name)
    version = templates.version(arguments.name, arguments.version or template.version)
    choose = parameters if arguments.main else settable
    found = choose(version.prompt, version.object_info, template.parameters, version.workflow)
    rows = [(p.name, f"{p.title}.{p.input}", p.label, p.kind.value, cell(p.value), _range(p))
            for p in found]  # fmt: skip
    lines = table(("NAME", "BY TITLE", "LABEL", "TYPE", "VALUE", "TAKES"), rows)
    emit(arguments, [to_dict(each) for each in found], lines or ["It has no parameters."])
    return 0


def _form(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    if arguments.parameter or arguments.by_rule:
        templates.choose(arguments.name, chosen_of(arguments.parameter or []))
    template = templates.get(arguments.name)
    version = templates.version(arguments.name, template.version)
    found = parameters(version.prompt, version.object_info, template.parameters, version.workflow)
    how = "chosen" if template.parameters else "found by rule"
    rows = [(p.name, f"{p.title}.{p.input}", p.label, p.kind.value, cell(p.value)) for p in found]
    lines = [f"The form of {template.name} shows {len(found)} parameters, {how}.",
             *table(("NAME", "BY TITLE", "LABEL", "TYPE", "VALUE"), rows)]  # fmt: skip
    whole = {"chosen": bool(template.parameters), "parameters": [to_dict(each) for each in found]}
    emit(arguments, whole, lines)
    return 0


def _range(parameter: Parameter) -> str:
    """What a parameter takes, where it is bounded."""
    if parameter.choices and parameter.kind is ParameterKind.CHOICE:
        return shortened(", ".join(map(str, parameter.choices)), 60)
    if parameter.minimum is None and parameter.maximum is None:
        return ""
    low, high = ("" if b is None else f"{b:g}" for b in (parameter.minimum, parameter.maximum))
    return f"{low} to {high}".strip()


def _delete(arguments: argparse.Namespace) -> int:
    cloud().templates.delete(arguments.name)
    names.changed("template", went=arguments.name)
    emit(arguments, {"deleted": arguments.name}, [f"Deleted the template {arguments.name}."])
    return 0


def _versions(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    current = templates.get(arguments.name).version
    found = templates.history(arguments.name)
    rows = [(v.version, "current" if v.version == current else "", moment(v.created), v.author,
             len(v.prompt), size_text(v.manifest.size))
            for v in found]  # fmt: skip
    value: list[Json] = [
        {"version": v.version, "current": v.version == current, "created": v.created,
         "author": v.author} for v in found
    ]  # fmt: skip
    emit(arguments, value, table(("VERSION", "", "CREATED", "AUTHOR", "NODES", "SIZE"), rows))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    before, after = (
        templates.version(arguments.name, n) for n in (arguments.before, arguments.after)
    )
    found = changes(before, after)
    rows = [(c.kind, c.name, cell(c.before), cell(c.after)) for c in found]
    lines = table(("WHAT", "NAME", f"VERSION {before.version}", f"VERSION {after.version}"), rows)
    emit(arguments, [dataclasses.asdict(c) for c in found], lines or ["They are the same."])
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    template = cloud().templates.roll_back(arguments.name, arguments.version)
    text = f"The current version of {template.name} is {template.version}."
    emit(arguments, to_dict(template), [text])
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    template = cloud().templates.rename(arguments.name, arguments.new)
    names.changed("template", came=template.name, went=arguments.name)
    emit(arguments, to_dict(template), [f"{arguments.name} is named {template.name} now."])
    return 0


def _export(arguments: argparse.Namespace) -> int:
    path = arguments.file or Path(f"{arguments.name}.zip")
    with bar(arguments) as progress:
        made = cloud().template_files.export(
            arguments.name, path, version=arguments.version, with_blobs=arguments.with_blobs,
            progress=progress,
        )  # fmt: skip
    size = path.stat().st_size
    value = {"name": made.name, "version": made.version, "file": str(path), "size": size}
    text = f"Version {made.version} of {made.name} is in {path} ({size_text(size)})."
    emit(arguments, value, [text])
    return 0


def _import(arguments: argparse.Namespace) -> int:
    with bar(arguments) as progress:
        template = cloud().template_files.take_in(
            arguments.file, name=arguments.name, author=_author(), progress=progress
        )
    names.changed("template", came=template.name)
    emit(arguments, to_dict(template), [f"The template {template.name} is there."])
    return 0


def _add_publish(commands: Any) -> None:
    text = "publish a workflow with what it needs, by the nodes and files of a ComfyUI"
    publish = command(commands, "publish", _publish, text)
    publish.add_argument("name", help="1 to 20 letters and digits")
    publish.add_argument("--workflow", type=Path, required=True, metavar="FILE",
                         help="the graph as ComfyUI's 'Export' writes it")  # fmt: skip
    publish.add_argument("--prompt", type=Path, required=True, metavar="FILE",
                         help="the same graph as 'Export (API)' writes it")  # fmt: skip
    comfyui_arguments(publish)
    publish.add_argument("--new-version", action="store_true",
                         help="add a version to the template of this name")  # fmt: skip
    publish.add_argument("--description", default="", metavar="TEXT", help="what it is for")
    publish.add_argument("--cover", type=Path, metavar="FILE", help="a PNG, JPEG or WebP picture")
    text = (
        "a parameter that its form shows, such as 7.steps=Steps; more of them in this order; none "
        "for those that the form has, else those found by rule"
    )
    publish.add_argument("--parameter", type=_chosen, action="append", metavar="NAME[=LABEL]",
                         help=text)  # fmt: skip


def _publish(arguments: argparse.Namespace) -> int:
    question = {
        "name": arguments.name,
        "workflow": read_graph(arguments.workflow, "Export"),
        "prompt": read_graph(arguments.prompt, "Export (API)"),
        "new_version": arguments.new_version,
        "description": arguments.description,
        "author": _author(),
        "cover": base64.b64encode(_bytes_of(arguments.cover)).decode(),
        "parameters": arguments.parameter,
    }
    with bar(arguments) as progress:
        progress(Progress("start", "ComfyUI"))
        answer = hosted.ask(
            "comfy_aws.comfyui.publish", question, progress=progress, **hosted_by(arguments)
        )
    template = answer["template"]
    names.changed("template", came=template["name"])
    text = f"{template['name']} is published: version {template['version']}, "
    lines = [text + f"{size_text(template['size'])} of files."]
    lost = [f"{each['node']}.{each['input']}" for each in answer["dropped"]]
    if lost:
        lines.append(f"Its form shows no more, because their nodes are gone: {', '.join(lost)}.")
    emit(arguments, {**template, "dropped": answer["dropped"]}, lines)
    return 0


def _chosen(text: str) -> Json:
    """A parameter as ``NODE.INPUT=LABEL``, the label of which may be missing."""
    name, _, label = text.partition("=")
    node, _, field = name.partition(".")
    if not node or not field:
        raise argparse.ArgumentTypeError(f"a parameter is NODE.INPUT, such as 7.steps; got {text}")
    return {"node": node, "input": field, "label": label.strip()}


def _bytes_of(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError as exc:
        raise InvalidFile(f"{path} cannot be read: {exc.strerror or exc}.") from exc


def _author() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""  # a machine that has no name for its user
