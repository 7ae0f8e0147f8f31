"""The SNS messages of asynchronous inference, in the form SageMaker documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from comfy_aws.localstack.invocations import Outcome
from comfy_aws.localstack.jobs import Invocation


def topic_for(async_config: dict[str, Any], outcome: Outcome) -> str:
    """ARN of the topic that hears of this outcome; empty when none does."""
    notification = (async_config.get("OutputConfig") or {}).get("NotificationConfig") or {}
    return str(notification.get("ErrorTopic" if outcome.failure else "SuccessTopic") or "")


def message(invocation: Invocation, outcome: Outcome, region: str) -> str:
    """The message's JSON text."""
    content: dict[str, Any] = {
        "awsRegion": region,
        "eventTime": _stamp(None),
        "receivedTime": _stamp(invocation.accepted),
        "invocationStatus": "Failed" if outcome.failure else "Completed",
        "requestParameters": {
            "contentType": invocation.content_type,
            "endpointName": invocation.endpoint,
            "inputLocation": invocation.input_location,
        },
        "inferenceId": invocation.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    if outcome.failure:
        content["failureReason"] = outcome.failure
        if invocation.failure_uri:
            content["responseParameters"] = {"failureLocation": invocation.failure_uri}
    else:
        content["responseParameters"] = {
            "contentType": outcome.content_type,
            "outputLocation": invocation.output_uri,
        }
    return json.dumps(content)


def _stamp(seconds: float | None) -> str:
    moment = datetime.now(timezone.utc)
    if seconds is not None:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def publisher(
    async_config_of: Callable[[str], dict[str, Any]],
    publish: Callable[[str, str], None],
    region: str,
) -> Callable[[Invocation, Outcome], None]:
    """A function that tells the endpoint's topics about an outcome."""

    def notify(invocation: Invocation, outcome: Outcome) -> None:
        topic = topic_for(async_config_of(invocation.endpoint), outcome)
        if topic:
            publish(topic, message(invocation, outcome, region))

    return notify
