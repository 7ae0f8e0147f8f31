"""`comfy-aws endpoint`: SageMaker endpoints."""

from __future__ import annotations

import argparse
import time
from typing import Any

from comfy_aws.cli import names
from comfy_aws.cli.common import cloud, command, emit, positive, table, topic, usd
from comfy_aws.cli.progress import bar
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.errors import ConfigError
from comfy_aws.models import Endpoint, EndpointSpec, EndpointStatus, to_dict

_SPEC = EndpointSpec(name="")


def add(topics: Any) -> None:
    commands = topic(topics, "endpoint", "create, list, await and delete SageMaker endpoints")
    command(commands, "list", _list, "list the endpoints that this product made")
    text = "start an endpoint; any endpoint can run any template"
    create = command(commands, "create", _create, text)
    create.add_argument("name", nargs="?", help="by default it follows from the template's name")
    create.add_argument("--template", default="", help="template to make ready at the start")
    create.add_argument("--type", action="append",
                        help=f"instance type ({_SPEC.instance_type}); given several times, the "
                        "next ones stand in where AWS has none of the first to give")  # fmt: skip
    for name, default, text in (
        ("min", _SPEC.min_instances, "fewest instances, 0 to stop when idle"),
        ("max", _SPEC.max_instances, "most instances"),
        ("initial", _SPEC.initial_instances, "instances at the start"),
        ("idle", _SPEC.idle_seconds, "seconds without jobs before an instance stops"),
    ):
        create.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text} (%(default)s)"
        )
    create.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True,
                        help="return when it is InService and scales by itself")  # fmt: skip
    wait = command(commands, "wait", _wait, "return when it is InService, or has failed")
    scale = command(commands, "scale", _scale, "change its number of instances and idle time")
    for name, text in (
        ("min", "fewest instances, 0 to stop when idle"),
        ("max", "most instances"),
        ("idle", "seconds without jobs before an instance stops"),
    ):
        scale.add_argument(f"--{name}", type=int, metavar="N", help=text)
    wake = command(commands, "wake", _wake, "start an instance now, not with the next job")
    sleep = command(commands, "sleep", _sleep, "stop its instances now, not after the idle time")
    delete = command(commands, "delete", _delete, "delete it with all that belongs to it")
    for each in (create, wait):
        each.add_argument("--timeout", type=positive, default=3600, metavar="SECONDS",
                             help="give up waiting after this long (%(default)s)")  # fmt: skip
    for each in (wait, scale, wake, sleep, delete):
        each.add_argument("name", help="the endpoint")


def _list(arguments: argparse.Namespace) -> int:
    connected = cloud()
    found = connected.endpoints.list(queue=True)
    names.saw("endpoint", [each.name for each in found])
    price = {e.instance_type: connected.prices.of(e.instance_type).price for e in found}
    rows = [(e.name, e.status.value, e.instances, f"{e.min_instances}-{e.max_instances}",
             "" if e.backlog is None else e.backlog, e.instance_type,
             usd(price[e.instance_type]), _idle(e), e.template, e.failure)
            for e in found]  # fmt: skip
    head = ("NAME", "STATUS", "RUNNING", "SCALES", "QUEUE", "TYPE", "AN HOUR", "IDLE", "TEMPLATE",
            "FAILURE")  # fmt: skip
    emit(arguments, [to_dict(e) for e in found], table(head, rows) or ["No endpoints."])
    return 0


def _idle(endpoint: Endpoint) -> str:
    """How long it has been awake without a job."""
    seconds = time.time() - endpoint.idle_since if endpoint.idle_since else 0.0
    return f"{seconds / 60:.0f} min" if seconds >= 60 else ""


def _create(arguments: argparse.Namespace) -> int:
    if not (arguments.name or arguments.template):
        raise ConfigError("An endpoint needs a name.", hint="Give one, or --template.")
    endpoints = cloud().endpoints
    kind, *fallbacks = arguments.type or [_SPEC.instance_type]
    spec = spec_for(
        arguments.name or "",
        arguments.template,
        instance_type=kind,
        fallbacks=tuple(fallbacks),
        min_instances=arguments.min,
        max_instances=arguments.max,
        initial_instances=arguments.initial,
        idle_seconds=arguments.idle,
    )
    endpoint = endpoints.create(spec)
    names.changed("endpoint", came=endpoint.name)
    if arguments.wait:
        with bar(arguments) as progress:
            endpoint = endpoints.wait(endpoint.name, timeout=arguments.timeout, progress=progress)
    _show_endpoint(arguments, endpoint)
    return 0


def _wait(arguments: argparse.Namespace) -> int:
    with bar(arguments) as progress:
        endpoint = cloud().endpoints.wait(
            arguments.name, timeout=arguments.timeout, progress=progress
        )
    _show_endpoint(arguments, endpoint)
    return 0


def _show_endpoint(arguments: argparse.Namespace, endpoint: Endpoint) -> None:
    lines = [f"The endpoint {endpoint.name} is {endpoint.status.value}."]
    if endpoint.status is EndpointStatus.CREATING:
        lines.append(
            f"  Wait for it: comfy-aws endpoint wait {endpoint.name}. That, or a ComfyUI with "
            "Prompt on AWS that runs, makes it scale; till then it keeps its instances."
        )
    emit(arguments, to_dict(endpoint), lines)


def _scale(arguments: argparse.Namespace) -> int:
    if arguments.min is arguments.max is arguments.idle is None:
        raise ConfigError("Nothing is to be changed.", hint="Give --min, --max or --idle.")
    endpoint = cloud().endpoints.change(
        arguments.name,
        min_instances=arguments.min,
        max_instances=arguments.max,
        idle_seconds=arguments.idle,
    )
    text = (
        f"{endpoint.name} has {endpoint.min_instances} to {endpoint.max_instances} instances and "
        f"stops one after {endpoint.idle_seconds} s without jobs."
    )
    emit(arguments, to_dict(endpoint), [text])
    return 0


def _wake(arguments: argparse.Namespace) -> int:
    endpoint = cloud().endpoints.wake(arguments.name)
    emit(arguments, to_dict(endpoint), [f"{endpoint.name} is waking up."])
    return 0


def _sleep(arguments: argparse.Namespace) -> int:
    endpoint = cloud().endpoints.sleep(arguments.name)
    emit(arguments, to_dict(endpoint), [f"{endpoint.name} goes to sleep."])
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    cloud().endpoints.delete(arguments.name)
    names.changed("endpoint", went=arguments.name)
    emit(arguments, {"deleted": arguments.name}, [f"Deleting the endpoint {arguments.name}."])
    return 0
