"""A node that reads models which none of its widgets names, in Python and in native code."""

import sys
import types
from pathlib import Path

import folder_paths
import torch
from safetensors import safe_open

FOLDER = Path(folder_paths.models_dir, "silent")


class InferenceSession:
    """As onnxruntime's, which reads in native code: what is no text is opened unseen by Python."""

    def __init__(self, path_or_bytes, sess_options=None, **options):
        self.path = path_or_bytes


sys.modules["onnxruntime"] = types.ModuleType("onnxruntime")
sys.modules["onnxruntime"].InferenceSession = InferenceSession


class SilentGrey:
    """An image as grey as its models say; `size` decides which of them it reads."""

    CATEGORY = "test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"size": (["small", "large"],), "seed": ("INT", {"default": 0})}}

    def make(self, size, seed):
        with (FOLDER / size / "level.txt").open() as stream:
            level = float(stream.read())
        # As many packs do: the name was bound before anybody could wrap it, links are resolved.
        with safe_open((FOLDER / "scale.safetensors").resolve(), framework="pt") as tensors:
            level *= float(tensors.get_tensor("scale")[0])
        import onnxruntime

        onnxruntime.InferenceSession(str(FOLDER / "face.onnx"), providers=[])
        with (FOLDER / "tagger" / "config.json").open() as stream:
            stream.read()
        return (torch.full((1, 16, 16, 3), level),)


NODE_CLASS_MAPPINGS = {"SilentGrey": SilentGrey}
