"""Cloud jobs in lists of ComfyUI's queue: waiting, running, and waiting once more."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from comfy_aws.comfyui.cloud_queue import CloudQueue, Item


class PromptQueue:
    """What we use of ComfyUI's class of this name."""

    class ExecutionStatus(NamedTuple):
        status_str: str
        completed: bool
        messages: list[Any]

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.currently_running: dict[int, Item] = {}
        self.task_counter = 0
        self.updates = 0
        self.server = SimpleNamespace(queue_updated=self.updated)

    def updated(self) -> None:
        self.updates += 1

    def put(self, item: Item) -> None:
        raise AssertionError("only a cloud job is put here")

    def task_done(self, number: int, *_: Any, **__: Any) -> None:
        del self.currently_running[number]

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        return list(self.currently_running.values()), [(0, "local")]

    get_current_queue_volatile = get_current_queue


@pytest.mark.parametrize("listing", ["get_current_queue", "get_current_queue_volatile"])
def test_a_job_waits_runs_and_waits_again(listing):
    queue: Any = PromptQueue()
    begun: list[int] = []
    cloud = CloudQueue(queue, lambda item: item, lambda number, _: begun.append(number), bool)
    assert cloud.attach()

    def ids() -> list[list[str]]:
        return [[item[1] for item in items] for items in getattr(queue, listing)()]

    queue.put((0, "cloud", {}, {}, [], {}))
    assert ids() == [[], ["local", "cloud"]]
    cloud.show("cloud", running=True)
    cloud.show("cloud", running=True)
    assert ids() == [["cloud"], ["local"]]
    assert queue.updates == 2
    cloud.show("cloud", running=False)
    assert ids() == [[], ["local", "cloud"]]
    cloud.finish(begun[0], {}, [], success=True)
    assert ids() == [[], ["local"]]
    queue.put((0, "cloud", {}, {}, [], {}))  # the same id once more
    cloud.show("cloud", running=True)
    cloud.withdraw(begun[1])
    assert ids() == [[], ["local"]]


def test_a_queue_that_has_no_second_list():
    own = {name: value for name, value in vars(PromptQueue).items() if "volatile" not in name}
    queue: Any = type("Plain", (), own)()
    cloud = CloudQueue(queue, lambda item: item, lambda number, _: None, bool)
    assert cloud.attach()
    queue.put((0, "cloud", {}, {}, [], {}))
    assert [item[1] for item in queue.get_current_queue()[1]] == ["local", "cloud"]
    assert not hasattr(queue, "get_current_queue_volatile")
