"""What jobs cost by the price list, and what limits make of it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import pytest

from comfy_aws import prices
from comfy_aws.costs import LEAST, LONGEST, Costs, Limits
from comfy_aws.errors import ConfigError, CostLimit
from comfy_aws.jobindex import StoredJob
from comfy_aws.models import Usage
from comfy_aws.pricelist import KEPT, PriceList

G5 = Usage("fast", "ml.g5.xlarge", "Cat")
UNKNOWN = Usage("odd", "ml.x1.huge")
PRICE = prices.of("ml.g5.xlarge").price
DAY = 24 * 3600


class Aws:
    """The Price List API."""

    def __init__(self, **found: float) -> None:
        self.found = {f"ml.{name}": price for name, price in found.items()}
        self.asked: list[str] = []

    def hosting(self, region: str) -> dict[str, float]:
        self.asked.append(region)
        return self.found


@pytest.fixture
def costs(tmp_path):
    return Costs(PriceList(None, lambda: "us-east-1", tmp_path / "prices.json"))


def job(number: int, usage: Usage = G5, seconds: float = 3600.0, sent: float = 0.0) -> StoredJob:
    return StoredJob(str(number), sent, outcome="success", seconds=seconds, usage=usage)


def test_sums_by_each_group(costs):
    jobs = [job(1), job(2, seconds=1800), job(3, Usage("slow", "ml.g4dn.xlarge", "Cat"))]
    dearest, other = costs.by("endpoint", jobs)
    assert (dearest.name, dearest.jobs, dearest.seconds) == ("fast", 2, 5400)
    assert dearest.usd == pytest.approx(1.5 * PRICE)
    assert other.usd == pytest.approx(prices.of("ml.g4dn.xlarge").price)
    assert [(c.name, c.jobs) for c in costs.by("template", jobs)] == [("Cat", 3)]
    assert len(costs.by("job", jobs)) == 3
    assert len(costs.by("day", [job(1, sent=DAY), job(2, sent=3 * DAY)])) == 2
    with pytest.raises(ConfigError, match="'week'"):
        costs.by("week", jobs)


def test_a_sum_with_an_unknown_price_is_none(costs):
    [cost] = costs.by("day", [job(1), job(2, UNKNOWN)])
    assert (cost.usd, cost.seconds) == (None, 7200)


def test_without_limits_a_job_gets_the_longest_time(costs):
    assert Limits(costs, lambda since: []).allow(UNKNOWN) == LONGEST


def test_a_jobs_limit_is_the_time_it_may_run(costs):
    assert Limits(costs, lambda since: [], job=PRICE / 2).allow(G5) == 1800
    assert Limits(costs, lambda since: [], job=1000.0).allow(G5) == LONGEST
    assert Limits(costs, lambda since: [], job=0.000001).allow(G5) == LEAST


def test_a_limit_needs_a_price(costs):
    with pytest.raises(CostLimit, match=r"ml\.x1\.huge is not known"):
        Limits(costs, lambda since: [], job=1.0).allow(UNKNOWN)


def test_the_month_ends_at_its_limit_and_begins_anew(costs):
    now = time.mktime((2026, 3, 31, 12, 0, 0, 0, 0, -1))
    sent = [job(1, sent=now - DAY), job(2, sent=now - 40 * DAY)]
    asked = []

    def since(moment: float) -> list[StoredJob]:
        asked.append(time.localtime(moment)[:4])
        return [each for each in sent if each.sent >= moment]

    limits = Limits(costs, since, month=PRICE * 1.5, clock=lambda: now)
    assert limits.allow(G5) == LONGEST
    assert limits.allow(G5) == LONGEST
    assert asked == [(2026, 3, 1, 0)]  # a burst of jobs adds up once
    sent.append(job(3, sent=now))
    now += 120
    with pytest.raises(CostLimit, match=r"have cost about 2\.82 USD; the limit is 2\.11 USD"):
        limits.allow(G5)
    now += DAY
    assert limits.allow(G5) == LONGEST


def test_awss_own_prices_are_kept_and_told_as_such(tmp_path):
    aws, path, now = Aws(**{"g5.xlarge": 1.75}), tmp_path / "prices.json", [1_760_000_000.0]
    listed = PriceList(aws, lambda: "eu-west-1", path, clock=lambda: now[0])
    listed.refresh()
    again = PriceList(aws, lambda: "eu-west-1", path, clock=lambda: now[0])
    found = again.of("ml.g5.xlarge")
    assert (found.price, found.region, found.source) == (1.75, "eu-west-1", prices.SOURCE_AWS)
    assert found.as_of == "2025-10-09"
    assert again.of("ml.g6.xlarge") == prices.of("ml.g6.xlarge")  # AWS did not list it
    assert aws.asked == ["eu-west-1"]
    elsewhere = PriceList(Aws(), lambda: "us-west-2", path, clock=lambda: now[0])
    assert elsewhere.of("ml.g5.xlarge").source == prices.SOURCE_LIST
    now[0] += KEPT + 1
    again.of("ml.g5.xlarge")
    deadline = time.monotonic() + 10
    while json.loads(path.read_text())["at"] != now[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert json.loads(path.read_text())["at"] == now[0]


def test_a_damaged_price_file_is_as_none(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text("{")
    listed = PriceList(Aws(), lambda: "us-east-1", path)
    assert listed.of("ml.g5.xlarge").price == PRICE


def test_a_type_that_nobody_lists_has_no_price():
    assert prices.of("ml.x1.huge").price is None
    assert prices.larger("ml.g5.xlarge").name == "ml.g6e.xlarge"
    assert prices.larger("ml.x1.huge") is None


@pytest.mark.parametrize("family", ["ml.g4dn", "ml.g5", "ml.g6"])
def test_more_memory_comes_with_the_same_gpu_where_there_is_one(family):
    assert prices.roomier(f"{family}.xlarge").name == f"{family}.2xlarge"


def test_each_user_has_a_limit_of_their_own(costs):
    ann, bob = replace(G5, user="ann"), replace(G5, user="bob")
    sent = [job(1, ann), job(2, bob, seconds=60)]
    limits = Limits(costs, lambda since: sent, user=PRICE / 2)
    with pytest.raises(CostLimit, match=r"jobs of ann have cost about 1\.41 USD this month"):
        limits.allow(ann)
    assert limits.allow(bob) == LONGEST
    assert limits.allow(G5) == LONGEST  # of whom nobody knows the name, and who sent nothing
    both = Limits(costs, lambda since: sent, user=10.0, month=PRICE)
    with pytest.raises(CostLimit, match="jobs of this month"):
        both.allow(bob)
    assert [(c.name, c.jobs) for c in costs.by("user", sent)] == [("ann", 1), ("bob", 1)]


def test_the_built_in_prices_are_dated_and_of_one_region():
    for each in prices.listed():
        assert re.fullmatch(r"20\d\d-\d\d", each.as_of)
        assert (each.region, each.source) == ("us-east-1", prices.SOURCE_LIST)
        assert each.price is None or 0.1 < each.price < 200
