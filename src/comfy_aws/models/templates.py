"""Templates: the pointer that changes, and versions that never do."""

from __future__ import annotations

from dataclasses import dataclass, field

from comfy_aws.models.content import BlobRef, HelpFile, Manifest
from comfy_aws.models.documents import Json


@dataclass(frozen=True)
class ChosenInput:
    """A widget that the designer offers to those who run the template; `node` is its id."""

    node: str
    input: str
    label: str = ""


@dataclass(frozen=True)
class Collecting:
    """Somebody is deleting blobs that nothing names, and is done at `until` at the latest."""

    until: float


@dataclass(frozen=True)
class Template:
    """The pointer of a template: what changes. Its versions never do.

    `size` is that of the current version's blobs together, `cover` a small WebP picture.
    `parameters` are those the designer chose; when there are none, they are found by rule.
    """

    name: str
    version: int
    created: float
    updated: float
    author: str = ""
    description: str = ""
    endpoint: str = ""
    size: int = 0
    cover: BlobRef | None = None
    parameters: tuple[ChosenInput, ...] = ()


@dataclass(frozen=True)
class TemplateVersion:
    """One immutable version.

    `workflow` is the UI graph, `prompt` the API graph, `object_info` ComfyUI's definitions of
    the classes used, so that a machine without the packs can draw and validate the graph; `help`
    is what their packs tell of them. Workers need none of that.
    """

    name: str
    version: int
    created: float
    workflow: Json
    prompt: Json
    manifest: Manifest
    object_info: Json = field(default_factory=dict)
    author: str = ""
    product: str = ""
    help: tuple[HelpFile, ...] = ()

    def blobs(self) -> dict[str, BlobRef]:
        """The distinct blobs, by digest: those that jobs need, and help."""
        return {**self.manifest.blobs(), **{each.blob.digest: each.blob for each in self.help}}
