"""Endpoints in the page: made, watched while they start, changed, woken, and what they cost."""

from __future__ import annotations

import json
import re
import sys

import pytest
from playwright.sync_api import Browser, Locator, expect

from comfy_aws import config, services
from comfy_aws.aws import SageMaker, Session
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.models import EndpointSpec
from tests.web.browser import TIMEOUT_MS, ComfyPage, other_page
from tests.web.designer import Designer
from tests.web.test_access import AXE, faults
from tests.web.test_page import ensure_endpoint, ensure_template, turn_off, turn_on

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

START_MS = 2 * TIMEOUT_MS
TEMPLATE = "Machines"
DIES = [sys.executable, "-c", "print('ERROR job=- worker: no disk is left'); raise SystemExit(3)"]


def row_of(page: ComfyPage, name: str) -> Locator:
    return page.tab.locator(f"[data-testid=aws-endpoint][data-name='{name}']")


def fact(row: Locator, name: str) -> Locator:
    return row.get_by_test_id(f"aws-endpoint-fact-{name}")


def test_an_endpoint_from_the_form_to_its_end(page: ComfyPage, stack: Designer) -> None:
    ensure_template(stack, TEMPLATE)
    page.show_connected_panel()
    page.find("aws-new-endpoint").click()
    kind = page.find("aws-endpoint-form-type")
    expect(kind.locator("option[value='ml.g6.xlarge']")).to_have_text(
        "ml.g6.xlarge – 24 GB L4, $1.13/h"
    )
    kind.select_option("ml.g6e.xlarge")
    expect(page.find("aws-endpoint-form-facts")).to_contain_text("48 GB of GPU memory")
    expect(page.find("aws-endpoint-form-facts")).to_contain_text("price is not known here")
    kind.select_option("ml.g6.xlarge")
    expect(page.find("aws-endpoint-form-facts")).to_contain_text("$1.13 an hour on AWS")
    page.find("aws-endpoint-form-fallback-add").focus()
    for _ in range(2):
        page.tab.keyboard.press("Enter")
        page.tab.keyboard.press("Tab")  # from the new type to its removal
        expect(page.find("aws-endpoint-form-fallback-remove").last).to_be_focused()
        page.find("aws-endpoint-form-fallback-add").focus()
    others = page.find("aws-endpoint-form-fallback")
    expect(others).to_have_count(2)
    assert len({kind.input_value(), *(each.input_value() for each in others.all())}) == 3
    expect(others.first.locator("option[value='ml.g6.xlarge']")).to_be_disabled()
    page.tab.get_by_label("Type 2", exact=True).select_option("ml.g5.2xlarge")
    expect(page.find("aws-endpoint-form-fallback-facts").first).to_contain_text("an hour on AWS")
    page.find("aws-endpoint-form-fallback-remove").last.click()
    expect(page.find("aws-endpoint-form-fallback-add")).to_be_focused()
    page.find("aws-endpoint-form-template").select_option(TEMPLATE)
    page.find("aws-endpoint-form-name").fill("by-form")
    page.find("aws-endpoint-form-idle").fill("30")
    page.find("aws-endpoint-form-min").fill("2")
    page.find("aws-endpoint-form-create").click()
    expect(page.find("aws-endpoint-form-problem")).to_contain_text("at least the minimum")
    page.find("aws-endpoint-form-min").fill("0")
    page.find("aws-endpoint-form-create").click()

    row = row_of(page, "by-form")
    expect(page.find("aws-endpoint-form")).to_be_hidden()
    phase = row.get_by_test_id("aws-start-phase")
    expect(phase.first).to_have_attribute("data-name", "machine")
    expect(row.locator("[data-name=start][data-stage=now]")).to_be_visible()
    expect(row.locator("[data-name=restore][data-stage=done]")).to_contain_text("MB")
    expect(row.get_by_test_id("aws-start-title")).to_have_text(
        re.compile(r"An instance starts: \d+ sec")
    )
    expect(row).to_have_attribute("data-status", "InService", timeout=START_MS)
    expect(row.get_by_test_id("aws-endpoint-start")).to_be_hidden()

    row.get_by_test_id("aws-endpoint-more").click()
    expect(fact(row, "now")).to_have_text("1 running, 1 wanted")
    expect(fact(row, "limits")).to_have_text("0 to 1")
    expect(fact(row, "type")).to_have_text(
        "ml.g6.xlarge, ml.g5.2xlarge: the first that AWS has to give"
    )
    expect(fact(row, "idle")).to_have_text("after 30 min without runs")
    expect(fact(row, "price")).to_contain_text("$1.13 an hour for each instance on AWS")

    page.tab.get_by_role("button", name="Delete endpoint by-form").click()
    page.tab.locator("[role=dialog]").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_an_endpoint_is_changed_put_to_sleep_and_woken(page: ComfyPage, stack: Designer) -> None:
    ensure_endpoint(stack)
    ready = next(item for item in stack.endpoints() if item["status"] == "InService")
    ensure_template(stack, TEMPLATE)
    stack.call("PATCH", f"/aws/templates/{TEMPLATE}", {"endpoint": ready["name"]})
    page.show_connected_panel()
    page.tab.add_script_tag(path=AXE)
    row = row_of(page, ready["name"])
    more = row.get_by_test_id("aws-endpoint-more")
    more.click()
    expect(more).to_have_attribute("aria-expanded", "true")

    row.get_by_role("button", name="Edit").click()
    row.get_by_test_id("aws-endpoint-edit-max").fill("3")
    row.get_by_test_id("aws-endpoint-edit-min").fill("4")
    row.get_by_test_id("aws-endpoint-edit-save").click()
    expect(row.get_by_test_id("aws-endpoint-edit-problem")).to_contain_text("at least the minimum")
    assert faults(page) == set()
    row.get_by_test_id("aws-endpoint-edit-min").fill("0")
    row.get_by_test_id("aws-endpoint-edit-idle").fill("20")
    row.get_by_test_id("aws-endpoint-edit-save").click()
    expect(fact(row, "limits")).to_have_text("0 to 3")
    expect(fact(row, "idle")).to_have_text("after 20 min without runs")

    # What CloudWatch last told of the queue has to be true again: jobs of other tests ran.
    expect(fact(row, "queue")).to_have_text("Empty", timeout=START_MS)
    row.get_by_role("button", name="Sleep now").click()
    expect(row.get_by_test_id("aws-endpoint-status")).to_have_text("Asleep")
    template = page.tab.locator(f"[data-testid=aws-template][data-name={TEMPLATE}]")
    expect(template.locator(".aws-dot")).to_have_attribute("data-tone", "asleep")
    expect(fact(row, "now")).to_have_text("0 running, 0 wanted")
    row.get_by_role("button", name="Wake now").click()
    expect(row.locator("[data-name=start][data-stage=now]")).to_be_visible()
    expect(row.get_by_test_id("aws-endpoint-status")).to_have_text("Waking…")
    expect(row.get_by_test_id("aws-endpoint-status")).to_have_text("In service", timeout=START_MS)
    expect(fact(row, "now")).to_have_text("1 running, 1 wanted")

    row.get_by_role("button", name="Open its log").click()
    expect(page.find("aws-logs-source")).to_have_value(f"endpoint:{ready['name']}")
    expect(page.find("aws-log-line").get_by_text("The worker is ready.").last).to_be_visible()


