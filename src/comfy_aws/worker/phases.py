"""What the fetch of a manifest tells while it runs: bytes and seconds of each kind of part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from comfy_aws.models import Manifest

WORDS: Final = {"models": "models", "inputs": "inputs", "packs": "node packs"}
UNITS: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Told(Protocol):
    """Gets the steps of the work: bytes done and in all, and the seconds of a finished phase."""

    def __call__(
        self, phase: str, message: str, done: int, total: int, *, seconds: float | None = None
    ) -> None: ...


class Fetch:
    """Counts what comes. All kinds come side by side, each from the beginning until its last byte.

    Args:
        missing: the bytes of a manifest that must be fetched.
    """

    def __init__(
        self,
        manifest: Manifest,
        missing: Callable[[Manifest], int],
        told: Told,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._told = told
        self._clock = clock
        self._began = clock()
        nothing = replace(manifest, models=(), inputs=(), packs=())
        self._kinds: dict[str, str] = {}
        self._total: dict[str, int] = {}
        for kind in WORDS:
            parts = getattr(manifest, kind)
            self._kinds |= {part.name: kind for part in parts}
            self._total[kind] = missing(replace(nothing, **{kind: parts})) if parts else 0
        self._done = dict.fromkeys(WORDS, 0)
        self._last: dict[str, float] = {}

    @property
    def total(self) -> int:
        return sum(self._total.values())

    @property
    def seconds(self) -> Mapping[str, float]:
        """By kind, those of which something came."""
        return {kind: last - self._began for kind, last in self._last.items()}

    def begin(self) -> None:
        if self.total:
            words = [f"{WORDS[kind]} {size(count)}" for kind, count in self._total.items() if count]
            self._told("restore", f"Fetching {', '.join(words)}", 0, self.total)

    def came(self, name: str, count: int) -> None:
        """Some bytes of a part came."""
        kind = self._kinds[name]
        self._done[kind] += count
        self._last[kind] = self._clock()
        words = f"Fetching {WORDS[kind]}, {size(self._done[kind])} of {size(self._total[kind])}"
        self._told("restore", words, sum(self._done.values()), self.total)

    def end(self) -> None:
        """All is there."""
        if not self.total:
            return
        words = [
            f"{WORDS[kind]} {size(self._done[kind])} in {took:.1f} s"
            for kind, took in self.seconds.items()
        ]
        message = f"Fetched {', '.join(words)}"
        done = sum(self._done.values())
        self._told("restore", message, done, self.total, seconds=self._clock() - self._began)


def size(count: int) -> str:
    """Bytes for people."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
