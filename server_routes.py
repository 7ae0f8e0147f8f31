"""The /aws routes on ComfyUI's server: JSON in, JSON out, described by docs/openapi.yaml.

Thin: a handler reads the request, calls a service in a thread, and writes the answer. Every
error of the library becomes ``{"error": {"code", "message", "hint"}}`` with its status.
"""

import asyncio
import functools
import getpass
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from comfy_aws import __version__, stack
from comfy_aws.comfyui import extension
from comfy_aws.comfyui.designer import Designer
from comfy_aws.comfyui.endpoint_watch import EndpointWatch
from comfy_aws.differences import changes
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.errors import ComfyAwsError, InvalidWorkflow
from comfy_aws.models import Json, to_dict
from comfy_aws.publications import Publication, PublishState
from comfy_aws.templates import taken

log = logging.getLogger(__name__)

DOCUMENT = Path(__file__).resolve().parent / "docs" / "openapi.yaml"
ENDPOINT_WISHES = frozenset(
    {"instance_type", "min_instances", "max_instances", "initial_instances", "idle_seconds"}
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install() -> None:
    """Add the routes to the running PromptServer."""
    designer = extension.designer()
    Routes(designer).add_to(designer.server.routes)


def answers_errors(handler: Callable[..., Awaitable[web.StreamResponse]]) -> Any:
    """Turn the library's errors into JSON answers."""

    @functools.wraps(handler)
    async def wrapped(self: "Routes", request: web.Request) -> web.StreamResponse:
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


class Routes:
    """The handlers, by group in the order of the document."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer
        self._server = designer.server
        self._watch = EndpointWatch(designer)

    def add_to(self, routes: web.RouteTableDef) -> None:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/aws/status", self.get_status),
            ("POST", "/aws/stack", self.post_stack),
            ("GET", "/aws/templates", self.list_templates),
            ("POST", "/aws/templates/check", self.check_template),
            ("GET", "/aws/templates/{name}", self.get_template),
            ("PATCH", "/aws/templates/{name}", self.patch_template),
            ("DELETE", "/aws/templates/{name}", self.delete_template),
            ("GET", "/aws/templates/{name}/versions", self.list_versions),
            ("GET", "/aws/templates/{name}/diff", self.get_diff),
            ("POST", "/aws/templates/{name}/rollback", self.roll_back),
            ("POST", "/aws/preflight", self.post_preflight),
            ("POST", "/aws/publishes", self.post_publish),
            ("GET", "/aws/publishes", self.list_publishes),
            ("GET", "/aws/publishes/{id}", self.get_publish),
            ("DELETE", "/aws/publishes/{id}", self.cancel_publish),
            ("GET", "/aws/endpoints", self.list_endpoints),
            ("POST", "/aws/endpoints", self.post_endpoint),
            ("GET", "/aws/endpoints/{name}", self.get_endpoint),
            ("DELETE", "/aws/endpoints/{name}", self.delete_endpoint),
            ("GET", "/aws/jobs", self.list_jobs),
            ("POST", "/aws/jobs/{id}/cancel", self.cancel_job),
            ("GET", "/aws/openapi.json", self.get_document),
        ]
        for method, path, handler in table:
            routes.route(method, path)(handler)

    # -- connection ----------------------------------------------------------------------------

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
            "bucket": (state.bucket if local and state else config.bucket if config else ""),
            "role": "designer",
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
        action = (await _body(request)).get("action")
        if action == "start":
            await asyncio.to_thread(self._designer.start_stack)
        elif action == "stop":
            await asyncio.to_thread(self._designer.stop_stack)
        else:
            raise InvalidWorkflow(f"The action is 'start' or 'stop'; got {action!r}.")
        return web.json_response(await asyncio.to_thread(self._status))

    # -- templates -----------------------------------------------------------------------------

    @answers_errors
    async def list_templates(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.templates.list())
        return web.json_response({"templates": [to_dict(template) for template in found]})

    @answers_errors
    async def check_template(self, request: web.Request) -> web.Response:
        name = (await _body(request)).get("name")

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

        def read(services: Any) -> Json:
            template = services.templates.get(name)
            version = services.templates.version(name, template.version)
            return {
                "template": to_dict(template),
                "workflow": version.workflow,
                "prompt": version.prompt,
                "manifest": to_dict(version.manifest),
                "version": version.version,
            }

        return web.json_response(await self._call(read))

    @answers_errors
    async def patch_template(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await _body(request)
        changes = {key: str(body[key]) for key in ("endpoint", "description") if key in body}

        def change(services: Any) -> Json:
            from dataclasses import replace

            if changes.get("endpoint"):
                services.endpoints.get(changes["endpoint"])
            return to_dict(services.templates.change(name, lambda old: replace(old, **changes)))

        return web.json_response({"template": await self._call(change)})

    @answers_errors
    async def delete_template(self, request: web.Request) -> web.Response:
        await self._call(lambda s: s.templates.delete(request.match_info["name"]))
        return web.Response(status=204)

    @answers_errors
    async def list_versions(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]

        def read(services: Any) -> list[Json]:
            current = services.templates.get(name).version
            found = [services.templates.version(name, n) for n in services.templates.versions(name)]
            return [
                {"version": each.version, "created": each.created, "author": each.author,
                 "current": each.version == current} for each in found
            ]  # fmt: skip

        return web.json_response({"versions": await self._call(read)})

    @answers_errors
    async def get_diff(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        before, after = (_number(request.query.get(key), key) for key in ("before", "after"))

        def compare(services: Any) -> list[Json]:
            read = services.templates.version
            return [to_dict(each) for each in changes(read(name, before), read(name, after))]

        return web.json_response({"changes": await self._call(compare)})

    @answers_errors
    async def roll_back(self, request: web.Request) -> web.Response:
        number = _number((await _body(request)).get("version"), "version")
        name = request.match_info["name"]
        template = await self._call(lambda s: s.templates.roll_back(name, number))
        return web.json_response({"template": to_dict(template)})

    @answers_errors
    async def post_preflight(self, request: web.Request) -> web.Response:
        body = await _body(request)
        template = str(body.get("template") or "")
        return web.json_response(
            await self._call(lambda s: s.preflight.check(body.get("prompt"), template))
        )

    # -- publishes -----------------------------------------------------------------------------

    @answers_errors
    async def post_publish(self, request: web.Request) -> web.Response:
        body = await _body(request)
        new_version = bool(body.get("new_version"))
        author = request.headers.get("comfy-user") or _user()

        def start(services: Any) -> Publication:
            if not new_version and services.templates.exists(body.get("name")):
                raise taken(str(body.get("name")))
            publication: Publication = services.publications.start(
                body.get("name"),
                body.get("workflow"),
                body.get("prompt"),
                client_id=str(body.get("client_id") or ""),
                changed=self._publish_changed,
                new_version=new_version,
                author=author,
                description=str(body.get("description") or ""),
            )
            return publication

        publication = await self._call(start)
        return web.json_response({"publish": to_dict(publication)}, status=202)

    def _publish_changed(self, publication: Publication) -> None:
        if publication.state is not PublishState.RUNNING:
            self._designer.definitions.forget()
        self._server.send_sync("aws.publish", to_dict(publication))

    @answers_errors
    async def list_publishes(self, _request: web.Request) -> web.Response:
        if not self._designer.has_services:
            return web.json_response({"publishes": []})
        found = await self._call(lambda s: s.publications.list())
        return web.json_response({"publishes": [to_dict(publication) for publication in found]})

    @answers_errors
    async def get_publish(self, request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.publications.get(request.match_info["id"]))
        return web.json_response({"publish": to_dict(found)})

    @answers_errors
    async def cancel_publish(self, request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.publications.cancel(request.match_info["id"]))
        return web.json_response({"publish": to_dict(found)})

    # -- endpoints -----------------------------------------------------------------------------

    @answers_errors
    async def list_endpoints(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.endpoints.list())
        self._watch.see(found)
        return web.json_response({"endpoints": [to_dict(endpoint) for endpoint in found]})

    @answers_errors
    async def post_endpoint(self, request: web.Request) -> web.Response:
        body = await _body(request)
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

    # -- jobs ----------------------------------------------------------------------------------

    @answers_errors
    async def list_jobs(self, _request: web.Request) -> web.Response:
        found = await self._call(lambda s: s.jobs.views())
        return web.json_response({"jobs": [view.to_dict() for view in found]})

    @answers_errors
    async def cancel_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        await self._call(lambda s: s.jobs.cancel(job_id))
        view = await self._call(lambda s: s.jobs.view(job_id))
        return web.json_response({"job": view.to_dict()})

    @answers_errors
    async def get_document(self, _request: web.Request) -> web.Response:
        return web.json_response(yaml.safe_load(DOCUMENT.read_text(encoding="utf-8")))

    async def _call(self, work: Callable[[Any], Any]) -> Any:
        """Run `work` with the services in a thread: everything below is synchronous."""
        return await asyncio.to_thread(lambda: work(self._designer.services()))


def _user() -> str:
    """Who runs this ComfyUI; empty on a machine that has no name for its user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _number(value: object, name: str) -> int:
    """A version's number from a query or a body. Raises InvalidWorkflow."""
    text = str(value)
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise InvalidWorkflow(f"{name} is the number of a version, 1 or more; got {value!r}.")
    return int(text)


async def _body(request: web.Request) -> Json:
    """The request's JSON object. Raises InvalidWorkflow when it is none."""
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise InvalidWorkflow(f"The request's body is not JSON: {exc}.") from exc
    if not isinstance(body, dict):
        raise InvalidWorkflow("The request's body is not a JSON object.")
    return body
