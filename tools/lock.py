"""Writes tools/constraints.txt from the virtual environment, so that every machine gets the same.

    .venv/bin/python tools/lock.py

A package whose pinned version does not support Python 3.10 is pinned for newer ones only.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet

CONSTRAINTS = Path(__file__).resolve().parent / "constraints.txt"
HEADER = "# Made by tools/lock.py: the versions that the tests ran with.\n"
# Installed apart from the others (torchvision), this repository itself, and venv's own.
LEFT_OUT = frozenset({"torchvision", "prompt-on-aws", "pip", "setuptools", "wheel"})


def pin(distribution: Distribution) -> str:
    name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
    version = distribution.version.split("+")[0]  # one pin for every build of torch
    supported = SpecifierSet(distribution.metadata["Requires-Python"] or "")
    marker = next(
        (
            f' ; python_version >= "3.{minor}"'
            for minor in (11, 12, 13)
            if f"3.{minor - 1}.99" not in supported and f"3.{minor}" in supported
        ),
        "",
    )
    return f"{name}=={version}{marker}"


def main() -> None:
    pins = {pin(distribution) for distribution in distributions()}
    kept = sorted(line for line in pins if line.split("==")[0] not in LEFT_OUT)
    CONSTRAINTS.write_text(HEADER + "\n".join(kept) + "\n")


if __name__ == "__main__":
    main()
