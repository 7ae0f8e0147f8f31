"""CloudWatch's metrics of our own: numbers that alarms watch."""

from __future__ import annotations

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session


class Metrics:
    """Writes only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def count(self, namespace: str, name: str, **dimensions: str) -> None:
        """Add one to a metric of this minute."""
        named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        datum = {"MetricName": name, "Value": 1.0, "Unit": "Count", "Dimensions": named}
        with mapped("cloudwatch:PutMetricData", name):
            self._session.client("cloudwatch").put_metric_data(
                Namespace=namespace, MetricData=[datum]
            )
