"""What AWS looks up before it takes a model, a host's AMI or a scalable target; moto does not."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.core.exceptions import ServiceException
from moto.ecr.models import ecr_backends
from moto.iam.models import iam_backends

from comfy_aws import drivers
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.refusals import Refused
from comfy_aws.localstack.state import Identity
from comfy_aws.models import EndpointStatus

_PRINCIPAL: Final = "sagemaker.amazonaws.com"
_IMAGE: Final = re.compile(r"\d{12}\.dkr\.ecr\.[\w-]+\.amazonaws\.com(?:\.cn)?/([^:@]+):([^@]+)")
_RESOURCE: Final = re.compile(r"endpoint/([^/]+)/variant/[^/]+")


def check_role(arn: str, identity: Identity) -> None:
    """Raises Refused unless SageMaker could assume the role."""
    if arn == identity.role_arn:
        return
    try:
        role = iam_backends[identity.account]["global"].get_role_by_arn(arn)
        trusted = _trusted(role.assume_role_policy_document)
    except (ServiceException, ValueError):
        trusted = False
    if not trusted:
        raise Refused(
            "ValidationException",
            f"Could not assume role {arn}. Please ensure that the role exists and allows "
            f"principal '{_PRINCIPAL}' to assume the role.",
        )


def _trusted(document: Any) -> bool:
    policy = json.loads(document) if isinstance(document, str) else document or {}
    statements = policy.get("Statement", [])
    for each in [statements] if isinstance(statements, dict) else statements:
        principal = each.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        if each.get("Effect") == "Allow" and _PRINCIPAL in (
            [services] if isinstance(services, str) else services
        ):
            return True
    return False


def check_image(uri: str, identity: Identity) -> None:
    """Raises Refused unless the image is this stack's own, or lies in its ECR."""
    if uri == identity.image_uri:
        return
    named = _IMAGE.fullmatch(uri)
    try:
        backend = ecr_backends[identity.account][identity.region]
        found = named and backend.describe_images(named[1], None, [{"imageTag": named[2]}])
    except ServiceException:
        found = None
    if not found:
        raise Refused("ValidationException", f"Requested image {uri} not found.")


def check_ami(variant: dict[str, Any]) -> None:
    """Raises Refused for an AMI that hosts of the type cannot have; its name is checked before."""
    ami = str(variant.get("InferenceAmiVersion", ""))
    for each in [variant, *variant.get("InstancePools", [])]:
        kind = str(each.get("InstanceType", ""))
        if ami and kind and not drivers.takes(kind, ami):
            raise Refused(
                "ValidationException",
                f"InferenceAmiVersion {ami} is not supported for instance type {kind}.",
            )


def check_pools(variant: dict[str, Any]) -> None:
    """Raises Refused unless there is one type, or pools with a rank of their own each."""
    pools = variant.get("InstancePools", [])
    if bool(pools) == ("InstanceType" in variant):
        raise Refused("ValidationException", "Specify either InstanceType or InstancePools.")
    for what in ("InstanceType", "Priority"):
        if len({pool[what] for pool in pools}) != len(pools):
            raise Refused("ValidationException", f"The {what} of each InstancePool must differ.")


def check_scaling(operation: str, wish: dict[str, Any], fleet: Fleet, identity: Identity) -> None:
    """Raises Refused for a target without an endpoint in service, and a policy without a target."""
    if wish.get("ServiceNamespace") != "sagemaker":
        return
    resource, dimension = str(wish.get("ResourceId")), str(wish.get("ScalableDimension"))
    if operation == "RegisterScalableTarget":
        named = _RESOURCE.fullmatch(resource)
        endpoint = fleet.find(named[1]) if named else None
        if endpoint is None:
            name = named[1] if named else resource
            raise Refused("ValidationException", f'Could not find endpoint "{fleet.arn(name)}".')
        if endpoint.status in (EndpointStatus.CREATING, EndpointStatus.FAILED):
            raise Refused(
                "ValidationException",
                f"The endpoint {endpoint.name} is {endpoint.status.value}; it can be registered "
                "once it is InService.",
            )
    if operation == "PutScalingPolicy":
        backend = applicationautoscaling_backends[identity.account][identity.region]
        if resource not in backend.targets.get(dimension, {}):
            raise Refused(
                "ObjectNotFoundException",
                "No scalable target registered for service namespace: sagemaker, resource ID: "
                f"{resource}, scalable dimension: {dimension}",
            )
