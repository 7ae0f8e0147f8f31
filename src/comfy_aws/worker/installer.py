"""Installs Python packages beside the worker's own, with uv.

uv installs into an empty folder. So that it leaves out what the worker has, that folder first
gets the bare metadata of each of the worker's own packages, which the constraints hold at their
versions; what a package of the worker's own needs is not looked at, because that is the image's
concern. Of indexes uv takes its own settings, and without any those of pip. The choice between
indexes is pip's, too: the packs were written for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_aws.errors import PackBroken, WorkerError
from comfy_aws.requirements import masked
from comfy_aws.worker.packages import Attempt, Own, Plan
from comfy_aws.worker.pipsettings import from_pip
from comfy_aws.worker.process import Child, without_secrets

SHOWN_LINES = 20
"""Of the installer's words in an error message."""

INSTALL_LIMIT = 3000.0
"""Seconds; a pack may compile for long, and SageMaker gives an invocation an hour at most."""

UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX")

NO_NETWORK = re.compile(r"error sending request|dns error|failed to lookup address", re.IGNORECASE)
"""Nothing can be had then, and what is not to be had at all cannot be told from the rest."""

DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")

LABEL = "[packages] "
log = logging.getLogger("comfy_aws.installer")


@dataclass(frozen=True)
class Installed:
    """What came, each as ``name==version``, and which optional lines did not."""

    packages: tuple[str, ...]
    left_out: tuple[str, ...] = ()


async def install(chosen: Plan, own: Mapping[str, Own], folder: Path) -> Installed:
    """Install what a plan names into a new folder.

    Optional packages that are not to be had are left out.

    Raises:
        PackBroken: it cannot be installed; the message has the installer's own words.
        WorkerError: the worker's disk is full.
    """
    await asyncio.to_thread(_seed, folder, own)
    scratch = folder.with_name(f"{folder.name}.in")
    scratch.mkdir()
    environ = await asyncio.to_thread(environment)
    left = chosen
    step = 0
    try:
        while left.lines:
            attempts = left.attempts()
            said = await _uv(left, attempts[step], own, folder, scratch, environ)
            if said is None:
                break
            words = "\n".join(said)
            if DISK_FULL.search(words) or NO_NETWORK.search(words):
                raise failure(left, said)
            dropped = left.optional_in(words)
            if not dropped and step + 1 < len(attempts):
                step += 1
                continue
            # Nothing is blamed by its name: then whatever is optional may be in the way.
            dropped = dropped or tuple(line for line in left.lines if line.is_optional)
            if not dropped:
                raise failure(left, said)
            left, step = left.without(dropped), 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    packages = await asyncio.to_thread(_unseed, folder, own)
    return Installed(packages, tuple(x.wanted for x in chosen.lines if x not in left.lines))


async def _uv(
    chosen: Plan,
    attempt: Attempt,
    own: Mapping[str, Own],
    folder: Path,
    scratch: Path,
    environ: Mapping[str, str],
) -> list[str] | None:
    """Run uv once; returns what it said when it failed."""
    wanted, held = scratch / "requirements.txt", scratch / "constraints.txt"
    wanted.write_text("\n".join((*chosen.options, *attempt.requirements)) + "\n", encoding="utf-8")
    pins = [*(f"{each.name}=={each.version}" for each in own.values()), *attempt.pins]
    held.write_text("\n".join(pins) + "\n", encoding="utf-8")
    child = await Child.start(
        [
            sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable,
            "--target", str(folder), "--requirements", str(wanted), "--constraints", str(held),
            "--index-strategy", "unsafe-best-match", "--link-mode", "copy", "--compile-bytecode",
            "--no-progress", "--color", "never",
        ],
        cwd=scratch, environ=environ, said=lambda line: log.info("%s%s", LABEL, masked(line)),
    )  # fmt: skip
    try:
        await asyncio.wait([child.ended], timeout=INSTALL_LIMIT)
        if not child.running and child.ended.result() == 0:
            return None
        late = [f"It was given up after {INSTALL_LIMIT:.0f} s."] if child.running else []
        return [masked(line) for line in child.tail] + late
    finally:
        await child.kill()


def environment() -> dict[str, str]:
    """The installer's environment variables: this process's without secrets, and pip's indexes."""
    # Bytecode that is checked by time would be stale after the bucket, which keeps no times.
    environ = without_secrets(PYC_INVALIDATION_MODE="UNCHECKED_HASH", VIRTUAL_ENV="")
    if any(environ.get(name) for name in UV_INDEXES):
        return environ
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {**from_pip(asked.stdout), **environ}


def failure(chosen: Plan, said: Sequence[str]) -> WorkerError:
    """What uv's words mean; a full disk is nothing that a node pack can be blamed for."""
    words = "\n".join(said)
    end = "\n".join(words.splitlines()[-SHOWN_LINES:])
    if DISK_FULL.search(words):
        return WorkerError(
            f"The worker's disk is full; Python packages could not be installed:\n{end}",
            hint="Choose an instance type with more disk.",
        )
    spelled = re.sub(r"[-_.]+", "-", words).lower()
    blamed = {
        pack for name, packs in chosen.askers.items() if name.lower() in spelled for pack in packs
    }
    names = ", ".join(sorted(blamed) or chosen.packs)
    return PackBroken(
        f"The Python packages of the node pack {names} could not be installed:\n{end}",
        hint="Mend the pack's requirements.txt, or take another version of it, and publish again.",
    )


def _seed(folder: Path, own: Mapping[str, Own]) -> None:
    folder.mkdir(parents=True)
    for each in own.values():
        seed = folder / _dist_info(each)
        seed.mkdir(exist_ok=True)
        fields = [
            "Metadata-Version: 2.1", f"Name: {each.name}", f"Version: {each.version}",
            *(f"Provides-Extra: {extra}" for extra in each.extras),
            *(f"Requires-Dist: {need}" for need in each.extra_needs),
        ]  # fmt: skip
        (seed / "METADATA").write_text("\n".join(fields) + "\n", encoding="utf-8")
        (seed / "RECORD").write_text(f"{seed.name}/METADATA,,\n{seed.name}/RECORD,,\n")


def _unseed(folder: Path, own: Mapping[str, Own]) -> tuple[str, ...]:
    """Take the worker's own packages out again; returns what is left."""
    for each in own.values():
        seed = folder / _dist_info(each)
        if not (seed / "WHEEL").exists():  # else a package asked for by address has taken its name
            shutil.rmtree(seed, ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)
    return tuple(sorted(path.stem.replace("-", "==", 1) for path in folder.glob("*.dist-info")))


def _dist_info(each: Own) -> str:
    return f"{re.sub(r'[-_.]+', '_', each.name)}-{each.version}.dist-info"
