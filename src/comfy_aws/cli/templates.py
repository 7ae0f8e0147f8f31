"""`comfy-aws template`: published workflows and their versions."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from comfy_aws.cli.common import (
    cell,
    cloud,
    command,
    emit,
    moment,
    positive,
    size_text,
    table,
    topic,
)
from comfy_aws.differences import changes
from comfy_aws.models import Json, to_dict


def add(topics: Any) -> None:
    commands = topic(topics, "template", "list, show and delete published workflows")
    command(commands, "list", _list, "list all, the one changed last first")
    show = command(commands, "show", _show, "show a version and what it needs")
    show.add_argument("name", help="the template, case-sensitive")
    show.add_argument("--version", type=positive, default=0, help="its number; else the current")
    versions = command(commands, "versions", _versions, "list its versions")
    diff = command(commands, "diff", _diff, "tell what changed between two versions")
    text = "make an older version the current one; no version is lost"
    rollback = command(commands, "rollback", _rollback, text)
    delete = command(commands, "delete", _delete, "delete all its versions, at once")
    for each in (versions, diff, rollback, delete):
        each.add_argument("name", help="the template, case-sensitive")
    diff.add_argument("before", type=positive, help="a version's number")
    diff.add_argument("after", type=positive, nargs="?", default=0, help="another; else current")
    rollback.add_argument("version", type=positive, help="the version's number")


def _list(arguments: argparse.Namespace) -> int:
    found = cloud().templates.list()
    rows = [(t.name, t.version, moment(t.updated), t.endpoint, t.description) for t in found]
    lines = table(("NAME", "VERSION", "CHANGED", "ENDPOINT", "DESCRIPTION"), rows)
    emit(arguments, [to_dict(template) for template in found], lines or ["No templates."])
    return 0


def _show(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    template = templates.get(arguments.name)
    version = templates.version(arguments.name, arguments.version or template.version)
    manifest = version.manifest
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
    emit(arguments, {"template": to_dict(template), "version": to_dict(version)}, lines)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    cloud().templates.delete(arguments.name)
    emit(arguments, {"deleted": arguments.name}, [f"Deleted the template {arguments.name}."])
    return 0


def _versions(arguments: argparse.Namespace) -> int:
    templates = cloud().templates
    current = templates.get(arguments.name).version
    found = [templates.version(arguments.name, n) for n in templates.versions(arguments.name)]
    rows = [(v.version, "current" if v.version == current else "", moment(v.created), v.author,
             len(v.prompt), size_text(sum(b.size for b in v.manifest.blobs().values())))
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
