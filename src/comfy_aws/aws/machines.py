"""EC2 machines: put to rest before they go, and what is left of their volumes."""

from __future__ import annotations

from typing import Any, Final

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session
from comfy_aws.errors import AwsError

_GONE: Final = frozenset({"InvalidInstanceID.NotFound", "IncorrectInstanceState"})


class Machines:
    """The machines of one account and region."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def _client(self) -> Any:
        return self._session.client("ec2")

    def stop(self, instance: str) -> None:
        """Stop a machine and wait until it is stopped; one that is gone is no error."""
        try:
            with mapped("ec2:StopInstances", instance):
                self._client.stop_instances(InstanceIds=[instance])
        except AwsError as exc:
            if exc.aws_code not in _GONE:
                raise
            return
        with mapped("ec2:DescribeInstances", instance):
            self._client.get_waiter("instance_stopped").wait(InstanceIds=[instance])

    def snapshot(self, volume: str) -> str:
        """The newest snapshot of a volume, which may be gone; empty when there is none."""
        chosen = [{"Name": "volume-id", "Values": [volume]}]
        with mapped("ec2:DescribeSnapshots", volume):
            answer = self._client.describe_snapshots(OwnerIds=["self"], Filters=chosen)
        found = sorted(answer["Snapshots"], key=lambda each: each["StartTime"])
        return str(found[-1]["SnapshotId"]) if found else ""
