"""Templates in the bucket: a pointer that moves, and versions that never change.

A template exists from the moment its pointer does, and the bucket decides who creates it
(IfNoneMatch); everything it names is in the bucket before. Deleting removes the pointer first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from comfy_aws import joblog, layout
from comfy_aws.aws import ObjectStore
from comfy_aws.blobs import Blobs
from comfy_aws.errors import (
    AwsConflict,
    AwsError,
    AwsNotFound,
    ComfyAwsError,
    Conflict,
    InvalidDocument,
    InvalidName,
    NotFound,
)
from comfy_aws.garbage import outlast
from comfy_aws.models import (
    BlobRef,
    ChosenInput,
    Template,
    TemplateVersion,
    from_json,
    to_json,
)
from comfy_aws.parameters import check_chosen

log = joblog.logger(__name__)

READERS = 16
"""Documents read at once."""

TRIES = 5
"""How often a change is tried when others are faster."""


class Templates:
    """The bucket's templates."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, tuple[str, Template]] = {}
        """ETag and pointer by name, as last listed: of a thousand templates few have changed."""

    def list(self) -> list[Template]:
        """All templates, the one changed last first."""
        seen = self._seen

        def read(of: tuple[str, str]) -> tuple[str, Template] | None:
            name, etag = of
            if name in seen and seen[name][0] == etag:
                return seen[name]
            try:
                template, etag = self._read(name)
            except NotFound:
                return None  # deleted at this moment
            except (InvalidDocument, InvalidName) as exc:
                log.warning("The template %r is not listed: %s", name, exc)
                return None
            return etag, template

        entries = self._store.list(layout.TEMPLATES)
        pointers = [(name, e.etag) for e in entries if (name := layout.template_of(e.key))]
        with ThreadPoolExecutor(READERS) as pool:
            found = [each for each in pool.map(read, pointers) if each]
        self._seen = {template.name: (etag, template) for etag, template in found}
        return sorted((template for _, template in found), key=lambda t: -t.updated)

    def exists(self, name: str) -> bool:
        return self._store.head(layout.template_key(layout.check_template_name(name))) is not None

    def get(self, name: str) -> Template:
        """Raises NotFound, InvalidName."""
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[Template, str]:
        key = layout.template_key(layout.check_template_name(name))
        try:
            body, etag = self._store.get_with_etag(key)
        except AwsNotFound as exc:
            raise _unknown(name) from exc
        return from_json(Template, body, where=key), etag

    def version(self, name: str, number: int = 0) -> TemplateVersion:
        """One version; the current one for 0. Raises NotFound, InvalidName."""
        number = number or self.get(name).version
        key = layout.version_key(layout.check_template_name(name), number)
        try:
            return from_json(TemplateVersion, self._store.get(key), where=key)
        except AwsNotFound as exc:
            raise NotFound(
                f"The template {name} has no version {number}.", hint="Publish it again."
            ) from exc

    def versions(self, name: str) -> Iterator[int]:
        """The numbers of all versions, ascending."""
        prefix = layout.version_prefix(layout.check_template_name(name))
        stems = (entry.key[len(prefix) : -len(".json")] for entry in self._store.list(prefix))
        yield from sorted(int(stem) for stem in stems if stem.isdecimal())

    def history(self, name: str) -> Sequence[TemplateVersion]:
        """All versions, ascending. Raises NotFound, InvalidName."""
        self.get(name)
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda number: self.version(name, number), self.versions(name)))

    def create(
        self,
        draft: TemplateVersion,
        *,
        description: str = "",
        cover: bytes = b"",
        parameters: tuple[ChosenInput, ...] | None = None,
    ) -> Template:
        """Store a first version and point a new template at it.

        Args:
            cover: a picture as `codecs.cover_of` makes it.

        Raises:
            Conflict: the name is taken, or a blob was deleted meanwhile; nothing of the draft
                stays.
        """
        version = self._add_version(draft)
        self._check_blobs(version)
        now = self._clock()
        template = Template(
            draft.name, version.version, now, now, draft.author, description,
            size=draft.manifest.size, cover=self._put_cover(cover), parameters=parameters or (),
        )  # fmt: skip
        try:
            self._write(template, if_none_match=True)
        except AwsError as exc:
            # A write whose answer was lost is sent again, and then finds its own pointer.
            if not self._points_to(template):
                self._store.delete(layout.version_key(draft.name, version.version))
                if isinstance(exc, AwsConflict):
                    raise taken(draft.name) from exc
                raise
        self._hold_cover(cover)
        return template

    def add_version(
        self,
        draft: TemplateVersion,
        *,
        description: str = "",
        cover: bytes = b"",
        parameters: tuple[ChosenInput, ...] | None = None,
    ) -> Template:
        """Store a next version and move the pointer to it; what is not told anew stays.

        Raises:
            NotFound, Conflict.
        """
        self.get(draft.name)
        version = self._add_version(draft)
        self._check_blobs(version)
        shown = self._put_cover(cover)
        changed = self.change(
            draft.name,
            lambda template: replace(
                _told(template, description, shown, parameters),
                version=version.version,
                size=draft.manifest.size,
            ),
        )
        self._hold_cover(cover)
        return changed

    def tell(
        self,
        template: Template,
        *,
        description: str,
        cover: bytes,
        parameters: tuple[ChosenInput, ...] | None = None,
    ) -> Template:
        """Change what is told of a template, where something new is given. Raises NotFound."""
        shown = self._put_cover(cover)
        if _told(template, description, shown, parameters) == template:
            return template
        changed = self.change(template.name, lambda old: _told(old, description, shown, parameters))
        self._hold_cover(cover)
        return changed

    def change(self, name: str, edit: Callable[[Template], Template]) -> Template:
        """Apply `edit` to the pointer; tried again when somebody else was faster.

        Raises:
            NotFound: no such template.
            Conflict: others kept changing it.
        """
        for _ in range(TRIES):
            template, etag = self._read(name)
            changed = replace(edit(template), updated=self._clock())
            try:
                self._write(changed, if_match=etag)
            except AwsConflict:
                continue
            return changed
        raise Conflict(f"The template {name} is being changed by somebody else.", hint="Try again.")

    def choose(self, name: str, chosen: tuple[ChosenInput, ...]) -> Template:
        """Say what its form shows from now on, in this order; none for what the rules find.

        Raises:
            NotFound: no such template.
            InvalidParameters: one of them is no widget of the current version, or named twice.
            Conflict: others kept changing the template.
        """
        if chosen:
            version = self.version(name, self.get(name).version)
            check_chosen(version.prompt, version.object_info, chosen)
        return self.change(name, lambda old: replace(old, parameters=chosen))

    def roll_back(self, name: str, number: int) -> Template:
        """Make an older version the current one; no version is lost.

        Raises:
            NotFound: there is no such template or version.
            Conflict: others kept changing the template.
        """
        version = self.version(name, number)
        size = version.manifest.size
        return self.change(name, lambda old: replace(old, version=version.version, size=size))

    def rename(self, name: str, new: str) -> Template:
        """Give a template another name; its versions keep their numbers.

        Everything is there under the new name before the old one goes, and the old one goes only
        as it was copied. A rename that is killed half-way leaves both names, and loses nothing.

        Raises:
            NotFound: no such template.
            Conflict: the new name is taken, or others kept changing the template.
        """
        if self.exists(new):
            raise taken(new)
        copied: dict[int, bool] = {}
        renamed = None
        for _ in range(TRIES):
            try:
                template, etag = self._read(name)
                self._copy_versions(name, new, copied)
                renamed = self._move_pointer(template, new, renamed)
                self._store.delete_unchanged(layout.template_key(name), etag)
            except AwsConflict:
                continue  # it was changed under the old name meanwhile
            except (NotFound, AwsNotFound):
                if renamed is None:
                    raise
                # Somebody else has removed it, or our own removal was sent twice.
            except ComfyAwsError:
                if renamed is None:
                    made = (number for number, is_ours in copied.items() if is_ours)
                    self._store.delete(*(layout.version_key(new, number) for number in made))
                raise
            self._store.delete(*(layout.version_key(name, number) for number in copied))
            return renamed
        raise Conflict(
            f"The template {name} is being changed by somebody else.",
            hint=f"It may exist as {new}, too; then delete one of them.",
        )

    def _move_pointer(self, template: Template, new: str, before: Template | None) -> Template:
        """Create the pointer of the new name, or bring it up to the old one's."""
        if before is not None:
            return self.change(new, lambda _: replace(template, name=new))
        renamed = replace(template, name=new, updated=self._clock())
        try:
            self._write(renamed, if_none_match=True)
        except AwsConflict as exc:
            if not self._points_to(renamed):
                raise taken(new) from exc
        return renamed

    def _copy_versions(self, name: str, new: str, copied: dict[int, bool]) -> None:
        """Copy versions under a new name; `copied` tells which are there, and are our writing."""

        def copy(number: int) -> None:
            version = replace(self.version(name, number), name=new)
            key = layout.version_key(new, number)
            try:
                self._put(key, version, if_none_match=True)
            except AwsConflict as exc:
                if self._store.get(key) != to_json(version).encode():
                    raise Conflict(
                        f"Somebody is publishing a template named {new}.",
                        hint="Choose another name.",
                    ) from exc
                copied[number] = False
            else:
                copied[number] = True

        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(copy, [n for n in self.versions(name) if n not in copied]))

    def delete(self, name: str) -> None:
        """Remove the template and its versions; blobs stay for others. Raises NotFound."""
        self.get(name)
        # Listed before the name is free: a version that comes later is another publisher's.
        versions = [entry.key for entry in self._store.list(layout.version_prefix(name))]
        self._store.delete(layout.template_key(name))
        self._store.delete(*versions)

    def _points_to(self, template: Template) -> bool:
        """Whether the pointer is the one that we wrote: a number is given to one publisher."""
        try:
            return self.get(template.name).version == template.version
        except (NotFound, InvalidDocument):
            return False

    def _add_version(self, draft: TemplateVersion) -> TemplateVersion:
        number = max(self.versions(draft.name), default=0) + 1
        while True:
            version = replace(draft, version=number)
            key = layout.version_key(draft.name, number)
            try:
                self._put(key, version, if_none_match=True)
            except AwsConflict:
                number += 1  # another publisher took this number a moment ago
                continue
            return version

    def _check_blobs(self, version: TemplateVersion) -> None:
        """Let no version count whose blobs a collector deleted that did not see it yet.

        A collector that begins now sees the version. One that began before may be deleting still,
        or have ended since this publisher found the blobs in the bucket.
        """
        outlast(self._store, self._clock)
        blobs = version.blobs().values()
        with ThreadPoolExecutor(READERS) as pool:
            heads = list(pool.map(lambda ref: self._store.head(layout.blob_key(ref.digest)), blobs))
        if all(heads):
            return
        self._store.delete(layout.version_key(version.name, version.version))
        raise Conflict(
            "Blobs that nothing named yet were deleted while the template was published.",
            hint="Publish it again: what is missing is sent again.",
        )

    def _put_cover(self, picture: bytes) -> BlobRef | None:
        # By a new Blobs, which asks the bucket: what another remembers may have been collected.
        return Blobs(self._store).put(picture) if picture else None

    def _hold_cover(self, picture: bytes) -> None:
        """Only the pointer names the cover: a collector that read it before may have deleted it."""
        if picture:
            outlast(self._store, self._clock)
            self._put_cover(picture)

    def _write(self, template: Template, **conditions: Any) -> None:
        self._put(layout.template_key(template.name), template, **conditions)

    def _put(self, key: str, document: Template | TemplateVersion, **conditions: Any) -> None:
        body = to_json(document).encode()
        self._store.put(key, body, content_type="application/json", **conditions)


def _told(
    template: Template,
    description: str,
    cover: BlobRef | None,
    parameters: tuple[ChosenInput, ...] | None,
) -> Template:
    return replace(
        template,
        description=description or template.description,
        cover=cover or template.cover,
        parameters=template.parameters if parameters is None else parameters,
    )


def taken(name: str) -> Conflict:
    return Conflict(
        f"A template named {name} exists already.",
        hint="Choose another name, or publish a new version of it.",
    )


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"There is no template named {name}.",
        hint="See which there are: in the sidebar, or by comfy-aws template list.",
    )
