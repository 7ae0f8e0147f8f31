"""A node pack that is one file. Its nodes read models, inputs and rows of widgets of all kinds."""

import hashlib
import re
from pathlib import Path

import folder_paths
import torch


class ReadsAnything:
    """Names files in ways that no combo shows: a text, a list, rows in an object."""

    CATEGORY = "tests"
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True})},
                "optional": {"row": ("ROW",), "rows": ("ROWS",)}}  # fmt: skip

    def run(self, text, row=None, rows=None):
        return {"ui": {"text": [text]}, "result": (text,)}


def diffusers():
    roots = (Path(root) for root in folder_paths.get_folder_paths("diffusers"))
    return sorted(index.parent.name for root in roots for index in root.glob("*/model_index.json"))


class ColourOfModels:
    """An image whose colour tells every byte of the models that its widgets and its text name."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "text": ("STRING", {"multiline": True}),
                "lora": (folder_paths.get_filename_list("loras"),),
                "encoder": (folder_paths.get_filename_list("text_encoders"),),
                "pipe": (diffusers(),),
            }
        }

    def run(self, text, lora, encoder, pipe):
        named = [("loras", lora)]
        named += [("embeddings", f"{name}.pt") for name in re.findall(r"embedding:(\w+)", text)]
        named += [("loras", f"{name}.safetensors") for name in re.findall(r"<lora:(\w+)", text)]
        paths = [Path(folder_paths.get_full_path_or_raise(*each)) for each in named]
        shard = Path(folder_paths.get_full_path_or_raise("text_encoders", encoder))
        paths += sorted(shard.parent.glob(f"{encoder.split('-')[0]}*"))
        for root in folder_paths.get_folder_paths("diffusers"):
            paths += sorted(path for path in Path(root, pipe).rglob("*") if path.is_file())
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()
        colour = torch.tensor([(byte + 0.5) / 255 for byte in digest[:3]])
        return (colour.expand(1, 16, 16, 3),)


NODE_CLASS_MAPPINGS = {"ReadsAnything": ReadsAnything, "ColourOfModels": ColourOfModels}
