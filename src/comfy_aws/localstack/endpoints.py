"""Endpoints that are real: each holds worker processes and goes through SageMaker's states.

The API (in `control.py`) asks; this module acts, all of it on the event loop's thread. What an
endpoint runs is frozen in its `Deployment`, as on AWS: deleting the model or the configuration
afterwards changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from comfy_aws.errors import InvalidTransition
from comfy_aws.localstack.instances import Instance, InstanceState, Placement, Surroundings
from comfy_aws.localstack.invocations import InvocationQueue, Services
from comfy_aws.localstack.jobs import InvocationFiles
from comfy_aws.models import EndpointStatus

_NEXT: Final[dict[EndpointStatus, frozenset[EndpointStatus]]] = {
    EndpointStatus.CREATING: frozenset(
        {EndpointStatus.IN_SERVICE, EndpointStatus.FAILED, EndpointStatus.DELETING}
    ),
    EndpointStatus.SYSTEM_UPDATING: frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.DELETING}),
    EndpointStatus.UPDATING: frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.DELETING}),
    EndpointStatus.IN_SERVICE: frozenset({EndpointStatus.UPDATING, EndpointStatus.DELETING}),
    EndpointStatus.FAILED: frozenset({EndpointStatus.DELETING}),
    EndpointStatus.DELETING: frozenset(),
}


@dataclass(frozen=True)
class Variant:
    """One production variant: how many instances of what, at first."""

    name: str
    model: str
    image: str
    instances: int
    weight: float
    environment: dict[str, str]
    startup_seconds: float
    instance_type: str = ""
    pools: tuple[str, ...] = ()
    """The types that it may have, most wanted first; empty where there is one alone."""


@dataclass(frozen=True)
class Deployment:
    """What an endpoint runs. `async_config` is AsyncInferenceConfig as it was given, or None."""

    config_name: str
    variants: tuple[Variant, ...]
    async_config: dict[str, Any] | None

    @property
    def concurrency(self) -> int:
        """SageMaker chooses when ClientConfig is absent; one is what a GPU runner can do."""
        client = (self.async_config or {}).get("ClientConfig") or {}
        return int(client.get("MaxConcurrentInvocationsPerInstance") or 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Deployment:
        variants = tuple(Variant(**variant) for variant in fields["variants"])
        return cls(fields["config_name"], variants, fields["async_config"])


@dataclass(frozen=True)
class Outfit:
    """What every endpoint of the stack is built with."""

    surroundings: Surroundings
    services: Services
    on_change: Callable[[Endpoint], None]


class Endpoint:
    """One endpoint: its state, its instances and its queue.

    Args:
        desired: instances by variant, when they differ from the deployment's own numbers.
    """

    def __init__(
        self,
        name: str,
        deployment: Deployment,
        outfit: Outfit,
        files: InvocationFiles,
        *,
        status: EndpointStatus = EndpointStatus.CREATING,
        desired: Mapping[str, int] | None = None,
        created: float | None = None,
    ) -> None:
        self.name = name
        self.deployment = deployment
        self.status = status
        self.failure = ""
        self.created = created or time.time()
        self.modified = time.time()
        self.desired = {variant.name: variant.instances for variant in deployment.variants}
        self.desired.update(desired or {})
        self.weights = {variant.name: variant.weight for variant in deployment.variants}
        self._outfit = outfit
        self._instances: list[Instance] = []
        self._fresh: list[Instance] = []
        self._deploying: asyncio.Task[None] | None = None
        self.queue = InvocationQueue(
            files, outfit.services, lambda: self._instances, deployment.concurrency
        )

    # -- what it is -------------------------------------------------------------------------

    def ready(self, variant: str) -> int:
        """Instances in service."""
        return sum(
            instance.variant == variant and instance.state is InstanceState.READY
            for instance in self._instances
        )

    def _live(self, variant: str) -> list[Instance]:
        ends = (InstanceState.DRAINING, InstanceState.STOPPED)
        return [i for i in self._instances if i.variant == variant and i.state not in ends]

    @property
    def deploying(self) -> bool:
        """Whether new instances for a whole deployment are on their way."""
        return self._deploying is not None and not self._deploying.done()

    def _move(self, status: EndpointStatus, failure: str = "") -> None:
        if status not in _NEXT[self.status]:
            raise InvalidTransition(f"{self.name} cannot go from {self.status} to {status}.")
        self.status = status
        self.failure = failure[:1024]
        self.modified = time.time()
        self._outfit.on_change(self)

    # -- what happens to it -----------------------------------------------------------------

    def create(self) -> None:
        """Start the first instances; InService when all are ready, Failed when one is not."""
        self._deploying = asyncio.create_task(self._create())

    async def _create(self) -> None:
        reason = await self._bring_up(self.deployment, self.desired, self._instances)
        if reason is None:
            self._move(EndpointStatus.IN_SERVICE)
            self.queue.pump()
            return
        await self._stop_all(self._instances, grace=0)
        self._move(EndpointStatus.FAILED, reason)

    def resume(self) -> None:
        """Come back after a restart of the stack: known good, so start-up failures are retried."""
        self.queue.restore()
        self._adjust()
        self._settle()

    def update(self, deployment: Deployment, desired: Mapping[str, int]) -> None:
        """Blue/green: new instances first, then the old ones finish their work and go."""
        self._move(EndpointStatus.UPDATING)
        self._deploying = asyncio.create_task(self._update(deployment, dict(desired)))

    async def _update(self, deployment: Deployment, desired: dict[str, int]) -> None:
        fresh = self._fresh = []
        reason = await self._bring_up(deployment, desired, fresh)
        if reason is not None:
            await self._stop_all(fresh, grace=0)
            self._fresh = []
            self._move(EndpointStatus.IN_SERVICE, reason)
            return
        old = [i for i in self._instances if i.state is not InstanceState.STOPPED]
        self.deployment, self.desired = deployment, desired
        self.weights = {variant.name: variant.weight for variant in deployment.variants}
        self.queue.concurrency = deployment.concurrency
        self._instances, self._fresh = [*fresh, *old], []
        for instance in old:
            instance.retire()
        self._move(EndpointStatus.IN_SERVICE)
        self.queue.pump()

    async def _bring_up(
        self, deployment: Deployment, desired: Mapping[str, int], into: list[Instance]
    ) -> str | None:
        """Start all instances of a deployment; the first reason that one did not come up."""
        for variant in deployment.variants:
            count = desired[variant.name]
            into += [self._instance(variant, fatal_start=True) for _ in range(count)]
        for first in asyncio.as_completed([instance.first for instance in into]):
            reason = await first
            if reason is not None:
                return reason
        return None

    def _instance(self, variant: Variant, *, fatal_start: bool) -> Instance:
        placement = Placement(self.name, variant.name, variant.environment, variant.startup_seconds)
        return Instance(
            placement, self._outfit.surroundings, self._changed, fatal_start=fatal_start
        )

    def scale(self, desired: Mapping[str, int]) -> None:
        """Have another number of instances; Updating until they are there."""
        self.desired.update(desired)
        self._adjust()
        if self.status is EndpointStatus.IN_SERVICE and not self._settled:
            self._move(EndpointStatus.UPDATING)
        else:
            self._outfit.on_change(self)

    def _adjust(self) -> None:
        for variant in self.deployment.variants:
            live = self._live(variant.name)
            missing = self.desired[variant.name] - len(live)
            self._instances += [self._instance(variant, fatal_start=False) for _ in range(missing)]
            # Those that are not ready go first, then the idle, so that no work waits for nothing.
            live.sort(key=lambda i: (i.state is InstanceState.READY, i.busy))
            for instance in live[: max(0, -missing)]:
                instance.retire()

    @property
    def _settled(self) -> bool:
        """Whether the instances are those wished for: in service, or failing to start."""
        for name, count in self.desired.items():
            live = self._live(name)
            up = sum(i.failed or i.state is InstanceState.READY for i in live)
            if not up == len(live) == count:
                return False
        return True

    def _changed(self, instance: Instance) -> None:
        """An instance changed its state, or has a free place."""
        if instance.state is InstanceState.STOPPED and instance in self._instances:
            self._instances.remove(instance)
        self.queue.pump()
        self._settle()

    def _settle(self) -> None:
        moving = (EndpointStatus.UPDATING, EndpointStatus.SYSTEM_UPDATING)
        if self.status in moving and not self.deploying and self._settled:
            self._move(EndpointStatus.IN_SERVICE)

    async def delete(self) -> None:
        """Deleting, until all processes have ended. Waiting requests fail."""
        self._move(EndpointStatus.DELETING)
        self.queue.refuse_all(f"The endpoint {self.name} was deleted.")
        await self._cancel_deploying()
        await self._stop_all([*self._instances, *self._fresh])
        await self.queue.settle()
        self.queue.forget()

    async def shut_down(self, grace: float) -> None:
        """The stack stops: the endpoint keeps its state and its queue on disk."""
        self.queue.pause()
        await self._cancel_deploying()
        await self._stop_all([*self._instances, *self._fresh], grace=grace)
        await self.queue.settle()

    async def _cancel_deploying(self) -> None:
        if self._deploying is not None and not self._deploying.done():
            self._deploying.cancel()
            await asyncio.wait([self._deploying])

    async def _stop_all(self, instances: list[Instance], grace: float = 30.0) -> None:
        stopping = [instance.retire(grace, drain=False) for instance in list(instances)]
        if stopping:
            await asyncio.wait(stopping)
