"""The SNS messages of asynchronous inference, in the form SageMaker documents."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from moto.sns.models import sns_backends

from comfy_aws.localstack.invocations import Outcome
from comfy_aws.localstack.jobs import Invocation
from comfy_aws.localstack.state import Identity

_log = logging.getLogger(__name__)


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


def publish(identity: Identity, invocation: Invocation, outcome: Outcome) -> None:
    """Tell the endpoint's topic about an outcome, if it has one. Called in a thread."""
    topic = invocation.error_topic if outcome.failure else invocation.success_topic
    if not topic:
        return
    try:
        sns_backends[identity.account][identity.region].publish(
            message(invocation, outcome, identity.region), arn=topic
        )
    except Exception:  # noqa: BLE001 - a topic that is gone must not disturb the queue
        _log.exception("publishing to %s", topic)
