"""Looks up everything a prompt stands on: here, in the template's manifest, in the bucket.

Nobody writes a list: what an input names is decided by what this ComfyUI says of its own nodes
(the `Catalog`). What nobody has is reported, never dropped; nothing is read here but names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from comfy_aws import companions, formats, packimports, references
from comfy_aws import prompt as graphs
from comfy_aws.helppages import WebFolder
from comfy_aws.models import (
    Environment,
    InputFile,
    InputPlace,
    Json,
    LocalPath,
    Manifest,
    ModelFile,
    NodePack,
)
from comfy_aws.packs import Scan, scan

EMBEDDINGS, LORAS = "embeddings", "loras"
"""ComfyUI's names of the folders that texts refer to."""

PACKS = "custom_nodes"
"""ComfyUI's name of the folder of node packs, which has models, too: those that packs download."""

SIGNS_IN = (
    "This partner node works by your sign-in at Comfy Org, which never leaves this machine. Run "
    "the workflow here, or save what the node makes and load it in a workflow for AWS."
)

SHOWN = 200
"""Characters of a value that a sentence shows."""


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


class Meant(NamedTuple):
    """What a path of this machine is on every ComfyUI, with the files that are there."""

    path: LocalPath
    models: tuple[ModelPath, ...] = ()
    inputs: tuple[InputPath, ...] = ()


class Catalog(Protocol):
    """What a ComfyUI knows of its own nodes, models and files."""

    def knows(self, class_type: str) -> bool:
        """Whether the node class is installed here."""

    def signs_in(self, class_type: str) -> bool:
        """Whether such a node works at Comfy Org, by a sign-in that stays on this machine."""

    def renewed(self, prompt: Json) -> Json:
        """The graph with others for the node classes that this ComfyUI has given up."""

    def pack_of(self, class_type: str) -> Path | None:
        """Folder or file of the node pack, None for ComfyUI's own classes."""

    def siblings(self, pack: Path | None) -> list[Path]:
        """The other node packs, which this one may import from; all packs for None."""

    def source_of(self, class_type: str) -> Path | None:
        """The file that a class of a node pack is written in."""

    def models_of(self, literal: graphs.Literal) -> list[ModelPath]:
        """The files that a widget value names, and those that belong to them."""

    def models_named(self, folder: str, name: str) -> list[ModelPath]:
        """The models that a text in a prompt means; see `references.matching`."""

    def models_read_by(self, class_type: str, inputs: Json) -> list[ModelPath]:
        """The files that such a node was seen to read in a local run."""

    def inputs_of(self, literal: graphs.Literal) -> list[InputPath]:
        """The input files that a widget value names: one, or all of a folder."""

    def path_of(self, literal: graphs.Literal) -> Meant | None:
        """What a path of this machine means, if it leads below one of ComfyUI's folders."""

    def wanted_file(self, literal: graphs.Literal) -> bool:
        """Whether the widget takes the name of a model or an input file, found or not."""

    def offers(self, literal: graphs.Literal) -> bool:
        """Whether the value is a choice of its widget; true where a widget has no choices."""

    def is_added(self, literal: graphs.Literal) -> bool:
        """Whether the value is a sampler or a scheduler that ComfyUI itself does not have."""

    def object_info(self, class_types: Iterable[str]) -> Json:
        """ComfyUI's definitions of these classes, as GET /object_info gives them."""

    def web_folder(self, class_type: str) -> WebFolder | None:
        """Where the page finds what the class's node pack has for it, its help among it."""

    def environment(self) -> Environment:
        """Versions of ComfyUI, Python, torch and platform."""


class Library(Protocol):
    """Where the bucket's model library answers for models that are not here."""

    def find(self, name: str, folder: str = "") -> Sequence[ModelFile]:
        """The models of this name, with what belongs to them; in any folder unless one is named."""


@dataclass(frozen=True)
class Finding:
    """What there is to say about one input; an empty `input_name` means the node itself."""

    node_id: str
    class_type: str
    input_name: str
    value: str
    reason: str


