"""Starts of endpoints as they go on, and how long each phase took the last time.

What is told comes from the endpoint's log (see `coldstart`). A start that was watched to its end
is remembered, so that the next one of such an endpoint can be foretold.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfy_aws import coldstart
from comfy_aws.aws import LogEvent, Logs
from comfy_aws.coldstart import Phase, Start
from comfy_aws.config import write_atomically
from comfy_aws.endpoint_plan import log_group
from comfy_aws.errors import AwsError
from comfy_aws.loglines import LineReader
from comfy_aws.models import Endpoint, EndpointStatus, Json, to_dict

EARLY: Final = 2.0
"""Seconds that a log may seem to begin before its instance was asked for: clocks differ."""

LATE: Final = 60.0
"""Seconds that the last lines of a start are waited for: CloudWatch delivers them late."""

log = logging.getLogger(__name__)


@dataclass
class _Watched:
    began: float
    kind: str
    over: float = 0.0


class Starts:
    """Safe to share between threads.

    Args:
        path: where the times of earlier starts are kept; it need not exist.
    """

    def __init__(self, logs: Logs, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._logs = logs
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def of(self, endpoint: Endpoint) -> Json | None:
        """The start of the endpoint's next instance; None when none is on its way.

        Returns:
            ``{"now", "began", "phases": [{"name", "began", "ended", "message", "done", "total",
            "expected"}], "expected"}``; phases that have not begun have ``began`` 0, and
            ``expected`` is seconds or None.
        """
        self.see(endpoint)
        with self._lock:
            watched = self._watched.get(endpoint.name)
        if watched is None or watched.over:
            return None
        return self._shown(self._read(endpoint.name, watched.began), self.expected(endpoint))

    def see(self, endpoint: Endpoint) -> bool:
        """Take note of an endpoint; True while its start goes on or its last lines may come."""
        if not is_starting(endpoint):
            return self._conclude(endpoint)
        creating = endpoint.status is EndpointStatus.CREATING
        began = endpoint.created if creating else endpoint.updated
        with self._lock:
            watched = self._watched.get(endpoint.name)
            if watched is None or watched.over or (creating and watched.began != began):
                self._watched[endpoint.name] = _Watched(began, _kind(endpoint))
        return True

    def expected(self, endpoint: Endpoint) -> dict[str, float]:
        """Seconds of each phase by the last start of such an endpoint; empty without one."""
        return {
            str(name): float(took) for name, took in self._kept().get(_kind(endpoint), {}).items()
        }

    def _shown(self, start: Start, expected: dict[str, float]) -> Json:
        known = {each.name: each for each in start.phases}
        names = [name for name in coldstart.ORDER if name in known or name in expected]
        phases = [
            {**to_dict(known.get(name) or Phase(name, 0.0)), "expected": expected.get(name)}
            for name in names
        ]
        whole = sum(expected.values()) if expected else None
        return {"now": self._clock(), "began": start.began, "phases": phases, "expected": whole}

    def _read(self, name: str, began: float) -> Start:
        """The start of the instance that was the first to write since then."""
        streams: dict[str, list[LogEvent]] = {}
        for event in self._logs.read(log_group(name), since=began - EARLY):
            streams.setdefault(event.stream, []).append(event)
        for events in streams.values():
            if any(event.text.endswith(coldstart.STARTS) for event in events):
                reader = LineReader("worker")
                return coldstart.read((reader.read(e.at, e.text) for e in events), began)
        return coldstart.read((), began)

    def _conclude(self, endpoint: Endpoint) -> bool:
        """Remember a start that was watched and is over; True while it is not yet known."""
        name = endpoint.name
        with self._lock:
            watched = self._watched.get(name)
        if watched is None:
            return False
        now = self._clock()
        watched.over = watched.over or now
        try:
            start = self._read(name, watched.began)
        except AwsError as exc:
            log.warning("How long the start of %s took is not known: %s", name, exc)
            start = Start(watched.began, ())
        if start.ready:
            self._keep(watched.kind, start.seconds)
        gone = not endpoint.status.takes_jobs or not endpoint.instances
        if not (start.ready or gone or now - watched.over > LATE):
            return True
        with self._lock:
            self._watched.pop(name, None)
        return False

    def _keep(self, kind: str, seconds: dict[str, float]) -> None:
        with self._lock, suppress(OSError):  # the estimate is then lost, no more
            kept = {**self._kept(), kind: {name: round(s, 1) for name, s in seconds.items()}}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(kept))

    def _kept(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            kept = json.loads(self._path.read_bytes())
            return kept if isinstance(kept, dict) else {}
        return {}


def is_starting(endpoint: Endpoint) -> bool:
    """Whether an instance is on its way."""
    if endpoint.status is EndpointStatus.CREATING:
        return True
    return endpoint.status.takes_jobs and endpoint.instances < endpoint.desired_instances


def _kind(endpoint: Endpoint) -> str:
    """What decides how long a start takes."""
    return f"{endpoint.instance_type}/{endpoint.template}"
