"""What creating an endpoint means at AWS, as data. Pure.

An endpoint is a model (image, role, environment), a configuration (instance type, async
settings) and the endpoint itself; when it is in service it is registered for scaling. The wish
(`EndpointSpec`) is kept in the endpoint's tags, so that any machine can finish the registration
of an endpoint whose creator went away.

Scaling, from SageMaker's guide on async endpoints: target tracking on
ApproximateBacklogSizePerInstance takes the number of instances up with the queue and down to
MinCapacity; it cannot leave zero, so a step policy on HasBacklogWithoutCapacity adds the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from comfy_aws import drivers, layout
from comfy_aws.errors import ConfigError
from comfy_aws.models import EndpointSpec

VARIANT: Final = "main"
TAG: Final = "comfy-aws"
SCALE_TAGS: Final = (f"{TAG}:min", f"{TAG}:max", f"{TAG}:idle")
"""The tags that change while an endpoint lives; see `scale_tags`."""
STARTUP_SECONDS: Final = 3600
"""SageMaker's maximum for ContainerStartupHealthCheckTimeoutInSeconds: models may be large."""

START_SECONDS: Final = 600
"""Cool-down after instances are added: what one takes to start, pull the image and answer. Before
that the backlog is as long as before, and with a shorter one it would add one more every minute."""

MOST_TYPES: Final = 5
"""Of the instance pools of a variant, which SageMaker's guide has for async endpoints, too."""

LOG_DAYS: Final = 30
"""Days that the lines of an endpoint's workers are kept; SageMaker itself would for ever."""

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
    check_spec(spec, worker)
    name = spec.name
    tags = [
        {"Key": TAG, "Value": "endpoint"},
        {"Key": f"{TAG}:template", "Value": spec.template},
        *scale_tags(spec),
        {"Key": f"{TAG}:type", "Value": spec.instance_type},
    ]
    if spec.fallbacks:
        tags.append({"Key": f"{TAG}:fallbacks", "Value": " ".join(spec.fallbacks)})
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
                "ProductionVariants": [_variant(spec)],
                "AsyncInferenceConfig": {
                    # One runner a worker, one graph a runner: ComfyUI executes one at a time.
                    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
                    "OutputConfig": {
                        "S3OutputPath": f"s3://{bucket}/{layout.ASYNC}{name}/out",
                        "S3FailurePath": f"s3://{bucket}/{layout.ASYNC}{name}/failed",
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


def _variant(spec: EndpointSpec) -> dict[str, Any]:
    ami = drivers.ami_for(spec.instance_type)
    kinds: dict[str, Any] = {"InstanceType": spec.instance_type}
    if spec.fallbacks:
        ranked = enumerate((spec.instance_type, *spec.fallbacks), start=1)
        kinds = {"InstancePools": [{"InstanceType": k, "Priority": rank} for rank, k in ranked]}
    return {
        "VariantName": VARIANT,
        "ModelName": spec.name,
        **kinds,
        "InitialInstanceCount": spec.initial_instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP_SECONDS,
        "ModelDataDownloadTimeoutInSeconds": STARTUP_SECONDS,
        **({"InferenceAmiVersion": ami} if ami else {}),
    }


def plan_scaling(spec: EndpointSpec) -> list[Step]:
    """The Application Auto Scaling calls for an endpoint in service, in order. Pure."""
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource_id(spec.name),
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
                    "ScaleOutCooldown": START_SECONDS,
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
                    "Cooldown": START_SECONDS,
                    "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
                },
            },
        ),
    ]


def plan_rescale(spec: EndpointSpec) -> list[Step]:
    """The calls that give an endpoint in service other limits: its scaling without its wake-up."""
    return plan_scaling(spec)[:2]


def scale_tags(spec: EndpointSpec) -> list[dict[str, str]]:
    """The part of an endpoint's wish that can change while it lives."""
    values = (spec.min_instances, spec.max_instances, spec.idle_seconds)
    return [
        {"Key": key, "Value": str(value)} for key, value in zip(SCALE_TAGS, values, strict=True)
    ]


def log_group(endpoint: str) -> str:
    """Where CloudWatch has the lines of an endpoint's workers."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


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


def spec_for(name: str = "", template: str = "", **wishes: Any) -> EndpointSpec:
    """A spec whose name, when none is given, follows from the template.

    Raises:
        InvalidName: neither is given, or one breaks its rule.
        ConfigError: a wish has the wrong type.
    """
    for wish, value in wishes.items():
        if wish == "fallbacks":
            if not isinstance(value, (list, tuple)) or not all(isinstance(k, str) for k in value):
                raise ConfigError(f"fallbacks is a list of instance types; got {value!r}.")
            continue
        wanted = str if wish == "instance_type" else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            what = "a text" if wanted is str else "a whole number"
            raise ConfigError(f"{wish} is {what}; got {value!r}.")
    wishes["fallbacks"] = tuple(wishes.get("fallbacks", ()))
    if template:
        layout.check_template_name(template)
    if not name and template:
        name = layout.endpoint_name_for(template)
    return EndpointSpec(name=layout.check_endpoint_name(name), template=template, **wishes)


def check_limits(spec: EndpointSpec) -> None:
    """Raises ConfigError when the numbers of instances or seconds are out of range."""
    if not 0 <= spec.min_instances <= spec.max_instances or spec.max_instances < 1:
        raise ConfigError(
            "An endpoint scales between min ≥ 0 and max ≥ 1 instances, min not above max; "
            f"got {spec.min_instances} and {spec.max_instances}."
        )
    if spec.idle_seconds < 0:
        raise ConfigError(f"The idle time is 0 seconds or more; got {spec.idle_seconds}.")


def check_spec(spec: EndpointSpec, worker: WorkerImage) -> None:
    layout.check_endpoint_name(spec.name)
    check_limits(spec)
    if not 1 <= spec.initial_instances <= spec.max_instances:
        raise ConfigError(
            f"The first number of instances is 1 to {spec.max_instances} (the maximum); "
            f"got {spec.initial_instances}."
        )
    _check_types((spec.instance_type, *spec.fallbacks))
    for value, what in ((worker.image, "image"), (worker.role, "execution role")):
        if not value:
            raise ConfigError(
                f"No {what} is set for SageMaker's workers.",
                hint="Deploy the stack, or set it in the settings.",
            )


def _check_types(kinds: tuple[str, ...]) -> None:
    if len(set(kinds)) != len(kinds) or len(kinds) > MOST_TYPES:
        raise ConfigError(
            f"An endpoint has 1 to {MOST_TYPES} different instance types; got {', '.join(kinds)}."
        )
    for kind in kinds:
        if not kind.startswith("ml."):
            raise ConfigError(
                f"An instance type begins with 'ml.', such as ml.g5.xlarge; got {kind!r}."
            )
        ami = drivers.ami_for(kind)
        driver = drivers.driver_of(kind, ami)
        if driver is not None and driver < drivers.NEEDED:
            raise ConfigError(
                f"SageMaker's {kind} has NVIDIA driver {driver}; workers need "
                f"{drivers.NEEDED} or newer.",
                hint="Take another instance type; `comfy-aws cost --prices` lists those that suit.",
            )
        if ami != drivers.ami_for(kinds[0]):
            raise ConfigError(
                f"{kinds[0]} and {kind} cannot stand in for each other: their hosts need different "
                "AMIs, of which an endpoint has one."
            )


def resource_id(name: str) -> str:
    return f"endpoint/{name}/variant/{VARIANT}"
