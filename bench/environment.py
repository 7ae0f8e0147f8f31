"""A built environment: the worker that installs a pack's packages against the one that unpacks.

Both have an empty disk and an empty uv cache, as a new container has; the index and the bucket
are near. Each round names a new environment, so that its first worker finds none in the bucket.

    python bench/environment.py [--rounds 3] [--json] [REQUIREMENT …]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws import config, layout  # noqa: E402
from comfy_aws.aws import ObjectStore, Session  # noqa: E402
from comfy_aws.models import (  # noqa: E402
    BlobRef,
    BuiltEnvironment,
    Manifest,
    NodePack,
    from_json,
)
from comfy_aws.services import access_of  # noqa: E402
from comfy_aws.worker.environment import Environments  # noqa: E402
from tests.support.stack import running_stack  # noqa: E402

USUAL = ("insightface==0.7.3", "opencv-python-headless", "pandas")
"""What popular node packs ask for. The first is built from its source; without such a package,
the ratio is about that of the index's speed to the bucket's."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("requirements", nargs="*", default=USUAL, metavar="REQUIREMENT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="comfy-aws-bench-") as folder:
        home = Path(folder)
        config.save(home, target="local")
        with running_stack(config.load(home, {}).stack_home):
            session = Session(access_of(config.load(home, {}))[0])
            figures = measure(home, session, tuple(chosen.requirements), chosen.rounds)
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0


def measure(
    home: Path, session: Session, requirements: tuple[str, ...], rounds: int
) -> dict[str, Any]:
    first, second = [], []
    built = BuiltEnvironment(BlobRef("", 0))
    for number in range(rounds):
        store = ObjectStore(session)
        store.delete(*(each.key for each in store.list(layout.ENVIRONMENTS)))
        for times, name in ((first, "first"), (second, "second")):
            directory = home / f"{name}{number}"
            os.environ["UV_CACHE_DIR"] = str(directory / "uv")
            times.append(asyncio.run(make(directory, store, requirements)))
        (entry,) = store.list(layout.ENVIRONMENTS)
        built = from_json(BuiltEnvironment, store.get(entry.key))
    return {
        "unit": "s",
        "rounds": rounds,
        "packages": len(built.packages),
        "bytes": built.blob.size,
        "first worker": median(first),
        "second worker": median(second),
        "each": {"first worker": first, "second worker": second},
        "ratio": median(first) / median(second),
    }


async def make(directory: Path, store: ObjectStore, requirements: tuple[str, ...]) -> float:
    """Seconds until the runner could start."""
    pack = replace(NodePack("bench", BlobRef("", 0)), requirements=requirements)
    environments = Environments(directory, store)
    started = time.perf_counter()
    await environments.make(
        Manifest(packs=(pack,)), None,
        told=lambda *step, seconds=None: None,
        stopped=asyncio.get_running_loop().create_future(),
    )  # fmt: skip
    took = time.perf_counter() - started
    await environments.close(600)
    return took


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['packages']} packages, {figures['bytes'] / 1e6:.0f} MB unpacked")
    for name in ("first worker", "second worker"):
        each = " ".join(f"{took:.2f}" for took in figures["each"][name])
        print(f"{name:<14} {figures[name]:7.2f} s   ({each})")
    print(f"{'ratio':<14} {figures['ratio']:7.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
