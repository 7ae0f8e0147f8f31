"""The Python packages of a manifest's node packs, beside the worker's own.

    {directory}/environments/{key}/packages/               what pip would have installed
    {directory}/environments/{key}/start/sitecustomize.py  puts it behind everything else

An environment is installed once (`installer.py`), stored in the bucket as a tar, and unpacked by
every later worker with the same Python and the same packages of its own: `environments/{key}.json`
names the archive. Workers that build the same one at once each use what they built; the first to
store it names it.

The runner finds `start` first on its PYTHONPATH, so that Python runs that `sitecustomize`, which
appends `packages` to sys.path: nothing there shadows what ComfyUI brings, and processes that node
packs start see it, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_aws import hashing, layout
from comfy_aws.aws import ObjectStore
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.errors import AwsConflict, AwsNotFound, BlobCorrupted, Cancelled, ComfyAwsError
from comfy_aws.models import BuiltEnvironment, Manifest, from_json, to_json
from comfy_aws.requirements import Line, masked
from comfy_aws.worker import installer, packages
from comfy_aws.worker.installer import Installed
from comfy_aws.worker.packages import Own, Plan
from comfy_aws.worker.phases import Told

KEPT = 3
"""Environments on the disk; templates of one endpoint may take turns."""

PLANS = 64
"""Sets of packs whose plans are remembered."""

PIPE = 1024 * 1024

START = '''"""Appends the packages of the node packs to sys.path, behind ComfyUI's own."""

import site
import sys

here = {start!r}
site.addsitedir({packages!r})
sys.path[:] = [path for path in sys.path if path != here]
this = sys.modules.pop(__name__)
try:
    import sitecustomize  # the environment's own, which this one hides
except ImportError as exc:
    if exc.name != __name__:
        raise
