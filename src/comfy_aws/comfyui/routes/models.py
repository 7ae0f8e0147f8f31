"""Models: what is here and in the bucket, on its way, and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientConnectionError, web

from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors, body_of
from comfy_aws.errors import CaptureError, ComfyAwsError, InvalidWorkflow
from comfy_aws.localmodels import LocalModel
from comfy_aws.models import Json, to_dict
from comfy_aws.services import Local
from comfy_aws.transfers import Transfer, TransferKind, TransferState, Work

PLACES = ("here", "bucket")
MOST_AT_ONCE = 500
"""Models of one request; a workflow names a few dozen."""


class ModelRoutes(RouteGroup):
    def routes(self) -> list[Route]:
        return [
            Route("GET", "/aws/models", self.list_models),
            Route("DELETE", "/aws/models", self.delete_model),
            Route("GET", "/aws/models/users", self.list_users),
            Route("POST", "/aws/models/url", self.post_url),
            Route("POST", "/aws/models/upload", self.post_upload),
            Route("POST", "/aws/models/push", self.post_push),
            Route("POST", "/aws/models/pull", self.post_pull),
            Route("GET", "/aws/models/transfers", self.list_transfers),
            Route("DELETE", "/aws/models/transfers/{id}", self.delete_transfer),
        ]

    @answers_errors
    async def list_models(self, _request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._models))

    def _models(self) -> Json:
        """The bucket's models are left out while it cannot be reached; `problem` says why."""
        models = self._designer.local().models
        here, problem = models.list(), None
        try:
            found = [to_dict(each) for each in self._designer.services().model_store.join(here)]
        except ComfyAwsError as exc:
            problem = exc.to_dict()
            found = [
                {"folder": m.folder, "name": m.name, "size": m.size, "here": True,
                 "bucket": False, "differs": False, "digest": ""} for m in here
            ]  # fmt: skip
        folders = [
            {"name": place.folder, "suffixes": sorted(place.suffixes)} for place in models.folders()
        ]
        return {"models": found, "folders": folders, "problem": problem}

    @answers_errors
    async def delete_model(self, request: web.Request) -> web.Response:
        folder, name = _named(request)
        place = request.query.get("place", "")
        if place not in PLACES:
            raise InvalidWorkflow(f"place is one of {', '.join(PLACES)}; got {place!r}.")
        if place == "here":
            await self._local(lambda local: local.models.delete(folder, name))
        else:
            await self._call(lambda s: s.model_store.remove(folder, name))
        self._changed(None)
        return web.Response(status=204)

    @answers_errors
    async def list_users(self, request: web.Request) -> web.Response:
        folder, name = _named(request)
        found = await self._call(lambda s: s.model_store.users(folder, name))
        return web.json_response({"users": [to_dict(user) for user in found]})

    @answers_errors
    async def post_url(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        url, folder, name, sha256 = (
            str(body.get(key) or "").strip() for key in ("url", "folder", "name", "sha256")
        )

        def start(local: Local) -> Transfer:
            local.fetcher.check(url, folder, name, sha256)

            def work(progress: Any, cancelled: Any) -> str:
                return local.fetcher.fetch(
                    url, folder, name, sha256=sha256, progress=progress, cancelled=cancelled
                ).name

            host = urlsplit(url).hostname or ""
            return self._start(local, TransferKind.URL, (folder, name), work, source=host)

        started = await self._local(start)
        return web.json_response({"transfers": [to_dict(started)]}, status=202)

    @answers_errors
    async def post_upload(self, request: web.Request) -> web.Response:
        """The body is the file; it is written as it comes."""
        folder, name = _named(request)
        loop = asyncio.get_running_loop()

        def read(count: int) -> bytes:
            try:
                return asyncio.run_coroutine_threadsafe(request.content.read(count), loop).result()
            except (ClientConnectionError, ConnectionError, asyncio.CancelledError) as exc:
                raise CaptureError(f"The upload of {name} broke off.") from exc

        size = request.content_length
        made = await self._local(lambda local: local.models.receive(folder, name, read, size))
        self._changed(None)
        answer = {"folder": made.folder, "name": made.name, "size": made.size}
        return web.json_response({"model": answer}, status=201)

    @answers_errors
    async def post_push(self, request: web.Request) -> web.Response:
        wanted = _wanted(await body_of(request))

        def start(local: Local) -> list[Transfer]:
            store = self._designer.services().model_store
            models = [local.models.find(*each) for each in wanted]  # all of them, or none

            def work_of(model: LocalModel) -> Work:
                def work(progress: Any, cancelled: Any) -> str:
                    store.push(model, progress=progress, cancelled=cancelled)
                    return model.name

                return work

            return [
                self._start(local, TransferKind.PUSH, (m.folder, m.name), work_of(m))
                for m in models
            ]

        return _answer(await self._local(start))

    @answers_errors
    async def post_pull(self, request: web.Request) -> web.Response:
        wanted = _wanted(await body_of(request))

        def start(local: Local) -> list[Transfer]:
            services = self._designer.services()
            for folder, name in wanted:
                services.library.get(folder, name)
                local.models.destination(folder, name)

            def work_of(folder: str, name: str) -> Work:
                def work(progress: Any, cancelled: Any) -> str:
                    services.model_store.pull(
                        local.models, folder, name, progress=progress, cancelled=cancelled
                    )
                    return name

                return work

            return [self._start(local, TransferKind.PULL, each, work_of(*each)) for each in wanted]

        return _answer(await self._local(start))

    @answers_errors
    async def list_transfers(self, _request: web.Request) -> web.Response:
        found = await self._local(lambda local: local.transfers.list())
        return web.json_response({"transfers": [to_dict(each) for each in found]})

    @answers_errors
    async def delete_transfer(self, request: web.Request) -> web.Response:
        transfer_id = request.match_info["id"]
        stopped = await self._local(lambda local: local.transfers.stop(transfer_id))
        return web.json_response({"transfer": to_dict(stopped)})

    async def _local(self, work: Callable[[Local], Any]) -> Any:
        return await asyncio.to_thread(lambda: work(self._designer.local()))

    def _start(
        self, local: Local, kind: TransferKind, model: tuple[str, str], work: Work,
        *, source: str = "",
    ) -> Transfer:  # fmt: skip
        return local.transfers.start(kind, *model, work, self._changed, source=source)

    def _changed(self, transfer: Transfer | None) -> None:
        """Tell the pages of a transfer, or with None that models came or went."""
        if transfer is None or transfer.state is TransferState.DONE:
            self._designer.definitions.forget()
        self._server.send_sync("aws.model", {"transfer": transfer and to_dict(transfer)})


def _answer(started: Sequence[Transfer]) -> web.Response:
    return web.json_response({"transfers": [to_dict(each) for each in started]}, status=202)


def _named(request: web.Request) -> tuple[str, str]:
    """Folder and name of a query. Raises InvalidWorkflow."""
    folder, name = request.query.get("folder", ""), request.query.get("name", "")
    if not folder or not name:
        raise InvalidWorkflow("The query names a model by `folder` and `name`.")
    return folder, name


def _wanted(body: Json) -> list[tuple[str, str]]:
    """The models that a body names, each once. Raises InvalidWorkflow."""
    models = body.get("models")
    if not isinstance(models, list) or not 0 < len(models) <= MOST_AT_ONCE:
        raise InvalidWorkflow(f"models is a list of 1 to {MOST_AT_ONCE} models.")
    for model in models:
        if not isinstance(model, dict) or not all(
            isinstance(model.get(key), str) for key in ("folder", "name")
        ):
            raise InvalidWorkflow(f"A model is an object with folder and name; got {model!r}.")
    return list(dict.fromkeys((model["folder"], model["name"]) for model in models))
