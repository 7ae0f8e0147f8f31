"""What a designer calls at AWS, recorded, is what its policy lets it do, on the very resources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_aws.endpoint_plan import SCALE_TAGS, TAG, WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsDenied
from comfy_aws.models import EndpointSpec
from tests.functional.localstack_support import WORKER, Cloud
from tests.functional.parts import model_node
from tests.functional.rights import HERE, Recorder, refusal


def test_a_designer_stays_within_its_rights(parts):
    recorder = Recorder(parts.session)
    parts.catalog.model("a.safetensors", b"x" * 1234)
    parts.publish("Rights", {"1": model_node("a.safetensors")})
    events = parts.queues.ensure("comfy-aws-rights", retention=3600)
    parts.queues.receive(events, wait=0)
    parts.queues.delete(events)
    environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
    worker = WorkerImage(parts.state.image_uri, parts.state.role_arn, environment)
    endpoints = Endpoints(parts.sagemaker, worker, parts.store.bucket)
    endpoints.create(EndpointSpec(name="rights"))
    endpoints.wait("rights", timeout=60, every=0.1)
    endpoints.list()
    assert endpoints.change("rights", max_instances=2, idle_seconds=900).max_instances == 2
    endpoints.sleep("rights")
    endpoints.wake("rights")
    parts.sagemaker.invoke_async("rights", "rights-1", body=b"{}")
    Cloud(parts.state).settled("rights")
    endpoints.delete("rights")
    kept = Cloud(parts.state).logs.describe_log_groups(
        logGroupNamePrefix="/aws/sagemaker/Endpoints/rights"
    )
    assert [group["retentionInDays"] for group in kept["logGroups"]] == [30]
    parts.templates.delete("Rights")

    called = {operation for operation, _ in recorder.calls}
    assert {"s3:PutObject", "s3:DeleteObject", "sqs:CreateQueue"} <= called
    assert {"sagemaker:CreateEndpoint", "sagemaker:InvokeEndpointAsync"} <= called
    assert {"application-autoscaling:PutScalingPolicy", "cloudwatch:PutMetricAlarm"} <= called
    assert {"sagemaker:AddTags", "sagemaker:UpdateEndpointWeightsAndCapacities"} <= called
    assert recorder.refused(parts.store.bucket) == set()


def test_what_a_designer_may_not(parts):
    bucket = parts.store.bucket
    for operation, asked in [
        ("s3:GetObject", {"Bucket": "another", "Key": "blobs/sha256/aa/aa"}),
        ("s3:DeleteObject", {"Bucket": bucket, "Key": "environments/a.json"}),
        ("s3:PutObject", {"Bucket": bucket, "Key": "archives/aa/aa"}),
        ("s3:PutObject", {"Bucket": bucket, "Key": "deploy/source.zip"}),
        ("sqs:ReceiveMessage", {"QueueUrl": "https://sqs/123456789012/another"}),
        ("sagemaker:CreateEndpoint", {"EndpointName": "e", "Tags": []}),
        ("cloudwatch:DeleteAlarms", {"AlarmNames": ["another"]}),
    ]:
        assert refusal(bucket, operation, asked), operation


SCALE = [{"Key": key, "Value": "1"} for key in SCALE_TAGS]


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (SCALE, ()),  # somebody else's endpoint
        ([*SCALE, {"Key": TAG, "Value": "endpoint"}], (f"{TAG}=endpoint",)),
        ([{"Key": TAG, "Value": "endpoint"}], ()),
        ([], (f"{TAG}=endpoint",)),
    ],
)
def test_a_designer_tags_its_own_endpoints_alone_and_only_their_limits(given, tags):
    asked = {"ResourceArn": f"arn:aws:sagemaker:{HERE}:endpoint/e", "Tags": given}
    assert refusal("b", "sagemaker:AddTags", asked, tags=tags)
    own = {**asked, "Tags": SCALE}
    assert not refusal("b", "sagemaker:AddTags", own, tags=[f"{TAG}=endpoint"])


def test_a_change_that_is_refused_halfway_leaves_the_limits_that_were_told(parts):
    """Whoever may tag and not scale: the tags tell the limits in force again."""
    environment = {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER)}
    worker = WorkerImage(parts.state.image_uri, parts.state.role_arn, environment)
    endpoints = Endpoints(parts.sagemaker, worker, parts.store.bucket)
    endpoints.create(EndpointSpec(name="halfway"))
    endpoints.wait("halfway", timeout=60, every=0.1)
    refusing = [True]

    def refuse(**_: Any) -> None:
        if refusing[0]:
            raise AwsDenied("not authorized to perform: PutScalingPolicy")

    scaling = parts.session.client("application-autoscaling")
    scaling.meta.events.register("provide-client-params.*.PutScalingPolicy", refuse)
    try:
        with pytest.raises(AwsDenied):
            endpoints.change("halfway", idle_seconds=900)
        fresh = Endpoints(parts.sagemaker, worker, parts.store.bucket)
        assert fresh.get("halfway").idle_seconds == EndpointSpec.idle_seconds
        refusing[0] = False
        assert fresh.change("halfway", idle_seconds=900).idle_seconds == 900
    finally:
        refusing[0] = False
        endpoints.delete("halfway")
