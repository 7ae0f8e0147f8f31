"""Tells the pages when an endpoint changes, as long as one is on its way somewhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Final

from comfy_aws.comfyui.designer import Designer
from comfy_aws.errors import ComfyAwsError, NotFound
from comfy_aws.models import Endpoint, EndpointStatus, to_dict

log = logging.getLogger(__name__)

EVERY: Final = 1.0
"""Seconds between two looks at an endpoint in transition."""

RESTING: Final = frozenset(
    {EndpointStatus.IN_SERVICE, EndpointStatus.FAILED, EndpointStatus.OUT_OF_SERVICE}
)


class EndpointWatch:
    """One thread for all endpoints in transition; it ends when there is none."""

    def __init__(self, designer: Designer) -> None:
        self._designer = designer
        self._lock = threading.Lock()
        self._watched: dict[str, Endpoint] = {}
        self._thread: threading.Thread | None = None

    def see(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch those that are in transition, until they rest or are gone."""
        with self._lock:
            for endpoint in endpoints:
                self._watched.setdefault(endpoint.name, endpoint)
            if self._thread is None and self._watched:
                self._thread = threading.Thread(target=self._run, name="aws-endpoints", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                watched = list(self._watched.values())
                if not watched:
                    self._thread = None
                    return
            for endpoint in watched:
                self._look(endpoint)
            pause.wait(EVERY)

    def _look(self, before: Endpoint) -> None:
        try:
            services = self._designer.services()
            now = services.endpoints.get(before.name, queue=True)
            starting = services.starts.see(now)
        except NotFound:
            self._tell({**to_dict(before), "status": "Deleted"})
            self._drop(before.name)
            return
        except ComfyAwsError as exc:
            log.warning("Endpoint %s cannot be looked at: %s", before.name, exc)
            self._drop(before.name)
            return
        if now != before:
            self._tell(to_dict(now))
        rests = now.status in RESTING and now.instances == now.desired_instances
        if rests and not starting:
            self._drop(before.name)
        else:
            with self._lock:
                self._watched[before.name] = now

    def _tell(self, endpoint: dict[str, object]) -> None:
        self._designer.server.send_sync("aws.endpoint", {"endpoint": endpoint})

    def _drop(self, name: str) -> None:
        with self._lock:
            self._watched.pop(name, None)
