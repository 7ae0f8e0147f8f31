"""What a path that somebody has typed into a widget means to every ComfyUI.

A path is understood when it leads below ComfyUI's input, output or temp folder, or below a models
folder; nothing else is ever sent. Of the output folder only single files are sent, because whole
folders of it are what nodes are told to write to.
"""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from comfy_aws import companions, meshes, references
from comfy_aws.comfyui.model_reads import named
from comfy_aws.models import InputPlace, LocalPath
from comfy_aws.resolve import InputPath, Meant, ModelPath


def meant(value: str) -> Meant | None:
    """None for a name that is no path, and for what lies elsewhere or is not there."""
    path = Path(os.path.normpath(Path.cwd() / value))
    is_there = os.path.exists(path)  # noqa: PTH110 – whatever is asked, no error
    if not references.is_absolute(value) and not is_there:
        return None
    for place in InputPlace:
        root = Path(os.path.normpath(folder_paths.get_directory_by_type(place.value)))
        if root == path or root in path.parents:
            return _of_place(value, place, root, path)
    return _of_models(value, path) if is_there else None


def _of_place(value: str, place: InputPlace, root: Path, path: Path) -> Meant | None:
    name = path.relative_to(root).as_posix() if path != root else ""
    if path.is_file():
        files = [path, *meshes.referred(path)]
    elif place is InputPlace.OUTPUT or (place is InputPlace.TEMP and not path.exists()):
        files = []  # a node writes there
    elif path.is_dir() and name:
        files = files_below(path)
    else:
        return None  # the whole input folder, or what is missing in it
    inputs = tuple(InputPath(place, each.relative_to(root).as_posix(), each) for each in files)
    return Meant(LocalPath(value, place.value, name), inputs=inputs)


def _of_models(value: str, path: Path) -> Meant | None:
    top = named(path)
    if top is None:
        return None
    if path.is_dir():
        below = [ModelPath(top.folder, _join(top.name, path, each), each)
                 for each in companions.below(path)]  # fmt: skip
    else:
        beside = companions.beside(path, top.name)
        below = [top, *(ModelPath(top.folder, str(Path(top.name).with_name(each.name)), each)
                        for each in beside)]  # fmt: skip
    local = LocalPath(value, "models", top.name, top.folder)
    return Meant(local, models=tuple(below)) if below else None


def _join(name: str, top: Path, path: Path) -> str:
    return f"{name}/{path.relative_to(top).as_posix()}"


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder and of those in it, sorted."""
    walked = os.walk(folder, followlinks=True)
    found = (Path(place, name) for place, _, names in walked for name in names)
    return [path for path in sorted(found) if path.is_file()]
