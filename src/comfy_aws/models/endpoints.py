"""Endpoints: what is wished of one, and what SageMaker says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EndpointStatus(str, Enum):
    """SageMaker's EndpointStatus values."""

    OUT_OF_SERVICE = "OutOfService"
    CREATING = "Creating"
    UPDATING = "Updating"
    SYSTEM_UPDATING = "SystemUpdating"
    ROLLING_BACK = "RollingBack"
    IN_SERVICE = "InService"
    DELETING = "Deleting"
    FAILED = "Failed"
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"

    @property
    def takes_jobs(self) -> bool:
        """SageMaker accepts invocations in these states."""
        return self in _TAKES_JOBS


_TAKES_JOBS = frozenset(
    {
        EndpointStatus.IN_SERVICE,
        EndpointStatus.UPDATING,
        EndpointStatus.SYSTEM_UPDATING,
        EndpointStatus.ROLLING_BACK,
    }
)


@dataclass(frozen=True)
class EndpointSpec:
    """What the user asks for. Instances scale between `min_instances` and `max_instances`.

    `fallbacks`: types that stand in, in this order, where AWS has none of `instance_type` to give.
    """

    name: str
    instance_type: str = "ml.g5.xlarge"
    fallbacks: tuple[str, ...] = ()
    min_instances: int = 0
    max_instances: int = 1
    initial_instances: int = 1
    idle_seconds: int = 600
    template: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A SageMaker endpoint as it stands.

    `backlog` counts the requests that wait or run, as CloudWatch last told; None when it did not.
    `instance_type` is what most of its instances have, `instance_types` all that they may have, the
    one that is wanted first. `image` is what its workers run. `idle_since` is since when it has
    been awake without a job; 0 when it sleeps, has jobs, or CloudWatch does not tell.
    """

    name: str
    status: EndpointStatus
    created: float
    updated: float
    instance_type: str = ""
    instances: int = 0
    desired_instances: int = 0
    min_instances: int = 0
    max_instances: int = 0
    template: str = ""
    failure: str = ""
    idle_seconds: int = 0
    backlog: int | None = None
    image: str = ""
    idle_since: float = 0.0
    instance_types: tuple[str, ...] = ()
