"""Finds everything a prompt stands on: models, input files, node packs, environment.

The `Resolver` looks up what the prompt names; here the files are hashed and node packs archived,
which gives the manifest and the blobs that may have to be sent.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfy_aws import formats, gitfiles, hashing, packimports, packs, requirements
from comfy_aws import prompt as graphs
from comfy_aws.blobs import LocalBlob
from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.errors import Cancelled, FileChanged, Unresolved
from comfy_aws.hashcache import HashCache
from comfy_aws.models import (
    BlobRef,
    InputFile,
    Json,
    Manifest,
    ModelFile,
    NodePack,
    Progress,
)
from comfy_aws.resolve import Catalog, Finding, Library, Resolver

HASHERS = max(4, os.cpu_count() or 1)
"""Files hashed at once: all cores, because sha256 leaves Python's lock while it works, and a few
where there are fewer, because disks are waited for."""


SPOOLED: Final = 24 * 3600.0
"""Seconds that an archive waits to be sent; whoever asks for it later makes it anew."""


@dataclass(frozen=True)
class Capture:
    """A manifest, and the local files behind those of its blobs that are here.

    `missing` keeps a prompt from running, `warnings` do not. `pack_paths` are the folders and
    files of the node packs that are here.
    """

    manifest: Manifest
    files: tuple[LocalBlob, ...] = ()
    missing: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    pack_paths: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raises Unresolved when something is missing."""
        if not self.missing:
            return
        more = f" and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
        raise Unresolved(f"{self.missing[0].reason}{more}", node_errors=self.node_errors())

    def node_errors(self) -> Json:
        """What is missing in ComfyUI's own shape, by node id."""
        errors: Json = {}
        for item in self.missing:
            entry = graphs.node_error(
                item.class_type, item.reason, input_name=item.input_name, value=item.value
            )
            if item.node_id in errors:
                errors[item.node_id]["errors"] += entry["errors"]
            else:
                errors[item.node_id] = entry
        return errors


