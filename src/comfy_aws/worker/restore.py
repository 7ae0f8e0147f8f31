"""Makes a manifest true on the worker's disk.

    {directory}/lock                  held by the one worker that uses the directory
    {directory}/cache/sha256/…        blobs (`cache.py`)
    {directory}/base/                 the runner's base directory, made anew by every worker
        models/{folder}/{name}        hard links into the cache, read only
        input|output|temp/{name}      copies, because nodes may write there
        custom_nodes/{pack}           unpacked archives

What a manifest no longer names stays: models and packs that other templates use are then there
at once. Of inputs, which are copies, only the latest stay.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfy_aws.errors import PackBroken, WorkerError
from comfy_aws.models import BlobRef, InputPlace, LocalPath, Manifest, NodePack
from comfy_aws.worker.cache import BlobCache
from comfy_aws.worker.paths import below, single

PLACES = ("models", "custom_nodes", "input", "output", "temp", "user")
PLANS = 32
"""Manifests whose checked paths are remembered."""

INPUT_FILES = 200
"""Inputs kept that the present job does not name; ComfyUI lists the folder for every prompt."""

INPUT_BYTES = 2 * 1024**3
LOCK_WAIT = 10.0
"""Seconds; a worker that was just killed may still be dying."""

Print = tuple[int, int, int]
"""Size, modification time and inode: tells that a file is still the one that was laid."""


@dataclass(frozen=True)
class Placed:
    """Where a blob belongs. `name` is for messages."""

    target: Path
    blob: BlobRef
    name: str
    is_model: bool


@dataclass(frozen=True)
class Laid:
    digest: str
    seen: Print


class Restorer:
    """Not for use by two jobs at once; the worker runs one at a time.

    Args:
        spare_inputs: how many inputs stay that the present job does not name.
        patience: seconds to wait for another worker to leave the directory.

    Raises:
        WorkerError: another worker uses the directory.
    """

    def __init__(
        self,
        directory: Path,
        make_cache: Callable[[Path, Evicted], BlobCache],
        *,
        spare_inputs: int = INPUT_FILES,
        patience: float = LOCK_WAIT,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock", patience)
        self._spare_inputs = spare_inputs
        self.base = directory.resolve() / "base"
        shutil.rmtree(self.base, ignore_errors=True)
        for place in PLACES:
            (self.base / place).mkdir(parents=True)
        self._folders: dict[str, list[str]] = {}
        self._plans: dict[Manifest, tuple[Placed, ...]] = {}
        self._laid: dict[Path, Laid] = {}
        self._inputs: dict[Path, int] = {}
        self._shown: dict[Path, str] = {}
        self._packs: dict[str, str] = {}
        self._cache = make_cache(directory / "cache" / "sha256", self._take_up)

    def close(self) -> None:
        os.close(self._lock)

    def holds(self, manifest: Manifest) -> bool:
        """Whether everything is laid and untouched. Costs one stat a file."""
        if self.changed_packs(manifest):
            return False
        plan = self._plan(manifest)
        if not all(self._is_laid(placed) for placed in plan):
            return False
        self._cache.used(placed.blob for placed in plan)
        return True

    def fetch(
        self,
        manifest: Manifest,
        *,
        progress: Callable[[str, int], None] = lambda name, count: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Have in the cache what must be laid.

        Args:
            progress: called with a file's name and the bytes of it that came.

        Raises:
            ComfyAwsError: as `BlobCache.fetch`.
        """
        packs = self.changed_packs(manifest)
        plan = [placed for placed in self._plan(manifest) if not self._is_laid(placed)]
        names = {placed.blob.digest: placed.name for placed in plan}
        names |= {pack.blob.digest: pack.name for pack in packs}
        self._cache.fetch(
            (*(placed.blob for placed in plan), *(pack.blob for pack in packs)),
            keep=manifest.blobs().values(),
            progress=lambda ref, count: progress(names[ref.digest], count),
            cancelled=cancelled,
        )

    def missing_bytes(self, manifest: Manifest) -> int:
        """Bytes that `fetch` will download."""
        wanted = {p.blob.digest: p.blob for p in self._plan(manifest) if not self._is_laid(p)}
        wanted |= {pack.blob.digest: pack.blob for pack in self.changed_packs(manifest)}
        return sum(ref.size for ref in wanted.values() if not self._cache.has(ref))

    def lay_models(self, manifest: Manifest) -> bool:
        """Link the models; True when the runner knows a name here with other bytes."""
        return self._lay([placed for placed in self._plan(manifest) if placed.is_model])

    def lay(self, manifest: Manifest) -> bool:
        """Link the models and copy the inputs.

        Returns:
            True when the runner knows a name here with other bytes, so that what it has
            computed from that name is stale.
        """
        plan = self._plan(manifest)
        stale = self._lay(list(plan))
        self._bound_inputs({placed.target for placed in plan})
        return stale

    def changed_packs(self, manifest: Manifest) -> list[NodePack]:
        """Packs that are not in custom_nodes, or with other bytes."""
        return [pack for pack in manifest.packs if self._packs.get(pack.name) != pack.blob.digest]

    def lay_packs(self, manifest: Manifest, *, alone: bool = False) -> None:
        """Unpack new and changed packs. The runner must not be running.

        Args:
            alone: remove the packs that this manifest does not name.

        Raises:
            PackBroken: an archive cannot be unpacked.
        """
        if alone:
            for name in set(self._packs) - {pack.name for pack in manifest.packs}:
                self._drop_pack(name)
        for pack in self.changed_packs(manifest):
            self._drop_pack(single(pack.name))
            _unpack(self._cache.path(pack.blob), pack.name, self.base / "custom_nodes")
            self._packs[pack.name] = pack.blob.digest

    def runner_started(self, folders: dict[str, list[str]]) -> None:
        """A new runner sees what is laid, and keeps its models in these folders."""
        self._shown = {target: laid.digest for target, laid in self._laid.items()}
        if folders != self._folders:
            self._folders = folders
            self._plans.clear()

    def _plan(self, manifest: Manifest) -> tuple[Placed, ...]:
        plan = self._plans.get(manifest)
        if plan is None:
            plan = (
                *(
                    Placed(self._model_path(m.folder, m.name), m.blob, m.name, is_model=True)
                    for m in manifest.models
                ),
                *(
                    Placed(below(self.base / i.place.value, i.name), i.blob, i.name, is_model=False)
                    for i in manifest.inputs
                ),
            )
            while len(self._plans) >= PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[manifest] = plan
        return plan

    def path_of(self, local: LocalPath) -> Path:
        """Where a path of another machine leads to here; the folder is made if it is none yet.

        Raises:
            WorkerError: it leads out of its place.
        """
        if local.place == "models":
            return self._model_path(local.folder, local.name)
        root = self.base / InputPlace(local.place).value
        path = below(root, local.name) if local.name else root
        (path.parent if Path(local.name).suffix else path).mkdir(parents=True, exist_ok=True)
        return path

    def _model_path(self, folder: str, name: str) -> Path:
        """Below models/{folder}, unless a node pack keeps that folder elsewhere, or in itself."""
        if folder == "custom_nodes":  # what a pack has downloaded into its own folder
            return below(self.base / folder, name)
        default = self.base / "models" / folder
        known = [Path(path) for path in self._folders.get(folder, [])]
        if default not in known:
            for path in known:
                for root in (self.base / "models", self.base / "custom_nodes"):
                    if path.is_relative_to(root) and path != root:
                        return below(root, path.relative_to(root).as_posix(), name)
        return below(self.base / "models", folder, name)

    def _is_laid(self, placed: Placed) -> bool:
        laid = self._laid.get(placed.target)
        return (
            laid is not None
            and laid.digest == placed.blob.digest
            and laid.seen == _print(placed.target)
        )

    def _lay(self, plan: list[Placed]) -> bool:
        stale = False
        for placed in plan:
            if not self._is_laid(placed):
                stale |= self._is_known_otherwise(placed)
                self._put(placed)
            stale |= self._shown.get(placed.target, placed.blob.digest) != placed.blob.digest
            self._shown[placed.target] = placed.blob.digest
        return stale

    def _is_known_otherwise(self, placed: Placed) -> bool:
        """Something lies there already: a node wrote it, or wrote to what was laid."""
        laid = self._laid.get(placed.target)
        there = _print(placed.target)
        return there is not None and (laid is None or laid.seen != there)

    def _put(self, placed: Placed) -> None:
        source, target = self._cache.path(placed.blob), placed.target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if not placed.is_model or not _linked(source, target):
                _copy(source, target)
        except OSError as exc:
            raise WorkerError(
                f"{placed.name} cannot be put into {target.parent}: {exc.strerror or exc}."
            ) from exc
        seen = _print(target)
        if seen is None:
            raise WorkerError(f"{placed.name} vanished from {target.parent} at once.")
        self._laid[target] = Laid(placed.blob.digest, seen)
        if not placed.is_model:
            self._inputs.pop(target, None)
            self._inputs[target] = placed.blob.size

    def _bound_inputs(self, needed: set[Path]) -> None:
        spare = [target for target in self._inputs if target not in needed]
        room = sum(self._inputs[target] for target in spare)
        for count, target in enumerate(spare):  # oldest first
            if len(spare) - count <= self._spare_inputs and room <= INPUT_BYTES:
                break
            room -= self._inputs.pop(target)
            self._laid.pop(target, None)
            target.unlink(missing_ok=True)

    def _take_up(self, digest: str) -> None:
        """The cache evicts a blob: its links would keep its bytes on the disk."""
        for target in [path for path, laid in self._laid.items() if laid.digest == digest]:
            if target not in self._inputs:
                del self._laid[target]
                target.unlink(missing_ok=True)

    def _drop_pack(self, name: str) -> None:
        self._packs.pop(name, None)
        path = self.base / "custom_nodes" / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
            # Archives carry no times, so Python would take the old bytecode for the new file's.
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