def test_a_failure_is_told_with_the_last_lines_of_the_log(page: ComfyPage, stack: Designer) -> None:
    endpoints = broken_endpoints(stack, {"COMFY_AWS_LOCAL_WORKER": json.dumps(DIES)})
    page.show_connected_panel()
    endpoints.create(EndpointSpec("broken"))
    page.find("aws-refresh").click()
    row = row_of(page, "broken")
    expect(row).to_have_attribute("data-status", "Failed")
    expect(row.get_by_test_id("aws-endpoint-failure")).to_contain_text("status 3")
    expect(row.get_by_test_id("aws-endpoint-lines")).to_contain_text("no disk is left")
    page.tab.add_script_tag(path=AXE)
    assert faults(page) == set()
    row.get_by_test_id("aws-endpoint-failure-log").click()
    expect(page.find("aws-logs-source")).to_have_value("endpoint:broken")
    expect(page.find("aws-log-line").get_by_text("no disk is left")).to_be_visible()
    endpoints.delete("broken")


def broken_endpoints(designer: Designer, environment: dict[str, str]) -> Endpoints:
    """Endpoints of the designer's stack whose workers cannot start with this environment."""
    access, worker = services.access_of(config.load(designer.home, {}))
    image = WorkerImage(worker.image, worker.role, {**worker.environment, **environment})
    return Endpoints(SageMaker(Session(access)), image, access.bucket)


def test_what_runs_cost_is_told_once_for_each_endpoint_and_browser(
    browser: Browser, page: ComfyPage, stack: Designer
) -> None:
    ensure_endpoint(stack)
    page.show_connected_panel()
    expect(page.find("aws-target-cost")).to_be_hidden()
    turn_on(page)
    expect(page.toast("Runs go to ")).to_be_visible()
    words = "costs about $1.41 an hour while it runs. It sleeps after"
    expect(page.find("aws-target-cost")).to_contain_text(words)
    # In the panel, and in the notice; what a frontend lets be read out begins with the title.
    both = page.tab.get_by_text(re.compile(rf"^The local stack .*{re.escape(words)}"))
    expect(both.locator("visible=true")).to_have_count(2)

    turn_off(page)
    page.reload()
    page.show_connected_panel()
    turn_on(page)
    expect(page.find("aws-target-cost")).to_contain_text(words)
    page.tab.wait_for_load_state("networkidle")  # it is told when the lists have come
    expect(page.toast("Runs go to ")).to_have_count(0)

    with other_page(browser, stack.url) as other:
        other.show_connected_panel()
        turn_on(other)
        expect(other.toast("Runs go to ")).to_be_visible()
