"""A page whose modules are long in coming, or do not come: nothing done meanwhile is lost."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.pipeline.install import SAMPLER_ID, load_workflow
from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, pytest.mark.stack, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_MS)

MODULES = "**/extensions/*/js/page.mjs"
RUN = '[data-testid="queue-button"]'
SIDE = ".side-bar-panel, .sidebar-content-container, [data-pc-name='splitterpanel']"


def is_prompt(request) -> bool:
    return request.method == "POST" and request.url.endswith("/api/prompt")


def test_what_is_done_before_the_modules_are_there_waits(page: ComfyPage, stack: Designer) -> None:
    page.show_connected_panel()
    page.find("aws-toggle").check()
    page.load(load_workflow())
    page.show_panel()
    page.tab.wait_for_timeout(100)
    held = []
    page.tab.route(MODULES, held.append)
    prompts = []
    page.tab.on("request", lambda request: is_prompt(request) and prompts.append(request))

    page.reload()
    page.load(load_workflow())
    if page.tab.get_by_text("Loading…").count() == 0:
        page.tab.locator(".aws-tab-button").first.click()
    expect(page.tab.get_by_text("Loading…")).to_be_visible()
    page.set_widget(SAMPLER_ID, "steps", 3)
    page.tab.locator(RUN).first.click()
    page.tab.wait_for_timeout(300)
    assert prompts == []
    assert len(held) == 1

    with page.tab.expect_request(is_prompt) as asked:
        held[0].continue_()
    assert "aws" in json.loads(asked.value.post_data)["extra_data"]
    expect(page.find("aws-toggle")).to_be_checked()