Evicted = Callable[[str], None]


def _print(path: Path) -> Print | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _linked(source: Path, target: Path) -> bool:
    """A symbolic link would not do: loaders that resolve it lose the file's extension."""
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _unpack(archive: Path, name: str, folder: Path) -> None:
    """Unpack an archive whose single top entry is `name`, whole or not at all."""
    part = folder.parent / f".unpacking-{name}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with _unreadable(name), tarfile.open(archive) as tar:
            part.mkdir()
            tar.extractall(part, filter="data")
            entries = [entry.name for entry in part.iterdir()]
            if entries != [name]:
                raise PackBroken(
                    f"The archive of the node pack {name!r} has {sorted(entries)[:5]} at its top.",
                    hint="Publish the template again.",
                )
            (part / name).rename(folder / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What a disk says that takes no more: not the fault of what is written."""


@contextmanager
def _unreadable(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError, zlib.error) as exc:
        if getattr(exc, "errno", None) in _DISK:
            raise WorkerError(
                f"The worker cannot unpack the node pack {name!r}: {exc}.",
                hint="Choose an instance type with more disk.",
            ) from exc
        raise PackBroken(
            f"The archive of the node pack {name!r} cannot be unpacked: {exc}.",
            hint="Publish the template again.",
        ) from exc


def _lock(path: Path, patience: float) -> int:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if time.monotonic() > deadline:
                os.close(handle)
                raise WorkerError(
                    f"Another worker uses {path.parent}.", hint="Set COMFY_AWS_WORKER_DIR."
                ) from exc
            time.sleep(0.1)
        else:
            return handle
