"""What an endpoint's instances have on their disks already, as far as can be known from here.

An instance keeps what it has fetched until it stops. So it has what the template that it was made
for needs, and what the latest jobs on it needed; an endpoint that sleeps has nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsNotFound, EndpointUnusable, NotFound
from comfy_aws.ledger import Ledger
from comfy_aws.models import Endpoint, JobRequest, JobState, Json, Manifest, from_json
from comfy_aws.routing import Router

LATEST: Final = 5
"""Jobs that are looked at; older ones needed other things, or the same."""


class Residency:
    """Safe to share between threads."""

    def __init__(
        self, store: ObjectStore, endpoints: Endpoints, router: Router, ledger: Ledger
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._router = router
        self._ledger = ledger

    def of(self, manifest: Manifest, template: str) -> Json | None:
        """Where a job would run, and the bytes that are to be fetched there first.

        Returns:
            ``{"name", "instances", "bytes_to_fetch"}``; None when no endpoint takes jobs.
        """
        try:
            endpoint = self._endpoints.usable(self._router.endpoint(template))
        except EndpointUnusable:
            return None
        has = self._has(endpoint) if endpoint.instances else set()
        lacking = [ref.size for digest, ref in manifest.blobs().items() if digest not in has]
        return {
            "name": endpoint.name,
            "instances": endpoint.instances,
            "bytes_to_fetch": sum(lacking),
        }

    def _has(self, endpoint: Endpoint) -> set[str]:
        done = [
            job.id
            for job in self._ledger.latest()
            if job.endpoint == endpoint.name and job.state is JobState.SUCCEEDED
        ]
        with ThreadPoolExecutor(LATEST) as pool:
            manifests = [*pool.map(self._needed, done[:LATEST]), *self._warmed(endpoint)]
        return {digest for manifest in manifests for digest in manifest.blobs()}

    def _needed(self, job_id: str) -> Manifest:
        key = layout.request_key(job_id)
        try:
            return from_json(JobRequest, self._store.get(key), where=key).manifest
        except AwsNotFound:  # jobs are deleted after a while
            return Manifest()

    def _warmed(self, endpoint: Endpoint) -> Iterator[Manifest]:
        if endpoint.template:
            try:
                yield self._router.manifest(endpoint.template)
            except NotFound:
                return
