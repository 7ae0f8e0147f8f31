"""The ComfyUI edge: the only modules that import ComfyUI's own."""
