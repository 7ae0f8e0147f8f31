"""SageMaker endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from comfy_aws.comfyui.designer import Designer
from comfy_aws.comfyui.endpoint_watch import EndpointWatch
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of, number_of
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.errors import ConfigError
from comfy_aws.jobindex import stored_jobs
from comfy_aws.models import Endpoint, Json, to_dict

LIMITS: Final = ("min_instances", "max_instances", "idle_seconds")
DAY: Final = 24 * 3600.0
ENDPOINT_WISHES = frozenset(
    {
        "instance_type",
        "fallbacks",
        "min_instances",
        "max_instances",
        "initial_instances",
        "idle_seconds",
    }
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
            Route("GET", "/aws/endpoints/{name}/start", self.get_start),
            Route("PATCH", "/aws/endpoints/{name}", self.patch_endpoint),
            Route("DELETE", "/aws/endpoints/{name}", self.delete_endpoint),
            Route("POST", "/aws/endpoints/{name}/wake", self.wake_endpoint),
            Route("POST", "/aws/endpoints/{name}/sleep", self.sleep_endpoint),
            Route("GET", "/aws/instance-types", self.list_instance_types),
            Route("GET", "/aws/costs", self.get_costs),
        ]

    @answers_errors
    async def list_endpoints(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.endpoints.list(queue=True))
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
        found = await self._call(lambda s: s.endpoints.get(request.match_info["name"], queue=True))
        return web.json_response({"endpoint": to_dict(found)})

    @answers_errors
    async def get_start(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        start = await self._call(lambda s: s.starts.of(s.endpoints.get(name)))
        return web.json_response({"start": start})

    @answers_errors
    async def patch_endpoint(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        for wish in body:
            if wish not in LIMITS:
                raise ConfigError(
                    f"{wish} of an endpoint cannot be changed.",
                    hint="Create another endpoint; what can be changed: " + ", ".join(LIMITS),
                )
        wishes = {key: _whole(key, value) for key, value in body.items()}
        name = request.match_info["name"]
        return await self._moved(lambda s: s.endpoints.change(name, **wishes), status=200)

    @answers_errors
    async def wake_endpoint(self, request: web.Request) -> web.Response:
        return await self._moved(lambda s: s.endpoints.wake(request.match_info["name"]))

    @answers_errors
    async def sleep_endpoint(self, request: web.Request) -> web.Response:
        return await self._moved(lambda s: s.endpoints.sleep(request.match_info["name"]))

    async def _moved(self, work: Callable[[Any], Endpoint], status: int = 202) -> web.Response:
        endpoint: Endpoint = await self._call(work)
        self._watch.see([endpoint])
        return web.json_response({"endpoint": to_dict(endpoint)}, status=status)

    @answers_errors
    async def list_instance_types(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.prices.types())
        return web.json_response({"instance_types": [to_dict(each) for each in found]})

    @answers_errors
    async def get_costs(self, request: web.Request) -> web.Response:
        days = number_of(request.query.get("days", "30"), "days")
        by = request.query.get("by", "day")

        def add_up(services: Any) -> Json:
            jobs = stored_jobs(services.store, since=time.time() - days * DAY)
            ended = [job for job in jobs if job.outcome]
            return {
                "costs": [to_dict(each) for each in services.costs.by(by, ended)],
                "total": to_dict(services.costs.total("total", ended)),
            }

        return web.json_response(await self._call(add_up))

    @answers_errors
    async def delete_endpoint(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = await self._call(lambda s: s.endpoints.get(name))
        await self._call(lambda s: s.endpoints.delete(name))
        self._watch.see([found])
        return web.json_response({"endpoint": {**to_dict(found), "status": "Deleting"}}, status=202)


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name} is a whole number; got {value!r}.")
    return value
