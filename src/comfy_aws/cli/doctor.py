"""`comfy-aws doctor`: tries what the product needs, and says of each failure what to do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from comfy_aws import config, services, versions
from comfy_aws.cli.common import ERROR, command, emit
from comfy_aws.doctor import Check, CheckState, failure
from comfy_aws.errors import ComfyAwsError, ConfigError
from comfy_aws.models import to_dict

_MARKS: Final = {CheckState.PASSED: "ok", CheckState.FAILED: "FAILED", CheckState.SKIPPED: "-"}


def add(topics: Any) -> None:
    text = "try what is needed at AWS and here; exit status 1 when something does not work"
    doctor = command(topics, "doctor", _doctor, text)
    doctor.add_argument("--type", default="", metavar="TYPE",
                        help="instance type of the next endpoint, whose quota counts")  # fmt: skip
    doctor.add_argument("--comfyui", type=Path, metavar="DIR",
                        help="ComfyUI's folder, whose versions count")  # fmt: skip
    doctor.add_argument("--principal", default="", metavar="ARN",
                        help="user or role whose rights IAM simulates (one's own)")  # fmt: skip


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.comfyui and not (arguments.comfyui / "main.py").is_file():
        raise ConfigError(
            f"There is no ComfyUI in {arguments.comfyui}: main.py is missing.",
            hint="Give its folder, which the versions are read from.",
        )
    checks = _checks(arguments)
    failed = [check for check in checks if check.state is CheckState.FAILED]
    lines = [line for check in checks for line in _lines(check)]
    total = f"Not working: {len(failed)}." if failed else "Everything that was tried works."
    value = {"checks": [to_dict(check) for check in checks], "failed": len(failed)}
    emit(arguments, value, [*lines, total])
    return ERROR if failed else 0


def _checks(arguments: argparse.Namespace) -> list[Check]:
    try:
        settings = config.load()
        folder = arguments.comfyui or (Path(settings.comfyui) if settings.comfyui else None)
        software = versions.installed(folder) if folder else None
        return services.connect(settings).doctor.checks(
            software, principal=arguments.principal, instance_type=arguments.type
        )
    except ComfyAwsError as exc:
        return [failure("settings", exc)]


def _lines(check: Check) -> list[str]:
    lines = [f"{_MARKS[check.state]:<6}  {check.name:<13}  {check.message}"]
    if check.hint:
        lines.append(f"{'':<6}  {'':<13}  → {check.hint}")
    return lines
