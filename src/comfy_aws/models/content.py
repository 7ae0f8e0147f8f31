"""What a template or a job stands on: models, inputs, node packs, and the blobs they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class BlobRef:
    """Bytes, named by what they are. `digest` is lower-case hex sha256."""

    digest: str
    size: int


@dataclass(frozen=True)
class ModelFile:
    """One file below a models folder: `folder` is ComfyUI's folder name, `name` the choice.

    `reader` is the class of the node that reads it without naming it; empty when it is named.
    """

    folder: str
    name: str
    blob: BlobRef
    reader: str = ""


class InputPlace(str, Enum):
    """Which of ComfyUI's folders an input file is read from."""

    INPUT = "input"
    OUTPUT = "output"
    TEMP = "temp"


@dataclass(frozen=True)
class InputFile:
    """One input file; `name` is a relative POSIX path below its place."""

    name: str
    blob: BlobRef
    place: InputPlace = InputPlace.INPUT


@dataclass(frozen=True)
class LocalPath:
    """A value of the prompt that is a path of the machine it comes from, and what it means.

    `place` is one of ComfyUI's folders by its name in `InputPlace`, or "models" with the models
    folder in `folder`; `name` is the relative POSIX path below that, empty for the folder itself.
    """

    value: str
    place: str
    name: str
    folder: str = ""


@dataclass(frozen=True)
class HelpFile:
    """A help page of a node, or a picture in one.

    The page finds it at ``/extensions/{pack}/{name}``; `name` is a POSIX path.
    """

    pack: str
    name: str
    blob: BlobRef


@dataclass(frozen=True)
class NodePack:
    """One folder or file of custom nodes, as a gzipped tar whose single top entry is `name`.

    `classes` are the node classes of the prompt that made the pack needed; none for a pack that
    another one imports from. `requirements` are the Python packages it asks for, as
    `requirements.of_pack` gives them, `pins` what those need in turn, as `requirements.below`
    gives it. `url` and `commit` say where it can be cloned from, when
    nothing here differs from it.
    """

    name: str
    blob: BlobRef
    classes: tuple[str, ...] = ()
    files: int = 0
    requirements: tuple[str, ...] = ()
    url: str = ""
    commit: str = ""
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What the manifest was captured on; told to the user when the worker differs."""

    comfyui: str = ""
    python: str = ""
    torch: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Manifest:
    """Every blob that a template or a job needs, and where a path of its prompt leads to."""

    models: tuple[ModelFile, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    packs: tuple[NodePack, ...] = ()
    environment: Environment = field(default_factory=Environment)
    paths: tuple[LocalPath, ...] = ()

    def parts(self) -> tuple[ModelFile | InputFile | NodePack, ...]:
        """Everything that has a blob."""
        return (*self.models, *self.inputs, *self.packs)

    def blobs(self) -> dict[str, BlobRef]:
        """The distinct blobs, by digest."""
        return {part.blob.digest: part.blob for part in self.parts()}

    @property
    def size(self) -> int:
        """Bytes of the distinct blobs."""
        return sum(blob.size for blob in self.blobs().values())


@dataclass(frozen=True)
class BuiltEnvironment:
    """The Python packages of a set of node packs, installed: `blob` is a tar of the folder.

    `packages` are ``name==version``; `seconds` is what the install took; `left_out` names optional
    packages that could not be had.
    """

    blob: BlobRef
    packages: tuple[str, ...] = ()
    seconds: float = 0.0
    created: float = 0.0
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackFault:
    """Why a set of node packs did not work on the last worker that tried, at the time `at`."""

    message: str
    hint: str = ""
    at: float = 0.0
