"""A ComfyUI that we know less of: wrapper nodes run jobs in its executor, reads are noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import PACKS, SLOW_NODES
from tests.comfy.test_capture_run import needed_by, pictured
from tests.comfy.test_forward import saved, slow
from tests.pipeline import install as pipeline
from tests.support.client import Client


@pytest.fixture(scope="module")
def odd_designer(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    base = tmp_path_factory.mktemp("odd")
    pipeline.install_models(base)
    first = base / "first"
    first.mkdir()
    (first / "bare_queue").symlink_to(PACKS / "bare_queue", target_is_directory=True)
    paths = base / "paths.yaml"
    paths.write_text(f"first:\n  is_default: true\n  custom_nodes: {first}\n")
    with ComfyUIProcess(
        base,
        with_extension=True,
        env={"COMFY_AWS_HOME": str(home)},
        custom_nodes={"slow_nodes": SLOW_NODES, "silent_reader": PACKS / "silent_reader"},
        extra_args=["--extra-model-paths-config", str(paths)],
    ) as process:
        yield process


@pytest.fixture
def user(odd_designer: ComfyUIProcess) -> Iterator[Client]:
    opened = Client(odd_designer.url)
    yield opened
    opened.close()


def test_says_so_in_the_log(odd_designer: ComfyUIProcess) -> None:
    assert "this ComfyUI's queue is not one we know" in odd_designer.log


def test_runs_on_aws_all_the_same(odd_designer: ComfyUIProcess, user: Client) -> None:
    model = {"unet_name": Path(pipeline.MODELS[0]).name, "weight_dtype": "default"}
    keep = {"model": ["3", 0], "filename_prefix": "diffusion_models/odd"}
    prompt = {
        **slow(0, prefix="odd", grey=0.9),
        "3": {"class_type": "UNETLoader", "inputs": model},
        "4": {"class_type": "ModelSave", "inputs": keep},
    }
    job = user.queue(prompt, aws={})
    entry = user.end(job)
    kept = odd_designer.base_dir / "output" / "diffusion_models"
    assert [path.name for path in kept.iterdir()] == ["odd_00001_.safetensors"]
    assert entry["status"]["completed"] is True, entry["status"]
    assert (odd_designer.base_dir / "output" / saved(entry)[0]).is_file()
    assert user.job(job)["state"] == "succeeded"


def test_a_failure_comes_back(user: Client) -> None:
    prompt = slow(0)
    prompt["1"] = {"class_type": "FailingImage", "inputs": {"reason": "no luck here"}}
    job = user.queue(prompt, aws={})
    assert "no luck here" in user.hear("execution_error", job)["exception_message"]


def test_what_a_local_run_reads_is_noted(odd_designer: ComfyUIProcess, user: Client) -> None:
    path = odd_designer.base_dir / "models" / "silent" / "memory.txt"
    path.parent.mkdir()
    path.write_text("0.3")
    node = {"class_type": "RememberingGrey", "inputs": {"log": "quiet"}}
    assert needed_by(odd_designer, node) == set()
    entry = user.end(user.queue(pictured(node)))
    assert entry["status"]["completed"] is True, entry["status"]
    assert needed_by(odd_designer, node) == {"silent/memory.txt"}


def test_interrupt_cancels_the_job(user: Client) -> None:
    job = user.queue(slow(60, grey=0.91), aws={})
    user.wait_state(job, "running")
    user.post("/interrupt")
    user.wait_state(job, "cancelled")
    assert user.end(job)["status"]["messages"][-1][0] == "execution_interrupted"