@dataclass
class Found:
    """Everything that a prompt needs, before anything is read.

    `readers` holds the node class of each model that is read without being named.
    """

    models: dict[tuple[str, str], Path] = field(default_factory=dict)
    readers: dict[tuple[str, str], str] = field(default_factory=dict)
    inputs: dict[tuple[InputPlace, str], Path] = field(default_factory=dict)
    packs: dict[Path, set[str]] = field(default_factory=dict)
    scans: dict[Path, Scan] = field(default_factory=dict)
    remote_models: dict[tuple[str, str], ModelFile] = field(default_factory=dict)
    remote_inputs: dict[tuple[InputPlace, str], InputFile] = field(default_factory=dict)
    remote_packs: dict[str, NodePack] = field(default_factory=dict)
    paths: dict[str, LocalPath] = field(default_factory=dict)
    missing: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def named_in(catalog: Catalog, prompt: Json) -> set[tuple[str, str]]:
    """Folder and name of each model here that the inputs of a graph name, in whatever way."""
    models: list[ModelPath] = []
    for literal in graphs.strings(prompt):
        for each in references.files_by_line(literal.value) or (literal.value,):
            models += catalog.models_of(literal._replace(value=each))
        for way in itertools.chain(*references.embeddings(literal.value)):
            models += catalog.models_named(EMBEDDINGS, way)
        for name in references.loras(literal.value):
            models += catalog.models_named(LORAS, name)
        meant = catalog.path_of(literal) if references.may_be_path(literal.value) else None
        models += meant.models if meant else ()
    return {(model.folder, graphs.posix(model.name)) for model in models}


