"""Application Auto Scaling for endpoint variants, judged every few seconds.

Two policies move an asynchronous endpoint, as SageMaker's guide sets them up: target tracking on
ApproximateBacklogSizePerInstance between one instance and MaxCapacity, and down to MinCapacity;
and, because that metric has no value at zero instances, a step policy that a CloudWatch alarm on
HasBacklogWithoutCapacity fires. Without a registered target and policy nothing moves. AWS judges
each minute over several periods; here one period is COMFY_AWS_LOCAL_SCALE_SECONDS, and only the
cooldown for scaling in is waited for. Policies on other metrics are kept, but move nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from moto.applicationautoscaling.models import ApplicationAutoscalingBackend
from moto.cloudwatch.models import MetricDatum, cloudwatch_backends

from comfy_aws.localstack.control import DIMENSION
from comfy_aws.localstack.endpoints import Endpoint
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.records import policy_body
from comfy_aws.localstack.state import Identity
from comfy_aws.models import EndpointStatus

_log = logging.getLogger(__name__)

DEFAULT_PERIOD_SECONDS: Final = 2.0
_DEFAULT_COOLDOWN_SECONDS: Final = 300
"""Application Auto Scaling's default ScaleInCooldown."""
_TELL_SECONDS: Final = 30.0
_KEPT_METRICS: Final = 10_000
_SCALABLE: Final = frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.UPDATING})


def tracked(config: dict[str, Any], backlog: int, count: int, *, may_shrink: bool) -> int:
    """The capacity that target tracking wants; `count` unchanged when it has no say. Pure.

    Args:
        config: TargetTrackingScalingPolicyConfiguration.
        backlog: requests waiting and running.
        count: instances now.
        may_shrink: whether the backlog has been low for the cooldown.
    """
    metric = (config.get("CustomizedMetricSpecification") or {}).get("MetricName")
    if metric != "ApproximateBacklogSizePerInstance" or count == 0:
        return count
    wanted = math.ceil(backlog / float(config["TargetValue"]))
    if wanted > count:
        return wanted
    if wanted < count and may_shrink and not config.get("DisableScaleIn"):
        return wanted
    return count


def stepped(config: dict[str, Any], count: int) -> int:
    """The capacity after a step policy fired on HasBacklogWithoutCapacity, whose value is 1. Pure.

    The alarm's threshold is taken as 1, so the breach is 0 above it.
    """
    for step in config.get("StepAdjustments", []):
        low = step.get("MetricIntervalLowerBound")
        high = step.get("MetricIntervalUpperBound")
        if (low is None or low <= 0) and (high is None or high > 0):
            change = int(step["ScalingAdjustment"])
            kind = config.get("AdjustmentType", "ChangeInCapacity")
            if kind == "ExactCapacity":
                return change
            if kind == "PercentChangeInCapacity":
                minimum = int(config.get("MinAdjustmentMagnitude", 1))
                return count + max(minimum, count * change // 100)
            return count + change
    return count


@dataclass(frozen=True)
class _Told:
    """The latest value of an endpoint's metric; `processed` as its queue had counted by then."""

    value: int
    at: float
    datum: MetricDatum
    processed: int


class Scaler:
    """Judges every registered target, period after period.

    Args:
        period: seconds between two judgements.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        fleet: Fleet,
        backend: ApplicationAutoscalingBackend,
        identity: Identity,
        period: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._backend = backend
        self._alarms = cloudwatch_backends[identity.account][identity.region]
        self._period = period
        self._clock = clock
        self._low_since: dict[str, float] = {}
        self._told: dict[str, _Told] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            for resource, target in list(self._backend.targets.get(DIMENSION, {}).items()):
                try:
                    self._judge(resource, target)
                except Exception:  # noqa: BLE001 - a senseless policy must not end all scaling
                    _log.exception("scaling %s", resource)
            self._tell()

    def _tell(self) -> None:
        """SageMaker's metrics of asynchronous endpoints, when they change and now and then."""
        now = self._clock()
        for endpoint in self._fleet.all():
            value = endpoint.queue.backlog
            told = self._told.get(endpoint.name)
            known = (value, endpoint.queue.processed)
            if (
                told is not None
                and (told.value, told.processed) == known
                and now - told.at < _TELL_SECONDS
            ):
                continue
            processed = endpoint.queue.processed
            if done := processed - (told.processed if told else 0):
                self._alarms.metric_data += [
                    _datum(endpoint.name, "InvocationsProcessed", done, variant.name)
                    for variant in endpoint.deployment.variants[:1]  # the queue is of all of them
                ]
            datum = _datum(endpoint.name, "ApproximateBacklogSize", value)
            values = self._alarms.metric_data
            # One value a minute, as SageMaker sends them: a newer one takes its place.
            if told is not None and now - told.at < 60 and told.datum in values:
                values.remove(told.datum)
            values.append(datum)
            self._told[endpoint.name] = _Told(value, now, datum, processed)
        del self._alarms.metric_data[:-_KEPT_METRICS]

    def _judge(self, resource: str, target: Any) -> None:
        _, name, _, variant = resource.split("/")
        endpoint = self._fleet.find(name)
        if endpoint is None or endpoint.status not in _SCALABLE or endpoint.deploying:
            return
        count = endpoint.desired.get(variant)
        if count is None:
            return
        wanted = self._wanted(resource, endpoint, count)
        low, high = int(target.min_capacity or 0), int(target.max_capacity or 0)
        wanted = max(low, min(high, wanted))
        if wanted != count:
            _log.info("scaling %s from %s to %s", resource, count, wanted)
            self._low_since.pop(resource, None)
            endpoint.scale({variant: wanted})

    def _wanted(self, resource: str, endpoint: Endpoint, count: int) -> int:
        wishes = []
        for policy in list(self._backend.policies.values()):
            if policy.resource_id != resource:
                continue
            if policy.policy_type == "TargetTrackingScaling":
                wishes.append(self._track(resource, policy_body(policy), endpoint, count))
            elif self._fires(policy.policy_arn, endpoint, count):
                wishes.append(stepped(policy_body(policy), count))
        # AWS takes the largest capacity that any policy asks for.
        return max(wishes, default=count)

    def _track(self, resource: str, config: dict[str, Any], endpoint: Endpoint, count: int) -> int:
        backlog = endpoint.queue.backlog
        if tracked(config, backlog, count, may_shrink=True) >= count:
            self._low_since.pop(resource, None)
            return tracked(config, backlog, count, may_shrink=False)
        now = self._clock()
        since = self._low_since.setdefault(resource, now)
        cooldown = config.get("ScaleInCooldown", _DEFAULT_COOLDOWN_SECONDS)
        return tracked(config, backlog, count, may_shrink=now - since >= cooldown)

    def _fires(self, policy_arn: str, endpoint: Endpoint, count: int) -> bool:
        """Whether an alarm on HasBacklogWithoutCapacity of this endpoint calls the policy now."""
        if count or not endpoint.queue.waiting:
            return False
        return any(
            alarm.metric_name == "HasBacklogWithoutCapacity"
            and alarm.actions_enabled
            and policy_arn in (alarm.alarm_actions or [])
            and any(d.name == "EndpointName" and d.value == endpoint.name for d in alarm.dimensions)
            for alarm in list(self._alarms.alarms.values())
        )


def _datum(endpoint: str, name: str, value: int, variant: str = "") -> MetricDatum:
    """SageMaker tells the backlog of an endpoint, and all else of each variant alone."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}]
    if variant:
        dimensions.append({"Name": "VariantName", "Value": variant})
    return MetricDatum("AWS/SageMaker", name, value, dimensions, None, "Count")
