"""The NVIDIA driver behind an endpoint: which one hosts bring, and which one workers need. Pure.

A container brings CUDA and takes the driver from its host. SageMaker's default hosts of older
families have driver 470, on which a container of CUDA 12 does not start ("CannotStartContainer"),
so a configuration names an AMI. Names and drivers are those of ProductionVariant's
InferenceAmiVersion, defaults those of "Best practices to minimize interruptions during GPU driver
upgrades" in SageMaker's guide, the least driver that of NVIDIA's "CUDA Compatibility".
"""

from __future__ import annotations

from typing import Final

NEEDED: Final = 525
"""The oldest driver that runs programs of any CUDA 12, as the worker image's CUDA 12.8 is."""

AMI: Final = "al2023-ami-sagemaker-inference-gpu-4-1"
"""Newer than CUDA 12.8 itself, so that what a node pack compiles at run time is taken, too."""

_DRIVERS: Final = {
    "al2-ami-sagemaker-inference-gpu-2": 535,
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    AMI: 580,
}
_DEFAULTS: Final = {
    "p2": 470, "p3": 470, "p4d": 470, "p4de": 470, "g4dn": 470, "g5": 470,
    "p5": 535, "g6": 535, "g6e": 535, "p5e": 550, "p5en": 550,
}  # fmt: skip
_CHOOSABLE: Final = frozenset(_DEFAULTS) - {"p2", "p3"}
"""Families that take the GPU AMIs above; those of p2 and p3 are too old for today's CUDA."""


def ami_for(instance_type: str) -> str:
    """The AMI to ask for; empty for families that are not known, whose own is taken."""
    return AMI if _family(instance_type) in _CHOOSABLE else ""


def driver_of(instance_type: str, ami: str = "") -> int | None:
    """The driver's version behind a type, with an AMI or the default one; None: not known."""
    return _DRIVERS.get(ami) if ami else _DEFAULTS.get(_family(instance_type))


def takes(instance_type: str, ami: str) -> bool:
    """Whether hosts of a type can have the AMI."""
    return ami in _DRIVERS and _family(instance_type) in _CHOOSABLE


def _family(instance_type: str) -> str:
    return instance_type.removeprefix("ml.").partition(".")[0]
