"""Logs: this ComfyUI's, its machine's, each endpoint's, and what belongs to a job."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from aiohttp import web

from comfy_aws.comfyui.designer import Designer
from comfy_aws.comfyui.routes.base import Route, RouteGroup, answers_errors
from comfy_aws.errors import InvalidWorkflow
from comfy_aws.loglines import LEVELS, LogFilter
from comfy_aws.logs import LAST, MOST, RingTail, Tail, Tails, endpoint_tail, job_tail
from comfy_aws.machinelogs import FileTail, JournalTail
from comfy_aws.models import Json


class LogRoutes(RouteGroup):
    def __init__(self, designer: Designer) -> None:
        super().__init__(designer)
        self._tails = Tails()

    def routes(self) -> list[Route]:
        return [Route("GET", "/aws/logs", self.get_logs)]

    @answers_errors
    async def get_logs(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._read, dict(request.query)))

    def _read(self, query: dict[str, str]) -> Json:
        lines, token, is_new = self._tails.read(query.get("after", ""), lambda: self._begin(query))
        return {
            "lines": [dataclasses.asdict(line) for line in lines],
            "after": token,
            "fresh": is_new,
        }

    def _begin(self, query: dict[str, str]) -> Tail:
        wanted = LogFilter(*(query.get(key, "").strip() for key in ("job", "level", "text")))
        if wanted.level and wanted.level not in LEVELS:
            raise InvalidWorkflow(f"level is one of {', '.join(LEVELS)}; got {wanted.level!r}.")
        last = _count(query.get("last", ""))
        kind, _, name = query.get("source", "").partition(":")
        if kind == "endpoint" and name:
            services = self._designer.services()
            return endpoint_tail(services.logs, services.endpoints, name, wanted, last=last)
        if kind == "job" and name:
            wanted = dataclasses.replace(wanted, job=name)
            own = RingTail(self._designer.log.ring, wanted, last)
            services = self._designer.services()
            return job_tail(services, wanted, last=last, more=[own])
        here: dict[str, Callable[[], Tail]] = {
            "designer": lambda: RingTail(self._designer.log.ring, wanted, last),
            "journal": lambda: JournalTail(wanted, last=last),
            "start-up": lambda: FileTail(wanted, last=last),
        }
        if name or kind not in here:
            raise InvalidWorkflow(
                f"source is {', '.join(here)}, endpoint:NAME or job:ID; "
                f"got {query.get('source', '')!r}."
            )
        return here[kind]()


def _count(text: str) -> int:
    if not text:
        return LAST
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST):
        raise InvalidWorkflow(f"last is a number from 1 to {MOST}; got {text!r}.")
    return int(text)
