"""Templates, their versions, and what a prompt needs before it is sent."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from comfy_aws.codecs import COVER_TYPE
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of, number_of
from comfy_aws.differences import changes
from comfy_aws.errors import ComfyAwsError, NotFound
from comfy_aws.models import Json, Template, TemplateVersion, to_dict
from comfy_aws.parameters import chosen_of
from comfy_aws.services import Services
from comfy_aws.templates import taken


class TemplateRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/templates", self.list_templates, artist=True),
            Route("POST", "/aws/templates/check", self.check_template),
            Route("GET", "/aws/templates/{name}", self.get_template, artist=True),
            Route("PATCH", "/aws/templates/{name}", self.patch_template),
            Route("DELETE", "/aws/templates/{name}", self.delete_template),
            Route("GET", "/aws/templates/{name}/cover", self.get_cover, artist=True),
            Route("POST", "/aws/templates/{name}/rename", self.rename_template),
            Route("GET", "/aws/templates/{name}/versions", self.list_versions),
            Route("GET", "/aws/templates/{name}/diff", self.get_diff),
            Route("POST", "/aws/templates/{name}/rollback", self.roll_back),
            Route("POST", "/aws/preflight", self.post_preflight),
        ]

    @answers_errors
    async def list_templates(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.templates.list())
        return web.json_response({"templates": [to_dict(template) for template in found]})

    @answers_errors
    async def check_template(self, request: web.Request) -> web.Response:
        name: Any = (await body_of(request)).get("name")

        def check(services: Any) -> Json | None:
            try:
                if services.templates.exists(name):
                    raise taken(name)
            except ComfyAwsError as exc:
                if exc.code not in {"invalid_name", "conflict"}:
                    raise
                return exc.to_dict()
            return None

        error = await self._call(check)
        return web.json_response({"ok": error is None, "error": error})

    @answers_errors
    async def get_template(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def read(services: Any) -> tuple[Template, TemplateVersion]:
            template = services.templates.get(name)
            return template, services.templates.version(name, template.version)

        template, version = await self._call(read)
        self._designer.definitions.opened(version)
        return web.json_response(
            {
                "template": to_dict(template),
                "workflow": version.workflow,
                "prompt": version.prompt,
                "manifest": to_dict(version.manifest),
                "version": version.version,
            }
        )

    @answers_errors
    async def patch_template(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await body_of(request)
        changes: Json = {key: str(body[key]) for key in ("endpoint", "description") if key in body}
        chosen = chosen_of(body["parameters"]) if "parameters" in body else None

        def change(services: Any) -> Json:
            from dataclasses import replace

            if changes.get("endpoint"):
                services.endpoints.get(changes["endpoint"])
            if chosen is not None:
                template = services.templates.choose(name, chosen)
                if not changes:
                    return to_dict(template)
            return to_dict(services.templates.change(name, lambda old: replace(old, **changes)))

        return web.json_response({"template": await self._call(change)})

    @answers_errors
    async def delete_template(self, request: web.Request) -> web.Response:
        await self._call(lambda s: s.templates.delete(request.match_info["name"]))
        return web.Response(status=204)

    @answers_errors
    async def get_cover(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def read(services: Any) -> tuple[str, bytes]:
            cover = services.templates.get(name).cover
            if cover is None:
                raise NotFound(f"The template {name} has no cover.", hint="Publish it with one.")
            return cover.digest, services.blobs.read(cover)

        digest, body = await self._call(read)
        is_fixed = request.query.get("digest") == digest
        headers = {
            "Cache-Control": "private, max-age=31536000, immutable" if is_fixed else "no-cache"
        }
        return web.Response(body=body, content_type=COVER_TYPE, headers=headers)

    @answers_errors
    async def rename_template(self, request: web.Request) -> web.Response:
        name, new = request.match_info["name"], (await body_of(request)).get("name")
        template = await self._call(lambda s: s.templates.rename(name, new))
        self._designer.definitions.forget()
        return web.json_response({"template": to_dict(template)})

    @answers_errors
    async def list_versions(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def read(services: Any) -> list[Json]:
            current = services.templates.get(name).version
            return [
                {"version": each.version, "created": each.created, "author": each.author,
                 "current": each.version == current, "nodes": len(each.prompt),
                 "size": each.manifest.size,
                 "fault": _fault(services, each) if each.version == current else None}
                for each in services.templates.history(name)
            ]  # fmt: skip

        return web.json_response({"versions": await self._call(read)})

    @answers_errors
    async def get_diff(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        before, after = (number_of(request.query.get(key), key) for key in ("before", "after"))

        def compare(services: Any) -> list[Json]:
            read = services.templates.version
            return [to_dict(each) for each in changes(read(name, before), read(name, after))]

        return web.json_response({"changes": await self._call(compare)})

    @answers_errors
    async def roll_back(self, request: web.Request) -> web.Response:
        number = number_of((await body_of(request)).get("version"), "version")
        name = request.match_info["name"]
        template = await self._call(lambda s: s.templates.roll_back(name, number))
        return web.json_response({"template": to_dict(template)})

    @answers_errors
    async def post_preflight(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        template = str(body.get("template") or "")
        return web.json_response(
            await self._call(
                lambda s: s.preflight.check(body.get("prompt"), template, body.get("workflow"))
            )
        )


def _fault(services: Services, version: TemplateVersion) -> Json | None:
    fault = services.pack_faults.of(version.manifest.packs)
    return to_dict(fault) if fault else None
