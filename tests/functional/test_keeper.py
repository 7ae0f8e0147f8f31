"""Endpoints come down by themselves, though nobody looks at them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from comfy_aws.aws import SageMaker, Session
from comfy_aws.endpoint_plan import WorkerImage, plan_scaling, wake_alarm, wake_name
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsNotFound, ConfigError, Conflict
from comfy_aws.keeper import PATIENCE, Keeper
from comfy_aws.models import Endpoint, EndpointSpec, EndpointStatus
from tests.functional.localstack_support import WORKER, Cloud, eventually
from tests.functional.parts import Parts, access_to
from tests.support import faults

EVERY = 0.2


def worker_of(parts: Parts, **environment: str) -> WorkerImage:
    environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER), **environment}
    return WorkerImage(parts.state.image_uri, parts.state.role_arn, environment)


def endpoints_of(parts: Parts, ahead: float = 0.0, **environment: str) -> Endpoints:
    worker = worker_of(parts, **environment)
    return Endpoints(parts.sagemaker, worker, parts.store.bucket, clock=lambda: time.time() + ahead)


@pytest.fixture
def cloud(parts: Parts) -> Cloud:
    return Cloud(parts.state)


@pytest.fixture
def made(parts: Parts, cloud: Cloud) -> Iterator[list[str]]:
    """Names of endpoints that are gone after the test."""
    names: list[str] = []
    yield names
    for name in names:
        cloud.settled(name)
        endpoints_of(parts).delete(name)
        eventually(lambda name=name: cloud.describe(name) is None, f"{name} is deleted")


def unlooked(_endpoint: Endpoint, _asleep: bool) -> None:
    raise AssertionError("nothing is awake for nothing")


def test_from_zero_and_back_though_nobody_looks(parts: Parts, cloud: Cloud, made) -> None:
    # Who creates it goes away; the keeper is of a process that came later.
    endpoints_of(parts).create(EndpointSpec(name="unseen", idle_seconds=0))
    made.append("unseen")
    other = endpoints_of(parts)
    keeper = Keeper(lambda: other, lambda: None, unlooked, first=0.0, every=EVERY)
    keeper.start()
    try:
        cloud.settled("unseen")
        cloud.has_instances("unseen", 0)
    finally:
        keeper.close()
    call = cloud.invoke("unseen", "echo")
    assert cloud.output(call)
    cloud.has_instances("unseen", 0)
    [alarm] = cloud.cloudwatch.describe_alarms(AlarmNames=[wake_name("unseen")])["MetricAlarms"]
    assert alarm["MetricName"] == "HasBacklogWithoutCapacity"


def test_a_registration_that_broke_off_is_finished(parts: Parts, cloud: Cloud, made) -> None:
    spec = EndpointSpec(name="halfway", idle_seconds=0)
    # What another endpoint of this name has left wakes nobody, and is no mark of this one's end.
    parts.sagemaker.alarm("put_metric_alarm", wake_alarm("halfway", "arn:aws:autoscaling:gone"))
    endpoints_of(parts).create(spec)
    made.append("halfway")
    cloud.settled("halfway")
    first = plan_scaling(spec)[0]
    parts.sagemaker.scale(first.operation, first.request)  # and then its process was killed
    endpoints_of(parts).get("halfway")
    cloud.has_instances("halfway", 0)
    [alarm] = cloud.cloudwatch.describe_alarms(AlarmNames=[wake_name("halfway")])["MetricAlarms"]
    [policy] = alarm["AlarmActions"]
    assert policy.endswith(wake_name("halfway"))


def test_one_that_was_made_anew_elsewhere_scales_too(parts: Parts, cloud: Cloud, made) -> None:
    watching, elsewhere = endpoints_of(parts), endpoints_of(parts)
    spec = EndpointSpec(name="anew", idle_seconds=0)
    elsewhere.create(spec)
    watching.wait("anew", timeout=60, every=0.1)
    elsewhere.delete("anew")
    eventually(lambda: cloud.describe("anew") is None, "anew is deleted")
    elsewhere.create(spec)
    made.append("anew")
    cloud.settled("anew")
    watching.list()
    cloud.has_instances("anew", 0)


def test_what_sagemaker_does_not_see_at_once_is_asked_for_again(parts: Parts, made) -> None:
    """CreateEndpoint looks its configuration up where a write of a moment ago may be missing."""
    blind = [1, 2]

    def lost(asked: faults.Asked) -> faults.Answer | None:
        if asked.operation != "CreateEndpoint" or not blind:
            return None
        blind.pop()
        text = 'Could not find endpoint configuration "eventual".'
        return faults.as_json({"__type": "ValidationException", "message": text}, 400)

    with faults.aws_before(parts.state.endpoint_url) as aws:
        aws.faults.append(lost)
        sagemaker = SageMaker(Session(replace(access_to(parts.state), endpoint_url=aws.url)))
        slept: list[float] = []
        endpoints = Endpoints(sagemaker, worker_of(parts), parts.store.bucket, sleep=slept.append)
        endpoints.create(EndpointSpec(name="eventual"))
        made.append("eventual")
        assert slept == [1.0, 2.0]
        blind[:] = [1] * 10
        with pytest.raises(AwsNotFound):
            endpoints.create(EndpointSpec(name="never"))
    with pytest.raises(AwsNotFound):
        parts.sagemaker.call("describe_model", {"ModelName": "never"})


def test_limits_that_were_changed_elsewhere_are_told_within_a_minute(parts: Parts, made) -> None:
    ahead = [0.0]
    worker = endpoints_of(parts)
    watching = Endpoints(
        parts.sagemaker, WorkerImage("", ""), "", clock=lambda: time.time() + ahead[0]
    )
    worker.create(EndpointSpec(name="told"))
    made.append("told")
    watching.wait("told", timeout=60, every=0.1)
    worker.change("told", max_instances=7)
    ahead[0] = 61.0
    assert watching.get("told").max_instances == 7


def test_one_that_changes_is_not_deleted_and_scales_on(parts: Parts, cloud: Cloud, made) -> None:
    endpoints = endpoints_of(parts)
    # A worker that never answers: what changes to it goes on changing.
    endpoints_of(parts, TEST_WORKER_START="silent").create(EndpointSpec(name="silent"))
    made.append("silent")
    with pytest.raises(Conflict, match=r"changes just now \(Creating"):
        endpoints.delete("silent")
    cloud.fail("silent")
    endpoints.create(EndpointSpec(name="changing"))
    made.append("changing")
    cloud.settled("changing")
    endpoints.get("changing")
    cloud.sagemaker.update_endpoint(EndpointName="changing", EndpointConfigName="silent")
    with pytest.raises(Conflict, match=r"changes just now \(Updating"):
        endpoints.delete("changing")
    assert cloud.cloudwatch.describe_alarms(AlarmNames=[wake_name("changing")])["MetricAlarms"]
    targets = cloud.application_autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=["endpoint/changing/variant/main"]
    )
    assert targets["ScalableTargets"]
    cloud.fail("changing")


def test_the_keeper_outlives_what_it_cannot_reach(parts: Parts, cloud: Cloud, made) -> None:
    tries = []

    def endpoints() -> Endpoints:
        tries.append(1)
        if len(tries) == 1:
            raise ConfigError("Nothing is configured yet.")
        if len(tries) == 2:
            raise RuntimeError("a mistake of ours")
        return found

    found = endpoints_of(parts)
    found.create(EndpointSpec(name="later", idle_seconds=0))
    made.append("later")
    keeper = Keeper(endpoints, lambda: None, unlooked, first=0.0, every=EVERY)
    keeper.start()
    try:
        cloud.has_instances("later", 0)
    finally:
        keeper.close()
    assert len(tries) > 2


def test_one_that_is_awake_for_nothing_is_told_once_and_put_to_sleep(
    parts: Parts, cloud: Cloud, made
) -> None:
    told: list[tuple[str, bool]] = []
    guard: list[float | None] = [None]
    # An hour's idle time: it would sleep by itself much later than the test ends.
    endpoints_of(parts).create(EndpointSpec(name="idle", idle_seconds=3600))
    made.append("idle")
    endpoints = endpoints_of(parts)
    assert endpoints.wait("idle", timeout=60, every=0.1).image == parts.state.image_uri
    ahead = [0.0]

    def later() -> float:
        return time.time() + ahead[0]

    keeper = Keeper(
        lambda: endpoints, lambda: guard[0], lambda e, asleep: told.append((e.name, asleep)),
        clock=later,
    )  # fmt: skip
    eventually(lambda: endpoints.get("idle", queue=True).idle_since, "CloudWatch tells of it")
    keeper.look()
    assert told == []
    ahead[0] = PATIENCE + 3600 + 60
    keeper.look()
    keeper.look()
    assert told == [("idle", False)]
    guard[0] = 1800.0
    keeper.look()
    assert told == [("idle", False), ("idle", True)]
    cloud.has_instances("idle", 0)
    asleep = endpoints.get("idle", queue=True)
    assert (asleep.status, asleep.idle_since) == (EndpointStatus.IN_SERVICE, 0.0)


def test_one_that_shall_stay_awake_is_told_and_left(parts: Parts, cloud: Cloud, made) -> None:
    told: list[tuple[str, bool]] = []
    endpoints = endpoints_of(parts)
    endpoints.create(EndpointSpec(name="kept", min_instances=1))
    made.append("kept")
    endpoints.wait("kept", timeout=60, every=0.1)
    eventually(lambda: endpoints.get("kept", queue=True).idle_since, "CloudWatch tells of it")
    keeper = Keeper(
        lambda: endpoints, lambda: 60.0, lambda e, asleep: told.append((e.name, asleep)),
        clock=lambda: time.time() + PATIENCE + 3600,
    )  # fmt: skip
    keeper.look()
    assert told == [("kept", False)]
    assert cloud.counts("kept") == (1, 1)
