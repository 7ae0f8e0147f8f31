"""A node pack that is one file. Its node reads models, inputs and rows of widgets of all kinds."""


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


NODE_CLASS_MAPPINGS = {"ReadsAnything": ReadsAnything}
