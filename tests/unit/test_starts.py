"""Starts of endpoints: told while they go on, and foretold by the last one of the kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_aws.aws import LogEvent
from comfy_aws.models import Endpoint, EndpointStatus
from comfy_aws.starts import LATE, Starts, is_starting

CREATING = Endpoint("cat", EndpointStatus.CREATING, 100.0, 100.0, "ml.g5.xlarge", 0, 1, 0, 1, "Cat")
AT_WORK = replace(CREATING, status=EndpointStatus.IN_SERVICE, instances=1, updated=130.0)
ASLEEP = replace(AT_WORK, instances=0, desired_instances=0)
WAKING = replace(AT_WORK, status=EndpointStatus.UPDATING, instances=0, updated=200.0)

LINES = (
    (4.0, "The worker starts."),
    (5.0, "start: Starting ComfyUI"),
    (9.0, "start: ComfyUI started in 4.0 s (4.0 s)"),
    (9.5, "The worker is ready."),
)


class Log:
    """A log group of CloudWatch."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def write(self, stream: str, began: float, lines) -> None:
        for after, text in lines:
            at = began + after
            said = f"INFO job=- worker: {text}"
            self.events.append(LogEvent(f"{stream}{at}", at, stream, said))

    def read(self, group: str, *, since: float = 0.0) -> list[LogEvent]:
        assert group == "/aws/sagemaker/Endpoints/cat"
        return sorted((each for each in self.events if each.at >= since), key=lambda e: e.at)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def starts(log, clock, tmp_path):
    return Starts(log, tmp_path / "starts.json", clock)


def names(start) -> list[str]:
    return [each["name"] for each in start["phases"]]


def test_what_starts_and_what_does_not():
    assert is_starting(CREATING)
    assert is_starting(WAKING)
    assert is_starting(replace(AT_WORK, desired_instances=2))
    assert not is_starting(AT_WORK)
    assert not is_starting(ASLEEP)
    assert not is_starting(replace(CREATING, status=EndpointStatus.FAILED))


def test_a_start_is_told_and_the_next_one_foretold(starts, log, clock, tmp_path):
    clock.now = 103.0
    first = starts.of(CREATING)
    assert (first["began"], first["now"], names(first), first["expected"]) == (
        100.0, 103.0, ["machine"], None)  # fmt: skip
    log.write("a", 100.0, LINES[:2])
    assert names(starts.of(CREATING)) == ["machine", "start"]
    log.write("a", 100.0, LINES[2:])
    assert starts.of(AT_WORK) is None
    assert not starts.see(AT_WORK)

    later = Starts(log, tmp_path / "starts.json", clock)  # another process of this machine
    clock.now = 201.0
    next_one = later.of(WAKING)
    assert (next_one["began"], next_one["expected"]) == (200.0, 8.0)
    phases = {each["name"]: each for each in next_one["phases"]}
    assert phases["machine"]["ended"] == 0, "the lines of the first start are not of this one"
    assert (phases["start"]["began"], phases["start"]["expected"]) == (0, 4.0)


def test_the_last_lines_are_waited_for_but_not_for_ever(starts, log, clock):
    starts.see(CREATING)
    log.write("a", 100.0, LINES[:2])
    assert starts.see(AT_WORK)
    clock.now += LATE + 1
    assert not starts.see(AT_WORK)
    assert starts.expected(AT_WORK) == {}


def test_what_failed_is_not_remembered(starts, log):
    starts.see(CREATING)
    log.write("a", 100.0, LINES[:2])
    assert not starts.see(replace(CREATING, status=EndpointStatus.FAILED))
    assert starts.expected(CREATING) == {}


def test_another_endpoint_of_the_same_name_begins_anew(starts, clock):
    starts.see(CREATING)
    clock.now = 500.0
    assert starts.of(replace(CREATING, created=490.0))["began"] == 490.0
