"""Templates as files: one zip for one version, to keep, to hand on, to bring to another bucket.

template.json   the pointer: name, description, author
version.json    the version: workflow, prompt, manifest, node definitions
blobs/{digest}  its cover; with blobs, everything that the manifest names

A file comes from anywhere: nothing of it is unpacked by a name of its own, every byte is held
against its digest, and a template is made only when the bucket has all that it needs.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from comfy_aws import hashing, layout
from comfy_aws import prompt as graphs
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.callbacks import ByteCounter, OnProgress, no_progress
from comfy_aws.codecs import cover_of
from comfy_aws.errors import InvalidDocument, InvalidFile, Unresolved
from comfy_aws.helppages import is_safe
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import (
    BlobRef,
    InputFile,
    Manifest,
    ModelFile,
    NodePack,
    Template,
    TemplateVersion,
    from_json,
    to_json,
)
from comfy_aws.scratch import scratch
from comfy_aws.templates import Templates, taken

POINTER: Final = "template.json"
VERSION: Final = "version.json"
BLOB: Final = re.compile(r"blobs/([0-9a-f]{64})")

DOCUMENT_BYTES: Final = 256 * 1024 * 1024
"""What a document may unpack to: a small file may claim any size."""

CHUNK: Final = 4 * 1024 * 1024

T = TypeVar("T")


class TemplateFiles:
    """Writes and reads template files. Safe to share between threads.

    Blobs on their way out of a file lie below `parent`, one at a time.
    """

    def __init__(
        self, templates: Templates, blobs: Blobs, library: ModelLibrary, parent: Path
    ) -> None:
        self._templates = templates
        self._blobs = blobs
        self._library = library
        self._parent = parent

    def export(
        self,
        name: str,
        path: Path,
        *,
        version: int = 0,
        with_blobs: bool = False,
        progress: OnProgress = no_progress,
    ) -> TemplateVersion:
        """Write one version into a new file, whole or not at all.

        Args:
            version: its number; 0 for the current one.
            with_blobs: the file also holds models, inputs and node packs, so that any bucket
                can take it in.

        Raises:
            NotFound, InvalidName: no such template or version.
            InvalidFile: the file cannot be written.
            BlobCorrupted, AwsNotFound: the bucket has lost a blob.
        """
        template = self._templates.get(name)
        chosen = self._templates.version(name, version or template.version)
        wanted = list(chosen.blobs().values()) if with_blobs else []
        if template.cover:
            wanted.append(template.cover)
        part = path.with_name(f"{path.name}.part")
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(POINTER, to_json(template))
                archive.writestr(VERSION, to_json(chosen))
                self._write_blobs(archive, wanted, path.parent, progress)
            part.replace(path)
        except OSError as exc:
            raise InvalidFile(
                f"{path} cannot be written: {exc.strerror or exc}.", hint="Choose another place."
            ) from exc
        finally:
            part.unlink(missing_ok=True)
        return chosen

    def _write_blobs(
        self, archive: zipfile.ZipFile, wanted: list[BlobRef], beside: Path, progress: OnProgress
    ) -> None:
        counter = ByteCounter("download", "", sum(ref.size for ref in wanted), progress)
        with scratch(beside) as folder:
            for ref in wanted:
                file = folder / ref.digest
                self._blobs.download(ref, file, progress=counter.add)
                # Models do not shrink, and packs are packed already.
                archive.write(file, f"blobs/{ref.digest}", zipfile.ZIP_STORED)
                file.unlink()

    def take_in(
        self, path: Path, *, name: str = "", author: str = "", progress: OnProgress = no_progress
    ) -> Template:
        """Make a new template of a file.

        Args:
            name: of the new template; empty for the one in the file.

        Raises:
            InvalidFile: it is no template file, it is damaged, or a name in it leads elsewhere.
            InvalidName, Conflict: the template cannot have that name.
            Unresolved: neither the file nor the bucket has all that the template needs.
        """
        with _opened(path) as archive:
            pointer = _document(archive, POINTER, Template)
            version = _document(archive, VERSION, TemplateVersion)
            name = layout.check_template_name(name or pointer.name)
            graphs.check_prompt(version.prompt)
            graphs.check_workflow(version.workflow)
            _check_names(version)
            if self._templates.exists(name):
                raise taken(name)
            needed = version.blobs()
            held = _digests(archive) & needed.keys()
            self._check_held(version.manifest, held)
            self._send(archive, [needed[digest] for digest in sorted(held)], progress)
            cover = self._cover(archive, pointer.cover)
        self._library.enter(version.manifest)
        # A template runs without its help: what neither the file nor the bucket has is left out.
        known = tuple(each for each in version.help if self._blobs.has(each.blob))
        draft = replace(version, name=name, author=version.author or author, help=known)
        return self._templates.create(draft, description=pointer.description, cover=cover)

    def _check_held(self, manifest: Manifest, held: frozenset[str]) -> None:
        self._blobs.forget(manifest.blobs().values())
        absent = self._blobs.missing(
            ref for ref in manifest.blobs().values() if ref.digest not in held
        )
        lost = {ref.digest for ref in absent}
        names = [_label(part) for part in manifest.parts() if part.blob.digest in lost]
        if names:
            raise Unresolved(
                f"Neither the file nor the bucket has {', '.join(names)}.",
                node_errors={},
                hint="Export the template with its files (--with-blobs) and import that.",
            )

    def _send(self, archive: zipfile.ZipFile, refs: list[BlobRef], progress: OnProgress) -> None:
        absent = self._blobs.missing(refs)
        counter = ByteCounter("upload", "", sum(ref.size for ref in absent), progress)
        with self._unpacking() as folder:
            for ref in absent:
                file = folder / ref.digest
                _unpack(archive, ref, file)
                blob = LocalBlob(ref, file, hashing.fingerprint(file))
                self._blobs.put_files([blob], progress=lambda _, count: counter.add(count))
                file.unlink()

    @contextmanager
    def _unpacking(self) -> Iterator[Path]:
        """A folder to unpack into, which goes again. Raises InvalidFile when there is no room."""
        try:
            with scratch(self._parent) as folder:
                yield folder
        except OSError as exc:
            raise InvalidFile(
                f"The file cannot be unpacked in {self._parent}: {exc.strerror or exc}.",
                hint="Free space there: it takes the largest of the template's files.",
            ) from exc

    def _cover(self, archive: zipfile.ZipFile, cover: BlobRef | None) -> bytes:
        """The picture is made anew: what is served later was never anything else."""
        if cover is None or cover.digest not in _digests(archive):
            return b""
        with self._unpacking() as folder:
            file = folder / cover.digest
            _unpack(archive, cover, file)
            return cover_of(file.read_bytes())


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, when nothing else than a template's parts is in it. Raises InvalidFile."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as exc:
        raise InvalidFile(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except zipfile.BadZipFile as exc:
        raise _damaged(exc) from exc
    try:
        with archive:
            for info in archive.infolist():
                if info.filename not in {POINTER, VERSION} and not BLOB.fullmatch(info.filename):
                    raise InvalidFile(
                        f"The template file holds {info.filename!r}, which does not belong there.",
                        hint="Export the template again.",
                    )
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as exc:
        raise _damaged(exc) from exc


def _damaged(exc: Exception) -> InvalidFile:
    return InvalidFile(
        f"The file is no template file, or it is damaged: {exc}.",
        hint="Choose one that was exported by Prompt on AWS.",
    )


def _document(archive: zipfile.ZipFile, name: str, kind: type[T]) -> T:
    try:
        info = archive.getinfo(name)
    except KeyError as exc:
        raise InvalidFile(
            f"The template file has no {name}.", hint="Export the template again."
        ) from exc
    if info.file_size > DOCUMENT_BYTES:
        raise InvalidFile(f"{name} in the template file is larger than {DOCUMENT_BYTES} bytes.")
    try:
        return from_json(kind, archive.read(info), where=name)
    except InvalidDocument as exc:
        raise InvalidFile(exc.message, hint="Export the template again.") from exc


def _digests(archive: zipfile.ZipFile) -> frozenset[str]:
    """Of the blobs in the archive."""
    matches = (BLOB.fullmatch(name) for name in archive.namelist())
    return frozenset(match[1] for match in matches if match)


def _unpack(archive: zipfile.ZipFile, ref: BlobRef, file: Path) -> None:
    """Write a blob, no more than its size. Raises InvalidFile when it is not what its name says."""
    digest = hashlib.sha256()
    size = 0
    with archive.open(f"blobs/{ref.digest}") as source, file.open("wb") as target:
        for chunk in iter(lambda: source.read(CHUNK), b""):
            size += len(chunk)
            if size > ref.size:
                break
            digest.update(chunk)
            target.write(chunk)
    if size != ref.size or digest.hexdigest() != ref.digest:
        raise InvalidFile(
            f"The bytes of blobs/{ref.digest} in the template file are damaged.",
            hint="Export the template again.",
        )


def _check_names(version: TemplateVersion) -> None:
    """Raises InvalidFile when a name would lead out of the folder it belongs to."""
    for page in version.help:
        if not BLOB.fullmatch(f"blobs/{page.blob.digest}") or not is_safe(page.pack, page.name):
            raise InvalidFile(
                f"The template file names {page.pack}/{page.name} as help, which it cannot be.",
                hint="Do not use this file.",
            )
    for part in version.manifest.parts():
        if not BLOB.fullmatch(f"blobs/{part.blob.digest}") or part.blob.size < 0:
            raise InvalidFile(f"The template file names no bytes for {_label(part)}.")
        names = [part.name, part.folder] if isinstance(part, ModelFile) else [part.name]
        for name in names:
            path = PurePosixPath(name)
            leaves = path.is_absolute() or ".." in path.parts or not path.parts
            if leaves or any(sign in name for sign in "\\\0"):
                raise InvalidFile(
                    f"The template file names {name!r}, which is not a path below its folder.",
                    hint="Do not use this file.",
                )


def _label(part: ModelFile | InputFile | NodePack) -> str:
    match part:
        case ModelFile():
            return f"the model {part.folder}/{part.name}"
        case InputFile():
            return f"the input {part.name}"
        case _:
            return f"the node pack {part.name}"
