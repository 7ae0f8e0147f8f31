"""The API for programs: run a template by name, ask for the job, fetch its files."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from aiohttp import web

from comfy_aws.comfyui.program_run import ProgramRun
from comfy_aws.comfyui.routes.base import (
    Route,
    RouteGroup,
    answers_errors,
    author_of,
    body_of,
    number_of,
)
from comfy_aws.errors import Conflict, InvalidParameters, NotFound
from comfy_aws.job_reports import EXPIRES, LONGEST, SHORTEST
from comfy_aws.models import Json
from comfy_aws.orders import PROGRAM, JobView
from comfy_aws.services import Services
from comfy_aws.webhook_messages import Webhook

LONGEST_WAIT: Final = 3600
"""Seconds that an answer may be waited for."""

LOOK: Final = 0.1
"""Seconds between two looks whether a job has ended; a look asks nobody."""

_WISHES: Final[dict[str, tuple[Any, str]]] = {
    "parameters": (dict, "a JSON object"),
    "version": (int, "a whole number"),
    "endpoint": (str, "text"),
    "id": (str, "text"),
    "wait": ((int, float), "a number"),
    "webhook": (dict, "a JSON object"),
}
"""What the body of a run may hold."""


class ProgramRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("POST", "/aws/templates/{name}/run", self.run_template, artist=True),
            Route("GET", "/aws/jobs/{id}", self.get_job, artist=True),
            Route("GET", "/aws/jobs/{id}/outputs/{number}", self.get_output, artist=True),
        ]

    @answers_errors
    async def run_template(self, request: web.Request) -> web.Response:
        wishes = _wishes(await body_of(request))
        wait = _seconds(str(wishes.get("wait", 0)), "wait", 0, LONGEST_WAIT)
        name, user = request.match_info["name"], author_of(request)
        job_id = await self._call(lambda s: self._start(s, name, wishes, user))
        ended = await self._until_ended(job_id, wait)
        job = await self._call(lambda s: _report(s, job_id, EXPIRES))
        return web.json_response({"job": job}, status=200 if ended else 202)

    def _start(self, services: Services, name: str, wishes: Json, user: str) -> str:
        webhook = _webhook(wishes.get("webhook"))
        if webhook is not None:
            services.webhooks.check(webhook)
        wanted = wishes.get("id", "")
        if wanted and (_view(services, wanted) or services.job_reports.exists(wanted)):
            raise Conflict(
                f"There is a job {wanted} already.", hint="Ask for it, or send another id."
            )
        order = services.template_runs.order(
            name, wishes.get("parameters", {}), version=wishes.get("version", 0),
            endpoint=wishes.get("endpoint", ""), job_id=wanted, client_id=PROGRAM,
            find_input=self._designer.catalog.input_named, user=user,
        )  # fmt: skip
        if webhook is not None:
            services.webhooks.add(order.job_id, webhook)
        try:
            services.jobs.start(order, ProgramRun(self._server, services))
        except BaseException:
            services.webhooks.drop(order.job_id)
            raise
        return order.job_id

    @answers_errors
    async def get_job(self, request: web.Request) -> web.Response:
        job_id, query = request.match_info["id"], request.query
        expires = _seconds(query.get("expires", str(EXPIRES)), "expires", SHORTEST, LONGEST)
        wait = _seconds(query.get("wait", "0"), "wait", 0, LONGEST_WAIT)
        await self._until_ended(job_id, wait)
        return web.json_response(
            {"job": await self._call(lambda s: _report(s, job_id, int(expires)))}
        )

    @answers_errors
    async def get_output(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        number = number_of(request.match_info["number"], "The number of an output")

        def find(services: Services) -> str:
            file = services.job_reports.output(job_id, number)
            return services.store.presigned(file.key, SHORTEST)

        headers = {"Location": await self._call(find), "Cache-Control": "no-store"}
        return web.Response(status=302, headers=headers)

    async def _until_ended(self, job_id: str, seconds: float) -> bool:
        """Whether a job of this ComfyUI is over, after waiting for it at most so long."""
        until = time.monotonic() + seconds
        while self._designer.is_cloud(job_id):
            left = until - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(LOOK, left))
        return True


def _view(services: Services, job_id: str) -> JobView | None:
    """The job, where this ComfyUI has sent it."""
    try:
        return services.jobs.view(job_id)
    except NotFound:
        return None


def _report(services: Services, job_id: str, expires: int) -> Json:
    job = services.job_reports.of(job_id, _view(services, job_id), expires=expires)
    return {**job, "webhook": services.webhooks.of(job_id)}


def _wishes(body: Json) -> Json:
    """The body of a run. Raises InvalidParameters."""
    for name, value in body.items():
        if name not in _WISHES:
            raise _invalid(f"{name!r} is not known; a run takes {', '.join(_WISHES)}.")
        kind, words = _WISHES[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _invalid(f"{name} is {words}; got {value!r}.")
    if body.get("version", 1) < 1:
        raise _invalid(f"version is 1 or more; got {body['version']}.")
    return body


def _webhook(given: Json | None) -> Webhook | None:
    if given is None:
        return None
    texts = all(isinstance(value, str) for value in given.values())
    if not ({"url"} <= given.keys() <= {"url", "secret"} and texts):
        raise _invalid('A webhook is {"url": TEXT, "secret": TEXT}, the secret may be left out.')
    return Webhook(**given)


def _seconds(text: str, name: str, least: int, most: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= most:
        raise _invalid(f"{name} is a number of seconds from {least} to {most}; got {text}.")
    return seconds


def _invalid(message: str) -> InvalidParameters:
    return InvalidParameters(message, parameters={})
