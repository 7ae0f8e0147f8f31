"""The source bundle: what of the extension's folder the worker image and the designer are made of.

The same files give the same bytes, so that the digest of a bundle is the tag of its image: on every
system, with every zlib, from a clone and from the Registry's zip alike.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfy_aws import hashing, packs
from comfy_aws.errors import ConfigError

ROOT: Final = Path(__file__).resolve().parents[2]
TEMPLATE: Final = Path("deploy", "stack.yaml")
PARTS: Final = frozenset(
    {
        "LICENSE", "README.md", "__init__.py", "deploy", "docs/openapi.yaml", "example_workflows",
        "locales", "nodes", "pyproject.toml", "requirements.txt", "server_routes.py", "src", "web",
    }
)  # fmt: skip
"""What travels, by the first name below the folder or as a file; tests and tools stay."""
STAYS: Final = ("web/types/",)
"""What of them stays all the same: for those who work on the extension, and not in its zip."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
"""What a zip says of the system that made it; Python's word for it is another on Windows."""


@dataclass(frozen=True)
class Bundle:
    """A zip archive, and the tag of the image that is made of it."""

    body: bytes
    tag: str


def template(root: Path = ROOT) -> str:
    """The CloudFormation template. Raises ConfigError when the folder has none."""
    path = root / TEMPLATE
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            f"The template {path} cannot be read: {exc.strerror or exc}.",
            hint="Deploy from the extension's folder in custom_nodes, or from a clone of it.",
        ) from exc


def pack(root: Path = ROOT) -> Bundle:
    """The bundle of the extension in `root`.

    Raises:
        ConfigError: the folder is not the extension's.
        FileChanged: a file vanished meanwhile.
    """
    template(root)
    made = io.BytesIO()
    # Stored as they are: what deflate makes of the same bytes differs between builds of zlib.
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, path, _ in packs.scan(root).members:
            relative = name.partition("/")[2]
            if _travels(relative):
                entry = zipfile.ZipInfo(relative, _EPOCH)
                entry.create_system = _UNIX
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, Path(path).read_bytes())
    body = made.getvalue()
    return Bundle(body, hashing.of_bytes(body).digest[:16])


def _travels(relative: str) -> bool:
    """Whether a file below the folder is part of the bundle."""
    named = not PARTS.isdisjoint({relative, relative.partition("/")[0]})
    return named and not relative.startswith(STAYS) and ".egg-info/" not in relative
