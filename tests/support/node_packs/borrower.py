"""A node pack that works by a node of another one, which it takes from ComfyUI's mappings."""

import nodes


class BorrowedGrey:
    """The other's image."""

    CATEGORY = "tests"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"word": ("STRING", {"default": "dusk"})}}

    def run(self, word):
        other = nodes.NODE_CLASS_MAPPINGS["GreyWord"]()
        return getattr(other, other.FUNCTION)(word=word)


NODE_CLASS_MAPPINGS = {"BorrowedGrey": BorrowedGrey}
