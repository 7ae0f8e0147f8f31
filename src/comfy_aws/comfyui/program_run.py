"""One job that a program has ordered: no canvas shows it, and its files stay in the bucket."""

from __future__ import annotations

import time
from typing import Any, Final

from comfy_aws.models import Event
from comfy_aws.orders import JobEnd, JobView
from comfy_aws.services import Services

PANEL_EVERY: Final = 0.5
"""Seconds between two updates of the panels that only differ in progress."""


class ProgramRun:
    """A `jobs.Listener`: the panels list the job, and its webhook hears of the end."""

    def __init__(self, server: Any, services: Services) -> None:
        self._server = server
        self._services = services
        self._told: tuple[object, float] = (None, 0.0)

    def changed(self, view: JobView) -> None:
        now = time.monotonic()
        state, at = self._told
        if view.job.state is state and now - at < PANEL_EVERY:
            return
        self._told = view.job.state, now
        self._server.send_sync("aws.job", {"job": view.to_dict()})

    def event(self, event: Event) -> None:
        """Whoever wants to see the job asks for it."""

    def arriving(self, end: JobEnd) -> JobEnd:
        return end

    def ended(self, _end: JobEnd) -> None:
        self._services.webhooks.look()

    def released(self) -> None:
        """The next start of this ComfyUI takes the job up."""
