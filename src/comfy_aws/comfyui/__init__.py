"""The ComfyUI edge: the only modules that import ComfyUI's own."""

serves = True
"""False in a process that is only asked about its nodes: it leaves jobs and endpoints alone."""
