"""A node pack that takes code from its neighbour, and reads tags in texts."""

import re
import sys
from pathlib import Path

from custom_nodes.shared_parts import SHADE  # as ComfyUI's own folder is on the path

sys.path.append(str(Path(__file__).parent.parent))

import shared_parts  # found now that the folder of all packs is on the path

TAG = re.compile(r"<lora:([^:>]+):([^>]+)>")


class SharedGrey:
    """A grey image by the neighbour's function; `text` may have tags."""

    CATEGORY = f"tests/{SHADE}"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True, "default": ""})}}

    def run(self, text):
        side = 16 * (1 + len(TAG.findall(text)))
        return (shared_parts.grey_image(side, side),)


NODE_CLASS_MAPPINGS = {"SharedGrey": SharedGrey}
