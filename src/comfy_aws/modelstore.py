"""Models here and in the bucket: what is where, sent and fetched, and who uses it."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from comfy_aws import companions, formats
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.callbacks import ByteCounter, IsCancelled, OnProgress, never, no_progress
from comfy_aws.errors import CaptureError, Conflict, FileChanged, NotFound
from comfy_aws.hashcache import HashCache
from comfy_aws.hashing import fingerprint
from comfy_aws.localmodels import LocalModel, LocalModels
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import Manifest, ModelFile
from comfy_aws.scratch import sweep
from comfy_aws.templates import Templates

READERS: Final = 16
"""Versions read at once."""


@dataclass(frozen=True)
class KnownModel:
    """A model by its folder and name, wherever it is.

    `size` in bytes; `differs` tells that here and in the bucket are different bytes under the
    same name. `digest` is empty for a file here that was never hashed.
    """

    folder: str
    name: str
    size: int
    here: bool
    bucket: bool
    differs: bool = False
    digest: str = ""


@dataclass(frozen=True)
class User:
    """A template that needs a model, in its current version."""

    template: str
    version: int


class ModelStore:
    """Safe to share between threads."""

    def __init__(
        self, blobs: Blobs, library: ModelLibrary, templates: Templates, cache: HashCache
    ) -> None:
        self._blobs = blobs
        self._library = library
        self._templates = templates
        self._cache = cache
        self._models_of: dict[tuple[str, int], frozenset[tuple[str, str]]] = {}
        self._lock = threading.Lock()

    def join(self, local: Iterable[LocalModel]) -> list[KnownModel]:
        """The models of this machine and those of the bucket, by folder and name."""
        stored = {(model.folder, model.name): model for model in self._library.list()}
        found = [
            self._known(model, stored.pop((model.folder, model.name), None)) for model in local
        ]
        found += [
            KnownModel(m.folder, m.name, m.blob.size, here=False, bucket=True, digest=m.blob.digest)
            for m in stored.values()
        ]
        return sorted(found, key=lambda model: (model.folder, model.name))

    def _known(self, local: LocalModel, stored: ModelFile | None) -> KnownModel:
        try:
            ref = self._cache.known(local.path, fingerprint(local.path))
        except FileChanged:
            ref = None  # deleted at this moment
        digest = ref.digest if ref else ""
        differs = stored is not None and (
            stored.blob.size != local.size or digest not in ("", stored.blob.digest)
        )
        return KnownModel(
            local.folder, local.name, local.size, here=True, bucket=stored is not None,
            differs=differs, digest=digest,
        )  # fmt: skip

    def push(
        self,
        model: LocalModel,
        *,
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> tuple[ModelFile, ...]:
        """Send a model, with the files that belong to it, and enter it in the library.

        Raises:
            CaptureError: the file is not what its name says.
            FileChanged, Cancelled, AwsError.
        """
        fault = formats.fault_of(model.path)
        if fault:
            raise CaptureError(f"{model.name} {fault}.", hint="Get it from its source again.")
        paths = [model.path, *companions.beside(model.path, model.name)]
        total = sum(fingerprint(path).size for path in paths)
        counter = ByteCounter("hash", model.name, total, progress)
        blobs = []
        for path in paths:
            before = counter.done
            ref, seen = self._cache.hash(path, progress=counter.add, cancelled=cancelled)
            counter.add(ref.size - (counter.done - before))  # all of it, when the cache knew it
            blobs.append(LocalBlob(ref, path, seen))
        refs = [blob.ref for blob in blobs]
        self._blobs.forget(refs)
        missing = {ref.digest for ref in self._blobs.missing(refs)}
        counter = ByteCounter("upload", model.name, total, progress)
        counter.add(sum(ref.size for ref in refs if ref.digest not in missing))
        self._blobs.put_files(
            [blob for blob in blobs if blob.ref.digest in missing],
            progress=lambda _, count: counter.add(count),
            cancelled=cancelled,
        )
        folder = model.name.rpartition("/")[0]
        sent = tuple(
            ModelFile(model.folder, f"{folder}/{b.path.name}" if folder else b.path.name, b.ref)
            for b in blobs
        )
        self._library.enter(Manifest(models=sent))
        return sent

    def pull(
        self,
        models: LocalModels,
        folder: str,
        name: str,
        *,
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> None:
        """Fetch a model of the bucket, with the files that belong to it.

        Raises:
            NotFound: the library has no such model.
            Conflict: there is a file of this name here.
            InvalidName, CaptureError, BlobCorrupted, Cancelled, AwsError.
        """
        wanted = self._library.get(folder, name)
        stored = [m for m in self._library.list() if m.folder == folder]
        more = [m for m in stored if companions.belongs(name, m.name)]
        counter = ByteCounter("download", name, sum(m.blob.size for m in [wanted, *more]), progress)
        models.destination(folder, name)
        for model in [*more, wanted]:  # so that a fetch that broke can be tried again
            try:
                with models.arriving(folder, model.name) as part:
                    sweep(part.parent, f"{glob.escape(part.name)}.*.part")
                    self._blobs.download(
                        model.blob, part, progress=counter.add, cancelled=cancelled
                    )
            except Conflict:
                if model is wanted:
                    raise
                counter.add(model.blob.size)  # what belongs to it is here already

    def remove(self, folder: str, name: str) -> None:
        """Take a model out of the library; its bytes are the garbage collector's.

        Raises:
            NotFound: the library has no such model.
        """
        self._library.remove(folder, name)

    def users(self, folder: str, name: str) -> list[User]:
        """The templates that need a model, by name."""
        current = {(each.name, each.version) for each in self._templates.list()}
        with self._lock:
            unread = sorted(current - self._models_of.keys())
        with ThreadPoolExecutor(READERS) as pool:
            found = dict(zip(unread, pool.map(self._read, unread), strict=True))
        with self._lock:
            self._models_of |= found
            self._models_of = {key: self._models_of[key] for key in current}
            return [User(*key) for key in sorted(current) if (folder, name) in self._models_of[key]]

    def _read(self, key: tuple[str, int]) -> frozenset[tuple[str, str]]:
        try:
            manifest = self._templates.version(*key).manifest
        except NotFound:
            return frozenset()  # deleted since it was listed
        return frozenset((model.folder, model.name) for model in manifest.models)
