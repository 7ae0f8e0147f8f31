"""ComfyUI's models folders as places to put files into."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import folder_paths

from comfy_aws import formats
from comfy_aws.localmodels import Place

NO_MODELS: Final = frozenset({"custom_nodes", "configs"})


class Folder(NamedTuple):
    """A models folder; `suffixes` is empty for any."""

    name: str
    roots: tuple[str, ...]
    suffixes: frozenset[str]


def registered() -> list[Folder]:
    """The folders of `folder_paths`, where packs leave more values than ComfyUI has, or fewer."""
    found = []
    for name, values in list(folder_paths.folder_names_and_paths.items()):
        suffixes = (values[1] if len(values) > 1 else None) or ()
        found.append(Folder(name, tuple(map(str, values[0])), frozenset(suffixes)))
    return found


def listed(folder: str) -> list[str]:
    """The names that ComfyUI lists; none of a folder that is registered without extensions."""
    try:
        names: list[str] = folder_paths.get_filename_list(folder)
    except IndexError:
        return []
    return names


class ComfyUIPlaces:
    """The `localmodels.Places` of this process's ComfyUI."""

    def all(self) -> list[Place]:
        found = []
        for folder, roots, suffixes in registered():
            if folder in NO_MODELS or not roots:
                continue
            # Some folders name no suffix, for any file; a model file must still be one.
            named = frozenset(each for each in suffixes if each.startswith("."))
            found.append(Place(folder, tuple(map(Path, roots)), named or formats.MODELS))
        return found

    def changed(self, folder: str) -> None:
        # ComfyUI looks at the times of folders, which may be the same within one tick.
        getattr(folder_paths, "filename_list_cache", {}).pop(folder, None)
