"""An aiohttp middleware for what ComfyUI has no hook for.

Refuses marked prompts that cannot run, keeps cancels of cloud jobs away from the local run, draws
a cloud job again when its page comes back, shows inputs and help pages that only the bucket has,
and lets browsers ask for this extension's modules anew. Every path is known with and without /api.

On an inference port it also closes the routes of ComfyUI-Manager, which install packs and models,
run their code and restart the process: whoever reaches the port would own the machine. ComfyUI's
own routes stay: none of them does more than keep an artist's workflows, inputs and settings.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from comfy_aws.comfyui import web_folder
from comfy_aws.comfyui.designer import OUTPUTS, USER, Designer
from comfy_aws.comfyui.routes.base import author_of, refuse
from comfy_aws.comfyui.stored_help import StoredHelp, is_help
from comfy_aws.comfyui.stored_inputs import StoredInputs
from comfy_aws.config import INFERENCE
from comfy_aws.models import JobState, Json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MANAGER: Final = ("comfyui_manager", "customnode", "externalmodel", "manager", "snapshot")
"""First parts of ComfyUI-Manager's routes, which newer ones have below /v2."""

RECONNECT_STEP: Final = 0.05
RECONNECT_STEPS: Final = 200
"""Steps of seconds that a websocket is given to be entered by ComfyUI before it is drawn to."""


class Middleware:
    """`install` it before the server starts."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer
        self._help = StoredHelp(designer)
        self._redraws: set[asyncio.Task[None]] = set()
        self._routes: dict[tuple[str, str], Callable[[web.Request, Handler], Any]] = {
            ("POST", "/prompt"): self._prompt,
            ("POST", "/interrupt"): self._interrupt,
            ("POST", "/queue"): self._queue,
            ("POST", "/jobs/cancel"): self._cancel_jobs,
            ("GET", "/ws"): self._websocket,
            ("GET", "/object_info"): self._object_info,
            ("GET", "/view"): StoredInputs(designer).view,
        }

    def install(self, app: web.Application) -> None:
        @web.middleware
        async def aws(request: web.Request, handler: Handler) -> web.StreamResponse:
            path = request.path.removeprefix("/api")
            if self._designer.role == INFERENCE and _is_managers(path):
                return await refuse(request)
            route = self._routes.get((request.method, path))
            if route is None and request.method == "POST" and _cancelled_job(path):
                route = self._cancel_job
            if route is None and request.method == "GET" and path.startswith("/object_info/"):
                route = self._object_info
            if route is None and request.method in ("GET", "HEAD") and is_help(path):
                route = self._help.answer
            answer: web.StreamResponse = (
                await route(request, handler) if route else await handler(request)
            )
            if web_folder.is_module(path):
                answer.headers.setdefault("Cache-Control", "no-cache")
            return answer

        app.middlewares.append(aws)

    async def _prompt(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        USER.set(author_of(request))
        checked = await asyncio.to_thread(self._designer.admission.check, await _body(request))
        if checked.refusal is not None:
            return web.json_response(checked.refusal, status=400)
        OUTPUTS.set(checked.outputs)
        answer = await handler(request)
        if checked.node_errors and isinstance(answer, web.Response) and answer.status == 200:
            queued = json.loads(answer.text or "{}")
            return web.json_response({**queued, "node_errors": checked.node_errors})
        return answer

    async def _object_info(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if not isinstance(answer, web.Response) or answer.status != 200:
            return answer
        if not await self._designer.definitions.has_any():
            return answer
        complete = self._designer.definitions.complete(json.loads(answer.text or "{}"))
        if complete is None:
            return answer
        wanted = request.match_info.get("node_class")
        if wanted is not None:
            complete = {wanted: complete[wanted]} if wanted in complete else {}
        return web.json_response(complete)

    async def _interrupt(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._designer.wraps_all:
            return await handler(request)  # ComfyUI's executor holds the job; its node hears it
        prompt_id = (await _body(request)).get("prompt_id")
        if prompt_id:
            if self._designer.cancel(str(prompt_id)):
                return web.Response(status=200)
            return await handler(request)
        # Without an id "the current run" is meant: the local one if there is one.
        eldest = self._eldest()
        if eldest and not self._designer.queue.local_is_running(self._designer.is_cloud):
            self._designer.cancel(eldest)
            return web.Response(status=200)
        return await handler(request)

    async def _queue(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await _body(request)
        for prompt_id in body.get("delete") or ():
            self._designer.cancel(str(prompt_id))
        if body.get("clear"):
            for view in self._live():
                if view["state"] in (JobState.PREPARING.value, JobState.SUBMITTED.value):
                    self._designer.cancel(view["id"])
        return await handler(request)

    async def _cancel_job(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        job_id = _cancelled_job(request.path.removeprefix("/api"))
        if self._designer.cancel(job_id):
            return web.json_response({"cancelled": True})
        return await handler(request)

    async def _cancel_jobs(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await _body(request)
        ids = [str(job_id) for key in ("job_ids", "ids") for job_id in body.get(key) or ()]
        cloud = [job_id for job_id in ids if self._designer.cancel(job_id)]
        if ids and len(cloud) == len(ids):
            return web.json_response({"cancelled": True})
        return await handler(request)

    async def _websocket(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        client_id = request.query.get("clientId", "")
        if client_id:
            before = self._designer.server.sockets.get(client_id)
            task = asyncio.create_task(self._redraw(client_id, before))
            self._redraws.add(task)
            task.add_done_callback(self._redraws.discard)
        return await handler(request)

    async def _redraw(self, client_id: str, before: object) -> None:
        """Once ComfyUI has entered the new socket; the page sends its feature flags first."""
        for _ in range(RECONNECT_STEPS):
            await asyncio.sleep(RECONNECT_STEP)
            server = self._designer.server
            socket = server.sockets.get(client_id)
            flags = server.sockets_metadata.get(client_id, {}).get("feature_flags")
            if socket is not None and socket is not before and flags:
                self._designer.canvas.redraw(client_id)
                return

    def _eldest(self) -> str:
        live = self._live()
        return str(live[-1]["id"]) if live else ""

    def _live(self) -> list[Json]:
        """Live cloud jobs, newest first, from the queue's own record."""
        running, queued = self._designer.server.prompt_queue.get_current_queue()
        jobs = self._designer.services().jobs if self._designer.has_services else None
        if jobs is None:
            return []
        cloud = [item[1] for item in (*running, *queued) if jobs.is_live(item[1])]
        return [jobs.view(job_id).to_dict() for job_id in reversed(cloud)]


async def _body(request: web.Request) -> Json:
    """The JSON body, which aiohttp keeps for the handler; {} when it is none (its own affair)."""
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_managers(path: str) -> bool:
    return path.removeprefix("/v2").strip("/").partition("/")[0] in MANAGER


def _cancelled_job(path: str) -> str:
    """The id in /jobs/{id}/cancel; empty for every other path."""
    parts = path.strip("/").split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "jobs" and parts[2] == "cancel" else ""
