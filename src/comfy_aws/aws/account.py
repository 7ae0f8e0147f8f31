"""The account's logs and identity: CloudWatch Logs and STS, read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.errors import AwsNotFound

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sts import STSClient


class Logs:
    """CloudWatch Logs, read only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(
        self, group: str, *, since: float = 0.0, text: str = "", limit: int = 1000
    ) -> list[tuple[float, str, str]]:
        """(seconds since the epoch, stream, line) in order of time; empty without the group."""
        client: CloudWatchLogsClient = self._session.client("logs")
        request: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000)}
        if text:
            request["filterPattern"] = f'"{text}"'
        lines: list[tuple[float, str, str]] = []
        try:
            with mapped("logs:FilterLogEvents", group):
                for page in client.get_paginator("filter_log_events").paginate(**request):
                    lines += [
                        (e["timestamp"] / 1000, e["logStreamName"], e["message"])
                        for e in page["events"]
                    ]
        except AwsNotFound:
            return []
        return sorted(lines)[-limit:]


class Identity:
    """Who the credentials belong to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def account(self) -> str:
        """The account number. Raises AwsDenied when the credentials are not valid."""
        client: STSClient = self._session.client("sts")
        with mapped("sts:GetCallerIdentity"):
            return client.get_caller_identity()["Account"]
