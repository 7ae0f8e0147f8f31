"""An endpoint that is awake for nothing: told on the page, and in the list."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, pytest.mark.stack, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_MS)

ENDPOINT: dict[str, Any] = {
    "name": "forgotten", "status": "InService", "created": 1.0, "updated": 1.0,
    "instance_type": "ml.g5.xlarge", "instance_types": ["ml.g5.xlarge"], "instances": 1,
    "desired_instances": 1, "min_instances": 1, "max_instances": 2, "template": "", "failure": "",
    "idle_seconds": 600, "backlog": 0, "image": "", "idle_since": 0.0,
}  # fmt: skip


def test_it_is_told_and_stands_in_the_list(page: ComfyPage, stack: Designer) -> None:
    idle = {**ENDPOINT, "idle_since": time.time() - 95 * 60 - 5}

    def with_idle(route: Route) -> None:
        route.fulfill(json={"endpoints": [*stack.endpoints(), idle]})

    page.tab.route("**/aws/endpoints", with_idle)  # the page asks again when it likes
    page.show_connected_panel()
    page.tell("aws.idle", {"endpoint": idle, "asleep": False})
    expect(page.toast("Endpoint forgotten is awake for nothing")).to_be_visible()
    expect(page.toast("It has had no run for 95 minutes")).to_be_visible()
    row = page.tab.locator("[data-testid=aws-endpoint][data-name=forgotten]")
    expect(row).to_contain_text("no run for 95 minutes")
    idle.update(ENDPOINT, instances=0, desired_instances=0)
    page.tell("aws.idle", {"endpoint": idle, "asleep": True})
    expect(page.toast("Endpoint forgotten had no run and goes to sleep")).to_be_visible()
    expect(row).not_to_contain_text("no run for")
