"""What the groups of routes share: errors as JSON, bodies checked, services in a thread."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiohttp import web
from server import PromptServer

from comfy_aws.comfyui.designer import Designer
from comfy_aws.config import INFERENCE, user_name
from comfy_aws.errors import ComfyAwsError, Forbidden, InvalidWorkflow
from comfy_aws.models import Json

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One route of a group's table.

    `artist`: an inference port has it, too. Every other route answers 403 there.
    """

    method: str
    path: str
    handler: Handler
    artist: bool = False

    def handler_for(self, role: str) -> Handler:
        """The handler, or the refusal of this role."""
        return refuse if role == INFERENCE and not self.artist else self.handler


async def refuse(request: web.Request) -> web.Response:
    """What an inference port answers where artists have no part."""
    refused = Forbidden(
        f"{request.method} {request.path} is not for an inference port: it runs templates and "
        "changes nothing.",
        hint="Do it on the designer.",
    )
    return web.json_response({"error": refused.to_dict()}, status=refused.http_status)


class RouteGroup:
    """Handlers that belong together; a subclass lists them in `routes`."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer
        self._server = designer.server

    def routes(self) -> Sequence[Route]:
        raise NotImplementedError

    async def _call(self, work: Callable[[Any], Any]) -> Any:
        """Run `work` with the services in a thread: everything below is synchronous."""
        return await asyncio.to_thread(lambda: work(self._designer.services()))


def answers_errors(handler: Callable[..., Awaitable[web.StreamResponse]]) -> Any:
    """Turn the library's errors into JSON answers."""

    @functools.wraps(handler)
    async def wrapped(self: RouteGroup, request: web.Request) -> web.StreamResponse:
        try:
            return await handler(self, request)
        except ComfyAwsError as exc:
            return web.json_response({"error": exc.to_dict()}, status=exc.http_status)
        except web.HTTPException:
            raise
        except Exception as exc:
            log.exception("%s %s failed", request.method, request.path)
            text = f"Prompt on AWS made a mistake: {type(exc).__name__}: {exc}"
            error = {"code": "internal", "message": text, "hint": "Please report it with the log."}
            return web.json_response({"error": error}, status=500)

    return wrapped


def author_of(request: web.Request) -> str:
    """Who asks: the user of a ComfyUI that has several, else who runs it, if anybody is known.

    A page sends the id that ComfyUI has made of the user's name. A program may send a name.
    """
    user = request.headers.get("comfy-user", "")
    names = getattr(getattr(PromptServer.instance, "user_manager", None), "users", {})
    return str(names.get(user, user)) or user_name()


def number_of(value: object, name: str) -> int:
    """A version's number from a query or a body. Raises InvalidWorkflow."""
    text = str(value)
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise InvalidWorkflow(f"{name} is a whole number, 1 or more; got {value!r}.")
    return int(text)


async def body_of(request: web.Request) -> Json:
    """The request's JSON object. Raises InvalidWorkflow when it is none."""
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise InvalidWorkflow(f"The request's body is not JSON: {exc}.") from exc
    if not isinstance(body, dict):
        raise InvalidWorkflow("The request's body is not a JSON object.")
    return body
