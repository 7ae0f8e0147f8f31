"""Connection: what is configured, what answers, the local stack, the document."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml
from aiohttp import web

from comfy_aws import __version__, stack
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of
from comfy_aws.errors import ComfyAwsError, InvalidWorkflow
from comfy_aws.models import Json

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "openapi.yaml"


class StatusRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/status", self.get_status, artist=True),
            Route("POST", "/aws/stack", self.post_stack),
            Route("GET", "/aws/openapi.json", self.get_document, artist=True),
        ]

    @answers_errors
    async def get_status(self, _request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._status))

    def _status(self) -> Json:
        problem: Json | None = None
        config = None
        state = None
        try:
            config = self._designer.config()
            state = stack.read_state(config.stack_home)
            if config.target == "local":
                self._designer.follow_stack(state)
            if config.target:
                self._designer.services().identity.account()
        except ComfyAwsError as exc:
            problem = exc.to_dict()
        local = config is not None and config.target == "local"
        return {
            "configured": bool(config and config.target),
            "target": config.target if config else "",
            "region": (state.region if local and state else config.region if config else ""),
            "bucket": (stack.BUCKET if local else config.bucket if config else ""),
            "role": self._designer.role,
            "endpoint": config.endpoint if config else "",
            "route": config.route if config else "",
            "stack": {
                "running": state is not None,
                "endpoint_url": state.endpoint_url if state else "",
            },
            "version": __version__,
            "problem": problem,
        }

    @answers_errors
    async def post_stack(self, request: web.Request) -> web.Response:
        action = (await body_of(request)).get("action")
        if action == "start":
            await asyncio.to_thread(self._designer.start_stack)
        elif action == "stop":
            await asyncio.to_thread(self._designer.stop_stack)
        else:
            raise InvalidWorkflow(f"The action is 'start' or 'stop'; got {action!r}.")
        return web.json_response(await asyncio.to_thread(self._status))

    @answers_errors
    async def get_document(self, _request: web.Request) -> web.Response:
        return web.json_response(yaml.safe_load(DOCUMENT.read_text(encoding="utf-8")))
