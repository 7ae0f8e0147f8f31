"""Completes GET /object_info by what only the bucket has.

Node classes that are not installed here come from the templates that use them, so a template
renders with all its widgets; names of models that are not here are added to the choices of the
loaders that would list them. It is done on the server because definitions that a page registers
itself are lost when it refreshes them. Input files and help pages are known in the same go.

What the bucket has is read in the background and kept; a page never waits for AWS longer than
FIRST_WAIT, and that only once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, TypeAlias

import folder_paths

import nodes
from comfy_aws import inputspecs
from comfy_aws.errors import ComfyAwsError, InvalidDocument, NotFound
from comfy_aws.inputspecs import Spec
from comfy_aws.models import BlobRef, InputFile, Json, Template, TemplateVersion
from comfy_aws.services import Services
from comfy_aws.templates import READERS

log = logging.getLogger(__name__)

FRESH: Final = 20.0
"""Seconds that what was read of the bucket is taken as it is."""

FIRST_WAIT: Final = 3.0
"""Seconds that the first page after start waits for the bucket."""


VersionKey: TypeAlias = tuple[str, float, int]
"""A template's name, when it was created, and the version: a deleted name may come again."""


@dataclass(frozen=True)
class Stored:
    """What is needed of a template's current version."""

    object_info: Json
    inputs: tuple[InputFile, ...]
    help: dict[tuple[str, str], BlobRef]

    @classmethod
    def of(cls, version: TemplateVersion) -> Stored:
        pages = {(each.pack, each.name): each.blob for each in version.help}
        return cls(version.object_info, version.manifest.inputs, pages)


@dataclass(frozen=True)
class Known:
    """What the bucket has: definitions by class, model names by folder, and input files."""

    classes: Json = field(default_factory=dict)
    models: dict[str, list[str]] = field(default_factory=dict)
    inputs: tuple[InputFile, ...] = ()
    """Those of the template that was changed last come first."""
    help: dict[tuple[str, str], BlobRef] = field(default_factory=dict)
    """By a pack, and the name of a file that it would serve to the page."""


class Listed(list):  # type: ignore[type-arg]
    """A list of file names that remembers the models folder it was made for."""

    folder: str = ""


class Definitions:
    """Lives in ComfyUI's event loop.

    Args:
        services: gives the services; raises when nothing is configured.
    """

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._known = Known()
        self._read_at = -FRESH
        self._reading: asyncio.Task[None] | None = None
        self._versions: dict[VersionKey, Stored] = {}
        self._opened = Stored({}, (), {})
        self._folders: dict[str, dict[str, str]] | None = None

    async def has_any(self) -> bool:
        """Whether the bucket has anything that could be added; reads it when that is due."""
        first = self._read_at < 0 and not self._versions
        if time.monotonic() - self._read_at > FRESH and self._reading is None:
            self._reading = asyncio.create_task(self._read())
        if first and self._reading is not None:
            await asyncio.wait([self._reading], timeout=FIRST_WAIT)
        return bool(self._known.classes or self._known.models or self._opened.object_info)

    def complete(self, info: Json) -> Json | None:
        """`info` with what it lacks; None when it lacks nothing."""
        known = replace(self._known, classes={**self._known.classes, **self._opened.object_info})
        missing = {name: known.classes[name] for name in known.classes if name not in info}
        extended = {
            name: changed
            for name, definition in info.items()
            if (changed := self._extended(name, definition, known)) is not None
        }
        return {**info, **extended, **missing} if missing or extended else None

    def opened(self, version: TemplateVersion) -> None:
        """Somebody has opened this version: it is known at once, and of equal names it is meant."""
        self._opened = Stored.of(version)

    async def input(self, place: str, name: str) -> InputFile | None:
        """The input file of a template that a node would read under this name."""
        await self.has_any()
        wanted = (each for each in (*self._opened.inputs, *self._known.inputs)
                  if each.name == name and each.place.value == place)  # fmt: skip
        return next(wanted, None)

    async def help(self, pack: str, name: str) -> BlobRef | None:
        """A help page or a picture in one, as a pack that is not here would serve it."""
        await self.has_any()
        return self._opened.help.get((pack, name)) or self._known.help.get((pack, name))

    def forget(self) -> None:
        """Something was published or deleted: read the bucket again next time."""
        self._read_at = -FRESH

    async def _read(self) -> None:
        try:
            self._known = await asyncio.to_thread(self._read_bucket)
        except ComfyAwsError as exc:
            log.info("What the bucket has is not known: %s", exc)
        finally:
            self._read_at = time.monotonic()
            self._reading = None

    def _read_bucket(self) -> Known:
        services = self._services()
        templates = services.templates.list()

        def read(template: Template) -> Stored | None:
            try:
                return self._stored(services, template)
            except (NotFound, InvalidDocument) as exc:
                # It is being deleted, or another version of us wrote it; the others are known.
                log.info("What the template %s needs is not known: %s", template.name, exc)
                return None

        with ThreadPoolExecutor(READERS) as pool:
            read_now = zip(templates, pool.map(read, templates), strict=True)
            stored = [(template, each) for template, each in read_now if each is not None]
        self._versions = {_version_key(template): each for template, each in stored}
        classes: Json = {}
        pages: dict[tuple[str, str], BlobRef] = {}
        for _, each in reversed(stored):  # the one changed last wins
            classes |= each.object_info
            pages |= each.help
        models: dict[str, list[str]] = {}
        for model in services.library.list():
            models.setdefault(model.folder, []).append(model.name)
        inputs = tuple(chain.from_iterable(each.inputs for _, each in stored))
        return Known(classes, models, inputs, pages)

    def _stored(self, services: Services, template: Template) -> Stored:
        known = self._versions.get(_version_key(template))
        if known is not None:
            return known
        return Stored.of(services.templates.version(template.name, template.version))

    def _extended(self, class_type: str, definition: Json, known: Known) -> Json | None:
        """The definition with more choices; None when there are no more."""
        if self._folders is None:
            self._folders = choices_by_folder()
        stored = inputspecs.every(known.classes.get(class_type, {}).get("input", {}))
        folders = self._folders.get(class_type, {})

        def extended(name: str, spec: Spec) -> Spec | None:
            more = known.models.get(folders.get(name, ""), ())
            return with_more(spec, [*more, *_offered(stored.get(name))])

        changed = inputspecs.changed(definition.get("input", {}), extended)
        return {**definition, "input": changed} if changed is not None else None


