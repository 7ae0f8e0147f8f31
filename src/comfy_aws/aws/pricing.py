"""The Price List API: what SageMaker charges for its instance types today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from comfy_aws.aws.mapping import mapped
from comfy_aws.aws.session import Session


class Pricing:
    """Read only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def hosting(self, region: str) -> dict[str, float]:
        """USD an hour of the instance types that stand behind endpoints, on demand."""
        client = self._session.client("pricing")
        wanted = {"regionCode": region, "productFamily": "ML Instance", "component": "Hosting"}
        filters = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in wanted.items()
        ]
        pages = client.get_paginator("get_products").paginate(
            ServiceCode="AmazonSageMaker", Filters=filters
        )
        found: dict[str, float] = {}
        with mapped("pricing:GetProducts", region):
            for page in pages:
                for product in map(json.loads, page["PriceList"]):
                    name = str(product["product"]["attributes"].get("instanceName", ""))
                    for price in _on_demand(product):
                        found[name] = max(price, found.get(name, 0.0))
        return found


def _on_demand(product: dict[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price:
                yield price
