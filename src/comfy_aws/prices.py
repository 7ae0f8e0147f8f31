"""What SageMaker's instance types have and cost. Pure.

Prices are on-demand list prices for inference in us-east-1, in USD an hour, as published on
AWS's SageMaker AI pricing page; `aws/pricing.py` asks AWS for those of today and of other
regions, and these stand in where it cannot. Hardware is that of the EC2 type of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LISTED: Final = "2025-10"
"""The month that the prices below are of."""

LISTED_REGION: Final = "us-east-1"

SOURCE_LIST, SOURCE_AWS = "list", "aws"


@dataclass(frozen=True)
class InstanceType:
    """One instance type. Memory in GiB; `gpu_memory` is that of all its GPUs together.

    `price` is in USD an hour, None when it is not known; `source` says where it comes from
    ("aws": asked of AWS, "list": the table of this module) and `as_of` when it was so.
    """

    name: str
    gpu: str
    gpus: int
    gpu_memory: int
    vcpus: int
    memory: int
    price: float | None
    region: str = LISTED_REGION
    source: str = SOURCE_LIST
    as_of: str = LISTED


_G4, _G5, _G6, _G6E = "NVIDIA T4", "NVIDIA A10G", "NVIDIA L4", "NVIDIA L40S"
# name, GPU, GPUs, their memory, vCPUs, memory, USD an hour
_TYPES: Final = (
    InstanceType("ml.g4dn.xlarge", _G4, 1, 16, 4, 16, 0.7364),
    InstanceType("ml.g4dn.2xlarge", _G4, 1, 16, 8, 32, 0.94),
    InstanceType("ml.g4dn.4xlarge", _G4, 1, 16, 16, 64, 1.505),
    InstanceType("ml.g4dn.8xlarge", _G4, 1, 16, 32, 128, 2.72),
    InstanceType("ml.g5.xlarge", _G5, 1, 24, 4, 16, 1.408),
    InstanceType("ml.g5.2xlarge", _G5, 1, 24, 8, 32, 1.515),
    InstanceType("ml.g5.4xlarge", _G5, 1, 24, 16, 64, 2.03),
    InstanceType("ml.g5.8xlarge", _G5, 1, 24, 32, 128, 3.06),
    InstanceType("ml.g5.12xlarge", _G5, 4, 96, 48, 192, 7.09),
    InstanceType("ml.g6.xlarge", _G6, 1, 24, 4, 16, 1.1267),
    InstanceType("ml.g6.2xlarge", _G6, 1, 24, 8, 32, 1.222),
    InstanceType("ml.g6.4xlarge", _G6, 1, 24, 16, 64, 1.654),
    InstanceType("ml.g6.8xlarge", _G6, 1, 24, 32, 128, 2.518),
    InstanceType("ml.g6e.xlarge", _G6E, 1, 48, 4, 32, None),
    InstanceType("ml.g6e.2xlarge", _G6E, 1, 48, 8, 64, None),
    InstanceType("ml.g6e.4xlarge", _G6E, 1, 48, 16, 128, None),
    InstanceType("ml.g6e.8xlarge", _G6E, 1, 48, 32, 256, None),
    InstanceType("ml.p4d.24xlarge", "NVIDIA A100", 8, 320, 96, 1152, None),
    InstanceType("ml.p5.48xlarge", "NVIDIA H100", 8, 640, 192, 2048, None),
)
_BY_NAME: Final = {each.name: each for each in _TYPES}


def listed() -> tuple[InstanceType, ...]:
    """The types that suit ComfyUI, smallest first within a family."""
    return _TYPES


def of(name: str) -> InstanceType:
    """What is known of a type; of one that is not listed the name alone."""
    return _BY_NAME.get(name) or InstanceType(name, "", 0, 0, 0, 0, None)


def roomier(name: str) -> InstanceType | None:
    """The next listed type with more main memory and no less on a GPU; None when none is known.

    Of equal ones that with the same GPU, on which the same graph is as fast as before.
    """
    here = _BY_NAME.get(name)
    if here is None:
        return None
    single = here.gpu_memory // here.gpus
    more = [
        each
        for each in _TYPES
        if each.memory > here.memory and each.gpu_memory // each.gpus >= single
    ]
    return min(
        more,
        key=lambda each: (each.gpus, each.memory, each.gpu_memory, each.gpu != here.gpu),
        default=None,
    )


def larger(name: str) -> InstanceType | None:
    """The next listed type with more GPU memory on one GPU; None when there is none known."""
    here = _BY_NAME.get(name)
    if here is None:
        return None
    single = here.gpu_memory // here.gpus
    more = [each for each in _TYPES if each.gpu_memory // each.gpus > single]
    return min(more, key=lambda each: (each.gpus, each.gpu_memory // each.gpus), default=None)
