"""Publishes: started, watched, cancelled."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from aiohttp import web

from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, author_of, body_of
from comfy_aws.errors import InvalidFile, NotFound
from comfy_aws.models import to_dict
from comfy_aws.parameters import chosen_of
from comfy_aws.publications import Publication, Publications, PublishState
from comfy_aws.templates import taken


class PublishRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("POST", "/aws/publishes", self.post_publish),
            Route("GET", "/aws/publishes", self.list_publishes),
            Route("GET", "/aws/publishes/{id}", self.get_publish),
            Route("DELETE", "/aws/publishes/{id}", self.cancel_publish),
        ]

    @property
    def _publications(self) -> Publications:
        """Those of this process, without a thread: a bucket that hangs may hold all of them.

        A page is locked by what is answered here.

        Raises:
            NotFound: nothing has been published since ComfyUI started.
        """
        built = self._designer.built
        if built is None:
            raise NotFound("There is no such publish.", hint="It ended some time ago.")
        return built.publications

    @answers_errors
    async def post_publish(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        new_version = bool(body.get("new_version"))
        author, cover = author_of(request), _picture(body.get("cover"))
        wanted = body.get("parameters")
        parameters = None if wanted is None else chosen_of(wanted)

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
                cover=cover,
                parameters=parameters,
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
        built = self._designer.built
        found = built.publications.list() if built else []
        return web.json_response({"publishes": [to_dict(publication) for publication in found]})

    @answers_errors
    async def get_publish(self, request: web.Request) -> web.Response:
        found = self._publications.get(request.match_info["id"])
        return web.json_response({"publish": to_dict(found)})

    @answers_errors
    async def cancel_publish(self, request: web.Request) -> web.Response:
        found = self._publications.cancel(request.match_info["id"])
        return web.json_response({"publish": to_dict(found)})


def _picture(text: object) -> bytes:
    """The bytes of a picture in base64; none for nothing. Raises InvalidFile."""
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidFile(
            f"The cover is not base64: {exc}.", hint="Send the bytes of a picture in base64."
        ) from exc