def with_stored_choices(here: Json, stored: Json) -> Json:
    """A local definition whose choices also hold those of the template's machine."""
    theirs = inputspecs.every(stored.get("input", {}))
    changed = inputspecs.changed(
        here["input"], lambda name, spec: with_more(spec, _offered(theirs.get(name)))
    )
    return {**here, "input": changed} if changed is not None else here


def with_more(spec: Spec, more: Iterable[Any]) -> Spec | None:
    """A combo with more choices; None when there are no more, or it is no combo."""
    options = None if inputspecs.brings_others(spec) else inputspecs.choices(spec)
    if options is None:
        return None
    added = [choice for choice in dict.fromkeys(more) if choice not in options]
    return inputspecs.with_choices(spec, [*options, *added]) if added else None


def _offered(spec: Spec | None) -> list[Any]:
    return (inputspecs.choices(spec) or []) if spec is not None else []


def _version_key(template: Template) -> VersionKey:
    return template.name, template.created, template.version


def choices_by_folder() -> dict[str, dict[str, str]]:
    """Which models folder the choices of each input come from: class → input → folder.

    The nodes themselves are asked: while they are, ComfyUI's list function gives lists that know
    their folder. Runs on the event loop without a pause; others meanwhile get equal lists.
    """
    list_names = folder_paths.get_filename_list

    def listed(folder: str) -> list[str]:
        names = Listed(list_names(folder))
        names.folder = folder
        return names

    found: dict[str, dict[str, str]] = {}
    folder_paths.get_filename_list = listed
    try:
        for class_type, node in nodes.NODE_CLASS_MAPPINGS.items():
            inputs = _folders_of(node)
            if inputs:
                found[class_type] = inputs
    finally:
        folder_paths.get_filename_list = list_names
    return found


def _folders_of(node: Any) -> dict[str, str]:
    try:
        declared = node.INPUT_TYPES()
    except Exception:  # noqa: BLE001 – a broken node is ComfyUI's to report, not ours
        return {}
    specs = inputspecs.every(declared if isinstance(declared, dict) else {})
    return {
        name: options.folder
        for name, spec in specs.items()
        if isinstance(options := inputspecs.choices(spec), Listed)
    }
