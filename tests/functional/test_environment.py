"""Node packs that need Python packages, on real workers: real installs, real ComfyUI.

One worker installs; a second one, which has no index to install from, unpacks what the first has
stored. The package is a small one in pure Python that ComfyUI does not bring.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import pytest

from comfy_aws import layout
from comfy_aws.errors import PackBroken
from comfy_aws.models import (
    BuiltEnvironment,
    EventKind,
    Manifest,
    NodePack,
    Outcome,
    Template,
    TemplateVersion,
    from_json,
    to_json,
)
from comfy_aws.packfaults import PackFaults
from tests.functional.worker_harness import Cloud, WorkerProcess, node, request, wait_until

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

NODE = """
import subprocess
import sys

import cowsay
import PIL

SEEN = [cowsay.__file__, PIL.__file__, *sys.path]


class {name}:
    CATEGORY, RETURN_TYPES, OUTPUT_NODE, FUNCTION = "tests", (), True, "say"

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"text": ("STRING", {{}})}}}}

    def say(self, text):
        child = subprocess.run(
            [sys.executable, "-c", "import cowsay; print(cowsay.__file__)"],
            capture_output=True, text=True, check=True,
        )
        cow = cowsay.get_output_string("cow", text)
        return {{"ui": {{"text": [cow, child.stdout.strip(), *SEEN]}}}}


NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""
COW = "cowsay==6.1  # cowsay>=5"


def needing(cloud: Cloud, name: str, *requirements: str) -> NodePack:
    plain = cloud.pack(name.lower(), {"__init__.py": NODE.format(name=name)}, name)
    return NodePack(plain.name, plain.blob, plain.classes, plain.files, requirements)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def manifest(cloud: Cloud) -> Manifest:
    # ComfyUI's own Pillow stands in for the older one that the pack was captured with.
    return Manifest(packs=(needing(cloud, "Cow", COW, "Pillow==10.0.0  # Pillow>=9"),))


@pytest.fixture(scope="module")
def worker(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(cloud, tmp_path_factory.mktemp("first") / "w")
    try:
        worker.wait_ready()
        yield worker
    finally:
        status = worker.stop()
    assert status == 0, worker.log


def said(result, node_id: str = "1") -> list[str]:
    assert result.outcome is Outcome.SUCCESS, result.error
    return result.outputs[node_id]["text"]


def test_the_first_worker_installs_behind_comfyuis_own(worker, cloud, manifest):
    faults = PackFaults(cloud.store)
    faults.record(manifest.packs, PackBroken("Another worker could not install cowsay."))
    job = request({"1": node("Cow", text="moo")}, manifest=manifest, events=cloud.queue())
    result = worker.run(job)
    assert faults.of(manifest.packs) is None  # it works, so that nobody is warned any more
    cow, in_child, in_pack, pillow, *path = said(result)
    assert "moo" in cow
    overlay = next((worker.directory / "environments").glob("[!.]*")) / "packages"
    assert in_pack == in_child == str(overlay / "cowsay" / "__init__.py")
    assert not pillow.startswith(str(worker.directory))
    assert path[-1] == str(overlay)
    assert sorted(p.name.split("-")[0] for p in overlay.glob("*.dist-info")) == ["cowsay"]

    phases = [e.data for e in cloud.events(job.events) if e.kind is EventKind.PHASE]
    (warning,) = [phase["message"] for phase in phases if phase["phase"] == "warning"]
    own = f"Pillow {version('Pillow')} is used"
    assert (
        warning.lower() == f"cow was captured with pillow==10.0.0; the worker's own {own}.".lower()
    )
    ends = {phase["phase"]: phase for phase in phases if "seconds" in phase}
    assert set(ends) == {"environment", "restore", "start"}
    assert ends["environment"]["message"] == "Installed the Python packages of cow"
    assert result.timings["environment"] >= ends["environment"]["seconds"] > 0
    assert {"packs", "restore", "start"} <= set(result.timings)


def test_what_is_there_is_not_told_again_and_keeps_the_runner(worker, cloud, manifest):
    runner = worker.runner_pid()
    more = Manifest(packs=(needing(cloud, "Cow", COW),))  # a part of what is installed
    for each in (manifest, more, Manifest()):
        job = request({"1": node("PreviewAny", source="x")}, manifest=each, events=cloud.queue())
        result = worker.run(job)
        assert "environment" not in result.timings
        assert not [e for e in cloud.events(job.events) if e.kind is EventKind.PHASE]
    assert worker.runner_pid() == runner


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("cowsay==99.0", "cowsay==99.0"),
        ("numpy<1", f"needs numpy<1, and the worker has numpy {version('numpy')}"),
    ],
)
def test_a_job_whose_packages_cannot_be_had_does_not_run(worker, cloud, requirement, words):
    runner = worker.runner_pid()
    broken = Manifest(packs=(needing(cloud, "Broken", requirement),))
    result = worker.run(request({"1": node("Broken", text="moo")}, manifest=broken))
    assert result.outcome is Outcome.FAILED
    assert result.error["code"] == "pack_broken"
    assert "node pack broken" in result.error["message"]
    assert words in result.error["message"]
    assert result.error["hint"]
    assert worker.runner_pid() == runner  # the next job runs as if nothing had been
    fault = PackFaults(cloud.store).of(broken.packs)
    assert fault is not None
    assert words in fault.message
    assert not (worker.base / "custom_nodes" / "broken").exists()
    assert not list((worker.directory / "environments").glob(".*"))


def test_the_next_worker_unpacks_before_it_is_ready(worker, cloud, manifest, tmp_path):
    wait_until(lambda: list(cloud.store.list(layout.ENVIRONMENTS)))
    (stored,) = cloud.store.list(layout.ENVIRONMENTS)
    built = from_json(BuiltEnvironment, cloud.store.get(stored.key))
    assert built.packages == ("cowsay==6.1",)
    assert cloud.store.head(layout.archive_key(built.blob.digest))

    version_3 = TemplateVersion("cow", 3, 0.0, {}, {}, manifest)
    cloud.store.put(layout.version_key("cow", 3), to_json(version_3).encode())
    cloud.store.put(layout.template_key("cow"), to_json(Template("cow", 3, 0.0, 0.0)).encode())
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_CACHE_DIR": str(tmp_path / "c")}
    second = WorkerProcess(cloud, tmp_path / "w", COMFY_AWS_WARM_TEMPLATE="cow", **nowhere)
    try:
        second.wait_ready()
        for phase in (
            "environment: Unpacked the Python packages of cow",
            "restore: Fetched node packs",
            "start: ComfyUI started in",
        ):
            assert phase in second.log
        result = second.run(request({"1": node("Cow", text="moo")}, manifest=manifest))
        assert "moo" in said(result)[0]
        assert "environment" not in result.timings
    finally:
        assert second.stop() == 0
