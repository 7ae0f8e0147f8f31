"""Keeps endpoints from costing money for nothing, whether anybody looks at them or not.

A thread of the designer's process looks at all endpoints every minute, from its start on. To look
at an endpoint in service is to register its scaling (see `endpoints`), so it comes down to its
minimum by itself. One that stays awake without a job all the same is told about, and put to sleep
if the settings say so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import ComfyAwsError
from comfy_aws.models import Endpoint

FIRST: Final = 5.0
"""Seconds before the first look: a ComfyUI that starts has enough to do."""

EVERY: Final = 60.0
"""Seconds between two looks; CloudWatch has no newer values."""

PATIENCE: Final = 3600.0
"""Seconds beyond its idle time that an endpoint may be awake without a job before it is told. Auto
Scaling takes a quarter of an hour to make up its mind, and the same for each further instance."""

log = logging.getLogger(__name__)

Tell = Callable[[Endpoint, bool], None]
"""Given an endpoint that is awake for nothing, and whether it was put to sleep."""


class Keeper:
    """One thread, which `close` ends.

    Args:
        endpoints: those of the settings in force. Raises ComfyAwsError when nothing is connected.
        guard: seconds without a job after which an endpoint is put to sleep; None for never.
    """

    def __init__(
        self,
        endpoints: Callable[[], Endpoints],
        guard: Callable[[], float | None],
        tell: Tell,
        *,
        first: float = FIRST,
        every: float = EVERY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._guard = guard
        self._tell = tell
        self._first = first
        self._every = every
        self._clock = clock
        self._told: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aws-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._first
        while not self._closed.wait(pause):
            pause = self._every
            try:
                self.look()
            except ComfyAwsError as exc:  # not connected, or not for the moment
                log.debug("The endpoints cannot be looked at: %s", exc)
            except Exception:
                log.exception("The endpoints could not be looked at")

    def look(self) -> None:
        """One look at all endpoints. Raises ComfyAwsError."""
        endpoints, guard = self._endpoints(), self._guard()
        found = endpoints.list(queue=True)
        self._told &= {each.name for each in found if each.idle_since}
        for each in found:
            idle = self._clock() - each.idle_since if each.idle_since else 0.0
            if guard is not None and idle >= guard and not each.min_instances:
                self._put_to_sleep(endpoints, each)
            elif idle >= PATIENCE + each.idle_seconds and each.name not in self._told:
                self._told.add(each.name)
                log.warning(
                    "The endpoint %s has been awake without a job for %.0f minutes.",
                    each.name,
                    idle / 60,
                )
                self._tell(each, False)

    def _put_to_sleep(self, endpoints: Endpoints, endpoint: Endpoint) -> None:
        try:
            asleep = endpoints.sleep(endpoint.name)
        except ComfyAwsError as exc:  # a job has come meanwhile, or it changes just now
            log.info("The endpoint %s is not put to sleep: %s", endpoint.name, exc)
            return
        log.warning("The endpoint %s had no job and was put to sleep.", endpoint.name)
        self._tell(asleep, True)
