"""Which node a thread works for: the one that ComfyUI executes in it, or the one that asked for it.

ComfyUI knows the node of its own thread alone. A thread that a node starts is marked as it starts.
The threads of a pool live longer than that: each piece of work carries the node that handed it in.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

Where: TypeAlias = tuple[str, str]
"""Prompt id, node id."""

_ON_THREAD: Final = "_aws_works_for"
_MARK: Final = "_aws_carries_node"
_POOL_WORK: Final = getattr(pools, "_worker", _ON_THREAD)
"""What a pool's thread runs: work of whoever comes."""

_EXECUTOR: Final = "prompt_worker"
"""The function that ComfyUI's executor is a thread of; Python names the thread after it."""

_carried: ContextVar[Where | None] = ContextVar("aws_carried_node", default=None)


def node_of_this_thread() -> Where | None:
    """The node that this thread works for; None when it works for none, such as a server's."""
    marked: Where | None = _executed() or _carried.get()
    return marked or getattr(threading.current_thread(), _ON_THREAD, None)


def watch() -> None:
    """From now on threads and work for pools carry their node; a second call changes nothing."""
    thread: Any = threading.Thread
    pool: Any = ThreadPoolExecutor
    if not hasattr(thread.start, _MARK):
        thread.start = _marking(thread.start)
    if not hasattr(pool.submit, _MARK):
        pool.submit = _carrying(pool.submit)


def _marking(start: Any) -> Any:
    @functools.wraps(start)
    def marking(thread: threading.Thread) -> None:
        if getattr(thread, "_target", None) is not _POOL_WORK:
            where = node_of_this_thread()
            if where is not None:
                setattr(thread, _ON_THREAD, where)
        start(thread)

    setattr(marking, _MARK, True)
    return marking


def _carrying(submit: Any) -> Any:
    @functools.wraps(submit)
    def carrying(pool: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        where = node_of_this_thread()
        if where is not None:
            work = functools.partial(_carry, where, work)
        return submit(pool, work, *args, **kwargs)

    setattr(carrying, _MARK, True)
    return carrying


def _carry(where: Where, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = _carried.set(where)
    try:
        return work(*args, **kwargs)
    finally:
        _carried.reset(token)


def _executed() -> Where | None:
    """The node that ComfyUI executes in this thread."""
    of_executor = _executors_context()
    if of_executor is None:  # an older or newer ComfyUI than those we know
        return _told_to_the_page()
    context = of_executor()
    return None if context is None else (context.prompt_id, context.node_id)


@functools.cache
def _executors_context() -> Callable[[], Any] | None:
    """ComfyUI's function that tells it, looked up once: each file of a page has us ask thrice."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:
        return None
    of_executor: Callable[[], Any] = get_executing_context
    return of_executor


def _told_to_the_page() -> Where | None:
    """The node that the page is told of, if this is the thread that executes it."""
    from server import PromptServer

    if _EXECUTOR not in threading.current_thread().name:
        return None
    prompt_id = getattr(PromptServer.instance, "last_prompt_id", None)
    node_id = getattr(PromptServer.instance, "last_node_id", None)
    return (prompt_id, node_id) if prompt_id and node_id else None
