"""Nodes that sleep, fail, write large files, or tell what reached them."""

import json
import time
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from server import PromptServer


class SlowImage:
    """A grey image after `seconds`, with ten steps of progress; stops when interrupted."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 600.0}),
                "grey": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0}),
                "batch": ("INT", {"default": 1, "min": 1, "max": 8}),
            }
        }

    def run(self, seconds, grey, batch):
        bar = comfy.utils.ProgressBar(10)
        for _ in range(10):
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(seconds / 10)
            bar.update(1)
        return (torch.full((batch, 16, 16, 3), grey),)


class LargeFile:
    """Writes a file of zeros, and says nothing of it."""

    CATEGORY = "tests"
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "name": ("STRING", {"default": "large.bin"}),
                "mebibytes": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def run(self, name, mebibytes):
        with Path(folder_paths.get_output_directory(), name).open("wb") as file:
            file.truncate(mebibytes * 1024**2)
        return {}


class FailingImage:
    """Raises."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"reason": ("STRING", {"default": "because"})}}

    def run(self, reason):
        raise ValueError(reason)


class WhatReachedMe:
    """Writes the hidden inputs that ComfyUI gives it into its output."""

    CATEGORY = "tests"
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"salt": ("INT", {"default": 0})},
            "hidden": {"token": "AUTH_TOKEN_COMFY_ORG", "key": "API_KEY_COMFY_ORG",
                       "extra": "EXTRA_PNGINFO"},
        }  # fmt: skip

    def run(self, salt, token=None, key=None, extra=None):
        return {"ui": {"reached": [json.dumps({"token": token, "key": key, "extra": extra})]}}


class PartnerImage(SlowImage):
    """A node that works at Comfy Org by the user's sign-in."""

    API_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {**super().INPUT_TYPES(), "hidden": {"token": "AUTH_TOKEN_COMFY_ORG"}}

    def run(self, seconds, grey, batch, token=None):
        return super().run(seconds, grey, batch)


NODE_CLASS_MAPPINGS = {
    "SlowImage": SlowImage,
    "FailingImage": FailingImage,
    "WhatReachedMe": WhatReachedMe,
    "PartnerImage": PartnerImage,
    "LargeFile": LargeFile,
}

_replacements = getattr(PromptServer.instance, "node_replace_manager", None)
if _replacements is not None:  # a ComfyUI that replaces classes which packs have given up
    from comfy_api.latest import io

    _replacements.register(
        io.NodeReplace(
            "SlowImage",
            "SlowPicture",
            input_mapping=[
                {"new_id": "seconds", "old_id": "delay"},
                {"new_id": "grey", "set_value": 0.7},
                {"new_id": "batch", "set_value": 1},
            ],
        )
    )
