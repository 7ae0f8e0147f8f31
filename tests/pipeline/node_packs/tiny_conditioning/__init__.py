"""A node pack for the test pipeline: conditioning without a text encoder.

It has what a pack has: a module of its own, a file that it reads, a requirements.txt, and help
with a picture for ComfyUI's page, so that it shows whether a whole folder travels.
"""

from .embedding import embed, style_names


class TinyConditioning:
    """Turns text, seed and style into SD3-shaped conditioning, the same each time."""

    CATEGORY = "prompt on aws/tests"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "text": ("STRING", {"multiline": True, "default": "a small sun over the sea"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
                "style": (style_names(),),
            }
        }

    def encode(self, text, seed, style):
        context, pooled = embed(text, seed, style)
        return ([[context, {"pooled_output": pooled}]],)


WEB_DIRECTORY = "./web"
NODE_CLASS_MAPPINGS = {"TinyConditioning": TinyConditioning}
NODE_DISPLAY_NAME_MAPPINGS = {"TinyConditioning": "Tiny Conditioning"}