sys.modules.setdefault(__name__, this)
'''

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overlay:
    """An environment on the disk."""

    key: str
    folder: Path
    lines: frozenset[Line]
    pins: frozenset[str] = frozenset()

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def start(self) -> Path:
        """What goes to the front of PYTHONPATH."""
        return self.folder / "start"


@dataclass(frozen=True)
class _Chosen:
    plan: Plan
    key: str


class Environments:
    """Lives in one event loop, for one job at a time.

    Args:
        directory: the worker's own, which nobody else uses.
        own: what the runner's Python has; by default what this one has.
    """

    def __init__(
        self,
        directory: Path,
        store: ObjectStore,
        *,
        own: Callable[[], Mapping[str, Own]] = packages.own_packages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = directory.resolve() / "environments"
        self._store = store
        self._archives = Blobs(store, key=layout.archive_key)
        self._find_own = own
        self._clock = clock
        self._own: Mapping[str, Own] = {}
        self._chosen: dict[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...], _Chosen] = {}
        self._storing: set[asyncio.Task[None]] = set()
        self._unusable: set[str] = set()
        self._closed = False
        for left in self._root.glob(".*"):  # by a worker that was killed
            shutil.rmtree(left, ignore_errors=True)

    async def make(
        self,
        manifest: Manifest,
        current: Overlay | None,
        *,
        told: Told,
        stopped: asyncio.Future[Any],
    ) -> Overlay | None:
        """The overlay that the manifest's packs need; `current` when that will do.

        Raises:
            PackBroken: packages cannot be installed, or do not go with the worker's own.
            Cancelled: `stopped` was done.
        """
        chosen = await self._choose(manifest, told)
        lines, pins = frozenset(chosen.plan.lines), frozenset(chosen.plan.pins)
        if current is not None and lines <= current.lines and pins <= current.pins:
            return current
        if not lines:
            return None
        overlay = Overlay(chosen.key, self._root / chosen.key, lines, pins)
        if overlay.folder.exists():
            os.utime(overlay.folder)
            return overlay
        began = time.perf_counter()
        fetched = await self._fetch(overlay, told, stopped)
        if not fetched:
            await self._build(overlay, chosen.plan, told, stopped)
        names = ", ".join(chosen.plan.packs)
        told(
            "environment",
            f"{'Unpacked' if fetched else 'Installed'} the Python packages of {names}",
            0, 0, seconds=time.perf_counter() - began,
        )  # fmt: skip
        await asyncio.to_thread(self._make_room, {overlay, current})
        return overlay

    async def close(self, patience: float) -> None:
        """Give what is being stored a last chance."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=patience)
        self._closed = True

    async def _choose(self, manifest: Manifest, told: Told) -> _Chosen:
        asked = tuple((pack.name, pack.requirements, pack.pins) for pack in manifest.packs)
        chosen = self._chosen.get(asked)
        if chosen is not None:
            return chosen
        if any(pack.requirements for pack in manifest.packs) and not self._own:
            self._own = await asyncio.to_thread(self._find_own)
        if len(self._chosen) >= PLANS:
            self._chosen.clear()
        plan = packages.plan(manifest.packs, self._own)
        if plan.warnings:
            told("warning", "\n".join(plan.warnings), 0, 0)
        chosen = self._chosen[asked] = _Chosen(plan, packages.key_of(plan, self._own))
        return chosen

    # -- from the bucket -------------------------------------------------------------------

    async def _fetch(self, overlay: Overlay, told: Told, stopped: asyncio.Future[Any]) -> bool:
        """Unpack what another worker has stored; False when there is nothing of use."""
        loop = asyncio.get_running_loop()
        try:
            built = await asyncio.to_thread(self._look_up, overlay.key)
            if built is None:
                return False
            total, done = built.blob.size, 0

            def came(count: int) -> None:
                nonlocal done
                done += count
                told("environment", "Fetching Python packages", done, total)

            def report(count: int) -> None:
                loop.call_soon_threadsafe(came, count)

            told("environment", "Fetching Python packages", 0, total)
            await asyncio.to_thread(self._unpack, overlay, built, report, stopped.done)
            _tell_left_out(built.left_out, told)
        except Cancelled:
            raise
        except (ComfyAwsError, tarfile.TarError, OSError) as exc:
            log.warning("The built environment %s cannot be used: %s", overlay.key, exc)
            self._unusable.add(overlay.key)
            return False
        return True

    def _look_up(self, key: str) -> BuiltEnvironment | None:
        try:
            body = self._store.get(layout.environment_key(key))
        except AwsNotFound:
            return None
        return from_json(BuiltEnvironment, body, where=f"environment {key}")

    def _unpack(
        self,
        overlay: Overlay,
        built: BuiltEnvironment,
        progress: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Unpack while it comes; what came is only made visible when its digest is right."""
        archive = self._root / f".{overlay.key}.tar"
        part = self._part(overlay)
        digest = hashlib.sha256()
        reader, writer = os.pipe()
        try:
            with ThreadPoolExecutor(1) as pool:
                unpacked = pool.submit(_extract, reader, part)
                with os.fdopen(writer, "wb") as pipe:

                    def follow(piece: bytes | memoryview) -> None:
                        digest.update(piece)
                        with suppress(BrokenPipeError):  # `unpacked` knows why
                            pipe.write(piece)

                    self._store.download(
                        layout.archive_key(built.blob.digest), archive, built.blob.size,
                        follow=follow, progress=progress, cancelled=cancelled,
                    )  # fmt: skip
            unpacked.result()
            if digest.hexdigest() != built.blob.digest:
                raise BlobCorrupted(f"The archive {built.blob.digest} has other bytes.")
            self._finish(overlay, part)
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(part, ignore_errors=True)

    # -- built here ------------------------------------------------------------------------

    async def _build(
        self, overlay: Overlay, plan: Plan, told: Told, stopped: asyncio.Future[Any]
    ) -> None:
        told("environment", f"Installing the Python packages of {', '.join(plan.packs)}", 0, 0)
        began = time.perf_counter()
        part = self._part(overlay)
        archive = self._root / f".{overlay.key}.tar"
        work = asyncio.ensure_future(installer.install(plan, self._own, part / "packages"))
        try:
            await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Cancelled("The work was stopped.")
            installed = work.result()
            seconds = time.perf_counter() - began
            # Before the runner starts, so that nothing changes meanwhile.
            await asyncio.to_thread(_pack, part / "packages", archive)
            self._finish(overlay, part)
            _tell_left_out(installed.left_out, told)
        finally:
            work.cancel()
            await asyncio.wait([work])
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        storing = asyncio.ensure_future(
            asyncio.to_thread(self._store_it, overlay.key, archive, installed, seconds)
        )
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)

    def _store_it(self, key: str, archive: Path, installed: Installed, took: float) -> None:
        """For the next worker; this one has what it needs, so that a failure is only told."""
        location, replaces = layout.environment_key(key), key in self._unusable
        try:
            if not replaces and self._store.head(location) is not None:
                return
            ref, seen = hashing.of_file(archive)
            self._archives.forget([ref])  # it may have been deleted since
            self._archives.put_files(
                [LocalBlob(ref, archive, seen)], cancelled=lambda: self._closed
            )
            built = BuiltEnvironment(
                ref, installed.packages, round(took, 3), self._clock(), installed.left_out
            )
            self._name(location, built, replaces=replaces)
            self._unusable.discard(key)
        except (ComfyAwsError, OSError) as exc:
            log.warning("The environment %s could not be stored: %s", key, exc)
        finally:
            archive.unlink(missing_ok=True)

    def _name(self, location: str, built: BuiltEnvironment, *, replaces: bool) -> None:
        body = to_json(built).encode()
        try:
            self._store.put(
                location, body, content_type="application/json", if_none_match=not replaces
            )
        except AwsConflict:
            # Another worker was faster. Bytecode differs from build to build, so this archive is
            # named by nobody, and for the garbage collector: what runs packs may delete nothing.
            log.info("Another worker has stored the environment at %s", location)

    # -- on the disk -----------------------------------------------------------------------

    def _part(self, overlay: Overlay) -> Path:
        self._root.mkdir(parents=True, exist_ok=True)
        part = self._root / f".{overlay.key}"
        shutil.rmtree(part, ignore_errors=True)
        return part

    def _finish(self, overlay: Overlay, part: Path) -> None:
        """Make it visible, whole."""
        text = START.format(start=str(overlay.start), packages=str(overlay.packages))
        (part / "start").mkdir()
        (part / "start" / "sitecustomize.py").write_text(text, encoding="utf-8")
        part.rename(overlay.folder)

    def _make_room(self, used: set[Overlay | None]) -> None:
        keep = {overlay.folder for overlay in used if overlay is not None}
        folders = [path for path in self._root.glob("[!.]*") if path not in keep]
        folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for folder in folders[max(0, KEPT - len(keep)) :]:
            shutil.rmtree(folder, ignore_errors=True)


def _tell_left_out(lines: tuple[str, ...], told: Told) -> None:
    if lines:
        names = ", ".join(map(masked, lines))
        text = f"Could not be installed, and was not needed where the prompt comes from: {names}"
        told("warning", text, 0, 0)


def _extract(reader: int, folder: Path) -> None:
    with os.fdopen(reader, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extractall(folder, filter="data")
        while stream.read(PIPE):  # the end of the archive, which tarfile leaves
            pass


def _pack(folder: Path, archive: Path) -> None:
    """A tar, not compressed: within a region the network is faster than any gzip.

    Times and owners say nothing to the next worker and are left out.
    """

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        return info

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, folder.name, filter=plain)
