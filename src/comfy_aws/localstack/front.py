"""The one endpoint URL: whose request is it, which service is meant, who answers.

S3 goes to SeaweedFS as it comes, streamed both ways, with its Host header, so that SeaweedFS can
check the signature. The rest is checked here and answered by our runtime or by moto. A request
without any credentials is S3's too: it answers AccessDenied, or serves a presigned URL.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from comfy_aws.localstack import refusals, roles, runtime, signing, strict, validation
from comfy_aws.localstack.control import ControlPlane
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.objects import ObjectStore
from comfy_aws.localstack.quotas import Quotas
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity

HEALTH_PATH: Final = "/_comfy_aws/stack"
_CHUNK_BYTES: Final = 1 << 18
_BODY_BYTES: Final = 16 << 20
"""Above every service's own limit, S3 apart."""
_THREADS: Final = 256
"""Each SQS long poll holds one thread for up to 20 seconds."""
_LAST_ANSWERS: Final = 2.0
"""Seconds that requests under way get when the stack stops; a long poll would take 20."""
_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
)
_CHECKED: Final = {
    "SageMaker": ("sagemaker", "ValidationException"),
    "AnyScaleFrontendService": ("application-autoscaling", "ValidationException"),
}
"""Services whose requests are held against botocore's model, by the prefix of their target."""
_STATEFUL: Final = frozenset(
    {"sagemaker", "application-autoscaling", "monitoring", "cloudformation"}
)


class Front:
    """The aiohttp application."""

    def __init__(
        self,
        identity: Identity,
        store: ObjectStore,
        fleet: Fleet,
        control: ControlPlane,
        quotas: Quotas,
    ) -> None:
        self._identity = identity
        self._store = store
        self._fleet = fleet
        self._control = control
        self._quotas = quotas
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="moto")
        self._health: dict[str, Any] = {}

    def app(self) -> web.Application:
        application = web.Application(client_max_size=_BODY_BYTES)
        application.router.add_get(HEALTH_PATH, self._answer_health)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        return application

    def ready(self, health: dict[str, Any]) -> None:
        """What the health path says from now on."""
        self._health = health

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _answer_health(self, _request: web.Request) -> web.Response:
        return web.json_response(self._health, status=200 if self._health else 503)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, _, query = request.raw_path.partition("?")
        scope = signing.scope_of(headers, query)
        if scope is None or scope.service == "s3":
            return await self._pass_on(request)
        protocol = refusals.protocol_of(scope.service, path, headers)
        try:
            body = await request.read()
            signed = signing.SignedRequest(request.method, request.raw_path, headers, body)
            signing.verify(signed, scope, self._identity, protocol)
            if scope.access_key == self._identity.worker_access_key_id:
                roles.check(signed, scope.service, protocol)
            status, answer, content = await self._answer(request, scope.service, headers, body)
        except Refused as exc:
            status, plain, content = refusals.render(exc, protocol)
            answer = list(plain.items())
        return web.Response(status=status, headers=CIMultiDict(answer), body=content)

    async def _answer(
        self, request: web.Request, service: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        path = request.raw_path.partition("?")[0]
        if service == "sagemaker" and path.startswith("/endpoints/"):
            if request.method != "POST":
                raise Refused("UnknownOperationException", f"{request.method} is unknown.", 404)
            status, answer, content = runtime.invoke(
                self._fleet, self._identity, path, headers, body
            )
            return status, list(answer.items()), content
        target = headers.get("x-amz-target", "")
        if service == "servicequotas":
            return self._quotas.answer(target, body)
        _check_model(target, body)
        if service == "application-autoscaling":
            wish = json.loads(body or b"{}")
            strict.check_scaling(target.partition(".")[2], wish, self._fleet, self._identity)
        loop = asyncio.get_running_loop()
        given = list(request.headers.items())
        try:
            result = await loop.run_in_executor(
                self._pool, self._control.call, request.method, request.raw_path, given, body
            )
        except NotImplementedError as exc:
            message = f"The local stack does not know this operation. {exc}".strip()
            raise Refused("NotImplemented", message, 501) from exc
        if service in _STATEFUL:
            await loop.run_in_executor(self._pool, self._control.save)
        status, answer_headers, content = result
        kept = [(name, value) for name, value in answer_headers if name.lower() not in _DROPPED]
        return status, kept, content

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        """Stream an S3 request to SeaweedFS and its answer back."""
        owner = request.headers.get(_OWNER, self._identity.account)
        if owner != self._identity.account:  # whose all buckets here are
            refused = Refused("AccessDenied", "Access Denied", 403)
            status, plain, content = refusals.render(refused, refusals.Protocol.S3)
            return web.Response(status=status, headers=plain, body=content)
        url = URL(self._store.url + request.raw_path, encoded=True)
        headers = CIMultiDict(
            (name, value) for name, value in request.headers.items() if name.lower() not in _HOP
        )
        has_body = request.can_read_body
        data = request.content.iter_chunked(_CHUNK_BYTES) if has_body else None
        call = self._store.session.request(
            request.method, url, headers=headers, data=data, allow_redirects=False
        )
        response = None
        try:
            async with call as upstream:
                kept = CIMultiDict(
                    (name, value)
                    for name, value in upstream.headers.items()
                    if name.lower() not in _HOP
                )
                if request.path.strip("/").count("/") == 0:  # a bucket's answers say where it is
                    kept["x-amz-bucket-region"] = self._identity.region
                small = (upstream.content_length or 0) <= _CHUNK_BYTES
                if small and upstream.content_length is not None and request.method != "HEAD":
                    body = await upstream.read()
                    kept.pop("Content-Length", None)
                    return web.Response(status=upstream.status, headers=kept, body=body)
                response = web.StreamResponse(status=upstream.status, headers=kept)
                await response.prepare(request)
                if request.method != "HEAD":
                    async for chunk in upstream.content.iter_chunked(_CHUNK_BYTES):
                        await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientError as exc:
            if response is not None and response.prepared:
                # Headers are out: cut the connection, so the client sees that bytes are missing.
                if request.transport is not None:
                    request.transport.abort()
                return response
            refused = Refused("ServiceUnavailable", f"The object store does not answer: {exc}", 503)
            status, plain, content = refusals.render(refused, refusals.Protocol.S3)
            return web.Response(status=status, headers=plain, body=content)


_OWNER: Final = "x-amz-expected-bucket-owner"
_DROPPED: Final = frozenset({"content-length", *_HOP})


def _check_model(target: str, body: bytes) -> None:
    """Hold a JSON request against botocore's model. Raises Refused."""
    prefix, _, name = target.partition(".")
    known = _CHECKED.get(prefix)
    if known is None:
        return
    try:
        wish = json.loads(body or b"{}")
    except ValueError as exc:
        raise Refused("SerializationException", f"The body is not JSON: {exc}") from exc
    validation.check(validation.input_shape(known[0], name), wish, known[1])


async def serve(application: web.Application, port: int) -> web.AppRunner:
    """Listen on `port` of 127.0.0.1."""
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=_LAST_ANSWERS
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    return runner
