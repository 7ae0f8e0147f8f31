"""All endpoints of the stack, and the rules for what may be asked of one when.

The wording of the refusals is SageMaker's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from comfy_aws.localstack.endpoints import Deployment, Endpoint, Outfit
from comfy_aws.localstack.instances import Surroundings
from comfy_aws.localstack.invocations import Services
from comfy_aws.localstack.jobs import InvocationFiles
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity
from comfy_aws.models import EndpointStatus

_BUSY: Final = frozenset(
    {EndpointStatus.CREATING, EndpointStatus.UPDATING, EndpointStatus.DELETING}
    | {EndpointStatus.SYSTEM_UPDATING}
)
_RESUMED: Final = frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.UPDATING})


class Fleet:
    """The endpoints by name. Everything here runs on the event loop's thread.

    Args:
        queues: folder of the accepted invocations, one below it for each endpoint.
    """

    def __init__(
        self,
        identity: Identity,
        queues: Path,
        surroundings: Surroundings,
        services: Services,
    ) -> None:
        self._identity = identity
        self._queues = queues
        self._outfit = Outfit(surroundings, services, self._changed)
        self._endpoints: dict[str, Endpoint] = {}
        self._deleting: set[asyncio.Task[None]] = set()
        self.on_change: Callable[[], None] = lambda: None
        self.on_deleted: Callable[[str], None] = lambda _name: None

    def arn(self, name: str) -> str:
        """The endpoint's ARN, which AWS writes in lower case."""
        identity = self._identity
        return f"arn:aws:sagemaker:{identity.region}:{identity.account}:endpoint/{name.lower()}"

    def find(self, name: str) -> Endpoint | None:
        return self._endpoints.get(name)

    def all(self) -> list[Endpoint]:
        return list(self._endpoints.values())

    def _changed(self, _endpoint: Endpoint) -> None:
        self.on_change()

    def _existing(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise Refused("ValidationException", f'Could not find endpoint "{self.arn(name)}".')
        return endpoint

    def _settled(self, name: str) -> Endpoint:
        endpoint = self._existing(name)
        if endpoint.status in _BUSY:
            message = f'Cannot update in-progress endpoint "{self.arn(name)}".'
            raise Refused("ValidationException", message)
        return endpoint

    def _idle(self, name: str) -> Endpoint:
        endpoint = self._settled(name)
        if endpoint.status is EndpointStatus.FAILED:
            message = f'Cannot update endpoint "{self.arn(name)}" in status Failed: delete it.'
            raise Refused("ValidationException", message)
        return endpoint

    def check_new(self, name: str) -> None:
        """Names are unique without regard to case."""
        if any(known.lower() == name.lower() for known in self._endpoints):
            message = f'Cannot create already existing endpoint "{self.arn(name)}".'
            raise Refused("ValidationException", message)

    async def create(self, name: str, deployment: Deployment) -> Endpoint:
        self.check_new(name)
        self._files(name).remove()  # of an earlier endpoint whose deletion was interrupted
        endpoint = Endpoint(name, deployment, self._outfit, self._files(name))
        self._endpoints[name] = endpoint
        endpoint.create()
        return endpoint

    def _files(self, name: str) -> InvocationFiles:
        return InvocationFiles(self._queues / name)

    async def update(self, name: str, deployment: Deployment, *, retain: bool) -> None:
        """Blue/green to `deployment`; `retain` keeps the numbers of instances of equal variants."""
        endpoint = self._idle(name)
        desired = {variant.name: variant.instances for variant in deployment.variants}
        if retain:
            kept = {key: n for key, n in endpoint.desired.items() if key in desired}
            desired.update(kept)
        endpoint.update(deployment, desired)

    async def scale(
        self, name: str, desired: Mapping[str, int], weights: Mapping[str, float]
    ) -> None:
        """UpdateEndpointWeightsAndCapacities."""
        endpoint = self._idle(name)
        for variant in {*desired, *weights}:
            if variant not in endpoint.desired:
                raise Refused(
                    "ValidationException",
                    f'The variant name(s) "{variant}" is/are not present within endpoint '
                    f'configuration "{endpoint.deployment.config_name}".',
                )
        endpoint.weights.update(weights)
        endpoint.scale(desired)

    async def delete(self, name: str) -> None:
        endpoint = self._settled(name)
        task = asyncio.create_task(self._delete(endpoint))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)
        await asyncio.sleep(0)  # the task has moved the endpoint to Deleting when this returns

    async def _delete(self, endpoint: Endpoint) -> None:
        await endpoint.delete()
        del self._endpoints[endpoint.name]
        self.on_deleted(endpoint.name)
        self.on_change()

    def snapshot(self) -> list[dict[str, Any]]:
        """What `restore` needs to bring the endpoints back."""
        return [
            {
                "name": endpoint.name,
                "status": endpoint.status.value,
                "failure": endpoint.failure,
                "created": endpoint.created,
                "desired": dict(endpoint.desired),
                "deployment": endpoint.deployment.to_dict(),
            }
            for endpoint in self.all()
            if endpoint.status is not EndpointStatus.DELETING
        ]

    def restore(self, snapshot: Iterable[Mapping[str, Any]]) -> None:
        """Bring endpoints back, with their workers.

        One that was in service is SystemUpdating, SageMaker's word for maintenance in which
        invocations are taken and queued, until its workers answer. One that was still Creating
        starts from the beginning. An interrupted UpdateEndpoint goes back to the old deployment.
        """
        for record in snapshot:
            status = EndpointStatus(record["status"])
            resumes = status in _RESUMED or status is EndpointStatus.SYSTEM_UPDATING
            endpoint = Endpoint(
                record["name"],
                Deployment.from_dict(record["deployment"]),
                self._outfit,
                self._files(record["name"]),
                status=EndpointStatus.SYSTEM_UPDATING if resumes else status,
                desired=record["desired"],
                created=record["created"],
            )
            endpoint.failure = record["failure"]
            self._endpoints[endpoint.name] = endpoint
            if resumes:
                endpoint.resume()
            elif status is EndpointStatus.CREATING:
                endpoint.create()

    async def shut_down(self, grace: float) -> None:
        """Stop all workers; the endpoints come back with the next start."""
        if self._endpoints:
            await asyncio.gather(*(endpoint.shut_down(grace) for endpoint in self.all()))
        if self._deleting:
            await asyncio.wait(self._deleting)
