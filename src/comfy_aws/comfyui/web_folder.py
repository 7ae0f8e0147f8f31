"""This extension's web folder, as ComfyUI serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import nodes
from comfy_aws.errors import NotFound

PATH: Final = Path(__file__).resolve().parents[3] / "web"
ROOT: Final = "/extensions/"


def served_at() -> str:
    """Its path on the server, such as ``/extensions/prompt-on-aws/``.

    Raises:
        NotFound: ComfyUI does not serve it.
    """
    for name, folder in nodes.EXTENSION_WEB_DIRS.items():
        if Path(folder).resolve() == PATH:
            return f"{ROOT}{name}/"
    raise NotFound("ComfyUI does not serve this extension's web folder.", hint="Restart ComfyUI.")


def is_module(path: str) -> bool:
    """Whether a path is one of this extension's modules.

    ComfyUI lets browsers keep `.mjs` as long as they like, and an updated `main.js` beside modules
    of the version before is no page that works.
    """
    return path.endswith(".mjs") and path.startswith(ROOT) and path.startswith(served_at())
