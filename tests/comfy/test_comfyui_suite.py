"""ComfyUI's own execution tests, with every prompt executed by a worker behind the local stack.

The tests are ComfyUI's, unchanged, and start their own server; that server is a designer with
COMFY_AWS_ROUTE=always. Nothing is published: the node packs of the tests travel by themselves.
Parametrisations that only change the designer's own cache flags are left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws import config, services
from comfy_aws.aws import SageMaker, Session
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.endpoints import Endpoints
from comfy_aws.ledger import Ledger
from comfy_aws.models import JobState
from tests.comfy.comfyui_process import EXTENSION_FOLDER, REPO_ROOT, comfyui_path, free_port
from tests.support.stack import running_stack

SUITE = (
    "tests/execution/test_execution.py",
    "tests/execution/test_async_nodes.py",
    "tests/execution/test_progress_isolation.py",
    "tests/execution/test_public_api.py",
)
LEFT_OUT = "server1 or server2 or server3"
"""Ids of the parametrisations with --cache-lru or --cache-none, which are the designer's."""

ENDPOINT = "comfyui-suite"


@pytest.fixture(scope="module")
def designer_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A settings folder whose local stack runs, with an endpoint in service."""
    home = tmp_path_factory.mktemp("suite-aws")
    config.save(home, target="local", runner_args="--cpu", comfyui=str(comfyui_path()))
    with running_stack(config.load(home, {}).stack_home):
        access, worker = services.access_of(config.load(home, {}))
        endpoints = Endpoints(SageMaker(Session(access)), worker, access.bucket)
        endpoints.create(spec_for(ENDPOINT, min_instances=1))
        endpoints.wait(ENDPOINT)
        yield home


@pytest.fixture(scope="module")
def comfyui_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ComfyUI of its own, because its tests run in the source folder."""
    target = tmp_path_factory.mktemp("suite") / "comfyui"
    shutil.copytree(comfyui_path(), target, ignore=shutil.ignore_patterns("__pycache__", "user"))
    (target / "custom_nodes" / EXTENSION_FOLDER).symlink_to(REPO_ROOT, target_is_directory=True)
    return target


def test_execution_suite_passes_on_aws(designer_home: Path, comfyui_copy: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COMFY_AWS_HOME": str(designer_home),
        "COMFY_AWS_ROUTE": "always",
        "COMFY_AWS_ENDPOINT": ENDPOINT,
    }
    command = [
        sys.executable, "-m", "pytest", *SUITE, "-q", "-k", f"not ({LEFT_OUT})",
        "--port", str(free_port()), "--output_dir", str(comfyui_copy / "output"),
        "--skip-timing-checks", "-p", "no:cacheprovider", "--timeout", "120",
    ]  # fmt: skip
    finished = subprocess.run(
        command, cwd=comfyui_copy, env=environment, capture_output=True, text=True, check=False
    )
    log = finished.stdout[-8000:] + finished.stderr[-4000:]
    assert finished.returncode == 0, log
    counts = re.search(r"(\d+) passed", finished.stdout)
    assert counts is not None, log
    passed = int(counts[1])
    assert passed >= 60, log  # 66 in ComfyUI 0.3.75

    jobs = Ledger(comfyui_copy / "user" / "comfy-aws" / "ledger.sqlite").latest(10_000)
    assert len(jobs) >= passed // 2, "prompts did not go to AWS"
    assert all(job.state.ended for job in jobs)
    assert {job.endpoint for job in jobs if job.state is JobState.SUCCEEDED} == {ENDPOINT}
