"""Models on their way, for pages that start a transfer, watch it, cancel it, or come back to it."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from comfy_aws.callbacks import IsCancelled, OnProgress
from comfy_aws.errors import Cancelled, ComfyAwsError, InvalidTransition, NotFound
from comfy_aws.models import Json, Progress

log = logging.getLogger(__name__)

WIDTH: Final = 2
"""Transfers at once; each uses several connections where that helps."""

KEPT: Final = 50
"""Ended transfers that are still listed."""

TOLD: Final = 0.2
"""Seconds between two reports of progress; a page need not draw more often."""


class TransferState(str, Enum):
    """WAITING, RUNNING, then one of the ends; a waiting one may be cancelled at once."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (TransferState.WAITING, TransferState.RUNNING)

    def to(self, target: TransferState) -> TransferState:
        """Raises InvalidTransition from an end, or back."""
        back = target is TransferState.WAITING or (target is self)
        early = self is TransferState.WAITING and target in (
            TransferState.DONE, TransferState.FAILED,
        )  # fmt: skip
        if self.ended or back or early:
            raise InvalidTransition(f"A transfer cannot go from {self.value} to {target.value}.")
        return target


class TransferKind(str, Enum):
    """Where a model comes from and goes to."""

    URL = "url"
    PUSH = "push"
    PULL = "pull"


@dataclass(frozen=True)
class Transfer:
    """One model on its way, as the page shows it; bytes done of total where they are known.

    `source` is the server that a file is fetched from.
    """

    id: str
    kind: TransferKind
    folder: str
    name: str
    state: TransferState = TransferState.WAITING
    phase: str = ""
    done: int = 0
    total: int = 0
    error: Json | None = None
    source: str = ""
    created: float = 0.0


Work = Callable[[OnProgress, IsCancelled], str]
"""Moves one model, and returns its name."""

Changed = Callable[[Transfer], None]


@dataclass
class _Live:
    transfer: Transfer
    work: Work
    changed: Changed
    cancelled: threading.Event = field(default_factory=threading.Event)
    told: float = 0.0


class Transfers:
    """Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, _Live] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WIDTH, thread_name_prefix="aws-model")

    def start(
        self, kind: TransferKind, folder: str, name: str, work: Work, changed: Changed,
        *, source: str = "",
    ) -> Transfer:  # fmt: skip
        """Begin a transfer as soon as there is room.

        Args:
            name: as far as it is known.
            changed: called with every change, from another thread.
        """
        transfer = Transfer(
            uuid.uuid4().hex, kind, folder, name, source=source, created=self._clock()
        )
        live = _Live(transfer, work, changed)
        with self._lock:
            ended = [key for key, each in self._known.items() if each.transfer.state.ended]
            for key in ended[: max(0, len(ended) - KEPT + 1)]:
                del self._known[key]
            self._known[transfer.id] = live
        self._pool.submit(self._run, live)
        return transfer

    def list(self) -> list[Transfer]:
        """Those under way and the last ended ones, newest first."""
        with self._lock:
            return [live.transfer for live in reversed(self._known.values())]

    def stop(self, transfer_id: str) -> Transfer:
        """Cancel one that is under way; forget one that has ended. Raises NotFound."""
        with self._lock:
            live = self._known.get(transfer_id)
            if live is None:
                raise NotFound("There is no such transfer.", hint="Look at the list again.")
            if live.transfer.state.ended:
                del self._known[transfer_id]
                return live.transfer
            waiting = live.transfer.state is TransferState.WAITING
            live.cancelled.set()
        if waiting:
            self._end(live, TransferState.CANCELLED)
        return live.transfer

    def close(self) -> None:
        """Cancel all."""
        with self._lock:
            for live in self._known.values():
                live.cancelled.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, live: _Live) -> None:
        if not self._change(live, state=TransferState.RUNNING):
            return
        try:
            name = live.work(lambda step: self._step(live, step), live.cancelled.is_set)
        except Cancelled:
            self._end(live, TransferState.CANCELLED)
        except ComfyAwsError as exc:
            self._end(live, TransferState.FAILED, error=exc.to_dict())
        except Exception as exc:
            log.exception("The transfer of %s failed", live.transfer.name)
            text = f"The transfer failed: {type(exc).__name__}: {exc}"
            error = {"code": "internal", "message": text, "hint": "The log says more."}
            self._end(live, TransferState.FAILED, error=error)
        else:
            self._end(live, TransferState.DONE, name=name)

    def _step(self, live: _Live, step: Progress) -> None:
        now = time.monotonic()
        with self._lock:
            live.transfer = replace(
                live.transfer, phase=step.phase, done=step.done, total=step.total,
                name=live.transfer.name or step.item,
            )  # fmt: skip
            due = now - live.told >= TOLD
            if due:
                live.told = now
        if due:
            live.changed(live.transfer)

    def _end(self, live: _Live, state: TransferState, **more: Any) -> None:
        self._change(live, state=state, **more)

    def _change(self, live: _Live, *, state: TransferState, **changes: Any) -> bool:
        """Move to a state; False when it has ended meanwhile."""
        with self._lock:
            if live.transfer.state.ended:
                return False
            changed = live.transfer.state.to(state)
            live.transfer = replace(live.transfer, state=changed, **changes)
        live.changed(live.transfer)
        return True
