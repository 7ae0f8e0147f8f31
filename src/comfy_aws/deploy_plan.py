"""What deploying means, as data: the stack's parameters, what a change does, how a stack stands.

Pure; `deployments` carries it out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from comfy_aws.endpoint_plan import LOG_DAYS
from comfy_aws.errors import ConfigError, Conflict, InvalidName

STACK_NAME: Final = re.compile(r"[a-z](-?[a-z0-9]){0,30}")
"""CloudFormation's rule, narrowed: the name becomes part of bucket and repository names."""

DEFAULT_NAME: Final = "comfy-aws"
TAGS: Final = {"comfy-aws": "stack"}
"""What tells our stacks from others of the account."""
NOBODY: Final = "127.0.0.1/32"
"""The template's default for the network that reaches a designer."""
WIDEST: Final = 8
"""Bits of the widest network that may reach a designer."""

DESIGNER_IMAGE: Final = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
)
"""AWS's public parameter with the newest Ubuntu that has the NVIDIA driver."""

_UNCHANGED: Final = ("didn't contain changes", "No updates are to be performed")


# -- what CloudFormation says ------------------------------------------------------------------


@dataclass(frozen=True)
class StackView:
    """A stack as CloudFormation describes it. `stack_id` stays valid when it is deleted."""

    name: str
    stack_id: str
    status: str
    reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What would become of one resource. `replacement` is True, False or Conditional."""

    action: str
    name: str
    kind: str
    replacement: str = ""


@dataclass(frozen=True)
class ChangeSet:
    """A proposed change. `status` is CREATE_PENDING … CREATE_COMPLETE or FAILED."""

    change_set_id: str
    status: str
    reason: str
    changes: tuple[Change, ...]

    @property
    def pending(self) -> bool:
        return self.status in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}

    @property
    def empty(self) -> bool:
        return self.status == "FAILED" and unchanged(self.reason)


@dataclass(frozen=True)
class StackEvent:
    """One line of a stack's life."""

    event_id: str
    name: str
    kind: str
    status: str
    reason: str = ""


# -- what the operator chooses -----------------------------------------------------------------


@dataclass(frozen=True)
class DeployOptions:
    """What the operator chooses; None leaves a parameter as it is, or to the template's default."""

    job_days: int | None = None
    log_days: int | None = None
    comfyui_version: str | None = None
    alert_email: str | None = None
    wait_seconds: int | None = None
    awake_hours: int | None = None
    monthly_budget: int | None = None
    designer_type: str | None = None
    designer_cidr: str | None = None
    designer_image: str | None = None
    designer_vpc: str | None = None
    designer_subnet: str | None = None
    models_gib: int | None = None
    models_snapshot: str | None = None
    inference_ports: int | None = None

    def chosen(self) -> dict[str, str]:
        """The template's parameters that were chosen."""
        chosen = {
            PARAMETERS[each.name]: str(getattr(self, each.name))
            for each in fields(self)
            if getattr(self, each.name) is not None
        }
        # A machine that goes takes along what only it was made of.
        return (_OF_ONE_MACHINE if self.designer_type == "" else {}) | chosen


PARAMETERS: Final = {
    "job_days": "JobDays",
    "log_days": "LogDays",
    "comfyui_version": "ComfyUIVersion",
    "alert_email": "AlertEmail",
    "wait_seconds": "WaitSeconds",
    "awake_hours": "AwakeHours",
    "monthly_budget": "MonthlyBudget",
    "designer_type": "DesignerType",
    "designer_cidr": "DesignerCidr",
    "designer_image": "DesignerImage",
    "designer_vpc": "DesignerVpc",
    "designer_subnet": "DesignerSubnet",
    "models_gib": "ModelsGiB",
    "models_snapshot": "ModelsSnapshot",
    "inference_ports": "InferencePorts",
}
_OF_ONE_MACHINE: Final = {"DesignerImage": "", "ModelsSnapshot": ""}
_FIXED: Final = ("designer_image", "designer_vpc", "designer_subnet", "models_snapshot")
"""Options that a machine is made with, and cannot change."""
_ANOTHER_MACHINE: Final = (
    'Take the machine away, with --designer-type "", which keeps its models volume as a snapshot; '
    "then add another with --designer-type, --models-snapshot and this option."
)
_MACHINE: Final = frozenset({"Designer", "DesignerVolume", "DesignerVolumeAttachment"})
"""Resources whose replacement would lose the machine or fail half-way."""

NOT_OFFERED: Final = frozenset({"BucketName", "CreateBucket"})
"""Parameters of the template that stay as they are once the stack is made."""


def check_stack_name(name: str) -> str:
    """Return `name`, or raise InvalidName."""
    if not STACK_NAME.fullmatch(name):
        raise InvalidName(
            "A stack's name is 1 to 31 lower-case letters, digits and single hyphens, beginning "
            f"with a letter; {name!r} is not one.",
            hint="Choose another name.",
        )
    return name


