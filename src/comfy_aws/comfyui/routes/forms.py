"""Templates as forms: their main parameters, and the page that shows them without the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

import nodes
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors
from comfy_aws.errors import NotFound
from comfy_aws.models import Json, to_dict
from comfy_aws.parameters import parameters, settable

WEB = Path(__file__).resolve().parents[4] / "web"
PAGE = WEB / "form" / "form.html"


class FormRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/form", self.get_form, artist=True),
            Route("GET", "/aws/templates/{name}/parameters", self.get_parameters, artist=True),
        ]

    @answers_errors
    async def get_form(self, request: web.Request) -> web.Response:
        up = "../" * (request.path.count("/") - 1)  # the page may stand behind a proxy's prefix
        text = PAGE.read_text(encoding="utf-8").replace("{base}", f"{up}extensions/{_folder()}/")
        return web.Response(
            text=text, content_type="text/html", headers={"Cache-Control": "no-cache"}
        )

    @answers_errors
    async def get_parameters(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        every = request.query.get("all", "0") == "1"

        def read(services: Any) -> Json:
            template = services.templates.get(name)
            version = services.templates.version(name, template.version)
            choose = settable if every else parameters
            found = choose(version.prompt, version.object_info, template.parameters)
            return {
                "template": name,
                "version": version.version,
                "parameters": [to_dict(parameter) for parameter in found],
            }

        return web.json_response(await self._call(read))


def _folder() -> str:
    """The name under which ComfyUI serves this extension's web folder."""
    for name, folder in nodes.EXTENSION_WEB_DIRS.items():
        if Path(folder).resolve() == WEB:
            return str(name)
    raise NotFound("ComfyUI does not serve this extension's web folder.", hint="Restart ComfyUI.")
