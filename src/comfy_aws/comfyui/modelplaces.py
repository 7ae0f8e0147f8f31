"""ComfyUI's models folders as places to put files into."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import folder_paths

from comfy_aws import formats
from comfy_aws.localmodels import Place

NO_MODELS: Final = frozenset({"custom_nodes", "configs"})


class ComfyUIPlaces:
    """The `localmodels.Places` of this process's ComfyUI."""

    def all(self) -> list[Place]:
        found = []
        for folder, (roots, suffixes) in list(folder_paths.folder_names_and_paths.items()):
            if folder in NO_MODELS or not roots:
                continue
            # Some folders name no suffix, for any file; a model file must still be one.
            named = frozenset(each for each in suffixes if each.startswith("."))
            found.append(Place(folder, tuple(map(Path, roots)), named or formats.MODELS))
        return found

    def changed(self, folder: str) -> None:
        # ComfyUI looks at the times of folders, which may be the same within one tick.
        getattr(folder_paths, "filename_list_cache", {}).pop(folder, None)
