"""`comfy-aws stack`: the local stack."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from comfy_aws import config, stack
from comfy_aws.cli.common import ERROR, command, emit, moment, positive, topic
from comfy_aws.stack import StackState


def add(topics: Any) -> None:
    about = "start, stop and find the local stack: AWS's APIs on this machine alone"
    commands = topic(topics, "stack", about)
    text = "start it, or find the one that runs, and make it the target of this user"
    up = command(commands, "up", _up, text)
    up.add_argument("--port", type=positive, help="of the endpoint URL; a free one by default")
    text = "stop it with all its workers; templates, endpoints and jobs stay for the next start"
    command(commands, "down", _down, text)
    command(commands, "status", _status, "tell where it is; exit status 1 when it is not")


def _up(arguments: argparse.Namespace) -> int:
    settings = config.load()
    state, started = stack.up(settings.stack_home, port=arguments.port)
    config.save(settings.home, target="local")
    _show_stack(arguments, state, "started" if started else "runs already")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stopped = stack.down(config.load().stack_home)
    text = "The local stack has stopped." if stopped else "The local stack was not running."
    emit(arguments, {"stopped": stopped}, [text])
    return 0


def _status(arguments: argparse.Namespace) -> int:
    state = stack.status(config.load().stack_home)
    if state is None:
        text = "The local stack is not running. Start it: comfy-aws stack up."
        emit(arguments, {"running": False}, [text])
        return ERROR
    _show_stack(arguments, state, "is running")
    return 0


def _show_stack(arguments: argparse.Namespace, state: StackState, what: str) -> None:
    shown = dataclasses.asdict(state)
    del shown["secret_access_key"]  # terminals are logged
    lines = [
        f"The local stack {what} (process {state.pid}, since {moment(state.started)}).",
        f"  endpoint URL  {state.endpoint_url}",
        f"  region        {state.region}",
        f"  bucket        {state.bucket}",
    ]
    emit(arguments, {"running": True, **shown}, lines)
