"""What instances cost here and now: AWS's own prices, kept for a week, else the built-in list."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from comfy_aws import prices
from comfy_aws.aws import Pricing
from comfy_aws.config import write_atomically
from comfy_aws.errors import AwsError, ConfigError
from comfy_aws.prices import InstanceType

KEPT: Final = 7 * 24 * 3600.0
"""Seconds; AWS changes these prices a few times a year."""

log = logging.getLogger(__name__)


class PriceList:
    """Safe to share between threads; asks AWS in a thread of its own, at most once a process.

    Args:
        pricing: the Price List API; None where there is none, as on the local stack.
        path: where AWS's prices are kept.
    """

    def __init__(
        self,
        pricing: Pricing | None,
        region: Callable[[], str],
        path: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pricing = pricing
        self._region = region
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = False

    def types(self) -> list[InstanceType]:
        """The types that suit ComfyUI, with what is known of their prices."""
        return [self._priced(each) for each in prices.listed()]

    def of(self, name: str) -> InstanceType:
        """One type; its price is None when it is not known."""
        return self._priced(prices.of(name))

    def refresh(self) -> None:
        """Ask AWS now and keep the answer. Raises AwsError."""
        if self._pricing is None:
            return
        region = self._region()
        found = self._pricing.hosting(region)
        if found:
            kept = {"region": region, "at": self._clock(), "prices": found}
            write_atomically(self._path, json.dumps(kept))

    def _priced(self, known: InstanceType) -> InstanceType:
        kept = self._kept()
        if not kept or self._clock() - kept["at"] > KEPT:
            self._ask()
        price = kept.get("prices", {}).get(known.name)
        if price is None:
            return known
        when = time.strftime("%Y-%m-%d", time.gmtime(kept["at"]))
        return replace(
            known, price=price, region=kept["region"], source=prices.SOURCE_AWS, as_of=when
        )

    def _kept(self) -> dict[str, Any]:
        if self._pricing is None:
            return {}
        with suppress(OSError, ValueError):
            kept: dict[str, Any] = json.loads(self._path.read_bytes())
            if kept.get("region") == self._region():
                return kept
        return {}

    def _ask(self) -> None:
        with self._lock:
            if self._asked or self._pricing is None:
                return
            self._asked = True

        def ask() -> None:
            try:
                self.refresh()
            except (AwsError, ConfigError) as exc:  # the built-in list stands in
                log.info("AWS does not tell its prices: %s", exc)

        threading.Thread(target=ask, name="aws-prices", daemon=True).start()
