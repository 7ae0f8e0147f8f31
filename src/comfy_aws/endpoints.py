"""Endpoints: a plan as data, then its execution, then what SageMaker says of them.

An endpoint is a model (image, role, environment), a configuration (instance type, async
settings) and the endpoint itself; when it is in service it is registered for scaling. The wish
(`EndpointSpec`) is kept in the endpoint's tags, so that any machine can finish the registration
of an endpoint whose creator went away.

Scaling, from SageMaker's guide on async endpoints: target tracking on
ApproximateBacklogSizePerInstance takes the number of instances up with the queue and down to
MinCapacity; it cannot leave zero, so a step policy on HasBacklogWithoutCapacity adds the first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from comfy_aws import layout
from comfy_aws.aws import SageMaker, seconds
from comfy_aws.callbacks import IsCancelled, never
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
from comfy_aws.models import Endpoint, EndpointSpec, EndpointStatus

VARIANT: Final = "main"
TAG: Final = "comfy-aws"
STARTUP_SECONDS: Final = 3600
"""SageMaker's maximum for ContainerStartupHealthCheckTimeoutInSeconds: models may be large."""

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class WorkerImage:
    """What an endpoint runs: image, role, and the environment of every worker."""

    image: str
    role: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One call, and the call that takes it back (None: nothing to take back)."""

    operation: str
    request: dict[str, Any]
    undo: tuple[str, dict[str, Any]] | None = None


def plan_create(spec: EndpointSpec, worker: WorkerImage, bucket: str) -> list[Step]:
    """The control-plane calls that create an endpoint, in order. Pure.

    Raises:
        InvalidName: the endpoint's name breaks SageMaker's rule.
        ConfigError: a number is out of range, or image or role is missing.
    """
    _check(spec, worker)
    name = spec.name
    tags = [
        {"Key": TAG, "Value": "endpoint"},
        {"Key": f"{TAG}:template", "Value": spec.template},
        {"Key": f"{TAG}:min", "Value": str(spec.min_instances)},
        {"Key": f"{TAG}:max", "Value": str(spec.max_instances)},
        {"Key": f"{TAG}:idle", "Value": str(spec.idle_seconds)},
        {"Key": f"{TAG}:type", "Value": spec.instance_type},
    ]
    environment = dict(worker.environment)
    if spec.template:
        environment["COMFY_AWS_WARM_TEMPLATE"] = spec.template
    return [
        Step(
            "create_model",
            {
                "ModelName": name,
                "ExecutionRoleArn": worker.role,
                "PrimaryContainer": {"Image": worker.image, "Environment": environment},
                "Tags": tags,
            },
            ("delete_model", {"ModelName": name}),
        ),
        Step(
            "create_endpoint_config",
            {
                "EndpointConfigName": name,
                "ProductionVariants": [
                    {
                        "VariantName": VARIANT,
                        "ModelName": name,
                        "InstanceType": spec.instance_type,
                        "InitialInstanceCount": spec.initial_instances,
                        "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP_SECONDS,
                        "ModelDataDownloadTimeoutInSeconds": STARTUP_SECONDS,
                    }
                ],
                "AsyncInferenceConfig": {
                    # One runner a worker, one graph a runner: ComfyUI executes one at a time.
                    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
                    "OutputConfig": {
                        "S3OutputPath": f"s3://{bucket}/async/{name}/out",
                        "S3FailurePath": f"s3://{bucket}/async/{name}/failed",
                    },
                },
                "Tags": tags,
            },
            ("delete_endpoint_config", {"EndpointConfigName": name}),
        ),
        Step(
            "create_endpoint",
            {"EndpointName": name, "EndpointConfigName": name, "Tags": tags},
            ("delete_endpoint", {"EndpointName": name}),
        ),
    ]


def plan_scaling(spec: EndpointSpec) -> list[Step]:
    """The Application Auto Scaling calls for an endpoint in service, in order. Pure."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": _resource(spec.name),
        "ScalableDimension": DIMENSION,
    }
    dimensions = [{"Name": "EndpointName", "Value": spec.name}]
    return [
        Step(
            "register_scalable_target",
            {**target, "MinCapacity": spec.min_instances, "MaxCapacity": spec.max_instances},
        ),
        Step(
            "put_scaling_policy",
            {
                **target,
                "PolicyName": f"{spec.name}-backlog",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 1.0,
                    "CustomizedMetricSpecification": {
                        "MetricName": "ApproximateBacklogSizePerInstance",
                        "Namespace": "AWS/SageMaker",
                        "Dimensions": dimensions,
                        "Statistic": "Average",
                    },
                    "ScaleInCooldown": spec.idle_seconds,
                    "ScaleOutCooldown": 60,
                },
            },
        ),
        Step(
            "put_scaling_policy",
            {
                **target,
                "PolicyName": wake_name(spec.name),
                "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": {
                    "AdjustmentType": "ChangeInCapacity",
                    "MetricAggregationType": "Average",
                    "Cooldown": 60,
                    "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
                },
            },
        ),
    ]


