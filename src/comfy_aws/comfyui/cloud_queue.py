"""Gives ComfyUI's queue items that never reach its heap: cloud jobs.

The queue object is already in the hands of ComfyUI's own threads, so its class is exchanged for
a subclass. A cloud item is entered as running, which counts it in `queue_remaining`, and leaves
through `task_done`, which writes native history; lists of the queue show it as waiting until its
job runs. The local worker thread never sees it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from comfy_aws.models import Json

Item = tuple[Any, ...]
"""(number, prompt_id, prompt, extra_data, outputs_to_execute, sensitive, …)"""

_LISTS = ("get_current_queue", "get_current_queue_volatile")
_NEEDED = ("put", "task_done", "mutex", "currently_running", "task_counter", "server")


class CloudQueue:
    """Exchanges the class of a PromptQueue.

    Args:
        takes: whether an item is a cloud job, and the item as it shall be known.
        begins: called with the item's number and the item once it is entered.
        cancel: asked to cancel a cloud job; returns whether it is one.
    """

    def __init__(
        self,
        queue: Any,
        takes: Callable[[Item], Item | None],
        begins: Callable[[int, Item], None],
        cancel: Callable[[str], bool],
    ) -> None:
        self._queue = queue
        self._takes = takes
        self._begins = begins
        self._cancel = cancel
        self._waiting: set[str] = set()
        """Ids of the items whose job does not run yet; guarded by the queue's own mutex."""

    def attach(self) -> bool:
        """Exchange the class; False when the queue is not the one we know."""
        if not all(hasattr(self._queue, name) for name in _NEEDED):
            return False
        self._queue.__class__ = self._subclass(type(self._queue))
        return True

    def _subclass(self, base: type) -> type:
        cloud = self

        class PromptQueueWithCloud(base):  # type: ignore[misc]
            def put(self, item: Item) -> None:
                taken = cloud._takes(item)
                if taken is None:
                    super().put(item)
                    return
                cloud._begins(cloud.enter(taken), taken)

        if hasattr(base, "interrupt_if_running"):

            def interrupt_if_running(self: Any, prompt_id: str, *more: Any) -> Any:
                if cloud._cancel(prompt_id):
                    return True
                return base.interrupt_if_running(self, prompt_id, *more)

            PromptQueueWithCloud.interrupt_if_running = interrupt_if_running
        for name in filter(partial(hasattr, base), _LISTS):
            setattr(PromptQueueWithCloud, name, self._listing(getattr(base, name)))
        return PromptQueueWithCloud

    def _listing(self, listed: Callable[..., Any]) -> Callable[..., Any]:
        """ComfyUI's own list of running and of queued items, with what waits among the latter."""

        def current(queue: Any, *more: Any) -> tuple[list[Item], list[Item]]:
            with queue.mutex:
                entered, queued = listed(queue, *more)
                running = [item for item in entered if item[1] not in self._waiting]
                waiting = [item for item in entered if item[1] in self._waiting]
            return running, [*queued, *waiting]

        return current

    def enter(self, item: Item) -> int:
        """Show an item as waiting; returns the number under which it is known."""
        queue = self._queue
        with queue.mutex:
            number: int = queue.task_counter
            queue.task_counter += 1
            queue.currently_running[number] = copy.deepcopy(item)
            self._waiting.add(item[1])
            queue.server.queue_updated()
        return number

    def show(self, prompt_id: str, *, running: bool) -> None:
        """Show an item as running from now on, or as waiting."""
        with self._queue.mutex:
            if running != (prompt_id in self._waiting):
                return
            (self._waiting.discard if running else self._waiting.add)(prompt_id)
            self._queue.server.queue_updated()

    def finish(
        self, number: int, history: Json, messages: list[tuple[str, Json]], *, success: bool
    ) -> None:
        """Take an item out and write its history as the local executor would."""
        status = self._queue.ExecutionStatus(
            status_str="success" if success else "error", completed=success, messages=messages
        )
        with self._queue.mutex:
            if number in self._queue.currently_running:
                self._waiting.discard(self._queue.currently_running[number][1])
                self._queue.task_done(number, history, status=status, process_item=_public)

    def withdraw(self, number: int) -> None:
        """Take an item out that did not end."""
        with self._queue.mutex:
            item = self._queue.currently_running.pop(number, None)
            if item is not None:
                self._waiting.discard(item[1])
            self._queue.server.queue_updated()

    def local_is_running(self, is_cloud: Callable[[str], bool]) -> bool:
        """Whether the local executor has a prompt in its hands."""
        with self._queue.mutex:
            running = list(self._queue.currently_running.values())
        return any(not is_cloud(item[1]) for item in running)


def _public(item: Item) -> Item:
    """The item without its sensitive part, as history keeps it."""
    return (*item[:5], *item[6:])
