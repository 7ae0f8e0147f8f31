"""Shows input files of templates that this machine does not have, as GET /view would show its own.

The picture in a Load Image node of an artist is such a file. It is fetched into ComfyUI's temporary
folder and shown from there by ComfyUI itself, which knows previews, channels and ranges, and which
types a browser may be given. Runs do not look there: what they take is the template's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Final

import folder_paths
from aiohttp import web

from comfy_aws.comfyui.designer import Designer
from comfy_aws.errors import ComfyAwsError
from comfy_aws.models import InputFile

log = logging.getLogger(__name__)

FOLDER: Final = "aws-inputs"
"""Below ComfyUI's temporary folder, which ComfyUI empties when it starts."""

LARGEST: Final = 512 * 1024 * 1024
"""Bytes of a file that is fetched only to be looked at."""

ANNOTATED: Final = re.compile(r"(.*) \[(input|output|temp)\]")
"""ComfyUI's own way to name a folder with a file, as in `mask.png [input]`."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StoredInputs:
    """Answers GET /view where ComfyUI finds nothing."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer

    async def view(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if answer.status != 404:
            return answer
        place, name = _named(request)
        stored = await self._designer.definitions.input(place, name) if name else None
        if stored is None or stored.blob.size > LARGEST:
            return answer
        try:
            shown = await asyncio.to_thread(self._lay, stored)
        except (ComfyAwsError, OSError) as exc:
            log.warning("The input %s of a template cannot be shown: %s", name, exc)
            return answer
        query = {**request.query, "type": "temp", "filename": shown.name,
                 "subfolder": f"{FOLDER}/{shown.parent.name}"}  # fmt: skip
        return await handler(request.clone(rel_url=request.rel_url.with_query(query)))

    def _lay(self, stored: InputFile) -> Path:
        """The file in the temporary folder, below its digest: equal names do not meet."""
        folder = Path(folder_paths.get_temp_directory(), FOLDER, stored.blob.digest)
        path = folder / PurePosixPath(stored.name).name
        if not path.is_file():
            self._designer.services().blobs.download(stored.blob, path)
        return path


def _named(request: web.Request) -> tuple[str, str]:
    """The folder and the name that a request for a file means."""
    name, place = request.query.get("filename", ""), request.query.get("type", "output")
    if annotated := ANNOTATED.fullmatch(name):
        name, place = annotated.groups()
    return place, str(PurePosixPath(request.query.get("subfolder", ""), name)) if name else ""