def check_ours(stack: StackView) -> StackView:
    """Return `stack`, or raise Conflict when another product's or person's has the name.

    One that only waits for a change set has neither tags nor anything to lose.
    """
    if stack.status != "REVIEW_IN_PROGRESS" and not TAGS.items() <= stack.tags.items():
        raise Conflict(
            f"The stack {stack.name} is not one of Prompt on AWS: it lacks the tag "
            "comfy-aws=stack. It was left alone.",
            hint="Choose another name with --name.",
        )
    return stack


def check_idle(stack: StackView) -> StackView:
    """Return `stack`, or raise Conflict while it is changed."""
    if busy(stack.status):
        raise Conflict(
            f"The stack {stack.name} is being changed: {stack.status}.",
            hint="Wait, then try again; `comfy-aws status` tells how it stands.",
        )
    return stack


def check_cidr(text: str) -> str:
    """The network that may reach the designer. Raises ConfigError, for everybody above all."""
    try:
        network = ipaddress.ip_network(text)
        if "/" not in text:
            raise ValueError("no bits are given")
    except ValueError as exc:
        raise ConfigError(
            f"{text!r} is not a network: {exc}.",
            hint="Give your own address, as in 203.0.113.7/32.",
        ) from exc
    if network.version != 4 or network.prefixlen < WIDEST:
        raise ConfigError(
            f"A designer is reached from an IPv4 network of {WIDEST} bits or more; {text} "
            "would open it to too many.",
            hint="Give your own address, as in 203.0.113.7/32.",
        )
    return text


def check_bucket(name: str, bucket: str, known: Mapping[str, str]) -> None:
    """Refuse another bucket for a stack that has one, as all that was published lies there.

    Args:
        bucket: as the operator gave it; empty for none.
        known: parameters of the stack that is changed; empty for a new one.
    """
    kept = known.get("BucketName", bucket)
    if bucket and bucket != kept:
        raise ConfigError(
            f"The stack {name} has the bucket {kept}, and cannot move to {bucket}.",
            hint="Leave --bucket away, or make another stack beside it with --name.",
        )


def check_job_days(options: DeployOptions, parameters: Mapping[str, str]) -> None:
    """Refuse days for a bucket that the stack has not made, whose rules are its owner's.

    Args:
        parameters: those of the stack as it shall be.
    """
    if options.job_days is not None and parameters.get("CreateBucket") == "false":
        raise ConfigError(
            f"The stack takes up the bucket {parameters['BucketName']} with the rules that it has, "
            "so --job-days would change nothing.",
            hint="Leave it away, and set the lifecycle rule of jobs/ in the bucket yourself.",
        )


def check_bucket_region(bucket: str, there: str, here: str) -> None:
    """Refuse a bucket of another region, which neither SageMaker nor the build would take."""
    if there and there != here:
        raise ConfigError(
            f"The bucket {bucket} lies in {there}, the stack would be in {here}.",
            hint=f"Give --region {there}, or name a bucket in {here} with --bucket.",
        )


def check_options(options: DeployOptions, known: Mapping[str, str]) -> None:
    """Refuse what the template's rules would refuse, before anything is sent.

    Args:
        known: parameters of the stack that is changed; empty for a new one.
    """
    if options.designer_cidr is not None:
        check_cidr(options.designer_cidr)
    elif options.designer_type and known.get("DesignerCidr", NOBODY) == NOBODY:
        raise ConfigError(
            "A designer machine needs the network that may reach it.",
            hint="Add --designer-cidr with your own address, as in 203.0.113.7/32.",
        )
    if known.get("DesignerType") and options.designer_type != "":
        _check_machine(options, known)
    elif options.models_snapshot and not options.designer_type:
        raise ConfigError(
            "A snapshot of models is for a designer machine, and none is added.",
            hint="Add --designer-type.",
        )
    if options.designer_vpc and not (options.designer_subnet or known.get("DesignerSubnet")):
        raise ConfigError(
            "A VPC for the designer needs a subnet of it.", hint="Add --designer-subnet."
        )


def _check_machine(options: DeployOptions, known: Mapping[str, str]) -> None:
    """Refuse what only another machine could have."""
    for name in _FIXED:
        value, before = getattr(options, name), known.get(PARAMETERS[name], "")
        if value is not None and value != before:
            raise ConfigError(
                f"The designer machine cannot change its --{name.replace('_', '-')} "
                f"from {before or 'none'} to {value or 'none'}.",
                hint=_ANOTHER_MACHINE,
            )
    if options.models_gib is not None and options.models_gib < int(known.get("ModelsGiB") or 0):
        raise ConfigError(
            f"A volume cannot become smaller; it has {known['ModelsGiB']} GiB.",
            hint="Give as many or more.",
        )


def check_changes(changes: Iterable[Change]) -> None:
    """Refuse a change that would put another machine in the place of the one that is there."""
    for change in changes:
        if change.name in _MACHINE and change.replacement == "True":
            raise ConfigError(
                f"This version cannot keep the designer machine: {change.name} would be replaced.",
                hint=_ANOTHER_MACHINE,
            )


