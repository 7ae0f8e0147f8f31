"""Built environments in a real S3 server, with real installs: races, damage, refusals, cancel.

The package is a small one in pure Python that ComfyUI does not bring.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws import layout
from comfy_aws.errors import Cancelled, PackBroken
from comfy_aws.models import BlobRef, BuiltEnvironment, Manifest, NodePack, from_json, to_json
from comfy_aws.worker.environment import KEPT, Environments, Overlay
from tests.functional.worker_harness import Cloud, alive, wait_until

COW = "cowsay==6.1  # cowsay"


@pytest.fixture(scope="module")
def shared() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(shared: Cloud) -> Cloud:
    shared.store.delete(*(each.key for each in shared.store.list("")))
    shared.blobs.forget()
    return shared


class Machine:
    """A worker's environments and what they told."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.environments = Environments(directory, cloud.store)
        self.root = directory / "environments"
        self.said: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def told(self, phase: str, message: str, done: int, total: int, *, seconds=None) -> None:
        if phase == "warning":
            self.warnings.append(message)
        if seconds is not None:
            self.said.append((phase, message.partition(" ")[0]))

    async def make(self, *requirements: str, current: Overlay | None = None, stopped=None, pins=()):
        pack = NodePack("pack", BlobRef("ab", 1), requirements=requirements, pins=pins)
        stopped = stopped or asyncio.get_running_loop().create_future()
        return await self.environments.make(
            Manifest(packs=(pack,)), current, told=self.told, stopped=stopped
        )

    def run(self, *requirements: str, pins: tuple[str, ...] = ()) -> Overlay:
        async def run() -> Overlay:
            overlay = await self.make(*requirements, pins=pins)
            await self.environments.close(60)
            return overlay

        return asyncio.run(run())


def stored(cloud: Cloud) -> BuiltEnvironment:
    (entry,) = cloud.store.list(layout.ENVIRONMENTS)
    return from_json(BuiltEnvironment, cloud.store.get(entry.key))


