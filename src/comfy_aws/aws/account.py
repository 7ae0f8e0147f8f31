"""The account's logs and identity: CloudWatch Logs and STS, read only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.errors import AwsNotFound

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sts import STSClient


MOST_EVENTS: Final = 20_000
"""Events of one answer, some 10 MB; of more the last ones count."""


@dataclass(frozen=True)
class LogEvent:
    """One event of a log stream; `at` in seconds since the epoch."""

    id: str
    at: float
    stream: str
    text: str


class Logs:
    """CloudWatch Logs, read only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(
        self, group: str, *, since: float = 0.0, text: str = "", most: int = MOST_EVENTS
    ) -> list[LogEvent]:
        """The last events of a log group, in order of time; none without the group.

        Args:
            text: only events that hold this phrase.
        """
        client: CloudWatchLogsClient = self._session.client("logs")
        request: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000)}
        if text:
            phrase = text.replace("\\", "").replace('"', "")
            request["filterPattern"] = f'"{phrase}"'
        found: deque[LogEvent] = deque(maxlen=most)
        try:
            with mapped("logs:FilterLogEvents", group):
                for page in client.get_paginator("filter_log_events").paginate(**request):
                    found += [
                        LogEvent(e["eventId"], e["timestamp"] / 1000, e["logStreamName"],
                                 e["message"])
                        for e in page["events"]
                    ]  # fmt: skip
        except AwsNotFound:
            return []
        return sorted(found, key=lambda event: event.at)  # of one moment: as they came


@dataclass(frozen=True)
class Caller:
    """Whose credentials are in force."""

    account: str
    arn: str


class Identity:
    """Who the credentials belong to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def account(self) -> str:
        """The account number. Raises AwsDenied when the credentials are not valid."""
        return self.caller().account

    def caller(self) -> Caller:
        """Raises AwsDenied when the credentials are not valid."""
        client: STSClient = self._session.client("sts")
        with mapped("sts:GetCallerIdentity"):
            answer = client.get_caller_identity()
        return Caller(answer["Account"], answer["Arn"])

    def aws_time(self) -> float | None:
        """What time it is at AWS; a refusal tells it, too. None when the answer does not say.

        Raises:
            AwsUnreachable, AwsDenied: nobody answers, or there are no credentials to ask with.
        """
        from botocore.exceptions import ClientError

        client: STSClient = self._session.client("sts")
        with mapped("sts:GetCallerIdentity"):
            try:
                metadata: Any = client.get_caller_identity()["ResponseMetadata"]
            except ClientError as exc:
                metadata = exc.response.get("ResponseMetadata", {})
        date = metadata.get("HTTPHeaders", {}).get("date")
        return parsedate_to_datetime(date).timestamp() if date else None