def wake_name(endpoint: str) -> str:
    return f"{endpoint}-wake"


def wake_alarm(endpoint: str, policy_arn: str) -> dict[str, Any]:
    """The alarm that starts the first instance when a request waits and none runs. Pure."""
    return {
        "AlarmName": wake_name(endpoint),
        "AlarmDescription": f"A request waits and {endpoint} has no instance.",
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [policy_arn],
    }


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
        self._specs: dict[str, EndpointSpec] = {}
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
        return self.get(spec.name)

    def list(self) -> list[Endpoint]:
        """The endpoints that this product made, newest first."""
        found = []
        for summary in self._sagemaker.endpoints():
            raw = self._describe_raw(summary["EndpointName"])
            endpoint = self._endpoint(raw) if raw else None
            if endpoint is not None:
                found.append(endpoint)
        return found

    def get(self, name: str) -> Endpoint:
        """Raises NotFound, also for endpoints that are not this product's."""
        raw = self._describe_raw(layout.check_endpoint_name(name))
        endpoint = self._endpoint(raw) if raw else None
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
                f"There is no endpoint named {name}.", hint="Create one in the AWS sidebar."
            ) from exc
        if endpoint.status.takes_jobs:
            return endpoint
        why = f": {endpoint.failure}" if endpoint.failure else ""
        waits = endpoint.status is EndpointStatus.CREATING
        raise EndpointUnusable(
            f"The endpoint {name} is {endpoint.status.value}{why}.",
            hint="Wait until it is InService." if waits else "Delete it and create it again.",
        )

    def wait(
        self, name: str, *, timeout: float = 3600.0, every: float = 1.0,
        cancelled: IsCancelled = never,
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
            self._sleep(every)

    def delete(self, name: str) -> None:
        """Delete the endpoint with its configuration, model and scaling. Raises NotFound."""
        self.get(name)
        self._quietly(
            self._sagemaker.scale,
            "deregister_scalable_target",
            {
                "ServiceNamespace": "sagemaker",
                "ResourceId": _resource(name),
                "ScalableDimension": DIMENSION,
            },
        )
        self._quietly(self._sagemaker.alarm, "delete_alarms", {"AlarmNames": [wake_name(name)]})
        self._sagemaker.call("delete_endpoint", {"EndpointName": name})
        config = {"EndpointConfigName": name}
        self._quietly(self._sagemaker.call, "delete_endpoint_config", config)
        self._quietly(self._sagemaker.call, "delete_model", {"ModelName": name})
        with self._lock:
            self._registered.discard(name)

    def _execute(self, step: Step) -> None:
        try:
            self._sagemaker.call(step.operation, step.request)
        except AwsConflict:
            if step.undo is None or step.operation == "create_endpoint":
                raise
            self._undo(step)
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

    def _endpoint(self, raw: dict[str, Any]) -> Endpoint | None:
        spec = self._spec_of(raw)
        if spec is None:
            return None
        variant: dict[str, Any] = next(iter(raw.get("ProductionVariants") or []), {})
        endpoint = Endpoint(
            name=raw["EndpointName"],
            status=EndpointStatus(raw["EndpointStatus"]),
            created=seconds(raw.get("CreationTime")),
            updated=seconds(raw.get("LastModifiedTime")),
            instance_type=spec.instance_type,
            instances=variant.get("CurrentInstanceCount", 0),
            desired_instances=variant.get("DesiredInstanceCount", 0),
            min_instances=spec.min_instances,
            max_instances=spec.max_instances,
            template=spec.template,
            failure=raw.get("FailureReason", ""),
        )
        if endpoint.status is EndpointStatus.IN_SERVICE:
            self._register(spec)
        return endpoint

    def _spec_of(self, raw: dict[str, Any]) -> EndpointSpec | None:
        """The wish in the endpoint's tags; None when the endpoint is not ours."""
        arn = f"{raw['EndpointArn']}@{seconds(raw.get('CreationTime'))}"
        with self._lock:
            if arn in self._specs:
                return self._specs[arn]
        answer = self._sagemaker.call("list_tags", {"ResourceArn": raw["EndpointArn"]})
        tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
        if TAG not in tags:
            return None
        spec = EndpointSpec(
            name=raw["EndpointName"],
            instance_type=tags.get(f"{TAG}:type", ""),
            min_instances=int(tags.get(f"{TAG}:min", 0)),
            max_instances=int(tags.get(f"{TAG}:max", 1)),
            idle_seconds=int(tags.get(f"{TAG}:idle", 600)),
            template=tags.get(f"{TAG}:template", ""),
        )
        with self._lock:
            self._specs[arn] = spec
        return spec

    def _register(self, spec: EndpointSpec) -> None:
        """Register scaling once; an endpoint can only be registered while it is in service."""
        with self._lock:
            if spec.name in self._registered:
                return
            self._registered.add(spec.name)
        try:
            known = self._sagemaker.scale(
                "describe_scalable_targets",
                {"ServiceNamespace": "sagemaker", "ResourceIds": [_resource(spec.name)]},
            )
            if not known["ScalableTargets"]:
                for step in plan_scaling(spec):
                    answer = self._sagemaker.scale(step.operation, step.request)
                # The last policy is a step policy: it acts when an alarm tells it to.
                self._sagemaker.alarm(
                    "put_metric_alarm", wake_alarm(spec.name, answer["PolicyARN"])
                )
        except BaseException:
            with self._lock:
                self._registered.discard(spec.name)
            raise


def spec_for(name: str = "", template: str = "", **wishes: Any) -> EndpointSpec:
    """A spec whose name, when none is given, follows from the template.

    Raises:
        InvalidName: neither is given, or one breaks its rule.
        ConfigError: a wish has the wrong type.
    """
    for wish, value in wishes.items():
        wanted = str if wish == "instance_type" else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            what = "a text" if wanted is str else "a whole number"
            raise ConfigError(f"{wish} is {what}; got {value!r}.")
    if template:
        layout.check_template_name(template)
    if not name and template:
        name = layout.endpoint_name_for(template)
    return EndpointSpec(name=layout.check_endpoint_name(name), template=template, **wishes)


def _check(spec: EndpointSpec, worker: WorkerImage) -> None:
    layout.check_endpoint_name(spec.name)
    if not 0 <= spec.min_instances <= spec.max_instances or spec.max_instances < 1:
        raise ConfigError(
            "An endpoint scales between min ≥ 0 and max ≥ 1 instances, min not above max; "
            f"got {spec.min_instances} and {spec.max_instances}."
        )
    if not 1 <= spec.initial_instances <= spec.max_instances:
        raise ConfigError(
            f"The first number of instances is 1 to {spec.max_instances} (the maximum); "
            f"got {spec.initial_instances}."
        )
    if spec.idle_seconds < 0:
        raise ConfigError(f"The idle time is 0 seconds or more; got {spec.idle_seconds}.")
    if not spec.instance_type.startswith("ml."):
        raise ConfigError(
            f"An instance type begins with 'ml.', such as ml.g5.xlarge; got {spec.instance_type!r}."
        )
    for value, what in ((worker.image, "image"), (worker.role, "execution role")):
        if not value:
            raise ConfigError(
                f"No {what} is set for SageMaker's workers.",
                hint="Deploy the stack, or set it in the settings.",
            )


def _exists(name: str) -> Conflict:
    return Conflict(
        f"An endpoint named {name} exists already.",
        hint="Use it, delete it first, or choose another name.",
    )


def _resource(name: str) -> str:
    return f"endpoint/{name}/variant/{VARIANT}"
