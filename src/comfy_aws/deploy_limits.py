"""What the options of a deploy may be, as deploy/stack.yaml takes them, told at once.

A test holds them against the template. Pure.
"""

from __future__ import annotations

import re
from typing import Final

LIMITS: Final = {
    "job_days": (1, 3650),
    "log_days": (1, 365),
    "wait_seconds": (60, 21_600),
    "awake_hours": (1, 2),
    "monthly_budget": (0, None),
    "models_gib": (20, 16_384),
    "inference_ports": (0, 50),
}
"""The least and the most that the template takes; None is no limit."""
LOG_RETENTIONS: Final = (1, 3, 5, 7, 14, 30, 60, 90, 180, 365)
"""Days that CloudWatch can keep logs, of those within the limits."""
PATTERNS: Final = {
    "comfyui_version": (r"\d+\.\d+\.\d+", "a version such as 0.3.75"),
    "alert_email": (r"|[^@\s]+@[^@\s]+", "an address such as you@example.com"),
    "designer_type": (r"|[a-z][a-z0-9-]*\.[a-z0-9]+", "an instance type such as g5.xlarge"),
    "designer_image": (r"|ami-[0-9a-f]+", "a machine image such as ami-0123456789abcdef0"),
    "designer_vpc": (r"|vpc-[0-9a-f]+", "a VPC such as vpc-0123456789abcdef0"),
    "designer_subnet": (r"|subnet-[0-9a-f]+", "a subnet such as subnet-0123456789abcdef0"),
    "models_snapshot": (r"|snap-[0-9a-f]+", "a snapshot such as snap-0123456789abcdef0"),
}
"""What the template takes as a text, and how that is told; `check_cidr` is for networks."""


def check_number(name: str, number: int) -> int:
    """Return the value of an option of `LIMITS`, or raise ValueError with what it may be."""
    least, most = LIMITS[name]
    if number < least or (most is not None and number > most):
        raise ValueError(f"{least} or more" if most is None else f"{least} to {most:,}")
    if name == "log_days" and number not in LOG_RETENTIONS:
        raise ValueError(f"one of {', '.join(map(str, LOG_RETENTIONS))}")
    return number


def check_text(name: str, text: str) -> str:
    """Return the value of an option of `PATTERNS`, or raise ValueError with what it may be."""
    pattern, kind = PATTERNS.get(name, (".*", ""))
    if not re.fullmatch(pattern, text):
        raise ValueError(kind)
    return text
