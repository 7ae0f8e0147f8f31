"""A local stack, an endpoint and a designer for a benchmark."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws import config, services  # noqa: E402
from comfy_aws.aws import SageMaker, Session  # noqa: E402
from comfy_aws.endpoint_plan import spec_for  # noqa: E402
from comfy_aws.endpoints import Endpoints  # noqa: E402
from tests.comfy.comfyui_process import ComfyUIProcess, comfyui_path  # noqa: E402
from tests.support.client import Client  # noqa: E402
from tests.support.stack import running_stack  # noqa: E402

NODES = ROOT / "tests" / "support" / "node_packs" / "slow_nodes"


@dataclass(frozen=True)
class Rig:
    """What a benchmark measures. `home` holds everything, workers' folders included."""

    home: Path
    endpoint: str
    session: Session
    endpoints: Endpoints
    designer: ComfyUIProcess
    client: Client


@contextmanager
def rig(workers: int, *, least: int | None = None) -> Iterator[Rig]:
    """Start everything in a temporary folder, and stop it afterwards.

    The endpoint starts with `workers` and has them as its most; as its least, too, unless told.
    """
    with tempfile.TemporaryDirectory(prefix="comfy-aws-bench-") as folder:
        home = Path(folder)
        config.save(home, target="local", runner_args="--cpu", comfyui=str(comfyui_path()))
        with running_stack(config.load(home, {}).stack_home):
            access, worker = services.access_of(config.load(home, {}))
            session = Session(access)
            endpoints = Endpoints(SageMaker(session), worker, access.bucket)
            endpoints.create(
                spec_for("bench", min_instances=workers if least is None else least,
                         max_instances=workers, initial_instances=workers)
            )  # fmt: skip
            endpoints.wait("bench")
            with ComfyUIProcess(
                home / "designer",
                with_extension=True,
                env={"COMFY_AWS_HOME": str(home)},
                custom_nodes={"slow_nodes": NODES},
            ) as designer:
                client = Client(designer.url)
                yield Rig(home, "bench", session, endpoints, designer, client)
                client.close()


def prompt(seconds: float, grey: float, prefix: str = "bench") -> dict[str, Any]:
    """A grey image after some seconds, saved; another grey is another image, never cached."""
    return {
        "1": {"class_type": "SlowImage", "inputs": {"seconds": seconds, "grey": grey, "batch": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def p50(values: Sequence[float]) -> float:
    return median(values)


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1]