def parameters(chosen: Mapping[str, str], known: Mapping[str, str]) -> list[dict[str, Any]]:
    """As CloudFormation takes them: what is not chosen stays as it is."""
    offered = {*PARAMETERS.values(), *NOT_OFFERED}  # an older template may have had others
    stay = [
        {"ParameterKey": key, "UsePreviousValue": True}
        for key in sorted((known.keys() & offered) - chosen.keys())
    ]
    return [
        *({"ParameterKey": key, "ParameterValue": value} for key, value in sorted(chosen.items())),
        *stay,
    ]


def designer_wish(known: Mapping[str, str], bundle: str) -> dict[str, Any]:
    """deploy/designer.json, which deploy/install_designer.py reads on the machine.

    Args:
        bundle: tag of the source bundle.
    """
    return {
        "bundle": bundle,
        "comfyui": known.get("ComfyUIVersion", ""),
        "ports": int(known.get("InferencePorts") or 0),
    }


def bucket_name(stack: str, account: str, region: str) -> str:
    return f"{stack}-{account}-{region}"


# -- how a stack stands ------------------------------------------------------------------------


def unchanged(reason: str) -> bool:
    """CloudFormation refuses a change that would change nothing."""
    return any(text in reason for text in _UNCHANGED)


def busy(status: str) -> bool:
    """It changes now; REVIEW_IN_PROGRESS waits for a change set and is no change."""
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def husk(status: str) -> bool:
    """A name without resources, left by a creation that failed or was only proposed."""
    return status in {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS", "ROLLBACK_FAILED", "CREATE_FAILED"}


def failed(status: str) -> bool:
    """The last change did not come through, whether it was undone or not."""
    return status.endswith("_FAILED") or "ROLLBACK" in status


def stuck(status: str) -> bool:
    """CloudFormation takes no other change until somebody has seen to this one."""
    return status in {"UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}


def named(name: str) -> str:
    """The option by which a command means this stack."""
    return "" if name == DEFAULT_NAME else f" --name {name}"


def cure(name: str, status: str, region: str) -> str:
    """What to do about a stack whose last change failed."""
    at = named(name)
    if status == "UPDATE_ROLLBACK_FAILED":
        return (
            "CloudFormation could not undo the last change. Remove the cause that its events tell, "
            f"then: aws cloudformation continue-update-rollback --stack-name {name} "
            f"--region {region}"
        )
    if status == "DELETE_FAILED":
        return f"Remove the cause that its events tell, then: comfy-aws destroy{at}"
    if husk(status):
        return f"Remove the cause, then: comfy-aws deploy{at}, which takes away what is left first."
    return f"The last change failed. Remove the cause, then: comfy-aws update{at}"


def succeeded(status: str) -> bool:
    return status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"}


# -- what is told ------------------------------------------------------------------------------

_KEPT: Final = {"AWS::EC2::Volume": "it is kept as a snapshot", "AWS::S3::Bucket": "it is kept"}
_WORDS: Final = {"Add": "create", "Modify": "change", "Remove": "delete"}


def change_line(change: Change) -> str:
    what = _WORDS.get(change.action, change.action.lower())
    if change.replacement == "True":
        what = "replace"
    elif change.replacement == "Conditional":
        what = "change or replace"
    kept = f"; {_KEPT[change.kind]}" if what == "delete" and change.kind in _KEPT else ""
    return f"  {what:<8} {change.name} ({change.kind}){kept}"


def event_line(event: StackEvent) -> str:
    reason = f": {event.reason}" if event.reason else ""
    return f"{event.status:<20} {event.name}{reason}"


def reasons(event: StackEvent) -> list[str]:
    """Why an event failed; nothing for those that another's failure has cancelled."""
    if not event.status.endswith("_FAILED") or "cancelled" in event.reason:
        return []
    return [f"{event.name}: {event.reason}"]


def losses(stack: StackView, endpoints: list[str], *, delete_bucket: int | None) -> list[str]:
    """What destroying a stack takes away, a line each.

    Args:
        delete_bucket: objects that go with the bucket; None keeps it.
    """
    bucket = stack.outputs.get("BucketName") or stack.parameters.get("BucketName", "")
    lines = [f"  the endpoint {name}, with jobs that run or wait on it" for name in endpoints]
    lines.append("  the worker image, the roles, the alarms and the budget")
    if stack.parameters.get("DesignerType"):
        lines.append("  the designer machine; its models volume is kept as a snapshot")
    if delete_bucket is None:
        lines.append(f"The bucket {bucket} is kept, with all templates, models and jobs.")
    else:
        lines.append(
            f"  the bucket {bucket} with {delete_bucket:,} objects: every template, model and job"
        )
    lines.append(
        f"The logs of endpoints are kept for {LOG_DAYS} days, and empty event queues (comfy-aws-…),"
        " which cost nothing."
    )
    return lines
