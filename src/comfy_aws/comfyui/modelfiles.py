"""Model files by the names that ComfyUI's nodes give them.

Every folder of `folder_paths` counts: those of extra_model_paths.yaml and those that node packs
register, too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import folder_paths

from comfy_aws import companions, references
from comfy_aws.comfyui.modelplaces import listed, registered
from comfy_aws.prompt import posix
from comfy_aws.resolve import EMBEDDINGS, ModelPath

log = logging.getLogger(__name__)

TAE_FOLDER = "vae_approx"
"""Where the halves of a TAESD pair lie that VAELoader offers as one choice."""

_NO_MODELS = frozenset({"custom_nodes"})


def of_choice(value: str, options: list[Any]) -> list[ModelPath]:
    """The files behind a choice of a combo widget, with those that belong to them."""
    found = _in_offered_folder(_by_name(value), options)
    if not found and value in options:
        found = _tae_pair(value) or list(_folder(value, options))
    return _with_companions(found)


def of_text(value: str) -> list[ModelPath]:
    """The files behind a text that is nothing but a model's name."""
    return _with_companions(_by_name(value))


def is_broken_link(value: str) -> bool:
    """Whether ComfyUI lists a model of this name whose file is not there."""
    roots = [Path(root) for folder in registered() if folder.name not in _NO_MODELS
             for root in folder.roots]  # fmt: skip
    return any(os.path.islink(root / value) and not os.path.exists(root / value) for root in roots)  # noqa: PTH110, PTH114


def meant(folder: str, name: str) -> list[ModelPath]:
    """The models of a folder that a prompt's text means by a name without its extension."""
    if folder not in folder_paths.folder_names_and_paths:
        return []
    if folder == EMBEDDINGS:
        roots = [Path(root) for root in folder_paths.get_folder_paths(folder)]
        files = references.embedding_files(roots, name)
        return [ModelPath(folder, each, path) for each, path in files]
    # The packs that read tags look among the names that ComfyUI lists, some of them in any case.
    names = references.matching(folder_paths.get_filename_list(folder), name, in_any_case=True)
    paths = [(each, folder_paths.get_full_path(folder, each)) for each in names]
    return [ModelPath(folder, each, Path(path)) for each, path in paths if path]


def _by_name(value: str) -> list[ModelPath]:
    found = []
    for folder, _, suffixes in registered():
        if folder in _NO_MODELS:
            continue
        # Asking for the file first spares listing all the folders that do not have it.
        path = folder_paths.get_full_path(folder, value)
        if path is None:
            continue
        names = listed(folder)
        if value in names or not (names or suffixes):
            found.append(ModelPath(folder, value, Path(path)))
    return found


def _in_offered_folder(found: list[ModelPath], options: list[Any]) -> list[ModelPath]:
    """Of models with the same name in several folders those of the folder that a node offers."""
    if len(found) < 2:
        return found
    lists = {model.folder: listed(model.folder) for model in found}
    offered = {option for option in options if isinstance(option, str)}
    all_names = {name for names in lists.values() for name in names}
    # A node offers the whole of its folder, and may add words of its own such as "None".
    exact = [model for model in found if set(lists[model.folder]) == offered & all_names]
    within = [model for model in found if set(lists[model.folder]) <= offered]
    return exact or within or found


def _tae_pair(choice: str) -> list[ModelPath]:
    halves = (f"{choice}_encoder.", f"{choice}_decoder.")
    pair = [name for name in folder_paths.get_filename_list(TAE_FOLDER) if name.startswith(halves)]
    paths = [(name, folder_paths.get_full_path(TAE_FOLDER, name)) for name in pair]
    return [ModelPath(TAE_FOLDER, name, Path(path)) for name, path in paths if path]


def _folder(value: str, options: list[Any]) -> Iterator[ModelPath]:
    """The files of a model that is a folder, such as those that DiffusersLoader offers."""
    relative = PurePosixPath(posix(value))
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        return
    for folder, roots, _ in registered():
        if folder in _NO_MODELS:
            continue
        for root in roots:
            place = Path(root, *relative.parts)
            if companions.is_model(place) or _offers_folders(Path(root), value, options):
                for path in companions.below(place):
                    name = (relative / path.relative_to(place).as_posix()).as_posix()
                    yield ModelPath(folder, name, path)
                break  # the first root that has it wins, as in ComfyUI


def _offers_folders(root: Path, value: str, options: list[Any]) -> bool:
    """Whether a widget offers the folders of this one, and no more than a word such as "none".

    Folders are called like much else that is offered, such as "flux"; so all of them must be.
    """
    if not os.path.isdir(root / posix(value)):  # noqa: PTH112 – whatever is asked, no error
        return False
    offered = {posix(option) for option in options if isinstance(option, str)}
    shown = (each for each in root.iterdir() if not each.name.startswith("."))
    there = {each.name for each in shown if each.is_dir()}
    return there <= offered and len(offered - there) <= 1


def _with_companions(found: list[ModelPath]) -> list[ModelPath]:
    more = [
        ModelPath(
            model.folder, PurePosixPath(posix(model.name)).with_name(path.name).as_posix(), path
        )
        for model in found
        for path in companions.beside(model.path, model.name)
    ]
    return list(dict.fromkeys([*found, *more]))
