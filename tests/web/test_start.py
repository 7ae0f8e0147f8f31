"""A page whose modules are long in coming, or do not come: nothing done meanwhile is lost."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Request, expect

from tests.functional.localstack_support import eventually
from tests.pipeline.install import SAMPLER_ID, load_workflow
from tests.web.browser import TIMEOUT_MS, ComfyPage, hold
from tests.web.designer import Designer

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, pytest.mark.stack, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_MS)

MODULES = "**/extensions/*/js/page.mjs"
FAILED = "Prompt on AWS could not be loaded. Reload the page."
SETTLED_MS = 500


def is_prompt(request: Request) -> bool:
    return request.method == "POST" and request.url.endswith("/api/prompt")


def extra_data(request: Request) -> dict[str, object]:
    extra: dict[str, object] = json.loads(request.post_data or "")["extra_data"]
    return extra


@pytest.fixture
def prompts(page: ComfyPage) -> list[Request]:
    """Those that the page has sent."""
    sent: list[Request] = []
    page.tab.on("request", lambda request: sent.append(request) if is_prompt(request) else None)
    return sent


def turn_on(page: ComfyPage, *, on: bool) -> None:
    page.show_connected_panel()
    page.find("aws-toggle").set_checked(on)


def click_run(page: ComfyPage) -> None:
    page.tab.locator('[data-testid="queue-button"]').first.click()


def test_what_is_done_before_the_modules_are_there_waits(
    page: ComfyPage, stack: Designer, prompts: list[Request]
) -> None:
    turn_on(page, on=True)
    held = hold(page.tab, MODULES)
    page.reload()
    page.load(load_workflow())
    if page.tab.get_by_text("Loading…").count() == 0:
        page.click_tab()
    expect(page.tab.get_by_text("Loading…")).to_be_visible()
    click_run(page)
    page.tab.wait_for_timeout(SETTLED_MS)
    assert prompts == []
    assert len(held) == 1

    with page.tab.expect_request(is_prompt) as asked:
        held[0].continue_()
    assert extra_data(asked.value)["aws"] == {"template": ""}
    expect(page.find("aws-toggle")).to_be_checked()


def test_a_change_before_the_modules_are_there_is_kept(page: ComfyPage, stack: Designer) -> None:
    stack.publish("Other")
    held = hold(page.tab, MODULES)
    page.reload()
    page.load(load_workflow())
    page.set_widget(SAMPLER_ID, "steps", 7)
    eventually(lambda: page.tab.wait_for_timeout(50) or held, "the modules are asked for")
    page.tab.wait_for_timeout(SETTLED_MS)
    held[0].continue_()
    page.show_connected_panel()
    page.tab.locator("[data-testid=aws-template][data-name=Other]").click()
    expect(page.find("aws-target-template")).to_have_text("Other")
    page.find("aws-template-clear").click()
    page.find("aws-local").click()
    page.tab.wait_for_function(
        """(id) => window.app.graph.getNodeById(id)
          ?.widgets.find(({ name }) => name === 'steps').value === 7""",
        arg=int(SAMPLER_ID),
    )


def test_modules_that_do_not_come_let_nothing_run_at_the_wrong_place(
    page: ComfyPage, stack: Designer, prompts: list[Request]
) -> None:
    turn_on(page, on=False)
    page.tab.route(MODULES, lambda route: route.abort())
    page.reload()
    expect(page.toast(FAILED)).to_be_visible()
    page.load(load_workflow())
    with page.tab.expect_request(is_prompt) as asked:
        click_run(page)
    assert "aws" not in extra_data(asked.value)

    page.tab.evaluate("() => sessionStorage.setItem('aws.tab', '{\"on\": true}')")
    sent = len(prompts)
    click_run(page)
    expect(page.tab.get_by_role("dialog").get_by_text(FAILED).first).to_be_visible()
    assert len(prompts) == sent

    page.tab.unroute(MODULES)
    page.reload()
    page.show_connected_panel()
    expect(page.find("aws-toggle")).to_be_checked()
    assert [text for text in page.complaints if "could not be loaded" not in text] == []
    page.complaints.clear()
