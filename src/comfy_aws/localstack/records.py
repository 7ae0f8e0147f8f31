"""The part of moto's memory that must survive: models, configurations, scaling, alarms.

Read from the backends after each control-plane call, whichever way the change came, rather than
by recording calls. ARNs with random parts are kept: alarms name their policies by them.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.sagemaker.models import SageMakerModelBackend

from comfy_aws.localstack.state import Identity

_MODEL: Final = (
    "model_name", "execution_role_arn", "primary_container", "vpc_config", "containers", "tags",
)  # fmt: skip
_CONFIG: Final = (
    "endpoint_config_name", "production_variants", "data_capture_config",
    "async_inference_config", "tags", "kms_key_id",
)  # fmt: skip
_TARGET: Final = (
    "resource_id", "min_capacity", "max_capacity", "role_arn", "suspended_state",
)  # fmt: skip
_POLICY: Final = (
    "policy_name", "service_namespace", "resource_id", "scalable_dimension", "policy_type",
)  # fmt: skip
_ALARM: Final = (
    "name", "namespace", "metric_name", "comparison_operator", "evaluation_periods", "period",
    "threshold", "statistic", "description", "alarm_actions", "datapoints_to_alarm",
    "extended_statistic", "ok_actions", "insufficient_data_actions", "unit", "actions_enabled",
    "treat_missing_data",
)  # fmt: skip


def snapshot(sagemaker: SageMakerModelBackend, identity: Identity) -> dict[str, Any]:
    """The state as JSON-able values. The dictionaries are copied first: other threads write."""
    scaling = applicationautoscaling_backends[identity.account][identity.region]
    alarms = cloudwatch_backends[identity.account][identity.region].alarms
    return {
        "models": [
            {**_fields(model, _MODEL), "created": model.creation_time.isoformat()}
            for model in list(sagemaker.list_models())
        ],
        "configs": [
            {**_fields(config, _CONFIG), "created": config.creation_time.isoformat()}
            for config in list(sagemaker.endpoint_configs.values())
        ],
        "targets": [
            {**_fields(target, _TARGET), "dimension": dimension, "arn": target.arn}
            for dimension, targets in list(scaling.targets.items())
            for target in list(targets.values())
            if target.service_namespace == "sagemaker"
        ],
        "policies": [
            {**_fields(policy, _POLICY), "body": policy_body(policy), "arn": policy.policy_arn}
            for policy in list(scaling.policies.values())
            if policy.service_namespace == "sagemaker"
        ],
        "alarms": [
            {
                **_fields(alarm, _ALARM),
                "dimensions": [{"Name": d.name, "Value": d.value} for d in alarm.dimensions],
            }
            for alarm in list(alarms.values())
            if not alarm.metric_data_queries and not alarm.rule
        ],
    }


def policy_body(policy: Any) -> dict[str, Any]:
    """The configuration of a scaling policy, of either type."""
    step = policy.step_scaling_policy_configuration
    return dict(step or policy.target_tracking_scaling_policy_configuration or {})


def _fields(thing: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def restore(saved: dict[str, Any], sagemaker: SageMakerModelBackend, identity: Identity) -> None:
    """Put a snapshot back into fresh backends."""
    for record in saved.get("models", []):
        created = record.pop("created")
        model = sagemaker.create_model(**record)
        model.creation_time = datetime.fromisoformat(created)
    for record in saved.get("configs", []):
        created = record.pop("created")
        _restore_config(sagemaker, record).creation_time = datetime.fromisoformat(created)
    scaling = applicationautoscaling_backends[identity.account][identity.region]
    for record in saved.get("targets", []):
        target = scaling.register_scalable_target(
            "sagemaker",
            record["resource_id"],
            record["dimension"],
            record["min_capacity"],
            record["max_capacity"],
            record["role_arn"],
            record["suspended_state"],
        )
        target.arn = record["arn"]
    for record in saved.get("policies", []):
        body, arn = record.pop("body"), record.pop("arn")
        policy = scaling.put_scaling_policy(**record, policy_body=body)
        policy.policy_arn = arn
        policy.creation_time = time.time()
    cloudwatch = cloudwatch_backends[identity.account][identity.region]
    for record in saved.get("alarms", []):
        cloudwatch.put_metric_alarm(**record)


def _restore_config(sagemaker: SageMakerModelBackend, record: dict[str, Any]) -> Any:
    """A configuration may outlive its model, which moto refuses; so check nothing here."""
    variants = record.pop("production_variants")
    config = sagemaker.create_endpoint_config(production_variants=[], **record)
    config.production_variants = variants
    return config
