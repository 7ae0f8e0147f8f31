"""Shows help pages of node packs that are not installed here, at the addresses they would have.

ComfyUI's page asks a pack's folder for a node's help, in the page's language and then in none, and
for the pictures in it. It draws a page through its own sanitizer. A file that is opened by itself
is a download: a picture can be a document with scripts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Final

import folder_paths
from aiohttp import web

import nodes
from comfy_aws.comfyui.designer import Designer
from comfy_aws.errors import ComfyAwsError
from comfy_aws.helppages import LARGEST_PICTURE, is_safe, media_type
from comfy_aws.models import BlobRef

log = logging.getLogger(__name__)

ROOT: Final = "/extensions/"
FOLDER: Final = "aws-help"
"""Below ComfyUI's temporary folder, which ComfyUI empties when it starts."""

HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_help(path: str) -> bool:
    """Whether a path may be one of help: something of a pack that is not installed here."""
    pack, name = _parts(path)
    return path.startswith(ROOT) and is_safe(pack, name) and pack not in nodes.EXTENSION_WEB_DIRS


class StoredHelp:
    """Answers for packs that are not here, of which ComfyUI itself has no files."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await self._page(request) or await handler(request)

    async def _page(self, request: web.Request) -> web.StreamResponse | None:
        pack, name = _parts(request.path.removeprefix("/api"))
        blob = await self._designer.definitions.help(pack, name)
        if blob is None or blob.size > LARGEST_PICTURE:
            return None
        try:
            path = await asyncio.to_thread(self._lay, blob, PurePosixPath(name).suffix)
        except (ComfyAwsError, OSError) as exc:
            log.warning("The help %s of the node pack %s cannot be shown: %s", name, pack, exc)
            return None
        return web.FileResponse(path, headers={**HEADERS, "Content-Type": media_type(name)})

    def _lay(self, blob: BlobRef, suffix: str) -> Path:
        """The file in the temporary folder, by its digest."""
        path = Path(folder_paths.get_temp_directory(), FOLDER, f"{blob.digest}{suffix}")
        if not path.is_file():
            self._designer.services().blobs.download(blob, path)
        return path


def _parts(path: str) -> tuple[str, str]:
    """The pack and the name that a path below ROOT means."""
    pack, _, name = path.removeprefix(ROOT).partition("/")
    return pack, name
