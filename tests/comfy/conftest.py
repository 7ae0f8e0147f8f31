"""One local stack, one endpoint and one designer for all tests of the designer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws import config, services
from comfy_aws.aws import ObjectStore, SageMaker, Session
from comfy_aws.endpoint_plan import spec_for
from comfy_aws.endpoints import Endpoints
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess, comfyui_path
from tests.pipeline import install as pipeline
from tests.support.client import Client
from tests.support.stack import running_stack

ENDPOINT = "forward-tests"
WORKERS = 2
PACKS = REPO_ROOT / "tests" / "support" / "node_packs"
SLOW_NODES = PACKS / "slow_nodes"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A settings folder whose local stack has an endpoint with two workers in service."""
    home = tmp_path_factory.mktemp("forward-aws")
    arguments = "--cpu --preview-method latent2rgb"
    config.save(home, target="local", runner_args=arguments, comfyui=str(comfyui_path()))
    with running_stack(config.load(home, {}).stack_home):
        access, worker = services.access_of(config.load(home, {}))
        endpoints = Endpoints(SageMaker(Session(access)), worker, access.bucket)
        wishes = dict.fromkeys(("min_instances", "max_instances"), WORKERS)
        endpoints.create(spec_for(ENDPOINT, initial_instances=WORKERS, **wishes))
        endpoints.wait(ENDPOINT)
        yield home


@pytest.fixture(scope="session")
def bucket(home: Path) -> ObjectStore:
    return ObjectStore(Session(services.access_of(config.load(home, {}))[0]))


@pytest.fixture(scope="session")
def designer(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    base = tmp_path_factory.mktemp("designer")
    pipeline.install(base)
    with ComfyUIProcess(
        base,
        with_extension=True,
        env={
            "COMFY_AWS_HOME": str(home),
            "COMFY_AWS_FETCH_PRIVATE": "1",
            "COMFY_AWS_WEBHOOK_PRIVATE": "1",
        },
        custom_nodes={"slow_nodes": SLOW_NODES},
    ) as process:
        yield process


@pytest.fixture
def client(designer: ComfyUIProcess) -> Iterator[Client]:
    opened = Client(designer.url)
    yield opened
    opened.close()
