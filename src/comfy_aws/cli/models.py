"""`comfy-aws models`: models on this machine, on the web and in the bucket."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from comfy_aws import config, services
from comfy_aws.cli.common import cloud, command, emit, size_text, table, topic
from comfy_aws.cli.progress import bar
from comfy_aws.errors import ConfigError
from comfy_aws.garbage import DAY, GRACE, Collector
from comfy_aws.localmodels import FolderPlaces, LocalModel
from comfy_aws.models import Json, to_dict


def add(topics: Any) -> None:
    commands = topic(topics, "models", "the models of this machine and those of the bucket")
    _with_comfyui(
        command(commands, "list", _list, "list the bucket's models, and ComfyUI's with --comfyui"),
        required=False,
    )
    fetch = command(commands, "add", _add, "fetch a model from the web into ComfyUI's folder")
    fetch.add_argument("url", help="http or https; a fetch that broke goes on where it stopped")
    fetch.add_argument("--name", default="", help="file name; by default as its server calls it")
    fetch.add_argument("--sha256", default="", metavar="HEX", help="what the file must have")
    fetch.add_argument("--push", action="store_true", help="send it to the bucket, too")
    push = command(commands, "push", _push, "send models of ComfyUI's folder to the bucket")
    push.add_argument("names", nargs="*", metavar="NAME", help="all of the folder by default")
    pull = command(commands, "pull", _pull, "fetch models of the bucket into ComfyUI's folder")
    pull.add_argument("names", nargs="+", metavar="NAME", help="as `models list` shows it")
    for each in (fetch, push, pull):
        _with_comfyui(each)
    text = "take a model out of the bucket's list; `gc` deletes its bytes when nothing names them"
    remove = command(commands, "rm", _remove, text)
    remove.add_argument("name", help="as `models list` shows it")
    text = "delete it although templates use it; they keep working until it is published anew"
    remove.add_argument("--force", action="store_true", help=text)
    for each in (fetch, push, pull, remove):
        each.add_argument("--folder", required=True, help="models folder, such as checkpoints")
    text = "find blobs that no version and no recent job names; deletes only with --delete"
    collect = command(commands, "gc", _gc, text)
    collect.add_argument("--delete", action="store_true", help="delete them")
    collect.add_argument("--grace-days", type=float, default=GRACE / DAY, metavar="DAYS",
                         help="what is younger stays (%(default)g)")  # fmt: skip


def _with_comfyui(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--comfyui", type=Path, required=required, metavar="DIR",
                        help="ComfyUI's folder; models lie in its `models`")  # fmt: skip


def _local(arguments: argparse.Namespace) -> services.Local:
    return services.local(config.load(), FolderPlaces(arguments.comfyui))


def _list(arguments: argparse.Namespace) -> int:
    if arguments.comfyui is None:
        found = cloud().library.list()
        rows = [(m.folder, m.name, size_text(m.blob.size), m.blob.digest[:12]) for m in found]
        lines = table(("FOLDER", "NAME", "SIZE", "SHA256"), rows) or ["No models."]
        emit(arguments, [to_dict(model) for model in found], lines)
        return 0
    known = services.model_store(config.load()).join(_local(arguments).models.list())
    where = [
        (m.folder, m.name, size_text(m.size), "yes" if m.here else "no",
         "other bytes" if m.differs else "yes" if m.bucket else "no") for m in known
    ]  # fmt: skip
    lines = table(("FOLDER", "NAME", "SIZE", "HERE", "BUCKET"), where) or ["No models."]
    emit(arguments, [to_dict(model) for model in known], lines)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    local = _local(arguments)
    local.fetcher.check(arguments.url, arguments.folder, arguments.name, arguments.sha256)
    with bar(arguments) as progress:
        model = local.fetcher.fetch(
            arguments.url, arguments.folder, arguments.name,
            sha256=arguments.sha256, progress=progress,
        )  # fmt: skip
        if arguments.push:
            services.model_store(config.load()).push(model, progress=progress)
    also = " It is in the bucket, too." if arguments.push else ""
    value = {**_plain(model), "pushed": arguments.push}
    emit(arguments, value, [f"{model.path} ({size_text(model.size)}).{also}"])
    return 0


def _push(arguments: argparse.Namespace) -> int:
    models = _local(arguments).models
    wanted = (
        [models.find(arguments.folder, name) for name in arguments.names]
        if arguments.names
        else [model for model in models.list() if model.folder == arguments.folder]
    )
    store = services.model_store(config.load())
    with bar(arguments) as progress:
        for model in wanted:
            store.push(model, progress=progress)
    lines = [f"{model.folder}/{model.name} is in the bucket." for model in wanted]
    emit(arguments, [_plain(model) for model in wanted],
         lines or [f"There are no models in {arguments.folder}."])  # fmt: skip
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    models = _local(arguments).models
    store = services.model_store(config.load())
    with bar(arguments) as progress:
        for name in arguments.names:
            store.pull(models, arguments.folder, name, progress=progress)
    found = [models.find(arguments.folder, name) for name in arguments.names]
    emit(arguments, [_plain(model) for model in found], [str(model.path) for model in found])
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    store = services.model_store(config.load())
    users = store.users(arguments.folder, arguments.name)
    names = ", ".join(user.template for user in users)
    if users and not arguments.force:
        raise ConfigError(
            f"{arguments.folder}/{arguments.name} is used by {names}.",
            hint="Give --force to delete it all the same; published versions keep its bytes.",
        )
    store.remove(arguments.folder, arguments.name)
    used = [f"  Used by: {names}. Their published versions keep its bytes."] if users else []
    value: Json = {"deleted": arguments.name, "users": [to_dict(user) for user in users]}
    text = f"Deleted {arguments.folder}/{arguments.name} from the bucket's list."
    emit(arguments, value, [text, *used])
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


def _plain(model: LocalModel) -> Json:
    return {"folder": model.folder, "name": model.name, "size": model.size,
            "path": str(model.path)}  # fmt: skip
