"""`comfy-aws models`: the model library of the bucket."""

from __future__ import annotations

import argparse
from typing import Any

from comfy_aws.cli.common import cloud, command, emit, size_text, table, topic
from comfy_aws.garbage import DAY, GRACE, Collector
from comfy_aws.models import Json, to_dict


def add(topics: Any) -> None:
    commands = topic(topics, "models", "list the bucket's models, and delete what nothing names")
    command(commands, "list", _list, "list every model that was ever sent")
    text = "find blobs that no version and no recent job names; deletes only with --delete"
    collect = command(commands, "gc", _gc, text)
    collect.add_argument("--delete", action="store_true", help="delete them")
    collect.add_argument("--grace-days", type=float, default=GRACE / DAY, metavar="DAYS",
                         help="what is younger stays (%(default)g)")  # fmt: skip


def _list(arguments: argparse.Namespace) -> int:
    found = cloud().library.list()
    rows = [(m.folder, m.name, size_text(m.blob.size), m.blob.digest[:12]) for m in found]
    lines = table(("FOLDER", "NAME", "SIZE", "SHA256"), rows) or ["No models."]
    emit(arguments, [to_dict(model) for model in found], lines)
    return 0


def _gc(arguments: argparse.Namespace) -> int:
    collector = Collector(cloud().store)
    garbage = collector.plan(arguments.grace_days * DAY)
    if arguments.delete:
        collector.delete(garbage)
    verb = "Deleted" if arguments.delete else "Nothing names"
    lines = [f"{verb} {len(garbage.blobs)} blobs, {size_text(garbage.size)}; {garbage.kept} stay."]
    if garbage.blobs and not arguments.delete:
        lines.append("  Delete them: comfy-aws models gc --delete")
    value: Json = {
        "deleted": arguments.delete,
        "blobs": [blob.key for blob in garbage.blobs],
        "models": list(garbage.models),
        "bytes": garbage.size,
        "kept": garbage.kept,
    }
    emit(arguments, value, lines)
    return 0
