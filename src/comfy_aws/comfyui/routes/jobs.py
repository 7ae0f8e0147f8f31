"""Jobs: what this designer sent to AWS."""

from __future__ import annotations

from aiohttp import web

from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors
from comfy_aws.errors import NotFound
from comfy_aws.models import Json
from comfy_aws.services import Services


class JobRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/jobs", self.list_jobs, artist=True),
            Route("POST", "/aws/jobs/{id}/cancel", self.cancel_job, artist=True),
        ]

    @answers_errors
    async def list_jobs(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.jobs.views())
        return web.json_response({"jobs": [view.to_dict() for view in found]})

    @answers_errors
    async def cancel_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]

        def cancel(services: Services) -> Json:
            try:
                services.jobs.cancel(job_id)
            except NotFound:  # another ComfyUI has sent it, such as the port beside this one
                services.job_reports.cancel(job_id)
                return services.job_reports.of(job_id)
            return services.jobs.view(job_id).to_dict()

        return web.json_response({"job": await self._call(cancel)})
