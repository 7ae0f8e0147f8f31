"""Publishing: from the graph on the canvas to a stored version of a template.

Order is what makes it safe: blobs first, then the version that names them, then the pointer. A
failure or a cancel at any moment leaves no template, and blobs that went up are found again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from comfy_aws import __version__, hashing, helppages, layout
from comfy_aws import prompt as graphs
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.callbacks import (
    IsCancelled,
    OnDropped,
    OnProgress,
    never,
    no_progress,
    nothing_dropped,
)
from comfy_aws.capture import Capture, Capturer
from comfy_aws.codecs import cover_of
from comfy_aws.errors import Cancelled, Unresolved
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import (
    BlobRef,
    ChosenInput,
    HelpFile,
    Json,
    Manifest,
    Progress,
    Template,
    TemplateVersion,
    to_json,
)
from comfy_aws.parameters import check_chosen, sifted
from comfy_aws.rate import UploadRate
from comfy_aws.resolve import Catalog
from comfy_aws.templates import Templates, taken


class Uploader:
    """Sends what a capture found and the bucket lacks."""

    def __init__(
        self,
        blobs: Blobs,
        library: ModelLibrary,
        capturer: Capturer,
        rate: UploadRate | None = None,
    ) -> None:
        self._blobs = blobs
        self._library = library
        self._capturer = capturer
        self._rate = rate

    def capture(
        self,
        prompt: Json,
        *,
        base: Manifest | None = None,
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> Capture:
        """Capture, knowing what the bucket has. Raises as `Capturer.capture`."""
        return self._capturer.capture(
            prompt, base=base, is_present=self._blobs.has, progress=progress, cancelled=cancelled
        )

    def send(
        self,
        capture: Capture,
        *,
        base: Manifest | None = None,
        more: Sequence[LocalBlob] = (),
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> int:
        """Upload the blobs that the bucket lacks and return how many bytes that were.

        Args:
            base: a stored manifest, whose models the library has already.
            more: files that the manifest does not name.

        Raises:
            Unresolved: the capture is not complete, or a blob is neither here nor in the bucket.
            FileChanged, Cancelled, AwsError.
        """
        capture.check()
        local = {blob.ref.digest: blob for blob in (*capture.files, *more)}
        wanted = (*capture.manifest.blobs().values(), *(blob.ref for blob in more))
        missing = self._blobs.missing(wanted)
        _check_sources(capture, missing, local)
        total = sum(ref.size for ref in missing)
        done = 0
        lock = threading.Lock()

        def step(blob: LocalBlob, count: int) -> None:
            nonlocal done
            with lock:  # also around the call: one at a time, and never backwards
                done += count
                progress(Progress("upload", blob.path.name, done, total))

        if missing:
            progress(Progress("upload", "", 0, total))
            began = time.monotonic()
            self._blobs.put_files(
                [local[ref.digest] for ref in missing], progress=step, cancelled=cancelled
            )
            if self._rate is not None:
                self._rate.measured(total, time.monotonic() - began)
        self._capturer.release(capture)
        self._library.enter(capture.manifest, known=base)
        return total

    def has(self, ref: BlobRef) -> bool:
        """Whether the bucket has a blob."""
        return self._blobs.has(ref)

    def forget(self, manifest: Manifest | None = None) -> None:
        """Ask the bucket again whether it has these blobs, or any."""
        self._blobs.forget(None if manifest is None else manifest.blobs().values())


def _check_sources(capture: Capture, missing: list[BlobRef], local: dict[str, LocalBlob]) -> None:
    lost = {ref.digest for ref in missing if ref.digest not in local}
    if not lost:
        return
    names = [part.name for part in capture.manifest.parts() if part.blob.digest in lost]
    raise Unresolved(
        f"The bucket no longer has the bytes of {', '.join(names)}, and neither has this machine.",
        node_errors={},
        hint="Publish the template again from a machine that has them.",
    )


class Publisher:
    """Publishes templates."""

    def __init__(
        self,
        templates: Templates,
        uploader: Uploader,
        catalog: Catalog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._templates = templates
        self._uploader = uploader
        self._catalog = catalog
        self._clock = clock

    def publish(
        self,
        name: str,
        workflow: object,
        prompt: object,
        *,
        new_version: bool = False,
        author: str = "",
        description: str = "",
        cover: bytes = b"",
        parameters: Sequence[ChosenInput] | None = None,
        dropped: OnDropped = nothing_dropped,
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> Template:
        """Publish a workflow under a new name, or as a new version of an old one.

        Args:
            workflow: the UI graph.
            prompt: the same graph in API format.
            new_version: the template must exist, and gets a further version if anything in it
                has changed.
            cover: a picture, as `codecs.cover_of` takes it.
            parameters: what the template's form shows, none for what the rules find; without them
                it shows what it has shown, as far as the graph still has it.
            dropped: told what it shows no more.

        Raises:
            InvalidName, InvalidWorkflow, InvalidFile, InvalidParameters, Conflict, NotFound,
            Unresolved, FileChanged, Cancelled, AwsError.
        """
        layout.check_template_name(name)
        graph = self._catalog.renewed(graphs.check_prompt(prompt))
        drawing = graphs.check_workflow(workflow)
        picture = cover_of(cover) if cover else b""
        classes = graphs.classes(graph)
        template, current = self._current(name, new_version=new_version)
        base = current.manifest if current else Manifest()
        self._uploader.forget()  # a template must stand on what the bucket has now
        progress(Progress("capture"))
        capture = self._uploader.capture(graph, base=base, progress=progress, cancelled=cancelled)
        capture.check()
        info = {**_known(current, classes), **self._catalog.object_info(classes)}
        _check_classes(classes, info)  # before anything is sent
        shows, lost = _form(graph, info, parameters, template)
        pages, files = self._help(classes, info, current)
        self._uploader.send(capture, base=base, more=files, progress=progress, cancelled=cancelled)
        progress(Progress("store", name))
        draft = TemplateVersion(
            name=name,
            version=0,
            created=self._clock(),
            workflow=drawing,
            prompt=graphs.with_posix_names(graph, (p.name for p in capture.manifest.parts())),
            manifest=capture.manifest,
            object_info=info,
            author=author,
            product=__version__,
            help=pages,
        )
        if cancelled():
            raise Cancelled(f"Publishing {name} was cancelled.")
        told: Json = {"description": description, "cover": picture, "parameters": shows}
        if template is not None and current is not None and _is_same(current, draft):
            stored = self._templates.tell(template, **told)
        elif new_version:
            stored = self._templates.add_version(draft, **told)
        else:
            stored = self._templates.create(draft, **told)
        if lost:
            dropped(lost)
        return stored

    def _help(
        self, classes: Iterable[str], info: Json, current: TemplateVersion | None
    ) -> tuple[tuple[HelpFile, ...], list[LocalBlob]]:
        """The help of the node classes, and the files of it that are here.

        Of packs that are not here it is what the version before has.
        """
        folders = {name: web for name in classes if (web := self._catalog.web_folder(name))}
        here = [(each, *hashing.of_file(each.path)) for each in helppages.find(folders)]
        absent = {helppages.pack_of(str(info[name].get("python_module")))
                  for name in classes if not self._catalog.knows(name)}  # fmt: skip
        kept = [each for each in (current.help if current else ())
                if each.pack in absent and self._uploader.has(each.blob)]  # fmt: skip
        pages = [*(HelpFile(each.pack, each.name, ref) for each, ref, _ in here), *kept]
        pages.sort(key=lambda each: (each.pack, each.name))
        return tuple(pages), [LocalBlob(ref, each.path, seen) for each, ref, seen in here]

    def _current(
        self, name: str, *, new_version: bool
    ) -> tuple[Template, TemplateVersion] | tuple[None, None]:
        """What this machine lacks may come from the version before. Also the early conflict."""
        if new_version:
            template = self._templates.get(name)
            return template, self._templates.version(name, template.version)
        if self._templates.exists(name):
            raise taken(name)
        return None, None


def _form(
    graph: Json, info: Json, wanted: Sequence[ChosenInput] | None, template: Template | None
) -> tuple[tuple[ChosenInput, ...] | None, tuple[ChosenInput, ...]]:
    """What the form is to show, None for no change; and what it shows no more.

    Raises InvalidParameters.
    """
    if wanted is not None:
        check_chosen(graph, info, wanted)
        return tuple(wanted), ()
    kept, lost = sifted(graph, info, template.parameters if template else ())
    return (kept if lost else None), lost


def _known(stored: TemplateVersion | None, classes: Iterable[str]) -> Json:
    """Definitions that the version before has of node classes."""
    info = stored.object_info if stored else {}
    return {name: info[name] for name in classes if name in info}


def _check_classes(classes: Mapping[str, list[str]], info: Json) -> None:
    """Raises Unresolved: a version needs the definition of each of its node classes."""
    errors = {
        node_id: graphs.node_error(name, f"The node class {name} is not installed here.")
        for name, node_ids in classes.items()
        if name not in info
        for node_id in node_ids
    }
    if errors:
        names = sorted({error["class_type"] for error in errors.values()})
        raise Unresolved(
            f"Not installed here, nor known from the version before: {', '.join(names)}.",
            node_errors=errors,
            hint="Install their node packs, or remove the nodes.",
        )


def _is_same(stored: TemplateVersion, draft: TemplateVersion) -> bool:
    """Whether two versions differ in nothing but number, time and author."""
    other = replace(stored, version=draft.version, created=draft.created, author=draft.author)
    return to_json(other) == to_json(draft)
