"""The models folders of this machine: what lies there, what comes, what is deleted.

A new file is written as `NAME.part` and becomes visible by a rename, whole and looked over.
Folders and names come from outside and are held below the models folders.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, Protocol

from comfy_aws import companions, formats
from comfy_aws.errors import CaptureError, ComfyAwsError, Conflict, InvalidName, NotFound

PART: Final = ".part"
PIECE: Final = 1024 * 1024
"""Bytes read at once from a body."""

_BAD: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
"""What no file name may hold on one of the systems that ComfyUI runs on."""

_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST: Final = 200
"""Bytes of one part of a name; file systems take 255, and `.part` files have longer names."""


class Place(NamedTuple):
    """One of ComfyUI's models folders: where it is searched, and which files count."""

    folder: str
    roots: tuple[Path, ...]
    suffixes: frozenset[str]

    @property
    def root(self) -> Path:
        """Where new files go: the folder of that name, else the first one."""
        return next((root for root in self.roots if root.name == self.folder), self.roots[0])


class Places(Protocol):
    """Which models folders there are."""

    def all(self) -> list[Place]:
        """Each folder once."""

    def changed(self, folder: str) -> None:
        """Files came or went."""


class LocalModel(NamedTuple):
    """A model file of this machine; `size` in bytes."""

    folder: str
    name: str
    path: Path
    size: int


class FolderPlaces:
    """The models folders of a ComfyUI that does not run: the folders below its `models`."""

    def __init__(self, comfyui: Path) -> None:
        self._models = comfyui / "models"
        if not self._models.is_dir():
            raise NotFound(
                f"There is no folder {self._models}.", hint="Name ComfyUI's folder by --comfyui."
            )

    def all(self) -> list[Place]:
        below = sorted(path for path in self._models.iterdir() if path.is_dir())
        return [Place(path.name, (path,), formats.MODELS) for path in below]

    def changed(self, folder: str) -> None:
        """ComfyUI sees it by itself."""


class LocalModels:
    """Safe to share between threads."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._coming: set[Path] = set()
        self._lock = threading.Lock()

    def folders(self) -> list[Place]:
        """Every folder that models may be put into, by name."""
        return sorted(place for place in self._places.all() if place.roots)

    def list(self) -> list[LocalModel]:
        """Every model, by folder and name."""
        found: dict[tuple[str, str], LocalModel] = {}
        for place in self.folders():
            for root in place.roots:
                for path in _files(root):
                    name = path.relative_to(root).as_posix()
                    if formats.suffix_of(name) not in place.suffixes:
                        continue
                    size = _size(path)
                    if size is not None:
                        found.setdefault(
                            (place.folder, name), LocalModel(place.folder, name, path, size)
                        )
        return sorted(found.values())

    def find(self, folder: str, name: str) -> LocalModel:
        """One model. Raises InvalidName, NotFound."""
        place = self._place(folder)
        check_name(name)
        for root in place.roots:
            path = _below(root, name)
            size = _size(path)
            if size is not None:
                return LocalModel(folder, name, path, size)
        raise NotFound(f"There is no model {name} in {folder} on this machine.")

    def destination(self, folder: str, name: str) -> Path:
        """Where a new model goes.

        Raises:
            InvalidName: there is no such folder, or the name leads out of it or is no model's.
            Conflict: there is a model of this name already.
        """
        place = self._place(folder)
        check_name(name)
        if formats.suffix_of(name) not in place.suffixes and not companions.may_be(name):
            raise InvalidName(
                f"Files in {folder} end in {', '.join(sorted(place.suffixes))}; {name!r} does not.",
                hint="Choose another folder, or give the file its right name.",
            )
        for root in place.roots:
            if _below(root, name).exists():
                raise Conflict(
                    f"There is a model {name} in {folder} already.",
                    hint="Delete it first, or choose another name.",
                )
        return _below(place.root, name)

    @contextmanager
    def arriving(self, folder: str, name: str) -> Iterator[Path]:
        """The `.part` file of a model that is on its way; the model itself when the block ends.

        The `.part` file stays when the block raises, for whoever can go on with it.

        Raises:
            InvalidName, Conflict: as `destination`; also when it is on its way already.
            CaptureError: what came is not what the name says.
        """
        path = self.destination(folder, name)
        with self._lock:
            if path in self._coming:
                raise Conflict(f"{name} is on its way into {folder} already.", hint="Wait for it.")
            self._coming.add(path)
        part = path.with_name(path.name + PART)
        try:
            with written(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            fault = formats.fault_of(part, name)
            if fault:
                part.unlink()
                raise CaptureError(f"{name} {fault}.", hint="Get it from its source again.")
            self.destination(folder, name)  # nobody else was faster
            with written(path):
                part.replace(path)
        finally:
            with self._lock:
                self._coming.discard(path)
        self._places.changed(folder)

    def receive(
        self, folder: str, name: str, read: Callable[[int], bytes], size: int | None
    ) -> LocalModel:
        """Write a model from a stream, whole or not at all.

        Args:
            read: gives the next bytes, none at the end.
            size: bytes that must come, where that is known.

        Raises:
            InvalidName, Conflict, CaptureError: as `arriving`, or bytes are missing.
        """
        with self.arriving(folder, name) as part:
            try:
                with written(part), part.open("wb") as file:
                    while chunk := read(PIECE):
                        file.write(chunk)
                    came = file.tell()
                if size is not None and came != size:
                    raise CaptureError(f"Only {came:,} of {size:,} bytes of {name} came.")
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        return self.find(folder, name)

    def delete(self, folder: str, name: str) -> None:
        """Raises InvalidName, NotFound."""
        model = self.find(folder, name)
        with written(model.path):
            model.path.unlink(missing_ok=True)
        self._places.changed(folder)

    def _place(self, folder: str) -> Place:
        for place in self.folders():
            if place.folder == folder:
                return place
        raise InvalidName(
            f"{folder!r} is not one of ComfyUI's models folders.",
            hint=f"Known: {', '.join(place.folder for place in self.folders())}.",
        )


def check_name(name: str) -> None:
    """Raises InvalidName for what is not a relative path of plain names, on any system."""
    for part in name.split("/"):
        plain = part == part.strip() and not part.startswith(".") and not part.endswith(".")
        short = len(part.encode(errors="replace")) <= _LONGEST
        if not (part and plain and short) or _BAD.search(part) or _RESERVED.fullmatch(part):
            raise InvalidName(
                f"A model's name is a file name, with folders before it if need be; {name!r} is "
                "not one.",
                hint='Leave out leading dots and slashes, and the characters < > : " | ? * \\.',
            )


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn a failure to write into one of our errors."""
    try:
        yield
    except (ComfyAwsError, ConnectionError):
        raise
    except OSError as exc:
        raise CaptureError(
            f"{path} cannot be written: {exc.strerror or exc}.",
            hint="Check the free space of the disk, and who may write there.",
        ) from exc


def _below(root: Path, name: str) -> Path:
    """The path of a checked name. Raises InvalidName when a link leads out of the folder."""
    path = root / PurePosixPath(name)
    real, top = path.parent.resolve(), root.resolve()
    if real != top and top not in real.parents:
        raise InvalidName(f"{name!r} leads out of the models folder {root}.")
    return path


def _files(root: Path) -> Iterator[Path]:
    """Files that are not hidden, through links, each folder once."""
    seen = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
