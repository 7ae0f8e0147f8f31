"""Help of a node pack's nodes: the pages that ComfyUI's page asks for, and the pictures in them.

A pack keeps them in the folder `docs` of what it serves to the page (its WEB_DIRECTORY), a page as
``{class}.md`` or, by language, ``{class}/{language}.md``. What a page shows is named relative to
`docs`, or by its address below ``/extensions/{pack}/``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from comfy_aws import joblog

log = joblog.logger(__name__)

FOLDER: Final = "docs"
PAGE: Final = ".md"
TYPES: Final[Mapping[str, str]] = {
    PAGE: "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
"""What help is made of, by the end of a file's name; nothing else travels or is served."""

LARGEST_PAGE: Final = 1024 * 1024
LARGEST_PICTURE: Final = 8 * 1024 * 1024
LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a page, of a picture or film, and of all help of a template; more is left out."""

_SHOWN: Final = (
    re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)"),
    re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE),
)
"""How Markdown names what a page shows: in place, and at another one."""

_TAG: Final = re.compile(r"<(?:img|source|video)\b([^>]{0,2000})>", re.IGNORECASE)
_SOURCE: Final = re.compile(r"\b(?:src|poster)\s*=\s*[\"']([^\"']+)", re.IGNORECASE)


class WebFolder(NamedTuple):
    """What a pack serves to the page, below ``/extensions/{pack}/``."""

    pack: str
    path: Path


class HelpPath(NamedTuple):
    """A file of help: `name` is its POSIX path below the pack's web folder."""

    pack: str
    name: str
    path: Path


def pack_of(python_module: str) -> str:
    """The pack that the page takes from a definition's python_module; empty for ComfyUI's own."""
    parent, _, rest = python_module.partition(".")
    return rest.split(".")[0].split("@")[0] if parent == "custom_nodes" else ""


def find(folders: Mapping[str, WebFolder]) -> list[HelpPath]:
    """The help of node classes, in the order of packs and names.

    Args:
        folders: the web folder of each class's pack.
    """
    found: dict[tuple[str, str], HelpPath] = {}
    for class_type, web in folders.items():
        for each in _of_class(class_type, web):
            found.setdefault((each.pack, each.name), each)
    kept, size = [], 0
    for _, each in sorted(found.items(), key=lambda item: (not _is_page(item[1].name), item[0])):
        size += each.path.stat().st_size
        if size > LARGEST:
            log.warning("Help of nodes is left out from %s on: it is too much", each.path)
            break
        kept.append(each)
    return sorted(kept)


def is_safe(pack: str, name: str) -> bool:
    """Whether a file of help has a name that leads nowhere else, and a type that may be served."""
    parts = PurePosixPath(name).parts
    leaves = not parts or ".." in parts or name.startswith("/") or pack in ("", ".", "..")
    signs = "/" in pack or any(sign in pack + name for sign in "\\\0")
    return not leaves and not signs and _suffix(name) in TYPES


def media_type(name: str) -> str:
    """The Content-Type of a file of help."""
    return TYPES[_suffix(name)]


def _of_class(class_type: str, web: WebFolder) -> Iterator[HelpPath]:
    names = [f"{FOLDER}/{class_type}{PAGE}"]
    translated = web.path / FOLDER / class_type
    if translated.is_dir():
        names += [f"{FOLDER}/{class_type}/{path.name}" for path in sorted(translated.iterdir())
                  if path.suffix.lower() == PAGE]  # fmt: skip
    for name in names:
        page = _file(web, name)
        if page is None:
            continue
        yield page
        text = page.path.read_text(encoding="utf-8", errors="replace")
        pictures = (_file(web, name) for name in _shown(text, web.pack))
        yield from (picture for picture in pictures if picture is not None)


def _file(web: WebFolder, name: str) -> HelpPath | None:
    """The file, when it is in the pack's own folder and not too large."""
    path = web.path / name
    if not is_safe(web.pack, name) or not path.is_file():
        return None
    if web.path.resolve() not in path.resolve().parents:
        return None  # ComfyUI follows no links out of the folder either
    if path.stat().st_size > (LARGEST_PAGE if _is_page(name) else LARGEST_PICTURE):
        log.warning("%s is not published with the help of its node: it is too large", path)
        return None
    return HelpPath(web.pack, name, path)


def _shown(text: str, pack: str) -> list[str]:
    """Names, below the web folder, of what a page shows of its own pack."""
    root = f"/extensions/{pack}/"
    tags = " ".join(match[1] for match in _TAG.finditer(text))
    named = (*(match for pattern in _SHOWN for match in pattern.finditer(text)),
             *_SOURCE.finditer(tags))  # fmt: skip
    names = []
    for address in (match[1] for match in named):
        try:
            parts = urlsplit(address)
        except ValueError:
            continue  # such as http://[, which no browser would show either
        path = unquote(parts.path)
        if parts.scheme or parts.netloc or (path.startswith("/") and not path.startswith(root)):
            continue
        own = path.removeprefix(root) if path.startswith(root) else posixpath.join(FOLDER, path)
        name = posixpath.normpath(own)
        if not _is_page(name):
            names.append(name)
    return list(dict.fromkeys(names))


def _is_page(name: str) -> bool:
    return _suffix(name) == PAGE


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
