"""Endpoints: the plan of `endpoint_plan` carried out, and what SageMaker says of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from comfy_aws import joblog, layout
from comfy_aws.activity import Activity, seen
from comfy_aws.aws import SageMaker, seconds
from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.endpoint_plan import (
    DIMENSION,
    LOG_DAYS,
    TAG,
    VARIANT,
    Step,
    WorkerImage,
    check_limits,
    log_group,
    plan_create,
    plan_rescale,
    plan_scaling,
    resource_id,
    scale_tags,
    wake_alarm,
    wake_name,
)
from comfy_aws.errors import (
    AwsConflict,
    AwsError,
    AwsNotFound,
    Cancelled,
    ConfigError,
    Conflict,
    EndpointUnusable,
    NotFound,
)
from comfy_aws.models import Endpoint, EndpointSpec, EndpointStatus, Progress

SPEC_SECONDS: Final = 60.0
"""How old the limits of an endpoint may be that are told: others may change them."""

PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before SageMaker is asked once more to make what stands on something made just now: it
looks that up by reads that are consistent in the end."""

log = joblog.logger(__name__)


class Endpoints:
    """The region's endpoints that this product made.

    Args:
        worker: image, role and environment of new endpoints.
    """

    def __init__(
        self,
        sagemaker: SageMaker,
        worker: WorkerImage,
        bucket: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sagemaker = sagemaker
        self._worker = worker
        self._bucket = bucket
        self._clock = clock
        self._sleep = sleep
        self.own_jobs: Callable[[str], int] = lambda _name: 0
        """Jobs of this process on an endpoint, of which CloudWatch may not tell yet."""
        self._specs: dict[str, tuple[float, EndpointSpec]] = {}
        self._registered: set[str] = set()
        self._lock = threading.Lock()

    def create(self, spec: EndpointSpec) -> Endpoint:
        """Start an endpoint and return it while it is Creating.

        What a broken attempt left (a model or a configuration without an endpoint) is replaced.

        Raises:
            Conflict: an endpoint of this name exists.
            InvalidName, ConfigError, AwsError: nothing is left behind.
        """
        steps = plan_create(spec, self._worker, self._bucket)
        if self._describe_raw(spec.name) is not None:
            raise _exists(spec.name)
        done: list[Step] = []
        try:
            for step in steps:
                self._execute(step)
                done.append(step)
        except AwsError as exc:
            if len(done) == len(steps) - 1 and isinstance(exc, AwsConflict):
                raise _exists(spec.name) from exc  # its model and configuration are in use
            for step in reversed(done):
                self._undo(step)
            raise
        self._limit_logs(spec.name)
        return self.get(spec.name)

    def list(self, *, queue: bool = False) -> list[Endpoint]:
        """The endpoints that this product made, newest first; `queue` asks for backlogs, too."""
        found = []
        for summary in self._sagemaker.endpoints():
            raw = self._describe_raw(summary["EndpointName"])
            endpoint = self._endpoint(raw, queue=queue) if raw else None
            if endpoint is not None:
                found.append(endpoint)
        return found

    def get(self, name: str, *, queue: bool = False) -> Endpoint:
        """Raises NotFound, also for endpoints that are not this product's."""
        raw = self._describe_raw(layout.check_endpoint_name(name))
        endpoint = self._endpoint(raw, queue=queue) if raw else None
        if endpoint is None:
            raise NotFound(
                f"There is no endpoint named {name}.", hint="Create one, or choose another."
            )
        return endpoint

    def usable(self, name: str) -> Endpoint:
        """The endpoint, when it takes jobs now.

        Raises:
            EndpointUnusable: it does not exist, is not yet in service, or has failed.
        """
        try:
            endpoint = self.get(name)
        except NotFound as exc:
            raise EndpointUnusable(
                f"There is no endpoint named {name}.",
                hint="Create one: in the sidebar, or by comfy-aws endpoint create.",
            ) from exc
        if endpoint.status.takes_jobs:
            return endpoint
        why = f": {endpoint.failure.rstrip('.')}" if endpoint.failure else ""
        waits = endpoint.status is EndpointStatus.CREATING
        raise EndpointUnusable(
            f"The endpoint {name} is {endpoint.status.value}{why}.",
            hint="Wait until it is InService." if waits else "Delete it and create it again.",
        )

    def wait(
        self, name: str, *, timeout: float = 3600.0, every: float = 1.0,
        cancelled: IsCancelled = never, progress: OnProgress = no_progress,
    ) -> Endpoint:  # fmt: skip
        """Wait until the endpoint takes jobs.

        Raises:
            NotFound: there is none, or it was deleted meanwhile.
            EndpointUnusable: it failed, is being deleted, or the time-out (seconds) passed.
            Cancelled: `cancelled` said so.
        """
        until = self._clock() + timeout
        while True:
            endpoint = self.get(name)
            if endpoint.status.takes_jobs:
                return endpoint
            if endpoint.status is not EndpointStatus.CREATING or self._clock() > until:
                return self.usable(name)
            if cancelled():
                raise Cancelled(f"Waiting for {name} was cancelled.")
            age = max(0, int(self._clock() - endpoint.created))
            progress(Progress(endpoint.status.value, f"{name} ({age} s)"))
            self._sleep(every)

    def change(
        self,
        name: str,
        *,
        min_instances: int | None = None,
        max_instances: int | None = None,
        idle_seconds: int | None = None,
    ) -> Endpoint:
        """Give an endpoint other limits; None leaves one as it is.

        Raises:
            NotFound: there is none.
            ConfigError: a number is out of range.
            EndpointUnusable: it does not take jobs, and so cannot scale.
        """
        self._forget()
        self.usable(name)
        raw = self._describe_raw(name)
        spec = self._spec_of(raw) if raw else None
        if raw is None or spec is None:
            return self.get(name)  # gone meanwhile
        changed = replace(
            spec,
            min_instances=spec.min_instances if min_instances is None else min_instances,
            max_instances=spec.max_instances if max_instances is None else max_instances,
            idle_seconds=spec.idle_seconds if idle_seconds is None else idle_seconds,
        )
        check_limits(changed)
        self._tag(raw, changed)
        try:
            for step in plan_rescale(changed):
                self._sagemaker.scale(step.operation, step.request)
        except BaseException:
            self._tag(raw, spec)  # they say what is in force, to whoever reads them
            raise
        self._remember(raw, changed)
        return self.get(name)

    def _tag(self, raw: dict[str, Any], spec: EndpointSpec) -> None:
        tags = {"ResourceArn": raw["EndpointArn"], "Tags": scale_tags(spec)}
        self._sagemaker.call("add_tags", tags)

    def wake(self, name: str) -> Endpoint:
        """Start an instance now rather than with the next job. Raises as `change`."""
        endpoint = self.usable(name)
        if endpoint.desired_instances:
            return endpoint
        return self._resize(name, 1)

    def sleep(self, name: str) -> Endpoint:
        """Stop all instances now rather than after the idle time.

        Raises:
            ConfigError: it keeps a least number of instances.
            EndpointUnusable: it does not take jobs, or has some that wait or run.
        """
        self._forget()
        endpoint = self.usable(name)
        if endpoint.min_instances:
            raise ConfigError(
                f"{name} always keeps {endpoint.min_instances} instances.",
                hint="Set its minimum to 0 first.",
            )
        backlog = max(self.get(name, queue=True).backlog or 0, self.own_jobs(name))
        if backlog:
            raise EndpointUnusable(
                f"{backlog} jobs wait or run on {name}.",
                hint="Wait for them, or cancel them.",
            )
        return self._resize(name, 0) if endpoint.desired_instances else endpoint

    def _resize(self, name: str, count: int) -> Endpoint:
        wanted = {"VariantName": VARIANT, "DesiredInstanceCount": count}
        self._sagemaker.call(
            "update_endpoint_weights_and_capacities",
            {"EndpointName": name, "DesiredWeightsAndCapacities": [wanted]},
        )
        return self.get(name)

    def delete(self, name: str) -> None:
        """Delete the endpoint with its configuration, model and scaling.

        Raises:
            NotFound: there is none.
            Conflict: it changes just now, and stays as it is.
        """
        endpoint = self.get(name)
        # First of all: one that AWS does not delete keeps what wakes it and puts it to sleep.
        if endpoint.status is not EndpointStatus.DELETING:
            self._delete_itself(endpoint)
        self._quietly(
            self._sagemaker.scale,
            "deregister_scalable_target",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": resource_id(name),
                "ScalableDimension": DIMENSION,
            },
        )
        self._quietly(self._sagemaker.alarm, "delete_alarms", {"AlarmNames": [wake_name(name)]})
        config = {"EndpointConfigName": name}
        self._quietly(self._sagemaker.call, "delete_endpoint_config", config)
        self._quietly(self._sagemaker.call, "delete_model", {"ModelName": name})

    def _delete_itself(self, endpoint: Endpoint) -> None:
        try:
            self._sagemaker.call("delete_endpoint", {"EndpointName": endpoint.name})
        except AwsConflict as exc:
            raise Conflict(
                f"{endpoint.name} changes just now ({endpoint.status.value}), and AWS does not "
                "delete it meanwhile.",
                hint="Delete it when it is InService or Failed.",
            ) from exc

    def _limit_logs(self, name: str) -> None:
        """Make the group before the first worker does, so that its lines go some day.

        They outlive the endpoint, for whoever asks why it failed. A group that is there already
        keeps what somebody may have set for it.
        """
        group = {"logGroupName": log_group(name)}
        try:
            self._sagemaker.log("create_log_group", group)
            self._sagemaker.log("put_retention_policy", {**group, "retentionInDays": LOG_DAYS})
        except AwsConflict:
            return
        except AwsError as exc:
            log.warning("The logs of the endpoint %s are kept for ever: %s", name, exc)

    def _execute(self, step: Step) -> None:
        try:
            self._call_patiently(step)
        except AwsConflict:
            if step.undo is None or step.operation == "create_endpoint":
                raise
            self._undo(step)
            self._call_patiently(step)

    def _call_patiently(self, step: Step) -> None:
        for pause in PAUSES:
            try:
                self._sagemaker.call(step.operation, step.request)
            except AwsNotFound:
                self._sleep(pause)
            else:
                return
        self._sagemaker.call(step.operation, step.request)

    def _undo(self, step: Step) -> None:
        if step.undo is not None:
            self._quietly(self._sagemaker.call, *step.undo)

    @staticmethod
    def _quietly(
        call: Callable[[str, dict[str, Any]], Any], operation: str, request: dict[str, Any]
    ) -> None:
        try:
            call(operation, request)
        except AwsNotFound:
            return  # gone already, which is what was wanted

    def _describe_raw(self, name: str) -> dict[str, Any] | None:
        try:
            return self._sagemaker.call("describe_endpoint", {"EndpointName": name})
        except AwsNotFound:
            return None

    def _endpoint(self, raw: dict[str, Any], *, queue: bool) -> Endpoint | None:
        spec = self._spec_of(raw)
        if spec is None:
            return None
        variant: dict[str, Any] = next(iter(raw.get("ProductionVariants") or []), {})
        images: list[dict[str, str]] = variant.get("DeployedImages") or [{}]
        activity = self._activity(raw, variant) if queue else Activity()
        endpoint = Endpoint(
            name=raw["EndpointName"],
            status=EndpointStatus(raw["EndpointStatus"]),
            created=seconds(raw.get("CreationTime")),
            updated=seconds(raw.get("LastModifiedTime")),
            instance_type=_running(variant) or spec.instance_type,
            instances=variant.get("CurrentInstanceCount", 0),
            desired_instances=variant.get("DesiredInstanceCount", 0),
            min_instances=spec.min_instances,
            max_instances=spec.max_instances,
            template=spec.template,
            failure=raw.get("FailureReason", ""),
            idle_seconds=spec.idle_seconds,
            backlog=activity.backlog,
            idle_since=activity.idle_since,
            image=images[0].get("SpecifiedImage", ""),
            instance_types=(spec.instance_type, *spec.fallbacks),
        )
        if endpoint.status is EndpointStatus.IN_SERVICE:
            try:
                self._register(raw, spec)
            except AwsError as exc:  # it takes jobs all the same, on the instances it has
                log.warning("The endpoint %s does not scale: %s", endpoint.name, exc)
        return endpoint

    def _activity(self, raw: dict[str, Any], variant: dict[str, Any]) -> Activity:
        if not EndpointStatus(raw["EndpointStatus"]).takes_jobs:
            return Activity()
        awake = seconds(raw.get("LastModifiedTime")) if variant.get("CurrentInstanceCount") else 0.0
        name = raw["EndpointName"]
        return seen(self._sagemaker, name, self._clock(), awake_since=awake)

    def _spec_of(self, raw: dict[str, Any]) -> EndpointSpec | None:
        """The wish in the endpoint's tags; None when the endpoint is not ours."""
        with self._lock:
            at, known = self._specs.get(_key(raw), (0.0, None))
        if known is not None and self._clock() - at < SPEC_SECONDS:
            return known
        answer = self._sagemaker.call("list_tags", {"ResourceArn": raw["EndpointArn"]})
        tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
        if TAG not in tags:
            return None
        spec = EndpointSpec(
            name=raw["EndpointName"],
            instance_type=tags.get(f"{TAG}:type", ""),
            fallbacks=tuple(tags.get(f"{TAG}:fallbacks", "").split()),
            min_instances=int(tags.get(f"{TAG}:min", 0)),
            max_instances=int(tags.get(f"{TAG}:max", 1)),
            idle_seconds=int(tags.get(f"{TAG}:idle", 600)),
            template=tags.get(f"{TAG}:template", ""),
        )
        self._remember(raw, spec)
        return spec

    def _remember(self, raw: dict[str, Any], spec: EndpointSpec) -> None:
        with self._lock:
            self._specs[_key(raw)] = self._clock(), spec

    def _forget(self) -> None:
        """The limits are read anew: whoever changes them elsewhere has just done so, perhaps."""
        with self._lock:
            self._specs.clear()

    def _register(self, raw: dict[str, Any], spec: EndpointSpec) -> None:
        """Register scaling once; an endpoint can only be registered while it is in service."""
        key = _key(raw)
        with self._lock:
            if key in self._registered:
                return
            self._registered.add(key)
        try:
            if not self._scales(raw):
                for step in plan_scaling(spec):
                    answer = self._sagemaker.scale(step.operation, step.request)
                # The last policy is a step policy: it acts when an alarm tells it to.
                self._sagemaker.alarm(
                    "put_metric_alarm", wake_alarm(spec.name, answer["PolicyARN"])
                )
        except BaseException:
            with self._lock:
                self._registered.discard(key)
            raise

    def _scales(self, raw: dict[str, Any]) -> bool:
        """Whether a registration went through to its end: the alarm, which is made last.

        One that is older than the endpoint was left by another of the same name.
        """
        name = raw["EndpointName"]
        alarms = self._sagemaker.alarm("describe_alarms", {"AlarmNames": [wake_name(name)]})
        made = [seconds(each["AlarmConfigurationUpdatedTimestamp"]) for each in
                alarms["MetricAlarms"]]  # fmt: skip
        if not made or made[0] < seconds(raw.get("CreationTime")):
            return False
        known = self._sagemaker.scale(
            "describe_scalable_targets",
            {"ServiceNamespace": "sagemaker", "ResourceIds": [resource_id(name)]},
        )
        return bool(known["ScalableTargets"])


def _key(raw: dict[str, Any]) -> str:
    """Tells an endpoint from another one of the same name that was there before."""
    return f"{raw['EndpointArn']}@{seconds(raw.get('CreationTime'))}"


def _running(variant: dict[str, Any]) -> str:
    """The type that most instances have, of an endpoint with several; empty while none runs."""
    pools: list[dict[str, Any]] = variant.get("InstancePools") or []
    most = max(pools, key=lambda pool: int(pool["CurrentInstanceCount"]), default={})
    return str(most["InstanceType"]) if most.get("CurrentInstanceCount") else ""


def _exists(name: str) -> Conflict:
    return Conflict(
        f"An endpoint named {name} exists already.",
        hint="Use it, delete it first, or choose another name.",
    )
