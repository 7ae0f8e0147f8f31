"""The AWS seam: foreign errors come out as ours, with the operation and a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_aws.aws import Buckets, Checkup, Identity, Logs, ObjectStore, Queues, SageMaker, Session
from comfy_aws.config import AwsAccess
from comfy_aws.errors import (
    AwsConflict,
    AwsDenied,
    AwsError,
    AwsNotFound,
    AwsUnreachable,
)
from tests.comfy.comfyui_process import free_port
from tests.functional.parts import access_to
from tests.support import faults

CALLS = {
    "put": lambda s: ObjectStore(s).put("x", b"1"),
    "get": lambda s: ObjectStore(s).get("x"),
    "head": lambda s: ObjectStore(s).head("x"),
    "list": lambda s: list(ObjectStore(s).list("")),
    "folders": lambda s: list(ObjectStore(s).folders("")),
    "delete": lambda s: ObjectStore(s).delete("x", "y"),
    "queue": lambda s: Queues(s).ensure("q", retention=3600),
    "sagemaker": lambda s: SageMaker(s).call("describe_endpoint", {"EndpointName": "x"}),
    "endpoints": lambda s: list(SageMaker(s).endpoints()),
    "invoke": lambda s: SageMaker(s).invoke_async("x", "job", body=b"{}"),
    "scaling": lambda s: SageMaker(s).scale(
        "describe_scalable_targets", {"ServiceNamespace": "sagemaker"}
    ),
    "logs": lambda s: Logs(s).read("/group"),
    "identity": lambda s: Identity(s).account(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "keys",
    [{"access_key_id": "AKIAIOSFODNN7EXAMPLE"}, {"secret_access_key": "wrong"}],
    ids=["unknown key", "wrong secret"],
)
def test_wrong_credentials(parts, call, keys):
    with pytest.raises(AwsDenied) as caught:
        call(parts.stranger(**keys))
    assert caught.value.operation.partition(":")[1] == ":"
    assert caught.value.message.startswith(caught.value.operation)
    assert "credentials" in caught.value.hint


def test_a_bucket_of_another_account_is_not_taken(parts):
    session = parts.stranger(s3_endpoint_url="")  # the object store knows no accounts
    buckets = Buckets(session)
    assert buckets.exists(parts.store.bucket)
    assert not buckets.exists("nobody-has-this-one")

    def stranger(parsed, **_):
        parsed["Account"] = "210987654321"

    sts = session.client("sts")
    sts.meta.events.register("after-call.sts.GetCallerIdentity", stranger)
    with pytest.raises(AwsDenied) as caught:
        buckets.exists(parts.store.bucket)
    assert "another account's" in caught.value.hint


@pytest.mark.parametrize("name", ["put", "queue", "sagemaker", "invoke"])
def test_nobody_there(name):
    access = AwsAccess(
        bucket="b", region="us-east-1", endpoint_url=f"http://127.0.0.1:{free_port()}",
        access_key_id="k", secret_access_key="s",
    )  # fmt: skip
    with pytest.raises(AwsUnreachable, match="AWS cannot be reached") as caught:
        CALLS[name](Session(access))
    assert "local stack" in caught.value.hint


def test_no_region_and_no_profile(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(AwsError, match="region"):
        CALLS["queue"](Session(AwsAccess("b", access_key_id="k", secret_access_key="s")))
    with pytest.raises(AwsDenied, match="nobody"):
        CALLS["queue"](Session(AwsAccess("b", region="us-east-1", profile="nobody")))


def test_an_answer_that_is_not_of_aws(parts):
    """Such as a company's proxy gives; it must not end in a traceback."""
    page = 403, {"Content-Type": "text/html"}, b"<html><p>Blocked<br></html>"
    with faults.aws_before(parts.state.endpoint_url) as aws:
        aws.faults.append(lambda asked: page if asked.service == "sts" else None)
        access = replace(access_to(parts.state), endpoint_url=aws.url)
        with pytest.raises(AwsUnreachable, match="GetCallerIdentity was answered") as caught:
            Identity(Session(access)).account()
    assert "proxy" in caught.value.hint


def test_what_the_local_stack_does_not_know(parts):
    with pytest.raises(AwsError, match="The local stack does not know this operation"):
        Checkup(parts.session).denied(
            "arn:aws:iam::123456789012:role/r", ["s3:GetObject"], ["*"], {}
        )


def test_what_is_not_there(parts):
    store, sagemaker = parts.store, parts.sagemaker
    with pytest.raises(AwsNotFound, match=r"s3:GetObject for s3://.*/nothing"):
        store.get("nothing")
    assert store.head("nothing") is None
    store.delete("nothing", "nothing either")
    with pytest.raises(AwsNotFound):
        sagemaker.call("describe_endpoint", {"EndpointName": "nothing"})
    with pytest.raises(AwsNotFound):
        sagemaker.scale("deregister_scalable_target", {
            "ServiceNamespace": "sagemaker", "ResourceId": "endpoint/no/variant/main",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        })  # fmt: skip
    url = parts.queues.ensure("gone", retention=3600)
    parts.queues.delete(url)
    with pytest.raises(AwsNotFound):
        parts.queues.receive(url, wait=0)
    assert Logs(parts.session).read("/nothing") == []


def test_wrong_parameters_are_told(parts):
    with pytest.raises(AwsError, match="was called wrongly") as caught:
        parts.sagemaker.call("describe_endpoint", {"Name": "x"})
    assert caught.value.operation == "sagemaker:DescribeEndpoint"


def test_conditional_writes(parts):
    etag = parts.store.put("k", b"1", if_none_match=True)
    with pytest.raises(AwsConflict) as caught:
        parts.store.put("k", b"2", if_none_match=True)
    assert caught.value.aws_code == "PreconditionFailed"
    newer = parts.store.put("k", b"2", if_match=etag)
    with pytest.raises(AwsConflict):
        parts.store.put("k", b"3", if_match=etag)
    assert parts.store.get_with_etag("k") == (b"2", newer)


def test_listing(parts):
    keys = [f"list/a/{number}" for number in range(3)]
    for key in (*keys, "list/b/c/d", "list/b/e"):
        parts.store.put(key, b"12345")
    assert [entry.key for entry in parts.store.list("list/a/")] == keys
    assert list(parts.store.folders("list/")) == ["a", "b"]
    assert list(parts.store.folders("list/b/")) == ["c"]
    head = parts.store.head("list/b/e")
    assert (head.key, head.size) == ("list/b/e", 5)
    assert [entry.etag for entry in parts.store.list("list/b/e")] == [head.etag]


def test_messages(parts):
    url = parts.queues.ensure("messages", retention=3600)
    assert parts.queues.ensure("messages", retention=3600) == url
    bodies = {f"body {number} ü" for number in range(12)}
    for body in bodies:
        parts.queues.send(url, body)
    heard: set[str] = set()
    while heard != bodies:
        messages = parts.queues.receive(url, wait=5)
        assert len(messages) <= 10
        heard |= {message.body for message in messages}
        parts.queues.delete_messages(url, messages)
    assert parts.queues.receive(url, wait=0) == []
    parts.queues.delete_messages(url, [])
    parts.queues.delete(url)