class Resolver:
    """Safe to share between threads.

    Args:
        fault_of: why a model's file cannot be used, or nothing; asked for every model.
    """

    def __init__(
        self,
        catalog: Catalog,
        library: Library | None = None,
        fault_of: Callable[[Path], str] = formats.fault_of,
    ) -> None:
        self._catalog = catalog
        self._library = library
        self._fault_of = fault_of

    def resolve(self, prompt: Json, base: Manifest) -> Found:
        """Look up what `prompt` needs; `base` is the template's manifest, for what is not here.

        Raises:
            FileChanged: a model vanished meanwhile.
        """
        found = Found()
        for class_type, node_ids in graphs.classes(prompt).items():
            self._find_class(class_type, node_ids, base, found)
        self._find_used(found)
        self._find_added(prompt, found)
        self._find_imported(found)
        self._tell_secrets(prompt, found)
        # Whether a pack reads tags is told by its source, read only when there is a tag.
        reads_tags: bool | None = None
        for literal in graphs.strings(prompt):
            if not self._find_path(literal, base, found):
                for each in references.files_by_line(literal.value) or (literal.value,):
                    self._find_file(literal._replace(value=each), base, found)
            for ways in references.embeddings(literal.value):
                self._find_reference(literal, EMBEDDINGS, ways, base, found)
            tags = references.loras(literal.value)
            if tags and reads_tags is None:
                reads_tags = any(map(packimports.reads_lora_tags, found.scans.values()))
                reads_tags |= bool(found.remote_packs)
            for name in tags if reads_tags else ():
                self._find_reference(literal, LORAS, (name,), base, found)
        self._find_read(prompt, base, found)
        return found

    # -- classes and packs ---------------------------------------------------------------------

    def _find_class(
        self, class_type: str, node_ids: list[str], base: Manifest, found: Found
    ) -> None:
        if self._catalog.knows(class_type):
            if self._catalog.signs_in(class_type):
                found.missing += [Finding(node_id, class_type, "", class_type, SIGNS_IN)
                                  for node_id in node_ids]  # fmt: skip
            pack = self._catalog.pack_of(class_type)
            if pack is not None:
                found.packs.setdefault(pack, set()).add(class_type)
            return
        stored = {pack.name: pack for pack in base.packs if class_type in pack.classes}
        # Those that no class is of come along: others import from them, or they add choices.
        found.remote_packs |= {**stored, **_beside(base)}
        if stored:
            return
        reason = f"The node class {class_type} is not installed here"
        if base.packs or base.environment.comfyui:
            # It can be one of ComfyUI's own in the template's version.
            reason += ", nor is its node pack part of the template; only the worker may have it."
            told = found.warnings
        else:
            reason += " and no template has it."
            told = found.missing
        told += [Finding(node_id, class_type, "", class_type, reason) for node_id in node_ids]

    def _find_used(self, found: Found) -> None:
        """Find the packs of classes that the source of the graph's own classes takes by name."""
        waiting = [name for classes in found.packs.values() for name in classes]
        known = set(waiting)
        while waiting:
            source = self._catalog.source_of(waiting.pop())
            used = packimports.classes_used(source) if source is not None else frozenset()
            for class_type in filter(self._catalog.knows, used - known):
                known.add(class_type)
                pack = self._catalog.pack_of(class_type)
                if pack is not None:
                    found.packs.setdefault(pack, set())
                    waiting.append(class_type)

    def _find_added(self, prompt: Json, found: Found) -> None:
        """Find the packs that add the samplers and schedulers which ComfyUI does not have."""
        for literal in filter(self._catalog.is_added, graphs.strings(prompt)):
            added = [pack for pack in self._catalog.siblings(None)
                     if packimports.adds_choice(scan(pack), literal.value)]  # fmt: skip
            for pack in added:
                found.packs.setdefault(pack, set())
            if not added:
                reason = f"No node pack here names {literal.value}; the worker may not have it."
                found.warnings.append(_finding(literal, literal.value, reason))

    def _find_imported(self, found: Found) -> None:
        waiting = list(found.packs)
        while waiting:
            pack = waiting.pop()
            scanned = scan(pack)
            if not scanned.members and not found.packs[pack]:
                del found.packs[pack]  # a folder of that name, but no code to import
                continue
            found.scans[pack] = scanned
            for other in packimports.imported(scanned, self._catalog.siblings(pack)):
                if other not in found.packs:
                    found.packs[other] = set()
                    waiting.append(other)

    @staticmethod
    def _tell_secrets(prompt: Json, found: Found) -> None:
        """Name the files of packs that stay here for the keys in them."""
        node_ids = graphs.classes(prompt)
        for pack, scanned in found.scans.items():
            class_type = min(found.packs[pack], default="")
            node_id = node_ids[class_type][0] if class_type else ""
            for name in scanned.secrets:
                reason = (
                    f"{name} of the node pack {pack.name} seems to hold a key or a password; it "
                    f"stays on this machine, and workers run the pack without it."
                )
                found.warnings.append(Finding(node_id, class_type, "", name, reason))

    # -- files ---------------------------------------------------------------------------------

    def _find_path(self, literal: graphs.Literal, base: Manifest, found: Found) -> bool:
        """Find what a value that is a path means here, or meant where the template is from."""
        if not references.may_be_path(literal.value):
            return False
        meant = self._catalog.path_of(literal)
        if meant is not None:
            found.paths[literal.value] = meant.path
            found.inputs |= {(each.place, each.name): each.path for each in meant.inputs}
            for model in meant.models:
                self._add_model(literal, model, found)
            return True
        stored = next((each for each in base.paths if each.value == literal.value), None)
        if stored is None:
            return False
        found.paths[stored.value] = stored
        for item in base.inputs:
            if item.place.value == stored.place and _is_at(item.name, stored.name):
                found.remote_inputs[item.place, item.name] = item
        for remote in base.models:
            if remote.folder == stored.folder and _is_at(remote.name, stored.name):
                self._add_remote(literal, remote, found)
        return True

    def _find_file(self, literal: graphs.Literal, base: Manifest, found: Found) -> None:
        models = self._catalog.models_of(literal)
        for model in models:
            self._add_model(literal, model, found)
        inputs = [] if models else self._catalog.inputs_of(literal)
        for local in inputs:
            found.inputs[local.place, local.name] = local.path
        if inputs and references.is_absolute(literal.value):
            told = found.missing if self._catalog.wanted_file(literal) else found.warnings
            reason = f"{_short(literal.value)} is a path of this machine, which workers do not have"
            told.append(_finding(literal, literal.value, f"{reason}; write {inputs[0].name}."))
        if models or inputs or self._find_remote(literal, base, found):
            return
        value = _short(literal.value)
        if self._catalog.wanted_file(literal):
            reason = f"{value} is neither on this machine nor in the bucket."
            found.missing.append(_finding(literal, value, reason))
            return
        if references.is_path_here(literal.value):
            reason = f"{value} is a path of this machine, which workers do not have."
        elif self._names_model(literal):
            reason = f"{value} may be a model; it is neither here nor in the bucket."
        elif not self._catalog.offers(literal):
            found.remote_packs |= _beside(base)
            reason = f"{value} is none of the choices of {literal.name}."
        else:
            return
        found.warnings.append(_finding(literal, value, reason))

    def _find_reference(
        self,
        literal: graphs.Literal,
        folder: str,
        ways: tuple[str, ...],
        base: Manifest,
        found: Found,
    ) -> None:
        """Find what a text names; `ways` to read it, of which the first that fits is meant."""
        named = (self._catalog.models_named(folder, way) for way in ways)
        models = next(filter(None, named), [])
        for model in models:
            self._add_model(literal, model, found)
        if models:
            return
        name = ways[-1]
        there = [m for m in base.models if m.folder == folder]
        listed, in_any_case = [m.name for m in there], folder == LORAS
        matching = (references.matching(listed, way, in_any_case=in_any_case) for way in ways)
        wanted = next(filter(None, matching), [])
        remote = [model for model in there if model.name in wanted]
        if not remote and self._library is not None:
            has_suffix = formats.suffix_of(name) in formats.MODELS
            names = (
                (name,)
                if has_suffix
                else [name + suffix for suffix in references.EMBEDDING_SUFFIXES]
            )
            stored = (self._library.find(each, folder) for each in names)
            remote = list(next(filter(None, stored), ()))
        for each in remote:
            self._add_remote(literal, each, found)
        if not remote:  # ComfyUI runs such a prompt, too, and leaves the name out
            reason = f"The text names {_short(name)}, which is not in {folder}; it has no effect."
            found.warnings.append(_finding(literal, name, reason))

    def _find_read(self, prompt: Json, base: Manifest, found: Found) -> None:
        """The models that nodes read without naming them."""
        packed = {member.path for scanned in found.scans.values() for member in scanned.members}
        for node_id, node in prompt.items():
            class_type = node["class_type"]
            for model in self._catalog.models_read_by(class_type, node.get("inputs", {})):
                if model.path not in found.models.values() and str(model.path) not in packed:
                    found.readers[model.folder, model.name] = class_type
                    literal = graphs.Literal(node_id, class_type, "", model.name)
                    self._add_model(literal, model, found)
            for stored in base.models:
                known = (stored.folder, stored.name) in found.models
                if stored.reader == class_type and not known:
                    literal = graphs.Literal(node_id, class_type, "", stored.name)
                    self._add_remote(literal, stored, found)

    def _add_model(self, literal: graphs.Literal, model: ModelPath, found: Found) -> None:
        model = model._replace(name=graphs.posix(model.name))
        if (model.folder, model.name) in found.models:
            return
        found.models[model.folder, model.name] = model.path
        fault = self._fault_of(model.path)
        if fault:
            reason = f"{model.name} {fault}. Download it again."
            found.missing.append(_finding(literal, literal.value, reason))
        _warn_of_pickle(literal, model.name, found)

    def _add_remote(self, literal: graphs.Literal, model: ModelFile, found: Found) -> None:
        if (model.folder, model.name) not in found.remote_models:
            found.remote_models[model.folder, model.name] = model
            _warn_of_pickle(literal, model.name, found)

    def _find_remote(self, literal: graphs.Literal, base: Manifest, found: Found) -> bool:
        value = graphs.posix(literal.value)
        remote_models = [m for m in base.models if _is_named_by(m.name, value)]
        for model in remote_models:
            self._add_remote(literal, model, found)
            for other in base.models:
                if other.folder == model.folder and companions.belongs(model.name, other.name):
                    self._add_remote(literal, other, found)
        for item in base.inputs:
            if item.name == value:
                found.remote_inputs[item.place, item.name] = item
                return True
        if remote_models:
            return True
        # Asking the library lists the bucket: only for what can be the name of a model.
        if self._library is None or not self._may_be_model(literal):
            return False
        stored = self._library.find(value)
        for model in stored:
            self._add_remote(literal, model, found)
        return bool(stored)

    def _may_be_model(self, literal: graphs.Literal) -> bool:
        if self._names_model(literal):
            return True
        if self._catalog.knows(literal.class_type):
            return self._catalog.wanted_file(literal)
        return references.looks_like_file(literal.value)

    @staticmethod
    def _names_model(literal: graphs.Literal) -> bool:
        looks = references.looks_like_file(literal.value)
        return looks and formats.suffix_of(literal.value) in formats.MODELS


