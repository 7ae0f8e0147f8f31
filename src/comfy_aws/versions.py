"""Whether ComfyUI, its page, this extension and the worker image fit each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

from comfy_aws import __version__

OLDEST: Final = "0.3.75"
"""The oldest ComfyUI that is tested, as pyproject.toml says, too."""

FRONTEND: Final = "comfyui-frontend-package"
_BUILT: Final = re.compile(r"(?P<comfyui>\d+(\.\d+)+)-(?P<source>[0-9a-f]{16})")
"""The tag of an image that `comfy-aws deploy` built: ComfyUI's version and the source's digest."""


@dataclass(frozen=True)
class Software:
    """A ComfyUI: its version, its page's, and the page's version that it asks for; or empty."""

    comfyui: str = ""
    frontend: str = ""
    frontend_wanted: str = ""


@dataclass(frozen=True)
class Misfit:
    """What does not fit, and what to do about it."""

    message: str
    hint: str


def installed(folder: Path) -> Software:
    """The ComfyUI in `folder`, with the page of the Python that runs this."""
    comfyui = _search(folder / "comfyui_version.py", r"__version__\s*=\s*['\"]([^'\"]+)")
    wanted = _search(folder / "requirements.txt", rf"(?m)^{FRONTEND}\s*==\s*(\S+)")
    try:
        frontend = metadata.version(FRONTEND)
    except metadata.PackageNotFoundError:
        frontend = ""
    return Software(comfyui, frontend, wanted)


def told(software: Software, image: str) -> str:
    """All versions in a line."""
    parts = [f"Prompt on AWS {__version__}"]
    if software.comfyui:
        parts.append(f"ComfyUI {software.comfyui}")
    if software.frontend:
        parts.append(f"frontend {software.frontend}")
    parts.append(f"worker {tag_of(image) or 'none'}")
    return ", ".join(parts) + "."


def tag_of(image: str) -> str:
    """The tag of an image's address; empty for none."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]


def misfit_here(software: Software) -> Misfit | None:
    """What of this machine's ComfyUI does not fit. Pure."""
    if _older(software.comfyui, OLDEST):
        return Misfit(
            f"ComfyUI {software.comfyui} is older than {OLDEST}, the oldest that this extension "
            "works with.",
            "Update ComfyUI.",
        )
    if _older(software.frontend, software.frontend_wanted):
        return Misfit(
            f"The frontend {software.frontend} is older than {software.frontend_wanted}, which "
            f"ComfyUI {software.comfyui} asks for.",
            "Run `pip install -r requirements.txt` in ComfyUI's folder.",
        )
    return None


def misfit_of_worker(software: Software, image: str, source: str) -> Misfit | None:
    """What of the worker image does not fit this machine. Pure.

    Args:
        source: tag of this extension's source bundle.
    """
    built = _BUILT.fullmatch(tag_of(image))
    if built is None:  # somebody's own image: its tag tells nothing
        return None
    if software.comfyui and built["comfyui"] != software.comfyui:
        return Misfit(
            f"Workers run ComfyUI {built['comfyui']}, this machine {software.comfyui}.",
            f"Run `comfy-aws update --comfyui-version {software.comfyui}`.",
        )
    if built["source"] != source:
        return Misfit(
            f"The worker image was built from another version of this extension "
            f"({built['source']}; this one is {source}).",
            "Run `comfy-aws update`, which builds it anew, then create the endpoints again.",
        )
    return None


def _search(path: Path, pattern: str) -> str:
    try:
        found = re.search(pattern, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""


def _older(version: str, than: str) -> bool:
    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False  # one of the two is not known
