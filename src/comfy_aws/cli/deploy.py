"""`comfy-aws deploy`, `update`, `status`, `destroy` and `iam-policy`: the stack at AWS.

Progress goes to stderr, a line an event, with --json a JSON object; the result alone to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any, Final

from comfy_aws import config, deploy_limits, deploy_plan, permissions, services
from comfy_aws.cli.common import CANCELLED, ERROR, command, emit, table
from comfy_aws.deploy_plan import PARAMETERS, DeployOptions, StackView
from comfy_aws.deployments import Deployed, Deployments, Proposal
from comfy_aws.errors import ConfigError, NotFound

_NUMBERS: Final = {
    "job_days": "days until a job's files are deleted",
    "log_days": "days that build logs are kept",
    "wait_seconds": "alarm when an endpoint's oldest request waits this long",
    "awake_hours": "alarm when an endpoint is awake this long without a pause, 1 or 2",
    "monthly_budget": "US dollars a month to be warned at, 0 for no budget",
    "models_gib": "size of the designer's volume, in GiB",
    "inference_ports": "inference ports on the designer, from 10001 up",
}
_TEXTS: Final = {
    "comfyui_version": "version of ComfyUI for workers and designer, such as 0.3.75",
    "alert_email": "who is told of alarms and of the budget",
    "designer_type": "instance type of a designer machine, such as g5.xlarge",
    "designer_cidr": "network that may reach the designer, such as 203.0.113.7/32",
    "designer_image": "machine image of the designer; AWS's newest Ubuntu with the NVIDIA driver",
    "models_snapshot": "snapshot that the models volume of a new designer is made of",
    "designer_vpc": "VPC of the designer, in place of the default one",
    "designer_subnet": "public subnet of that VPC",
}


def add(topics: Any) -> None:
    text = "make or change the stack at AWS: bucket, roles, worker image, alarms, designer"
    deploy = command(topics, "deploy", _deploy, text)
    deploy.add_argument(
        "--bucket", default="", help="bucket of a new stack; one that exists is taken up"
    )
    text = "bring a stack that exists to this version of the extension, and change its options"
    update = command(topics, "update", _update, text)
    for each in (deploy, update):
        _add_options(each)
    text = "show the stack at AWS; exit status 1 when there is none, or its last change failed"
    command(topics, "status", _status, text)
    destroy = command(topics, "destroy", _destroy, "take the stack away; its bucket is kept")
    destroy.add_argument(
        "--delete-bucket", action="store_true", help="delete the bucket with all it holds, too"
    )
    for each in (deploy, update, destroy):
        each.add_argument("--yes", action="store_true", help="do not ask")
    for each in (deploy, update, destroy, topics.choices["status"]):
        each.add_argument(
            "--name", default=deploy_plan.DEFAULT_NAME, help="of the stack (%(default)s)"
        )
        each.add_argument("--region", default="", help="in place of the configured one")
    _add_iam_policy(topics)


def _add_options(parser: argparse.ArgumentParser) -> None:
    for name, text in (_NUMBERS | _TEXTS).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_number(name) if name in _NUMBERS else _text(name),
            metavar="N" if name in _NUMBERS else "TEXT",
            help=text,
        )


def _number(name: str) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            return deploy_limits.check_number(name, int(text))
        except ValueError as exc:
            wanted = exc if text.lstrip("-").isdecimal() else "a whole number"
            raise argparse.ArgumentTypeError(f"{text} is not {wanted}") from exc

    return number


def _text(name: str) -> Callable[[str], str]:
    def text(value: str) -> str:
        try:
            return deploy_limits.check_text(name, value)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(f"{value!r} is not {exc}") from exc

    return text


def _add_iam_policy(topics: Any) -> None:
    text = "print the smallest policy for a role of your own; the stack's roles have the same"
    policy = command(topics, "iam-policy", _iam_policy, text)
    policy.add_argument(
        "role",
        choices=sorted(permissions.ROLES),
        help="designer: who runs ComfyUI with the extension; execution: what the workers run as",
    )
    policy.add_argument("--region", default="", help="by default the configured one")
    policy.add_argument("--account", default="", help="by default that of the credentials")
    policy.add_argument("--bucket", default="", help="by default that of the settings")
    policy.add_argument("--execution-role", default="", help="ARN; by default that of the settings")
    policy.add_argument("--repository", default="", help="name of the worker image's repository")


def _deployments(arguments: argparse.Namespace) -> Deployments:
    settings = config.load()
    settings = replace(settings, region=arguments.region or settings.region)
    return services.deployments(settings, partial(_tell, arguments))


def _tell(arguments: argparse.Namespace, line: str) -> None:
    """A line of progress; JSON as an error is, so that one reader understands them all."""
    text = json.dumps({"progress": line.strip()}) if arguments.json else line
    print(text, file=sys.stderr, flush=True)


# -- deploy and update -------------------------------------------------------------------------


def _deploy(arguments: argparse.Namespace) -> int:
    return _change(arguments, _deployments(arguments), bucket=arguments.bucket)


def _update(arguments: argparse.Namespace) -> int:
    deployments = _deployments(arguments)
    deployments.stack(arguments.name)  # or NotFound: an update makes no stack
    return _change(arguments, deployments)


def _change(arguments: argparse.Namespace, deployments: Deployments, bucket: str = "") -> int:
    options = DeployOptions(
        **{each.name: getattr(arguments, each.name) for each in fields(DeployOptions)}
    )
    proposal = deployments.propose(arguments.name, options, bucket=bucket)
    for line in _proposed(proposal, deployments.region):
        _tell(arguments, line)
    agreed = False
    try:
        agreed = _agreed(arguments, "Go on?")
    finally:
        if not agreed:
            deployments.discard(proposal)
    if not agreed:
        _tell(arguments, "Nothing was changed.")
        return CANCELLED
    with _interruptible(arguments):
        deployed = deployments.deploy(proposal)
    config.save(config.default_home(), **deployed.settings(deployments.region))
    if not deployed.stack.parameters.get("AlertEmail"):
        _tell(arguments, "Nobody is told of alarms and of the budget: add --alert-email.")
    _show_deployed(arguments, deployed, deployments.region)
    return 0


def _proposed(proposal: Proposal, region: str) -> list[str]:
    verb = "Making" if proposal.create else "Changing"
    lines = [f"{verb} the stack {proposal.name} in {region}, bucket {proposal.bucket}:"]
    if proposal.change_set is None:
        return [
            *lines,
            "  no change; the source bundle and the worker image are brought up to date",
        ]
    if not proposal.create:
        lines += [f"  set      {key} = {value or 'none'}" for key, value in proposal.chosen.items()]
    return [*lines, *map(deploy_plan.change_line, proposal.change_set.changes)]


def _show_deployed(arguments: argparse.Namespace, deployed: Deployed, region: str) -> None:
    stack = deployed.stack
    lines = [f"The stack {stack.name} is {stack.status}, and the settings name it."]
    lines += _outputs(stack)
    lines.append(f"  image  {deployed.image}")
    if "DesignerUrl" in stack.outputs:
        lines.append("The designer machine becomes what is new here when it is restarted.")
    for whose, output in (("Its", "DesignerLogin"), ("Its artists'", "ArtistLogin")):
        if login := stack.outputs.get(output):
            lines.append(
                f"{whose} login: aws secretsmanager get-secret-value --region {region} "
                f"--secret-id {login} --query SecretString --output text"
            )
    emit(arguments, {**_json(stack), "image": deployed.image}, lines)


# -- status and destroy ------------------------------------------------------------------------


def _status(arguments: argparse.Namespace) -> int:
    deployments = _deployments(arguments)
    try:
        stack = deployments.stack(arguments.name)
    except NotFound as exc:
        emit(arguments, {"name": arguments.name, "status": ""}, [str(exc)])
        return ERROR
    endpoints = deployments.endpoints(stack)
    image = config.load().image
    lines = [
        f"The stack {stack.name} in {deployments.region} is {stack.status}. {stack.reason}".rstrip()
    ]
    failed = deploy_plan.failed(stack.status)
    if failed:
        lines.append(deploy_plan.cure(stack.name, stack.status, deployments.region))
    lines += _outputs(stack)
    lines.append(f"  image of new endpoints  {image or 'none'}")
    lines.append(f"  endpoints  {', '.join(endpoints) or 'none'}")
    emit(arguments, {**_json(stack), "image": image, "endpoints": endpoints}, lines)
    return ERROR if failed else 0


def _destroy(arguments: argparse.Namespace) -> int:
    deployments = _deployments(arguments)
    stack = deployments.stack(arguments.name)
    bucket = stack.parameters["BucketName"]
    objects = deployments.objects(bucket) if arguments.delete_bucket else None
    _tell(arguments, f"Destroying the stack {stack.name} in {deployments.region} takes away:")
    for line in deploy_plan.losses(stack, deployments.endpoints(stack), delete_bucket=objects):
        _tell(arguments, line)
    if not _agreed(arguments, "Destroy it?"):
        _tell(arguments, "Nothing was changed.")
        return CANCELLED
    with _interruptible(arguments):
        deployments.destroy(stack, delete_bucket=arguments.delete_bucket)
    settings = config.load()
    if settings.execution_role == stack.outputs.get("ExecutionRole"):
        config.save(settings.home, target="", bucket="", execution_role="", image="")
    kept = "" if arguments.delete_bucket else bucket
    lines = [f"The stack {stack.name} is gone."]
    if kept:
        lines.append(f"  The bucket {kept} is left; `comfy-aws deploy` takes it up again.")
    emit(arguments, {"destroyed": stack.name, "kept_bucket": kept}, lines)
    return 0


# -- iam-policy --------------------------------------------------------------------------------


def _iam_policy(arguments: argparse.Namespace) -> int:
    settings = config.load()
    region, account = arguments.region or settings.region, arguments.account
    if not (region and account):
        region, account = services.account(replace(settings, region=region))
    bucket = arguments.bucket or settings.bucket
    role = arguments.execution_role or settings.execution_role
    repository = arguments.repository or settings.image.partition("/")[2].partition(":")[0]
    for value, option in ((bucket, "--bucket"), (role, "--execution-role")):
        if not value and not (option == "--execution-role" and arguments.role == "execution"):
            raise ConfigError(f"The policy needs {option}.", hint="Give it, or deploy a stack.")
    if not repository:
        raise ConfigError("The policy needs --repository.", hint="Give it, or deploy a stack.")
    names = permissions.names_of(
        region=region, account=account, bucket=bucket, execution_role=role, repository=repository
    )
    grants = permissions.ROLES[arguments.role]
    print(json.dumps(permissions.resolved(permissions.policy(grants), names), indent=2))
    return 0


# -- shared ------------------------------------------------------------------------------------


def _outputs(stack: StackView) -> list[str]:
    rows = [(f"  {key}", value) for key, value in sorted(stack.outputs.items())]
    return table(("  NAME", "VALUE"), rows)[1:]


def _json(stack: StackView) -> dict[str, Any]:
    return {
        "name": stack.name,
        "status": stack.status,
        "outputs": dict(stack.outputs),
        "parameters": {key: stack.parameters.get(key, "") for key in PARAMETERS.values()},
    }


@contextmanager
def _interruptible(arguments: argparse.Namespace) -> Iterator[None]:
    """Ctrl+C ends the watching, and not what AWS has begun."""
    try:
        yield
    except KeyboardInterrupt:
        _tell(
            arguments,
            "\nInterrupted. AWS goes on with what it has begun: "
            f"`comfy-aws status{deploy_plan.named(arguments.name)}` tells how it stands, and the "
            "same command, given again when it is done, does the rest.",
        )
        raise


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    """Whether the user says yes; who cannot be asked has to give --yes."""
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("Nobody can be asked here.", hint="Add --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
