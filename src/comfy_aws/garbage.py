"""Finds and deletes blobs, and archives of environments, that nothing names any more.

A blob is kept while a template, a version of one, a recent job or a built environment names it,
and for a grace period after it came: a publish sends its blobs before the version that names them.
Nothing is deleted unless it is asked for twice (`plan`, then `delete`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from comfy_aws import joblog, layout
from comfy_aws.aws import ObjectStore, StoredObject
from comfy_aws.errors import AwsConflict, AwsNotFound, ConfigError, Conflict
from comfy_aws.models import (
    BuiltEnvironment,
    Collecting,
    JobRequest,
    ModelFile,
    Template,
    TemplateVersion,
    from_json,
    to_json,
)

log = joblog.logger(__name__)

DAY: Final = 24 * 3600.0
GRACE: Final = 7 * DAY
"""Seconds that a blob stays after it came, named or not; a publish takes hours at most."""

LEAST_GRACE: Final = DAY
LIMIT: Final = 600.0
"""Seconds that a deletion may take; publishers wait for it."""

MARGIN: Final = 60.0
"""Seconds before the end after which no further batch is begun."""

POLL: Final = 0.5
"""Seconds between two looks whether a collector has ended."""

BATCH: Final = 1000
"""Keys that S3 deletes in one call."""

READERS: Final = 16
"""Documents read at once."""


@dataclass(frozen=True)
class Garbage:
    """What would go: blobs, and the library's entries that name them. Sizes in bytes."""

    blobs: tuple[StoredObject, ...]
    models: tuple[str, ...]
    kept: int
    grace: float

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)


class Collector:
    """Works on one bucket."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def plan(self, grace: float = GRACE) -> Garbage:
        """Find what nothing names; deletes nothing.

        Args:
            grace: seconds that blobs and jobs count as recent, a day at least.

        Raises:
            ConfigError: `grace` is too short to be safe.
            InvalidDocument: a version cannot be read; then nothing can be said of any blob.
        """
        if grace < LEAST_GRACE:
            raise ConfigError(
                f"The grace period is a day or more ({LEAST_GRACE:.0f} s); got {grace:.0f} s.",
                hint="A publish that is under way has sent blobs that no version names yet.",
            )
        since = self._clock() - grace
        # Blobs are listed before the names are read, so that what is published meanwhile is safe.
        blobs = [*self._store.list(layout.BLOBS), *self._store.list(layout.ARCHIVES)]
        named = self._named(since)
        old = [b for b in blobs if b.modified < since and _digest(b.key) not in named]
        going = {_digest(blob.key) for blob in old}
        entries = tuple(key for key, model in self._library() if model.blob.digest in going)
        return Garbage(tuple(old), entries, len(blobs) - len(old), grace)

    def delete(self, garbage: Garbage) -> None:
        """Delete what `plan` found and what is still not named by anything.

        A publish may take one of these blobs for its own after the names are read. So it is told
        of the collector first, waits for its end, and looks whether its blobs are still there
        (`Templates`).

        Raises:
            Conflict: somebody else is deleting, or it took longer than publishers wait; what is
                left can be collected again.
        """
        until = self._announce()
        try:
            named = self._named(self._clock() - garbage.grace)
            keys = [blob.key for blob in garbage.blobs if _digest(blob.key) not in named]
            going = set(map(_digest, keys))
            entries = [key for key, model in self._library() if model.blob.digest in going]
            doomed = [*entries, *keys]
            for begin in range(0, len(doomed), BATCH):
                if self._clock() > until - MARGIN:
                    raise Conflict(
                        "Not everything was deleted: reading the bucket took too long.",
                        hint="Collect again.",
                    )
                self._store.delete(*doomed[begin : begin + BATCH])
        finally:
            self._store.delete(layout.COLLECTING)

    def _announce(self) -> float:
        """Tell publishers until when this collector deletes, at most; there is one at a time."""
        body = to_json(Collecting(until := self._clock() + LIMIT)).encode()
        before = collecting(self._store)
        if before and before < self._clock():
            self._store.delete(layout.COLLECTING)  # of a collector that was killed
        try:
            self._store.put(layout.COLLECTING, body, if_none_match=True)
        except AwsConflict as exc:
            raise Conflict(
                "Somebody else is deleting what nothing names.",
                hint=f"Collect again when that has ended, in {LIMIT / 60:.0f} minutes at most.",
            ) from exc
        return until

    def _named(self, since: float) -> set[str]:
        templates = [entry.key for entry in self._store.list(layout.TEMPLATES)]
        keys: list[tuple[str, type[TemplateVersion | JobRequest]]] = [
            (key, TemplateVersion) for key in templates if "/versions/" in key
        ]
        pointers = [key for key in templates if layout.template_of(key)]
        keys += [
            (entry.key, JobRequest)
            for entry in self._store.list(layout.JOBS)
            if entry.key.endswith("/request.json") and entry.modified >= since
        ]
        environments = [entry.key for entry in self._store.list(layout.ENVIRONMENTS)]
        with ThreadPoolExecutor(READERS) as pool:
            named = {digest for each in pool.map(self._digests, keys) for digest in each}
            named.update(pool.map(self._cover, pointers))
            return named | set(pool.map(self._environment, environments))

    def _digests(self, of: tuple[str, type[TemplateVersion | JobRequest]]) -> Iterable[str]:
        key, kind = of
        try:
            document = from_json(kind, self._store.get(key), where=key)
        except AwsNotFound:
            return ()  # deleted since it was listed
        named = document if isinstance(document, TemplateVersion) else document.manifest
        return named.blobs()

    def _cover(self, key: str) -> str:
        """The digest of a template's cover; empty when there is none."""
        try:
            cover = from_json(Template, self._store.get(key), where=key).cover
        except AwsNotFound:
            return ""
        return cover.digest if cover else ""

    def _environment(self, key: str) -> str:
        """The digest of a built environment; empty when it is gone."""
        try:
            return from_json(BuiltEnvironment, self._store.get(key), where=key).blob.digest
        except AwsNotFound:
            return ""

    def _library(self) -> Iterator[tuple[str, ModelFile]]:
        for entry in self._store.list(layout.MODELS):
            with suppress(AwsNotFound):  # taken out at this moment
                yield entry.key, from_json(ModelFile, self._store.get(entry.key), where=entry.key)


def collecting(store: ObjectStore) -> float:
    """Until when somebody deletes blobs, in seconds since the epoch; 0 when nobody does."""
    try:
        return from_json(Collecting, store.get(layout.COLLECTING)).until
    except AwsNotFound:
        return 0.0


def outlast(store: ObjectStore, clock: Callable[[], float]) -> None:
    """Wait for the end of a collector that deletes, so that the next one sees what is there now."""
    until = collecting(store)
    if until:
        log.info("Waiting until the garbage collector of the bucket has ended")
    while clock() < until and collecting(store) == until:
        time.sleep(POLL)


def _digest(key: str) -> str:
    return key.rpartition("/")[2]
