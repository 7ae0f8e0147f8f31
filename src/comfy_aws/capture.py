"""Finds everything a prompt stands on: models, input files, node packs, environment.

Works from the prompt and from what this ComfyUI says of its own nodes (the `Catalog`), so nobody
writes a list. What this machine does not have is looked up in the template's manifest and then in
the bucket's model library; what nobody has is reported, never dropped.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from comfy_aws import hashing, packs, requirements
from comfy_aws import prompt as graphs
from comfy_aws.blobs import LocalBlob
from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.errors import Cancelled, FileChanged, Unresolved
from comfy_aws.hashcache import HashCache
from comfy_aws.models import (
    BlobRef,
    Environment,
    InputFile,
    InputPlace,
    Json,
    Manifest,
    ModelFile,
    NodePack,
    Progress,
)

LONGEST_SUFFIX = len(".safetensors")
"""What is longer is a sentence in a text, not the end of a file's name."""

HASHERS = 4
"""Files hashed at once; sha256 leaves Python's lock while it works."""


class ModelPath(NamedTuple):
    """A model as this ComfyUI names and finds it."""

    folder: str
    name: str
    path: Path


class InputPath(NamedTuple):
    """An input file as this ComfyUI names and finds it."""

    place: InputPlace
    name: str
    path: Path


class Catalog(Protocol):
    """What a ComfyUI knows of its own nodes, models and files."""

    def knows(self, class_type: str) -> bool:
        """Whether the node class is installed here."""

    def pack_of(self, class_type: str) -> Path | None:
        """Folder or file of the node pack, None for ComfyUI's own classes."""

    def models_of(self, literal: graphs.Literal) -> list[ModelPath]:
        """The model files that a widget value names; empty when it names none."""

    def input_of(self, literal: graphs.Literal) -> InputPath | None:
        """The input file that a widget value names."""

    def wanted_file(self, literal: graphs.Literal) -> bool:
        """Whether the widget takes the name of a model or an input file, found or not."""

    def object_info(self, class_types: Iterable[str]) -> Json:
        """ComfyUI's definitions of these classes, as GET /object_info gives them."""

    def environment(self) -> Environment:
        """Versions of ComfyUI, Python, torch and platform."""


class Library(Protocol):
    """Where the bucket's model library answers for models that are not here."""

    def find(self, name: str) -> ModelFile | None:
        """The model of this name, whatever its folder; None when there is none."""


@dataclass(frozen=True)
class Missing:
    """One input that names something nobody has."""

    node_id: str
    class_type: str
    input_name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Capture:
    """A manifest, and the local files behind those of its blobs that are here."""

    manifest: Manifest
    files: tuple[LocalBlob, ...] = ()
    missing: tuple[Missing, ...] = ()

    def check(self) -> None:
        """Raises Unresolved when something is missing."""
        if not self.missing:
            return
        errors: Json = {}
        for item in self.missing:
            entry = graphs.node_error(
                item.class_type, item.reason, input_name=item.input_name, value=item.value
            )
            if item.node_id in errors:
                errors[item.node_id]["errors"] += entry["errors"]
            else:
                errors[item.node_id] = entry
        more = f" and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
        raise Unresolved(f"{self.missing[0].reason}{more}", node_errors=errors)


@dataclass
class _Found:
    """What one walk over the prompt collects, before anything is read."""

    models: dict[tuple[str, str], Path] = field(default_factory=dict)
    inputs: dict[tuple[InputPlace, str], Path] = field(default_factory=dict)
    packs: dict[Path, set[str]] = field(default_factory=dict)
    remote_models: dict[tuple[str, str], ModelFile] = field(default_factory=dict)
    remote_inputs: dict[tuple[InputPlace, str], InputFile] = field(default_factory=dict)
    remote_packs: dict[str, NodePack] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


