"""SageMaker endpoints."""

from __future__ import annotations

from aiohttp import web

from comfy_aws.comfyui.designer import Designer
from comfy_aws.comfyui.endpoint_watch import EndpointWatch
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.models import to_dict

ENDPOINT_WISHES = frozenset(
    {"instance_type", "min_instances", "max_instances", "initial_instances", "idle_seconds"}
)


class EndpointRoutes(RouteGroup):
    def __init__(self, designer: Designer) -> None:
        super().__init__(designer)
        self._watch = EndpointWatch(designer)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/endpoints", self.list_endpoints),
            Route("POST", "/aws/endpoints", self.post_endpoint),
            Route("GET", "/aws/endpoints/{name}", self.get_endpoint),
            Route("DELETE", "/aws/endpoints/{name}", self.delete_endpoint),
        ]

    @answers_errors
    async def list_endpoints(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.endpoints.list())
        self._watch.see(found)
        return web.json_response({"endpoints": [to_dict(endpoint) for endpoint in found]})

    @answers_errors
    async def post_endpoint(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        wishes = {key: body[key] for key in ENDPOINT_WISHES if key in body}
        spec = spec_for(str(body.get("name") or ""), str(body.get("template") or ""), **wishes)
        made = await self._call(lambda s: s.endpoints.create(spec))
        self._watch.see([made])
        return web.json_response({"endpoint": to_dict(made)}, status=202)

    @answers_errors
    async def get_endpoint(self, request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.endpoints.get(request.match_info["name"]))
        return web.json_response({"endpoint": to_dict(found)})

    @answers_errors
    async def delete_endpoint(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = await self._call(lambda s: s.endpoints.get(name))
        await self._call(lambda s: s.endpoints.delete(name))
        self._watch.see([found])
        return web.json_response({"endpoint": {**to_dict(found), "status": "Deleting"}}, status=202)
