"""The local stack's one URL: credentials, routing, objects, queues."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from comfy_aws import stack
from comfy_aws.localstack.state import load_identity
from tests.functional.localstack_support import Cloud, refused


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The same folder in every file of the session: the second `up` finds the first stack.
    return tmp_path_factory.getbasetemp() / "shared-stack"


@pytest.fixture(scope="session")
def cloud(home: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFY_AWS_LOCAL_SCALE_SECONDS", "0.5")
        state, _ = stack.up(home)
    yield Cloud(state)
    stack.down(home)


CALLS = {
    "s3": lambda c: c.list_buckets(),
    "sqs": lambda c: c.list_queues(),
    "sns": lambda c: c.list_topics(),
    "sts": lambda c: c.get_caller_identity(),
    "logs": lambda c: c.describe_log_groups(),
    "sagemaker": lambda c: c.list_endpoints(),
    "sagemaker-runtime": lambda c: c.invoke_endpoint_async(EndpointName="e", Body=b"{}"),
    "application-autoscaling": lambda c: c.describe_scalable_targets(ServiceNamespace="sagemaker"),
}
UNKNOWN_KEY = {
    "s3": ("InvalidAccessKeyId", 403),
    "sqs": ("InvalidClientTokenId", 403),
    "sns": ("InvalidClientTokenId", 403),
    "sts": ("InvalidClientTokenId", 403),
    "sagemaker-runtime": ("UnrecognizedClientException", 403),
}
BAD_SIGNATURE = {
    "s3": ("SignatureDoesNotMatch", 403),
    "sqs": ("SignatureDoesNotMatch", 403),
    "sns": ("SignatureDoesNotMatch", 403),
    "sts": ("SignatureDoesNotMatch", 403),
    "sagemaker-runtime": ("InvalidSignatureException", 403),
}


@pytest.mark.parametrize("service", [name for name in CALLS if name != "sagemaker-runtime"])
def test_right_credentials_are_let_in(cloud: Cloud, service: str) -> None:
    CALLS[service](cloud.client(service))


@pytest.mark.parametrize("service", CALLS)
def test_an_unknown_key_is_refused(cloud: Cloud, service: str) -> None:
    client = cloud.client(service, aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    code, status = UNKNOWN_KEY.get(service, ("UnrecognizedClientException", 400))
    with refused(code, status):
        CALLS[service](client)


@pytest.mark.parametrize("service", CALLS)
def test_a_wrong_secret_is_refused(cloud: Cloud, service: str) -> None:
    client = cloud.client(service, aws_secret_access_key="x" * 40)
    code, status = BAD_SIGNATURE.get(service, ("InvalidSignatureException", 400))
    with refused(code, status):
        CALLS[service](client)


@pytest.mark.parametrize("service", ["sts", "sagemaker"])
def test_another_region_is_refused(cloud: Cloud, service: str) -> None:
    client = cloud.client(service, region_name="eu-west-1")
    code, status = BAD_SIGNATURE.get(service, ("InvalidSignatureException", 400))
    with refused(code, status, "valid region"):
        CALLS[service](client)


@pytest.fixture
def worker(cloud: Cloud, home: Path) -> Callable[[str], Any]:
    """Clients with the keys that workers have."""
    known = json.loads((home / "identity.json").read_text())

    def client(service: str) -> Any:
        return cloud.client(
            service,
            aws_access_key_id=known["worker_access_key_id"],
            aws_secret_access_key=known["worker_secret_access_key"],
        )

    return client


def test_a_worker_reads_and_writes_what_its_role_grants(
    cloud: Cloud, worker: Callable[[str], Any]
) -> None:
    mine, bucket = worker("s3"), cloud.state.bucket
    for key in ("blobs/sha256/aa/x", "templates/T/template.json"):
        cloud.s3.put_object(Bucket=bucket, Key=key, Body=b"published")
        assert mine.get_object(Bucket=bucket, Key=key)["Body"].read() == b"published"
    for key in ("jobs/j/result.json", "archives/aa/y", "environments/k.json"):
        mine.put_object(Bucket=bucket, Key=key, Body=b"made")
    mine.upload_fileobj(io.BytesIO(os.urandom(9 << 20)), bucket, "jobs/j/outputs/0001/a.png")
    assert mine.list_objects_v2(Bucket=bucket, Prefix="jobs/j/")["KeyCount"] == 2
    with refused("404", 404):
        mine.head_object(Bucket=bucket, Key="jobs/j/cancel")

    queue = cloud.sqs.create_queue(QueueName="comfy-aws-worker-test")["QueueUrl"]
    worker("sqs").send_message(QueueUrl=queue, MessageBody="event")
    assert cloud.sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "event"
    worker("cloudwatch").put_metric_data(
        Namespace="PromptOnAws", MetricData=[{"MetricName": "JobsFailed", "Value": 1}]
    )
    assert worker("sts").get_caller_identity()["Account"]


@pytest.mark.parametrize(
    "key", ["blobs/sha256/aa/x", "templates/T/template.json", "models/a/b.json"]
)
def test_a_worker_changes_nothing_that_was_published(
    cloud: Cloud, worker: Callable[[str], Any], key: str
) -> None:
    mine, bucket = worker("s3"), cloud.state.bucket
    cloud.s3.put_object(Bucket=bucket, Key=key, Body=b"published")
    mine.put_object(Bucket=bucket, Key="jobs/j/other", Body=b"other")
    with refused("AccessDenied", 403):
        mine.put_object(Bucket=bucket, Key=key, Body=b"other")
    with refused("AccessDenied", 403):
        mine.create_multipart_upload(Bucket=bucket, Key=key)
    with refused("AccessDenied", 403):
        mine.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/jobs/j/other")
    with refused("AccessDenied", 403):
        mine.delete_object(Bucket=bucket, Key=key)
    assert cloud.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"published"


DENIED = {
    "sagemaker": ("AccessDeniedException", 400),
    "application-autoscaling": ("AccessDeniedException", 400),
    "logs": ("AccessDeniedException", 400),
}


@pytest.mark.parametrize("service", [name for name in CALLS if name not in ("s3", "sts")])
def test_a_worker_asks_other_services_for_nothing(
    worker: Callable[[str], Any], service: str
) -> None:
    with refused(*DENIED.get(service, ("AccessDenied", 403)), "is not authorized to perform"):
        CALLS[service](worker(service))


def test_a_worker_sends_to_no_other_queue(cloud: Cloud, worker: Callable[[str], Any]) -> None:
    queue = cloud.sqs.create_queue(QueueName="others")["QueueUrl"]
    with refused("AccessDenied", 403):
        worker("sqs").send_message(QueueUrl=queue, MessageBody="event")


def test_an_older_stack_gets_keys_for_its_workers_and_keeps_its_own(tmp_path: Path) -> None:
    first = load_identity(tmp_path)
    known = json.loads((tmp_path / "identity.json").read_text())
    kept = {name: value for name, value in known.items() if not name.startswith("worker_")}
    (tmp_path / "identity.json").write_text(json.dumps(kept))
    second = load_identity(tmp_path)
    assert second.access_key_id == first.access_key_id
    assert second.worker_access_key_id != first.worker_access_key_id
    assert load_identity(tmp_path) == second


def _change(cloud: Cloud, service: str, event: str, change: Any) -> Any:
    client = cloud.client(service)
    client.meta.events.register(event, change)
    return client


def test_a_body_changed_after_signing_is_refused(cloud: Cloud) -> None:
    def change(request: Any, **_: Any) -> None:
        request.body = b'{"NameContains": "other"}'
        request.headers["Content-Length"] = str(len(request.body))

    client = _change(cloud, "sagemaker", "before-send.sagemaker.*", change)
    with refused("InvalidSignatureException"):
        client.list_endpoints()


def test_a_stale_request_is_refused(cloud: Cloud) -> None:
    def change(request: Any, **_: Any) -> None:
        request.headers["X-Amz-Date"] = "20200101T000000Z"

    client = _change(cloud, "sagemaker", "before-send.sagemaker.*", change)
    with refused("InvalidSignatureException", text="15 minutes"):
        client.list_endpoints()


def test_a_request_without_credentials_gets_nothing(cloud: Cloud) -> None:
    parts = urlsplit(cloud.state.endpoint_url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("GET", f"/{cloud.state.bucket}")
        answer = connection.getresponse()
        assert answer.status == 403
        assert b"AccessDenied" in answer.read()
    finally:
        connection.close()


def test_every_socket_is_on_loopback(cloud: Cloud, home: Path) -> None:
    ports = set(json.loads((home / "ports.json").read_text()).values())
    ports.add(urlsplit(cloud.state.endpoint_url).port)
    heard = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, status = line.split()[:4]
            address, _, port = local.partition(":")
            if status == "0A" and int(port, 16) in ports:
                heard[int(port, 16)] = address
    assert set(heard) == ports
    assert set(heard.values()) == {"0100007F"}


def test_state_is_for_its_owner_only(cloud: Cloud, home: Path) -> None:
    for name in ("stack.json", "identity.json", "s3.json", "control.json"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("direct", [False, True], ids=["front", "direct"])
@pytest.mark.parametrize("key", ["plain", "a b+c/ü/%41&=", "../up", "deep/" * 20 + "x"])
def test_objects_come_back_as_they_went(cloud: Cloud, key: str, direct: bool) -> None:
    url = cloud.state.s3_endpoint_url if direct else cloud.state.endpoint_url
    s3 = cloud.client("s3", endpoint_url=url)
    if key == "../up":
        key = "x/..y/up"  # SeaweedFS refuses parent folders in keys; dots in names are fine
    body = os.urandom(70_000)
    s3.put_object(Bucket=cloud.state.bucket, Key=key, Body=body, Metadata={"colour": "red"})
    found = s3.get_object(Bucket=cloud.state.bucket, Key=key)
    assert (found["Body"].read(), found["Metadata"]) == (body, {"colour": "red"})
    part = s3.get_object(Bucket=cloud.state.bucket, Key=key, Range="bytes=1000-1999")
    assert part["Body"].read() == body[1000:2000]
    assert s3.head_object(Bucket=cloud.state.bucket, Key=key)["ContentLength"] == len(body)


def test_multipart_and_streams_pass_the_front(cloud: Cloud) -> None:
    body = os.urandom(20 << 20)
    cloud.s3.upload_fileobj(io.BytesIO(body), cloud.state.bucket, "large")
    target = io.BytesIO()
    cloud.s3.download_fileobj(cloud.state.bucket, "large", target)
    assert target.getvalue() == body


def test_presigned_urls_work_and_forged_ones_do_not(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=cloud.state.bucket, Key="presigned", Body=b"hello")
    url = cloud.client(
        "s3", config=boto3.session.Config(signature_version="s3v4")
    ).generate_presigned_url(
        "get_object", Params={"Bucket": cloud.state.bucket, "Key": "presigned"}
    )
    for target, status in ((url, 200), (url[:-4] + "0000", 403)):
        parts = urlsplit(target)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        finally:
            connection.close()


def test_of_sixteen_racing_creations_one_wins(cloud: Cloud) -> None:
    gate = threading.Barrier(16)
    clients = [cloud.client("s3") for _ in range(16)]

    def create(number: int) -> str:
        gate.wait()
        try:
            clients[number].put_object(
                Bucket=cloud.state.bucket, Key="raced", Body=bytes([number]), IfNoneMatch="*"
            )
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(create, range(16)))
    assert results.count("won") == 1
    assert set(results) == {"won", "PreconditionFailed"}


def test_missing_objects_and_buckets_have_aws_codes(cloud: Cloud) -> None:
    with refused("NoSuchKey", 404):
        cloud.s3.get_object(Bucket=cloud.state.bucket, Key="never-there")
    with refused("NoSuchBucket", 404):
        cloud.s3.put_object(Bucket="no-such-bucket", Key="k", Body=b"")


def test_a_long_poll_hears_a_message_while_many_others_wait(cloud: Cloud) -> None:
    sqs = cloud.client("sqs", config=boto3.session.Config(max_pool_connections=40, read_timeout=60))
    queues = [sqs.create_queue(QueueName=f"poll-{n}")["QueueUrl"] for n in range(30)]

    def poll(queue: str) -> list[str]:
        found: list[str] = []
        while not found:
            answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
            found = [message["Body"] for message in answer.get("Messages", [])]
        return found

    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(poll, queue) for queue in queues]
        for number, queue in enumerate(queues):
            sqs.send_message(QueueUrl=queue, MessageBody=f"for {number}")
        heard = [future.result() for future in waiting]
    assert heard == [[f"for {number}"] for number in range(30)]
    for queue in queues:
        sqs.delete_queue(QueueUrl=queue)


def test_logs_are_put_and_filtered(cloud: Cloud) -> None:
    logs = cloud.logs
    logs.create_log_group(logGroupName="/test/group")
    logs.create_log_stream(logGroupName="/test/group", logStreamName="one")
    event = {"timestamp": 1_000 * int(cloud.state.started), "message": "it works"}
    logs.put_log_events(logGroupName="/test/group", logStreamName="one", logEvents=[event])
    found = logs.filter_log_events(logGroupName="/test/group", filterPattern="works")
    assert [entry["message"] for entry in found["events"]] == ["it works"]


def test_a_second_up_finds_the_first(cloud: Cloud, home: Path) -> None:
    assert stack.up(home) == (cloud.state, False)
    assert stack.status(home) == stack.read_state(home) == cloud.state
