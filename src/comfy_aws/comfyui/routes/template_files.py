"""Templates as files: out of the bucket, and into it."""

from __future__ import annotations

import asyncio

from aiohttp import web

from comfy_aws import layout
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, author_of, number_of
from comfy_aws.models import to_dict
from comfy_aws.scratch import scratch

CHUNK = 1024 * 1024


class TemplateFileRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/templates/{name}/export", self.get_export),
            Route("POST", "/aws/templates/import", self.post_import),
        ]

    @answers_errors
    async def get_export(self, request: web.Request) -> web.StreamResponse:
        name = layout.check_template_name(request.match_info["name"])
        asked = request.query.get("version", "")
        version = number_of(asked, "version") if asked else 0
        with_blobs = request.query.get("blobs") == "1"
        with scratch(self._designer.state) as folder:
            path = folder / f"{name}.zip"
            made = await self._call(
                lambda s: s.template_files.export(
                    name, path, version=version, with_blobs=with_blobs
                )
            )
            answer = web.FileResponse(
                path,
                headers={
                    "Content-Type": "application/zip",
                    "Content-Disposition": f'attachment; filename="{name}-v{made.version}.zip"',
                },
            )
            # The folder goes when this returns: the answer is sent here.
            await answer.prepare(request)
            return answer

    @answers_errors
    async def post_import(self, request: web.Request) -> web.Response:
        name, author = request.query.get("name", ""), author_of(request)
        with scratch(self._designer.state) as folder:
            path = folder / "import.zip"
            with await asyncio.to_thread(path.open, "wb") as file:
                async for chunk in request.content.iter_chunked(CHUNK):
                    await asyncio.to_thread(file.write, chunk)
            template = await self._call(
                lambda s: s.template_files.take_in(path, name=name, author=author)
            )
        self._designer.definitions.forget()
        return web.json_response({"template": to_dict(template)}, status=201)