class Capturer:
    """Safe to share between threads. `spool` is a folder for archives on their way."""

    def __init__(
        self, catalog: Catalog, cache: HashCache, spool: Path, *, library: Library | None = None
    ) -> None:
        self._catalog = catalog
        self._cache = cache
        self._spool = spool
        self._library = library
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
        found = self._walk(prompt, base or Manifest())
        files: dict[str, LocalBlob] = {}
        paths = list(dict.fromkeys([*found.models.values(), *found.inputs.values()]))
        refs = self._hash_all(paths, files, progress, cancelled)
        packed: list[NodePack] = []
        for path, class_types in sorted(found.packs.items()):
            if cancelled():
                raise Cancelled("The capture was cancelled.")
            progress(Progress("packs", path.name))
            packed.append(self._pack(path, class_types, is_present, files))
        manifest = Manifest(
            models=(
                *(ModelFile(folder, name, refs[path])
                  for (folder, name), path in found.models.items()),
                *found.remote_models.values(),
            ),
            inputs=(
                *(InputFile(name, refs[path], place)
                  for (place, name), path in found.inputs.items()),
                *found.remote_inputs.values(),
            ),
            packs=(*packed, *found.remote_packs.values()),
            environment=self._catalog.environment(),
        )  # fmt: skip
        return Capture(manifest, tuple(files.values()), tuple(found.missing))

    def _walk(self, prompt: Json, base: Manifest) -> _Found:
        found = _Found()
        for class_type, node_ids in graphs.classes(prompt).items():
            self._find_class(class_type, node_ids, base, found)
        for literal in graphs.literals(prompt):
            if isinstance(literal.value, str) and literal.value:
                self._find_file(literal, base, found)
        return found

    def _find_class(
        self, class_type: str, node_ids: list[str], base: Manifest, found: _Found
    ) -> None:
        if self._catalog.knows(class_type):
            pack = self._catalog.pack_of(class_type)
            if pack is not None:
                found.packs.setdefault(pack, set()).add(class_type)
            return
        for remote in base.packs:
            if class_type in remote.classes:
                found.remote_packs[remote.name] = remote
                return
        if base.packs or base.environment.comfyui:
            return  # one of ComfyUI's own classes in the template's version; the worker decides
        found.missing += [
            Missing(node_id, class_type, "", class_type,
                    f"The node class {class_type} is not installed here and no template has it.")
            for node_id in node_ids
        ]  # fmt: skip

    def _find_file(self, literal: graphs.Literal, base: Manifest, found: _Found) -> None:
        models = self._catalog.models_of(literal)
        for model in models:
            found.models[model.folder, model.name] = model.path
        if models:
            return
        local = self._catalog.input_of(literal)
        if local is not None:
            found.inputs[local.place, local.name] = local.path
            return
        if self._find_remote(literal, base, found):
            return
        if self._catalog.wanted_file(literal):
            found.missing.append(
                Missing(literal.node_id, literal.class_type, literal.name, literal.value,
                        f"{literal.value} is neither on this machine nor in the bucket.")
            )  # fmt: skip

    def _find_remote(self, literal: graphs.Literal, base: Manifest, found: _Found) -> bool:
        value = literal.value
        remote_models = [m for m in base.models if value in (m.name, _family(m.name))]
        for model in remote_models:
            found.remote_models[model.folder, model.name] = model
        for item in base.inputs:
            if item.name == value:
                found.remote_inputs[item.place, item.name] = item
                return True
        if remote_models:
            return True
        # Asking the library lists the bucket: only for what can be the name of a model.
        if self._library is None or not self._may_be_model(literal):
            return False
        model_file = self._library.find(value)
        if model_file is None:
            return False
        found.remote_models[model_file.folder, model_file.name] = model_file
        return True

    def _may_be_model(self, literal: graphs.Literal) -> bool:
        if self._catalog.knows(literal.class_type):
            return self._catalog.wanted_file(literal)
        suffix = Path(literal.value).suffix
        return 1 < len(suffix) <= LONGEST_SUFFIX and suffix[1:].isalnum()

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
        path: Path,
        class_types: set[str],
        is_present: Callable[[BlobRef], bool],
        files: dict[str, LocalBlob],
    ) -> NodePack:
        with self._pack_locks.setdefault(path, threading.Lock()):
            members = list(packs.files_of(path))
            key = packs.key_of(members)
            ref = self._cache.pack(key)
            if ref is None or not (is_present(ref) or self._spooled(ref).exists()):
                ref = self._make_archive(members)
                if packs.key_of(members) != key:
                    raise FileChanged(
                        f"The node pack {path} changed while it was packed.",
                        hint="Wait until whatever writes it has finished, then retry.",
                    )
                self._cache.keep_pack(key, ref)
        spooled = self._spooled(ref)
        try:
            files[ref.digest] = LocalBlob(ref, spooled, hashing.fingerprint(spooled))
        except FileChanged:
            if not is_present(ref):  # else another job has sent the archive and deleted it
                raise
        classes, needs = tuple(sorted(class_types)), requirements.of_pack(path)
        return NodePack(path.name, ref, classes, len(members), needs)

    def _make_archive(self, members: list[tuple[str, Path]]) -> BlobRef:
        self._spool.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._spool, suffix=".part", delete=False) as part:
            temporary = Path(part.name)
        try:
            packs.archive(members, temporary)
            ref, _ = hashing.of_file(temporary)
            temporary.replace(self._spooled(ref))
        finally:
            temporary.unlink(missing_ok=True)
        return ref

    def _spooled(self, ref: BlobRef) -> Path:
        return self._spool / f"{ref.digest}.tar.gz"

    def release(self, capture: Capture) -> None:
        """Delete the archives of a capture whose blobs are in the bucket."""
        for blob in capture.files:
            if blob.path.parent == self._spool:
                blob.path.unlink(missing_ok=True)


def _family(name: str) -> str:
    """The choice that stands for a TAESD pair: taesd3_decoder.safetensors → taesd3."""
    stem = name.rsplit(".", 1)[0]
    for half in ("_encoder", "_decoder"):
        if stem.endswith(half):
            return stem[: -len(half)]
    return name
