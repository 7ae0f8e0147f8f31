"""Publishes under way, for pages that start one, watch it, cancel it, or come back to it."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from comfy_aws import layout
from comfy_aws.errors import Cancelled, ComfyAwsError, Conflict, InvalidTransition, NotFound
from comfy_aws.models import ChosenInput, Json, Progress
from comfy_aws.publish import Publisher
from comfy_aws.rate import Speed

log = logging.getLogger(__name__)

KEPT: Final = 20
"""Ended publishes that are still listed."""

CLOSING: Final = 5.0
"""Seconds that publishes get to stop when the service is closed."""


class PublishState(str, Enum):
    """RUNNING, then one of the ends."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def to(self, target: PublishState) -> PublishState:
        """Raises InvalidTransition from an end, or back to RUNNING."""
        if self is not PublishState.RUNNING or target is PublishState.RUNNING:
            raise InvalidTransition(f"A publish cannot go from {self.value} to {target.value}.")
        return target


@dataclass(frozen=True)
class Publication:
    """One publish as the page shows it; bytes done of total where they are known.

    `rate` is bytes a second, `seconds_left` an estimate; None where nothing can be said.
    `dropped` is what the form shows no more because its nodes are gone.
    """

    id: str
    name: str
    state: PublishState = PublishState.RUNNING
    phase: str = "capture"
    item: str = ""
    done: int = 0
    total: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    version: int | None = None
    error: Json | None = None
    client_id: str = ""
    dropped: tuple[ChosenInput, ...] = ()


@dataclass
class _Live:
    publication: Publication
    changed: Callable[[Publication], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Publications:
    """Safe to share between threads."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._known: dict[str, _Live] = {}
        self._lock = threading.Lock()

    def start(
        self,
        name: str,
        workflow: object,
        prompt: object,
        *,
        client_id: str = "",
        changed: Callable[[Publication], None],
        **wishes: Any,
    ) -> Publication:
        """Begin a publish in a thread of its own.

        Args:
            changed: called from that thread with every change.
            wishes: as `Publisher.publish` takes them.

        Raises:
            InvalidName, Conflict: the name is not allowed, or its publish is under way here.
        """
        layout.check_template_name(name)
        live = _Live(Publication(uuid.uuid4().hex, name, client_id=client_id), changed)
        with self._lock:
            for other in self._known.values():
                running = other.publication.state is PublishState.RUNNING
                if running and other.publication.name == name:
                    raise Conflict(f"{name} is being published already.", hint="Wait for it.")
            self._known[live.publication.id] = live
            while len(self._known) > KEPT and self._forget_oldest():
                pass
        live.thread = threading.Thread(
            target=self._run, args=(live, name, workflow, prompt, wishes),
            name=f"aws-publish-{name}", daemon=True,
        )  # fmt: skip
        live.thread.start()
        return live.publication

    def list(self) -> tuple[Publication, ...]:
        """Live and lately ended publishes, oldest first."""
        with self._lock:
            return tuple(live.publication for live in self._known.values())

    def get(self, publish_id: str) -> Publication:
        """Raises NotFound."""
        return self._live(publish_id).publication

    def cancel(self, publish_id: str) -> Publication:
        """Ask a publish to stop; it ends soon after. Raises NotFound."""
        live = self._live(publish_id)
        live.cancelled.set()
        return live.publication

    def close(self) -> None:
        """Cancel what is under way and wait a moment for its end."""
        with self._lock:
            known = list(self._known.values())
        for live in known:
            live.cancelled.set()
        until = time.monotonic() + CLOSING
        for live in known:
            if live.thread is not None and live.thread is not threading.current_thread():
                live.thread.join(max(0.0, until - time.monotonic()))

    def _live(self, publish_id: str) -> _Live:
        with self._lock:
            live = self._known.get(publish_id)
        if live is None:
            raise NotFound("There is no such publish.", hint="It ended some time ago.")
        return live

    def _forget_oldest(self) -> bool:
        for publish_id, live in self._known.items():
            if live.publication.state is not PublishState.RUNNING:
                del self._known[publish_id]
                return True
        return False

    def _run(self, live: _Live, name: str, workflow: object, prompt: object, wishes: Json) -> None:
        speed = Speed()

        def step(progress: Progress) -> None:
            rate = speed.take(progress.done) if progress.phase == "upload" else 0.0
            left = (progress.total - progress.done) / rate if rate else None
            self._change(live, phase=progress.phase, item=progress.item, done=progress.done,
                         total=progress.total, rate=rate or None, seconds_left=left)  # fmt: skip

        try:
            template = self._publisher.publish(
                name, workflow, prompt, progress=step, cancelled=live.cancelled.is_set,
                dropped=lambda chosen: self._change(live, dropped=chosen), **wishes,
            )  # fmt: skip
        except Cancelled:
            self._end(live, PublishState.CANCELLED)
        except ComfyAwsError as exc:
            self._end(live, PublishState.FAILED, error=exc.to_dict())
        except Exception as exc:  # the page is locked until this ends
            log.exception("Publishing %s failed", name)
            text = f"Publishing failed: {type(exc).__name__}: {exc}"
            error = {"code": "internal", "message": text, "hint": ""}
            self._end(live, PublishState.FAILED, error=error)
        else:
            self._end(live, PublishState.DONE, version=template.version)

    def _end(self, live: _Live, state: PublishState, **more: Any) -> None:
        self._change(live, state=live.publication.state.to(state), **more)

    def _change(self, live: _Live, **changes: Any) -> None:
        with self._lock:
            live.publication = replace(live.publication, **changes)
        live.changed(live.publication)
