"""A node pack with models folders of its own, which it registers, and a folder for its user."""

from pathlib import Path

import folder_paths
import torch

FOLDER = "grey_levels"
folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir, "own", "levels")))
SETS = Path(folder_paths.models_dir, "own", "sets")
folder_paths.add_model_folder_path("grey_sets", str(SETS))
# As some packs do: ComfyUI looks at the first two of these values, and no further.
MORE, BARE = (str(SETS.parent / name) for name in ("more", "bare"))
folder_paths.folder_names_and_paths["grey_more"] = ([MORE], {".txt"}, "of this pack")
folder_paths.folder_names_and_paths["grey_bare"] = ([BARE],)


class GreyLevel:
    """A grey image whose level stands in a file."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"level_name": (folder_paths.get_filename_list(FOLDER),)}}

    def run(self, level_name):
        path = folder_paths.get_full_path_or_raise(FOLDER, level_name)
        level = float(Path(path).read_text())
        return (torch.full((1, 16, 16, 3), level),)


class GreySet:
    """A grey image by as many files as there are in a folder, which nothing marks as a model."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"set_name": (["none", *sorted(p.name for p in SETS.glob("*/"))],)}}

    def run(self, set_name):
        count = len(list((SETS / set_name).rglob("*.npy")))
        return (torch.full((1, 16, 16, 3), count / 10),)


class GreyWord:
    """A grey image whose level stands in a file that the user has put into the pack."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    WORDS = Path(__file__).parent / "words"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"word": (sorted(path.stem for path in cls.WORDS.glob("*.txt")),)}}

    def run(self, word):
        level = float((self.WORDS / f"{word}.txt").read_text())
        return (torch.full((1, 16, 16, 3), level),)


class GreyPath:
    """An image of half the grey that stands in the files at a path of this ComfyUI."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING",), "target": ("STRING",)}}

    def run(self, path, target):
        for each in (path, target):
            Path(each).absolute().relative_to(folder_paths.base_path)
        Path(target).write_text("seen")
        files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
        level = sum(float(file.read_text()) for file in files if file.is_file())
        return (torch.full((1, 16, 16, 3), level / 2),)


NODE_CLASS_MAPPINGS = {each.__name__: each for each in (GreyLevel, GreySet, GreyWord, GreyPath)}
