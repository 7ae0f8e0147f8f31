"""Events of a job: order, numbers, coalescing, and their way to the queue."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from comfy_aws.errors import AwsNotFound, AwsUnreachable
from comfy_aws.models import EventBatch, EventKind, OutputFile, from_json
from comfy_aws.worker.outbox import LARGEST_EVENT, MESSAGE_BYTES, Outbox, Sender

NEVER = 3600.0  # seconds: no timer of this interval ends during a test
FILE = OutputFile("9", "a.png", "", "output", "jobs/j/outputs/0001/a.png", 3, "d" * 64)


class Sent(list):
    """What left the outbox, as (number, kind, value)."""

    def __call__(self, line: str) -> None:
        event = json.loads(line)
        self.append((event["seq"], event["kind"], event["data"].get("value")))

    @property
    def values(self):
        return [value for _, _, value in self]


@pytest.fixture
def sent():
    return Sent()


def outbox_for(sent, *, progress=NEVER, preview=NEVER) -> Outbox:
    return Outbox("job", sent, progress_interval=progress, preview_interval=preview)


def post(outbox, value, **more):
    outbox.post(EventKind.COMFY, {"value": value}, **more)


def progress(outbox, value, key="p"):
    outbox.progress(key, EventKind.COMFY, {"value": value})


async def test_the_first_progress_leaves_at_once_and_the_latest_before_the_next_event(sent):
    outbox = outbox_for(sent)
    for value in range(5):
        progress(outbox, value)
    assert sent.values == [0]
    post(outbox, "done")
    assert sent.values == [0, 4, "done"]
    assert [number for number, _, _ in sent] == [1, 2, 3]


async def test_the_last_state_of_every_node_is_kept(sent):
    outbox = outbox_for(sent)
    for node in "ab":
        for value in range(3):
            progress(outbox, f"{node}{value}", key=node)
    await outbox.settle()
    assert sent.values == ["a0", "a2", "b2"]


async def test_the_latest_goes_behind_what_came_in_between(sent):
    outbox = outbox_for(sent)
    for key, value in (("x", "first"), ("a", "a1"), ("b", "b1"), ("a", "a2")):
        progress(outbox, value, key=key)
    await outbox.settle()
    assert sent.values == ["first", "b1", "a2"]


async def test_progress_that_waits_leaves_when_its_time_has_come(sent):
    outbox = outbox_for(sent, progress=0.01)
    for value in range(3):
        progress(outbox, value)
    await until(lambda: len(sent) >= 2)
    assert sent.values == [0, 2]


async def test_previews_are_thinned_never_kept_and_dropped_at_the_end(sent):
    outbox = outbox_for(sent)
    for value in range(3):
        outbox.preview(EventKind.PREVIEW, {"value": value})
    post(outbox, "after")
    await outbox.settle()
    assert sent.values == [0, "after"]
    assert [json.loads(line)["seq"] for line in outbox.lines] == [2]
    assert outbox.last_seq == 2


async def test_events_wait_for_the_files_of_a_node_in_order(sent):
    outbox = outbox_for(sent)
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    post(outbox, "first", files=first)
    post(outbox, "second", files=second)
    post(outbox, "last")
    second.set_result([])
    await asyncio.sleep(0)
    assert sent.values == []
    first.set_result([FILE])
    await outbox.settle()
    assert sent.values == ["first", "second", "last"]
    assert json.loads(outbox.lines[0])["data"]["files"][0]["key"] == FILE.key


async def test_a_heartbeat_does_not_wait(sent):
    outbox = outbox_for(sent)
    upload = asyncio.get_running_loop().create_future()
    post(outbox, "slow", files=upload)
    outbox.pulse()
    assert sent == [(1, "heartbeat", None)]
    upload.set_result([])
    await outbox.settle()
    assert sent[1:] == [(2, "comfy", "slow")]


async def test_a_failed_upload_does_not_hold_the_events(sent):
    outbox = outbox_for(sent)
    upload = asyncio.get_running_loop().create_future()
    post(outbox, "node", files=upload)
    upload.set_exception(AwsUnreachable("gone"))
    await outbox.settle()
    assert sent.values == ["node"]


async def test_the_last_event_is_numbered_and_kept_but_not_sent(sent):
    outbox = outbox_for(sent)
    post(outbox, "one")
    line = outbox.conclude(EventKind.RESULT, {"outcome": "success"})
    assert json.loads(line)["seq"] == outbox.last_seq == 2
    assert outbox.lines[-1] == line
    assert len(sent) == 1


async def test_text_that_has_no_utf8_form_travels(sent):
    outbox = outbox_for(sent)
    post(outbox, "a\ud83d")
    assert sent.values == ["a\ud83d"]
    assert outbox.lines[0].isascii()


class Queue:
    """A slow queue; `gate` holds the first message back."""

    def __init__(self, error: Exception | None = None) -> None:
        self.bodies: list[str] = []
        self.gate = threading.Event()
        self.error = error

    def send(self, body: str) -> None:
        self.bodies.append(body)
        assert self.gate.wait(10)
        if self.error:
            raise self.error

    @property
    def numbers(self):
        return [[event.seq for event in from_json(EventBatch, body).events] for body in self.bodies]


def line(number: int, size: int = 0) -> str:
    filler = {"value": "x" * size}
    return json.dumps({"job_id": "j", "seq": number, "kind": "comfy", "data": filler, "at": 1.0})


async def until(condition):
    while not condition():  # noqa: ASYNC110 – the condition comes true in another thread
        await asyncio.sleep(0.001)


async def test_a_lone_event_leaves_at_once_and_what_waits_goes_together():
    queue = Queue()
    sender = Sender(queue.send)
    sender.add(line(1))
    await until(lambda: queue.bodies)
    for number in (2, 3, 4):
        sender.add(line(number))
    queue.gate.set()
    await sender.drain()
    assert queue.numbers == [[1], [2, 3, 4]]


async def test_a_message_stays_below_its_size():
    queue = Queue()
    queue.gate.set()
    sender = Sender(queue.send)
    for number in range(1, 8):
        sender.add(line(number, MESSAGE_BYTES // 3))
    sender.add(line(8, MESSAGE_BYTES * 2))
    await sender.drain()
    assert [number for numbers in queue.numbers for number in numbers] == list(range(1, 9))
    assert queue.numbers[-1] == [8]
    assert all(len(body) <= MESSAGE_BYTES + 20 for body in queue.bodies[:-1])


async def test_an_event_that_no_queue_takes_is_spilled():
    queue, spilled = Queue(), []
    queue.gate.set()
    sender = Sender(queue.send, spilled=lambda: spilled.append(True))
    sender.add(line(1, LARGEST_EVENT))
    sender.add(line(2))
    await sender.drain()
    assert (queue.numbers, spilled) == ([[2]], [True])


async def test_a_queue_that_is_gone_is_not_asked_again():
    queue = Queue(AwsNotFound("no such queue"))
    queue.gate.set()
    sender = Sender(queue.send)
    for number in (1, 2):
        sender.add(line(number))
        await sender.drain()
    assert len(queue.bodies) == 1


async def test_a_queue_that_cannot_be_reached_is():
    queue = Queue(AwsUnreachable("no connection"))
    queue.gate.set()
    sender = Sender(queue.send)
    for number in (1, 2):
        sender.add(line(number))
        await sender.drain()
    assert len(queue.bodies) == 2
