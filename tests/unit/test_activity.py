"""When an endpoint counts as awake for nothing, by what CloudWatch says."""

from __future__ import annotations

from comfy_aws.activity import FRESH, WINDOW, Activity, idle_since, seen
from comfy_aws.errors import AwsDenied

NOW = 1_760_000_000.0


class CloudWatch:
    """The metrics of one endpoint."""

    def __init__(self, **metrics: list[tuple[float, float]]) -> None:
        self.metrics = metrics
        self.asked: list[str] = []

    def metric(self, endpoint, name, *, variant="", since, now):
        assert variant == ("" if name == "ApproximateBacklogSize" else "main")
        self.asked.append(name)
        if name not in self.metrics:
            raise AwsDenied("no")
        return [(at, value) for at, value in self.metrics[name] if since <= at <= now]


def look(cloudwatch: CloudWatch, awake_since: float = NOW - 2 * 3600) -> Activity:
    return seen(cloudwatch, "e", NOW, awake_since=awake_since)


def quiet(minutes: int) -> list[tuple[float, float]]:
    return [(NOW - 60 * minute, 0.0) for minute in range(minutes, 0, -1)]


def test_it_is_idle_since_its_last_job():
    waiting = [(NOW - 1860, 2.0), *quiet(30)]
    found = look(CloudWatch(ApproximateBacklogSize=waiting, InvocationsProcessed=[]))
    assert found == Activity(0, NOW - 1800)


def test_a_job_between_two_samples_counts():
    done = [(NOW - 660, 1.0)]
    found = look(CloudWatch(ApproximateBacklogSize=quiet(30), InvocationsProcessed=done))
    assert found == Activity(0, NOW - 600)


def test_it_cannot_be_idle_for_longer_than_it_is_awake():
    metrics = CloudWatch(ApproximateBacklogSize=quiet(30), InvocationsProcessed=[])
    assert look(metrics, NOW - 90).idle_since == NOW - 90
    assert idle_since([], NOW, NOW - 99 * 3600) == NOW - WINDOW
    assert idle_since([(NOW, 1.0)], NOW, 0.0) == NOW  # its minute has not ended


def test_nothing_is_said_of_one_that_sleeps_has_jobs_or_is_not_known():
    asleep = CloudWatch(ApproximateBacklogSize=quiet(30))
    assert look(asleep, 0.0) == Activity(0)
    assert asleep.asked == ["ApproximateBacklogSize"]
    assert look(CloudWatch(ApproximateBacklogSize=[(NOW - 30, 3.0)])) == Activity(3)
    old = CloudWatch(ApproximateBacklogSize=[(NOW - FRESH - 60, 0.0)])
    assert look(old) == Activity()
    assert look(CloudWatch()) == Activity()
    assert look(CloudWatch(ApproximateBacklogSize=quiet(9))) == Activity()  # half of an answer
