"""Brings a model from the web into a models folder: resumed after breaks, and checked.

What has come of a file stays as `NAME.part` when a fetch fails, with a note beside it that tells
which file of which URL it is the beginning of; the next fetch of it goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from comfy_aws.callbacks import IsCancelled, OnProgress, never, no_progress
from comfy_aws.errors import Cancelled, DownloadBroken, DownloadFailed, InvalidName
from comfy_aws.localmodels import LocalModel, LocalModels, written
from comfy_aws.models import Progress
from comfy_aws.web import Web, WebFile, check_url

ATTEMPTS: Final = 6
"""Breaks in a row, without a byte between them, after which a fetch gives up."""

FIRST_WAIT: Final = 0.5
"""Seconds before the first try again; doubled each time."""

LOOK: Final = 0.1
"""Seconds between two looks for a cancel while a fetch waits."""

PIECE: Final = 1024 * 1024
SPARE: Final = 256 * 1024 * 1024
"""Bytes that a fetch leaves free on the disk."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Fetcher:
    """Safe to share between threads."""

    def __init__(
        self, web: Web, models: LocalModels, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._web = web
        self._models = models
        self._sleep = sleep

    def check(self, url: str, folder: str, name: str = "", sha256: str = "") -> None:
        """Say at once what cannot work. Raises InvalidName, Conflict."""
        check_url(url)
        check_sha256(sha256)
        self._models.destination(folder, name or "model.safetensors")

    def fetch(
        self,
        url: str,
        folder: str,
        name: str = "",
        *,
        sha256: str = "",
        progress: OnProgress = no_progress,
        cancelled: IsCancelled = never,
    ) -> LocalModel:
        """Fetch a file into a models folder.

        Args:
            name: of the file; by default as its server calls it.
            sha256: what the file must have, in hex; empty when that is not known.

        Raises:
            InvalidName, Conflict: URL, folder, name or digest break a rule, or the name is taken.
            DownloadFailed: the server does not give it, or gives something else.
            DownloadBroken: the connection broke again and again; what came is kept.
            CaptureError: the file cannot be written, or is not what its name says.
            Cancelled: what came is deleted.
        """
        check_sha256(sha256)
        if not name:
            with self._web.open(url) as file:
                name = file.name
        with self._models.arriving(folder, name) as path:
            part = _Part(path, url)
            try:
                self._load(url, part, name, progress, cancelled)
                if sha256 and part.digest.hexdigest() != sha256.lower():
                    raise DownloadFailed(
                        f"{name} has the sha256 {part.digest.hexdigest()}, not {sha256.lower()}.",
                        hint="The file at this URL is another one, or the digest is mistyped.",
                    )
            except (Cancelled, DownloadFailed) as exc:
                if not isinstance(exc, DownloadBroken):
                    part.drop()
                raise
            part.forget()
        return self._models.find(folder, name)

    def _load(
        self, url: str, part: _Part, name: str, progress: OnProgress, cancelled: IsCancelled
    ) -> None:
        breaks = 0
        while not part.whole:
            before = part.done
            try:
                with self._web.open(url, start=part.done, validator=part.validator) as file:
                    _check_kind(file, name)
                    part.begin(file)
                    _check_space(part, name)
                    while chunk := file.read(PIECE):
                        if cancelled():
                            raise Cancelled(f"The download of {name} was cancelled.")
                        part.add(chunk)
                        progress(Progress("download", name, part.done, part.size or 0))
                part.end()
            except DownloadBroken:
                breaks = 1 if part.done > before else breaks + 1
                if breaks >= ATTEMPTS:
                    raise
                self._wait(FIRST_WAIT * 2 ** (breaks - 1), name, cancelled)

    def _wait(self, seconds: float, name: str, cancelled: IsCancelled) -> None:
        for _ in range(round(seconds / LOOK)):
            if cancelled():
                raise Cancelled(f"The download of {name} was cancelled.")
            self._sleep(LOOK)


class _Part:
    """The beginning of a file, and what is known of the whole."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")
        # Not the URL itself, which may hold somebody's token.
        self._url = hashlib.sha256(url.encode(errors="replace")).hexdigest()
        self.digest = hashlib.sha256()
        self.done = 0
        self.size: int | None = None
        self.validator = ""
        self._ended = False
        self._take_up()

    @property
    def whole(self) -> bool:
        return self._ended or (self.size is not None and self.done == self.size and self.done > 0)

    def begin(self, file: WebFile) -> None:
        """Bytes of `file` follow. Raises DownloadFailed when they are not the next ones."""
        if file.start not in (0, self.done):
            raise DownloadFailed("The server sends another part of the file than it was asked for.")
        if file.start == 0:
            self.digest, self.done = hashlib.sha256(), 0
        self.size, self.validator = file.size, file.validator
        note = {"url": self._url, "validator": self.validator, "size": self.size}
        with written(self.path):
            with self.path.open("r+b" if self.path.exists() else "wb") as stream:
                stream.truncate(self.done)
            self._note.write_text(json.dumps(note), encoding="utf-8")

    def add(self, chunk: bytes) -> None:
        with written(self.path), self.path.open("ab", buffering=0) as stream:
            stream.write(chunk)
        self.digest.update(chunk)
        self.done += len(chunk)

    def end(self) -> None:
        """The server has nothing more. Raises DownloadBroken when that is too early."""
        if self.size is not None and self.done < self.size:
            raise DownloadBroken(
                f"The download broke off after {self.done:,} of {self.size:,} bytes.",
                hint="Start it again; it goes on from there.",
            )
        self._ended = True

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """Go on with what is there, if it is of this URL and can be told from other bytes."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["url"] != self._url or not note["validator"]:
                return
            with self.path.open("rb") as stream:
                while chunk := stream.read(PIECE):
                    self.digest.update(chunk)
                    self.done += len(chunk)
            self.validator, self.size = str(note["validator"]), note["size"]
        except (OSError, ValueError, KeyError, TypeError):
            self.digest, self.done = hashlib.sha256(), 0


def check_sha256(text: str) -> None:
    """Raises InvalidName for what is no digest."""
    if text and not _SHA256.fullmatch(text.lower()):
        raise InvalidName(f"A sha256 is 64 hexadecimal digits; {text[:80]!r} is not one.")


def _check_kind(file: WebFile, name: str) -> None:
    if file.kind == "text/html":
        raise DownloadFailed(
            f"The URL leads to a web page, not to the file {name}.",
            hint="Copy the address of its download button, or download it and drop it here.",
        )


def _check_space(part: _Part, name: str) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if part.size is not None and part.size - part.done > free - SPARE:
        raise DownloadFailed(
            f"{name} has {part.size:,} bytes, but the disk has only {free:,} left.",
            hint="Make room, then start it again.",
        )
