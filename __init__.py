"""Prompt on AWS: entry point for ComfyUI, which imports this folder by its path.

ComfyUI gives the folder a module name that is no identifier, so the library is imported
absolutely, as `comfy_aws` from this very `src/`.
"""

import sys
from pathlib import Path

_SRC = Path(__file__).resolve().parent / "src"

WEB_DIRECTORY = "./web"
NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}

if __package__:  # ComfyUI imports packages; pytest imports this file as a plain module
    if str(_SRC) not in sys.path:
        sys.path.insert(0, str(_SRC))
    import comfy_aws

    _found = Path(comfy_aws.__file__).resolve()
    if _SRC not in _found.parents:
        raise ImportError(
            f"Prompt on AWS is installed twice: this copy is {_SRC.parent}, but {_found.parent} "
            "is already loaded. Remove one of them from custom_nodes (or from pip)."
        )

    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .server_routes import install

    install()

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