def archives(cloud: Cloud) -> list[str]:
    return [each.key for each in cloud.store.list(layout.ARCHIVES)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_next_worker_gets_the_same_bytes(cloud, tmp_path):
    first, second = Machine(cloud, tmp_path / "1"), Machine(cloud, tmp_path / "2")
    built, unpacked = first.run(COW), second.run(COW)
    assert (first.said, second.said) == (
        [("environment", "Installed")], [("environment", "Unpacked")],
    )  # fmt: skip
    assert built.key == unpacked.key
    assert files(built.packages) == files(unpacked.packages)
    assert stored(cloud).packages == ("cowsay==6.1",)
    assert stored(cloud).seconds > 0
    # Python must not look at the times of the sources, which do not come along.
    compiled = list(unpacked.packages.rglob("*.pyc"))
    assert compiled
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\0\0\0"}
    assert {path.name[0] for path in second.root.iterdir()} != {"."}
    assert len(list(second.root.iterdir())) == 1


def test_what_a_package_needs_comes_as_it_was_captured(cloud, tmp_path):
    Machine(cloud, tmp_path / "1").run("ansimarkup==2.1.0", pins=("colorama==0.4.5",))
    assert stored(cloud).packages == ("ansimarkup==2.1.0", "colorama==0.4.5")
    # A pin that cannot be had keeps nothing from being installed.
    overlay = Machine(cloud, tmp_path / "2").run("ansimarkup==2.1.0", pins=("colorama==0.0",))
    assert (overlay.packages / "colorama").is_dir()


def test_other_versions_of_what_a_package_needs_are_another_environment(cloud, tmp_path):
    machine = Machine(cloud, tmp_path)

    async def both() -> tuple[Overlay, Overlay]:
        first = await machine.make("ansimarkup==2.1.0", pins=("colorama==0.4.5",))
        second = await machine.make("ansimarkup==2.1.0", pins=("colorama==0.4.6",), current=first)
        await machine.environments.close(60)
        return first, second

    first, second = asyncio.run(both())
    for overlay, version in ((first, "0.4.5"), (second, "0.4.6")):
        assert (overlay.packages / f"colorama-{version}.dist-info").is_dir()


def test_a_worker_that_starts_again_finds_it_on_its_disk(cloud, tmp_path):
    Machine(cloud, tmp_path).run(COW)
    (tmp_path / "environments" / ".left").mkdir()
    again = Machine(cloud, tmp_path)
    assert again.run(COW).packages.is_dir()
    assert not again.said
    assert not (tmp_path / "environments" / ".left").exists()


def test_two_workers_that_build_the_same_at_once_end_well(cloud, tmp_path):
    machines = [Machine(cloud, tmp_path / name) for name in "12"]

    async def race() -> list[Overlay]:
        overlays = await asyncio.gather(*(machine.make(COW) for machine in machines))
        await asyncio.gather(*(machine.environments.close(60) for machine in machines))
        return overlays

    one, other = asyncio.run(race())
    assert [machine.said for machine in machines] == [[("environment", "Installed")]] * 2
    assert set(files(one.packages)) == set(files(other.packages))
    # What the slower one has sent is left for the garbage collector: a worker deletes nothing.
    assert layout.archive_key(stored(cloud).blob.digest) in archives(cloud)
    assert len(archives(cloud)) <= len(machines)
    assert not list(cloud.store.list(layout.BLOBS)), "which are the designers' to write"
    third = Machine(cloud, tmp_path / "3")
    third.run(COW)
    assert third.said == [("environment", "Unpacked")]


@pytest.mark.parametrize("harm", ["gone", "truncated", "changed", "no document"])
def test_what_the_bucket_lost_is_built_and_stored_again(cloud, tmp_path, harm):
    Machine(cloud, tmp_path / "1").run(COW)
    built = stored(cloud)
    key = layout.archive_key(built.blob.digest)
    body = cloud.store.get(key)
    if harm == "gone":
        cloud.store.delete(key)
    elif harm == "no document":
        (entry,) = cloud.store.list(layout.ENVIRONMENTS)
        cloud.store.put(entry.key, b"{")
    else:
        cloud.store.put(key, body[:100] if harm == "truncated" else body[:-1] + b"x")
    second = Machine(cloud, tmp_path / "2")
    second.run(COW)
    assert second.said == [("environment", "Installed")]
    third = Machine(cloud, tmp_path / "3")
    third.run(COW)
    assert third.said == [("environment", "Unpacked")]


def test_a_bucket_that_takes_nothing_does_not_stop_the_job(cloud, tmp_path):
    machine = Machine(cloud, tmp_path)
    cloud.store.bucket = "no-such-bucket"
    try:
        assert machine.run(COW).packages.is_dir()
    finally:
        cloud.store.bucket = "worker-tests"
    assert not list(cloud.store.list(layout.ENVIRONMENTS))


def test_a_failure_leaves_nothing_and_has_the_installers_words(cloud, tmp_path):
    machine = Machine(cloud, tmp_path)
    with pytest.raises(PackBroken) as caught:
        machine.run("cowsay==99.0")
    assert "node pack pack could not be installed" in caught.value.message
    assert "there is no version of cowsay==99.0" in caught.value.message
    assert not list(machine.root.iterdir())
    assert not archives(cloud)


def test_a_pin_that_is_not_to_be_had_gives_way_to_what_the_pack_asks(cloud, tmp_path):
    Machine(cloud, tmp_path).run("cowsay==99.0  # cowsay<=6.1")
    assert stored(cloud).packages == ("cowsay==6.1",)


def test_what_is_optional_and_not_to_be_had_is_left_out_and_told(cloud, tmp_path):
    absent = "no-such-package-of-prompt-on-aws"
    lines = (COW, f"{absent}  # (optional)", "git+file:///nowhere/x.git  # (optional)",
             "ansimarkup==2.1.0  # (optional)")  # fmt: skip
    for name in ("installs", "unpacks"):
        machine = Machine(cloud, tmp_path / name)
        overlay = machine.run(*lines)
        assert {path.name for path in overlay.packages.glob("*.dist-info")} >= {
            "cowsay-6.1.dist-info", "ansimarkup-2.1.0.dist-info",
        }  # fmt: skip
        (warning,) = machine.warnings
        assert absent in warning
        assert "file:///nowhere/x.git" in warning
        assert "ansimarkup" not in warning
    assert stored(cloud).left_out == ("git+file:///nowhere/x.git", absent)
    with pytest.raises(PackBroken):
        Machine(cloud, tmp_path / "sure").run("cowsay==99.0", f"{absent}  # (optional)")


def test_a_stopped_install_ends_at_once_with_its_processes(cloud, tmp_path):
    # A source that is built for ever: its setup.py does not return.
    source, building = tmp_path / "source", tmp_path / "pid"
    source.mkdir()
    (source / "setup.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(building)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    machine = Machine(cloud, tmp_path / "w")

    async def stop() -> float:
        stopped = asyncio.get_running_loop().create_future()
        work = asyncio.ensure_future(machine.make(f"slow @ {source.as_uri()}", stopped=stopped))
        await asyncio.to_thread(wait_until, lambda: building.exists() and building.read_text(), 60)
        began = time.monotonic()
        stopped.set_result(None)
        with pytest.raises(Cancelled):
            await work
        return time.monotonic() - began

    assert asyncio.run(stop()) < 5
    wait_until(lambda: not alive(int(building.read_text())), 10)
    assert not list(machine.root.iterdir())


def test_an_overlay_that_has_all_stays(cloud, tmp_path):
    machine = Machine(cloud, tmp_path)

    async def run() -> None:
        overlay = await machine.make(COW)
        assert await machine.make(current=overlay) is overlay
        assert await machine.make(COW, current=overlay) is overlay
        assert await machine.make() is None
        await machine.environments.close(60)

    asyncio.run(run())


def test_only_the_latest_stay_on_the_disk(cloud, tmp_path):
    machine = Machine(cloud, tmp_path)
    for number in range(KEPT + 2):
        folder = machine.root / f"old{number}"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    overlay = machine.run(COW)
    left = {path.name for path in machine.root.iterdir()}
    assert left == {overlay.key} | {f"old{number}" for number in range(3, KEPT + 2)}


def test_the_document_is_plain_json(cloud, tmp_path):
    Machine(cloud, tmp_path).run(COW)
    assert from_json(BuiltEnvironment, to_json(stored(cloud))) == stored(cloud)