def _is_at(name: str, place: str) -> bool:
    """Whether a file is the one at a place, or below it."""
    return name == place or name.startswith(f"{place}/")


def _beside(base: Manifest) -> dict[str, NodePack]:
    """The packs of a template that no class of its graph is of."""
    return {pack.name: pack for pack in base.packs if not pack.classes}


def _finding(literal: graphs.Literal, value: str, reason: str) -> Finding:
    return Finding(literal.node_id, literal.class_type, literal.name, value, reason)


def _short(value: str) -> str:
    """The value as it is shown in a sentence."""
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"


def _warn_of_pickle(literal: graphs.Literal, name: str, found: Found) -> None:
    if formats.is_pickle(name):
        reason = f"{name} is a pickle file, which can run code when it is read; prefer safetensors."
        found.warnings.append(_finding(literal, name, reason))


def _is_named_by(name: str, value: str) -> bool:
    """Whether a choice means a model of a manifest: by name, as TAESD pair, as folder."""
    return value in (name, _family(name)) or name.startswith(f"{value}/")


def _family(name: str) -> str:
    """The choice that stands for a TAESD pair: taesd3_decoder.safetensors → taesd3."""
    stem = name.rsplit(".", 1)[0]
    for half in ("_encoder", "_decoder"):
        if stem.endswith(half):
            return stem[: -len(half)]
    return name
