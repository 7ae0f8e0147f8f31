"""Templates as forms: their main parameters, and the page that shows them without the graph."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from comfy_aws.comfyui import web_folder
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors
from comfy_aws.models import Json, to_dict
from comfy_aws.parameters import parameters, settable

PAGE = web_folder.PATH / "form" / "form.html"


class FormRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/form", self.get_form, artist=True),
            Route("GET", "/aws/templates/{name}/parameters", self.get_parameters, artist=True),
        ]

    @answers_errors
    async def get_form(self, request: web.Request) -> web.Response:
        up = "../" * (request.path.count("/") - 1)  # the page may stand behind a proxy's prefix
        base = up + web_folder.served_at().removeprefix("/")
        text = PAGE.read_text(encoding="utf-8").replace("{base}", base)
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
            found = choose(
                version.prompt, version.object_info, template.parameters, version.workflow
            )
            return {
                "template": name,
                "version": version.version,
                "parameters": [to_dict(parameter) for parameter in found],
            }

        return web.json_response(await self._call(read))