class Capturer:
    """Safe to share between threads. `spool` is a folder for archives on their way."""

    def __init__(
        self,
        catalog: Catalog,
        cache: HashCache,
        spool: Path,
        *,
        library: Library | None = None,
        fault_of: Callable[[Path], str] = formats.fault_of,
    ) -> None:
        self._catalog = catalog
        self._resolver = Resolver(catalog, library, fault_of)
        self._cache = cache
        self._spool = spool
        self._origins: dict[str, gitfiles.Origin] = {}
        self._pack_locks: dict[Path, threading.Lock] = {}

    def capture(
        self,
        prompt: Json,
        *,
        base: Manifest | None = None,
        is_present: Callable[[BlobRef], bool],
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> Capture:
        """Find and hash everything that `prompt` needs.

        Args:
            base: the template's manifest, for what this machine does not have.
            is_present: whether the bucket has a blob; archives of packs it has are not made.

        Raises:
            FileChanged: a file vanished or changed while it was read.
            Cancelled: `cancelled` said so.
        """
        found = self._resolver.resolve(prompt, base or Manifest())
        files: dict[str, LocalBlob] = {}
        paths = list(dict.fromkeys([*found.models.values(), *found.inputs.values()]))
        refs = self._hash_all(paths, files, progress, cancelled)
        packed: list[NodePack] = []
        for path, class_types in sorted(found.packs.items()):
            if cancelled():
                raise Cancelled("The capture was cancelled.")
            progress(Progress("packs", path.name))
            packed.append(self._pack(found.scans[path], class_types, is_present, files))
        manifest = Manifest(
            models=(
                *(ModelFile(*key, refs[path], found.readers.get(key, ""))
                  for key, path in found.models.items()),
                *(model for key, model in found.remote_models.items() if key not in found.models),
            ),
            inputs=(
                *(InputFile(name, refs[path], place)
                  for (place, name), path in found.inputs.items()),
                *found.remote_inputs.values(),
            ),
            packs=(*packed, *found.remote_packs.values()),
            environment=self._catalog.environment(),
            paths=tuple(found.paths.values()),
        )  # fmt: skip
        local = tuple(files.values())
        return Capture(
            manifest, local, tuple(found.missing), tuple(found.warnings), tuple(sorted(found.packs))
        )

    def _hash_all(
        self,
        paths: list[Path],
        files: dict[str, LocalBlob],
        progress: OnProgress,
        cancelled: IsCancelled,
    ) -> dict[Path, BlobRef]:
        total = sum(hashing.fingerprint(path).size for path in paths)
        done = 0
        lock = threading.Lock()

        def hash_one(path: Path) -> tuple[Path, LocalBlob]:
            read = 0

            def step(count: int) -> None:
                nonlocal done, read
                with lock:  # also around the call: one at a time, and never backwards
                    read += count
                    done += count
                    progress(Progress("hash", path.name, done, total))

            if cancelled():
                raise Cancelled("The capture was cancelled.")
            ref, seen = self._cache.hash(path, progress=step, cancelled=cancelled)
            if read < ref.size:  # the cache knew it
                step(ref.size - read)
            return path, LocalBlob(ref, path, seen)

        refs: dict[Path, BlobRef] = {}
        if len(paths) <= 2:  # a pool costs more than a look into the cache
            results = [hash_one(path) for path in paths]
        else:
            with ThreadPoolExecutor(HASHERS) as pool:
                results = list(pool.map(hash_one, paths))
        for path, blob in results:
            refs[path] = blob.ref
            files[blob.ref.digest] = blob
        return refs

    def _pack(
        self,
        scanned: packs.Scan,
        class_types: set[str],
        is_present: Callable[[BlobRef], bool],
        files: dict[str, LocalBlob],
    ) -> NodePack:
        path, key = scanned.pack, scanned.key()
        with self._pack_locks.setdefault(path, threading.Lock()):
            ref = self._cache.pack(key)
            if ref is None or not (is_present(ref) or self._spooled(ref).exists()):
                scanned = packs.scan(path)  # large models may have been hashed since
                key = scanned.key()
                ref = self._make_archive(scanned)
                self._cache.keep_pack(key, ref)
        spooled = self._spooled(ref)
        try:
            files[ref.digest] = LocalBlob(ref, spooled, hashing.fingerprint(spooled))
        except FileChanged:
            if not is_present(ref):  # else another job has sent the archive and deleted it
                raise
        needs = requirements.of_pack(path, imports=packimports.modules(scanned))
        classes = tuple(sorted(class_types))
        pins = requirements.below(needs)
        return NodePack(
            path.name, ref, classes, len(scanned.members), needs, *self._origin(key, path), pins
        )

    def _origin(self, key: str, path: Path) -> gitfiles.Origin:
        key += str(gitfiles.state(path))  # a commit changes no file
        if key not in self._origins:
            self._origins[key] = gitfiles.origin(path)
        return self._origins[key]

    def _make_archive(self, scanned: packs.Scan) -> BlobRef:
        self._spool.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with tempfile.NamedTemporaryFile(dir=self._spool, suffix=".part", delete=False) as part:
            temporary = Path(part.name)
        try:
            packs.archive(scanned, temporary)
            ref, _ = hashing.of_file(temporary)
            temporary.replace(self._spooled(ref))
        finally:
            temporary.unlink(missing_ok=True)
        return ref

    def _sweep(self) -> None:
        """Remove archives that nobody has sent, such as those of a preflight."""
        for left in self._spool.iterdir():
            with suppress(OSError):  # another capture was faster
                if left.stat().st_mtime < time.time() - SPOOLED:
                    left.unlink()

    def _spooled(self, ref: BlobRef) -> Path:
        return self._spool / f"{ref.digest}.tar.gz"

    def release(self, capture: Capture) -> None:
        """Delete the archives of a capture whose blobs are in the bucket."""
        for blob in capture.files:
            if blob.path.parent == self._spool:
                blob.path.unlink(missing_ok=True)
