"""A node whose package comes from requirements.txt; small, and in Python alone."""


class Humanized:
    """Says a number of bytes as people do."""

    CATEGORY = "tests"
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"size": ("INT", {"default": 1000, "min": 0, "max": 2**53})}}

    def run(self, size):
        import humanize

        text = humanize.naturalsize(size)
        return {"ui": {"text": [text]}, "result": (text,)}


NODE_CLASS_MAPPINGS = {"Humanized": Humanized}
