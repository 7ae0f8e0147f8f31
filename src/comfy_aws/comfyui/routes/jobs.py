"""Jobs: what this designer sent to AWS."""

from __future__ import annotations

from aiohttp import web

from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of, number_of
from comfy_aws.errors import InvalidWorkflow, NotFound
from comfy_aws.models import Json
from comfy_aws.services import Services

MOST = 200
"""Jobs of one answer."""


class JobRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/jobs", self.list_jobs, artist=True),
            Route("GET", "/aws/jobs/{id}/request", self.get_request, artist=True),
            Route("GET", "/aws/jobs/{id}/preview", self.get_preview, artist=True),
            Route("POST", "/aws/jobs/{id}/show", self.show_job, artist=True),
            Route("POST", "/aws/jobs/{id}/cancel", self.cancel_job, artist=True),
        ]

    @answers_errors
    async def list_jobs(self, request: web.Request) -> web.Response:
        limit = min(MOST, number_of(request.query.get("limit", str(MOST)), "limit"))
        before = _moment(request.query.get("before", ""))
        # One more than is given tells whether there are more.
        found = await self._call(lambda s: s.jobs.views(limit + 1, before=before))
        jobs = [view.to_dict() for view in found[:limit]]
        return web.json_response({"jobs": jobs, "more": len(found) > limit})

    @answers_errors
    async def get_request(self, request: web.Request) -> web.Response:
        sent = await self._call(lambda s: s.jobs.request(request.match_info["id"]))
        extra = sent.extra_data.get("extra_pnginfo")
        workflow = extra.get("workflow") if isinstance(extra, dict) else None
        return web.json_response({
            "prompt": sent.prompt,
            "outputs": list(sent.outputs),
            "workflow": workflow if isinstance(workflow, dict) else None,
            "extra_data": sent.extra_data,
        })  # fmt: skip

    @answers_errors
    async def get_preview(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        picture = await self._call(lambda s: s.jobs.preview(job_id))
        if picture is None:
            raise NotFound(f"The job {job_id} has no preview now.")
        body, kind = picture
        return web.Response(body=body, content_type=kind, headers={"Cache-Control": "no-store"})

    @answers_errors
    async def show_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        client_id = (await body_of(request)).get("client_id")
        if not isinstance(client_id, str) or not client_id:
            raise InvalidWorkflow("client_id is the websocket client that shall draw the job.")
        view = await self._call(lambda s: s.jobs.view(job_id))
        if not self._designer.canvas.show(job_id, client_id):
            raise NotFound(
                f"The job {job_id} cannot be drawn: it has ended, or a program has ordered it.",
                hint="Load its workflow instead.",
            )
        return web.json_response({"job": view.to_dict()})

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


def _moment(text: str) -> float:
    """Seconds since the epoch; empty is no limit."""
    try:
        return float(text) if text else float("inf")
    except ValueError as exc:
        raise InvalidWorkflow(f"before is a time in seconds; got {text!r}.") from exc
