"""Decides where a job goes: which endpoint, and which manifest stands behind its template.

Every worker can run every template, so an endpoint made for the template is only the best
choice, not the only one. Answers are kept for a few seconds: a burst of jobs asks once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import EndpointUnusable
from comfy_aws.models import Endpoint, Manifest, TemplateVersion, Usage
from comfy_aws.templates import Templates

KEPT: Final = 5.0
"""Seconds that an answer is used again."""


class Router:
    """Safe to share between threads. `default` is the endpoint of the settings, or empty."""

    def __init__(
        self,
        templates: Templates,
        endpoints: Endpoints,
        default: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._templates = templates
        self._endpoints = endpoints
        self._default = default
        self._clock = clock
        self._lock = threading.Lock()
        self._chosen: dict[str, tuple[float, str]] = {}
        self._versions: dict[str, tuple[float, TemplateVersion]] = {}
        self._types: dict[str, tuple[float, str]] = {}

    def version(self, template: str) -> TemplateVersion:
        """The template's current version, read at most every KEPT seconds. Raises NotFound."""
        now = self._clock()
        with self._lock:
            kept = self._versions.get(template)
        if kept and now - kept[0] < KEPT:
            return kept[1]
        number = self._templates.get(template).version
        if kept and kept[1].version == number:
            version = kept[1]
        else:
            version = self._templates.version(template, number)
        with self._lock:
            self._versions[template] = (now, version)
        return version

    def manifest(self, template: str) -> Manifest:
        """The template's manifest; an empty one without a template. Raises NotFound."""
        return self.version(template).manifest if template else Manifest()

    def endpoint(self, template: str) -> str:
        """The endpoint for a job of this template.

        Raises:
            EndpointUnusable: there is none that takes jobs.
        """
        now = self._clock()
        with self._lock:
            kept = self._chosen.get(template)
        if kept and now - kept[0] < KEPT:
            return kept[1]
        name = self._choose(template)
        with self._lock:
            self._chosen[template] = (now, name)
        return name

    def usage(self, endpoint: str, template: str) -> Usage:
        """What a job of this template uses there. Raises EndpointUnusable."""
        return Usage(endpoint, self._ask(endpoint), template)

    def _choose(self, template: str) -> str:
        wanted = self._templates.get(template).endpoint if template else ""
        if wanted or self._default:
            return self._endpoints.usable(wanted or self._default).name
        known = self._endpoints.list()
        usable = [endpoint for endpoint in known if endpoint.status.takes_jobs]
        if usable:
            return max(usable, key=lambda endpoint: endpoint.template == template).name
        raise EndpointUnusable(
            _none_usable(known), hint="Create one: in the sidebar, or by comfy-aws endpoint create."
        )

    def check(self, endpoint: str) -> None:
        """Raises EndpointUnusable when the endpoint takes no jobs; asks every KEPT seconds."""
        self._ask(endpoint)

    def _ask(self, endpoint: str) -> str:
        """The type of its instances, in whose place another one may come at any time."""
        now = self._clock()
        with self._lock:
            known = self._types.get(endpoint)
        if known and now - known[0] < KEPT:
            return known[1]
        kind = self._endpoints.usable(endpoint).instance_type
        with self._lock:
            self._types[endpoint] = (now, kind)
        return kind

    def forget(self, endpoint: str) -> None:
        """The endpoint refused a job: ask again."""
        with self._lock:
            self._types.pop(endpoint, None)
            self._chosen = {
                template: kept for template, kept in self._chosen.items() if kept[1] != endpoint
            }


def _none_usable(known: list[Endpoint]) -> str:
    if not known:
        return "There is no endpoint to run on."
    states = ", ".join(f"{endpoint.name} is {endpoint.status.value}" for endpoint in known)
    return f"No endpoint takes jobs now: {states}."
