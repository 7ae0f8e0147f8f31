"""A running local stack for tests, with boto3 clients and small endpoints on it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from comfy_aws.stack import StackState

WORKER = [sys.executable, str(Path(__file__).with_name("localstack_worker.py"))]
PATIENCE_SECONDS = 60
"""How long a test waits for what must happen: a bound for a broken stack, not a measurement."""

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str) -> T:
    """The first true value of `probe`."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        value = probe()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def processes_with(text: str) -> set[int]:
    """Pids of running processes that have `text` in their command line or environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in known and alive(int(entry.name)):
                found.add(int(entry.name))
    return found


class Cloud:
    """boto3 clients for a stack, and shorthand for what the tests do with them."""

    def __init__(self, state: StackState) -> None:
        self.state = state

    def client(self, service: str, **changes: Any) -> Any:
        arguments = {
            "endpoint_url": self.state.endpoint_url,
            "region_name": self.state.region,
            "aws_access_key_id": self.state.access_key_id,
            "aws_secret_access_key": self.state.secret_access_key,
            "config": Config(retries={"total_max_attempts": 1}, read_timeout=60),
            **changes,
        }
        return boto3.client(service, **arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        client = self.client(name.replace("_", "-"))
        setattr(self, name, client)
        return client

    def model(
        self, name: str, *, instances: int = 1, concurrency: int = 1, startup: int = 60,
        notify: dict[str, str] | None = None, **environment: str,
    ) -> None:  # fmt: skip
        """A model and a configuration of the same name."""
        output = {
            "S3OutputPath": f"s3://{self.state.bucket}/async/{name}/out",
            "S3FailurePath": f"s3://{self.state.bucket}/async/{name}/failed",
        }
        if notify:
            output["NotificationConfig"] = notify  # type: ignore[assignment]
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.state.role_arn,
            PrimaryContainer={
                "Image": self.state.image_uri,
                "Environment": {"COMFY_AWS_LOCAL_WORKER": json.dumps(WORKER), **environment},
            },
        )
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "main",
                    "ModelName": name,
                    "InstanceType": "ml.g6e.xlarge",
                    "InitialInstanceCount": instances,
                    "ContainerStartupHealthCheckTimeoutInSeconds": startup,
                }
            ],
            AsyncInferenceConfig={
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
                "OutputConfig": output,
            },
        )

    @contextmanager
    def endpoint(self, name: str, **wishes: Any) -> Iterator[str]:
        """An endpoint in service, deleted at the end."""
        self.model(name, **wishes)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        try:
            assert self.settled(name)["EndpointStatus"] == "InService"
            yield name
        finally:
            self.delete(name)

    def delete(self, name: str) -> None:
        """Delete an endpoint and all of it, once AWS takes that: not while it changes."""

        def deleted() -> bool:
            try:
                self.sagemaker.delete_endpoint(EndpointName=name)
            except ClientError as error:
                if "in-progress" not in str(error):
                    raise
                return False
            return True

        eventually(deleted, f"{name} can be deleted")
        eventually(lambda: self.describe(name) is None, f"{name} is deleted")
        self.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        self.sagemaker.delete_model(ModelName=name)

    def describe(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self.sagemaker.describe_endpoint(EndpointName=name))
        except ClientError as error:
            if "Could not find" in str(error):
                return None
            raise

    def settled(self, name: str) -> dict[str, Any]:
        """The endpoint's description once it is InService or Failed."""

        def probe() -> dict[str, Any] | None:
            known = self.describe(name)
            done = known is not None and known["EndpointStatus"] in ("InService", "Failed")
            return known if done else None

        return eventually(probe, f"{name} settles")

    def fail(self, name: str) -> dict[str, Any]:
        """End the worker of an endpoint in Creating, which is Failed by that."""
        for pid in eventually(lambda: processes_with(f"/{name}/i-"), "the worker runs"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.settled(name)

    def counts(self, name: str) -> tuple[int, int]:
        """(current, desired) instances."""
        known = self.describe(name)
        assert known is not None
        variant = known["ProductionVariants"][0]
        return variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]

    def has_instances(self, name: str, count: int) -> None:
        eventually(lambda: self.counts(name) == (count, count), f"{name} has {count} instances")

    def invoke(self, name: str, do: str, **wish: Any) -> dict[str, Any]:
        """InvokeEndpointAsync with an inline body; `headers` adds request parameters."""
        headers = wish.pop("headers", {})
        return dict(
            self.sagemaker_runtime.invoke_endpoint_async(
                EndpointName=name,
                Body=json.dumps({"do": do, **wish}).encode(),
                ContentType="application/json",
                **headers,
            )
        )

    def object(self, uri: str) -> bytes | None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def output(self, accepted: dict[str, Any]) -> Any:
        """The JSON output of an invocation, when it is there; its failure fails the test."""

        def probe() -> bytes | None:
            failure = self.object(accepted["FailureLocation"])
            assert failure is None, failure
            return self.object(accepted["OutputLocation"])

        return json.loads(eventually(probe, "an output"))

    def failure(self, accepted: dict[str, Any]) -> str:
        """The failure text of an invocation, when it is there."""

        def probe() -> bytes | None:
            assert self.object(accepted["OutputLocation"]) is None
            return self.object(accepted["FailureLocation"])

        return eventually(probe, "a failure").decode()

    def logged(self, name: str, text: str) -> list[dict[str, Any]]:
        """Log events of an endpoint's workers that contain `text`."""
        group = f"/aws/sagemaker/Endpoints/{name}"
        try:
            events = self.logs.filter_log_events(logGroupName=group)["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [event for event in events if text in event["message"]]

    def autoscale(self, name: str, low: int, high: int, *, cooldown: int = 0) -> None:
        """Register the target with both policies and the alarm, as SageMaker's guide does."""
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{name}/variant/main",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        scaling = self.application_autoscaling
        scaling.register_scalable_target(**target, MinCapacity=low, MaxCapacity=high)
        dimensions = [{"Name": "EndpointName", "Value": name}]
        scaling.put_scaling_policy(
            **target,
            PolicyName=f"{name}-backlog",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 1.0,
                "ScaleInCooldown": cooldown,
                "CustomizedMetricSpecification": {
                    "MetricName": "ApproximateBacklogSizePerInstance",
                    "Namespace": "AWS/SageMaker",
                    "Dimensions": dimensions,
                    "Statistic": "Average",
                },
            },
        )
        policy = scaling.put_scaling_policy(
            **target,
            PolicyName=f"{name}-wake",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
            },
        )
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"{name}-wake",
            Namespace="AWS/SageMaker",
            MetricName="HasBacklogWithoutCapacity",
            Dimensions=dimensions,
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[policy["PolicyARN"]],
        )


@contextmanager
def refused(code: str, status: int = 400, text: str = "") -> Iterator[None]:
    """The block must end in this AWS error."""
    with pytest.raises(ClientError) as caught:
        yield
    answer = caught.value.response
    found = (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"])
    assert found == (code, status), caught.value
    assert text in str(caught.value), caught.value
