"""What a designer does in the sidebar, by click and key, in a real Chromium on the real thing."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.functional.localstack_support import eventually
from tests.pipeline.install import SAMPLER_ID, SAVE_ID, load_workflow
from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

LOCK = "aws-lock"
LOADER_ID = "1"
NODES = [SAMPLER_ID, SAVE_ID]


def begin_publish(page: ComfyPage, name: str) -> None:
    page.find("aws-new-workflow").click()
    page.find("aws-name-input").fill(name)
    page.find("aws-name-ok").click()


def ensure_template(designer: Designer, name: str) -> None:
    if name not in designer.template_names():
        designer.publish(name)


def ensure_endpoint(designer: Designer) -> None:
    if not designer.endpoints():
        designer.call("POST", "/aws/endpoints", {"name": "ready"})
    deadline = time.monotonic() + 2 * TIMEOUT_MS / 1000
    while not any(item["status"] == "InService" for item in designer.endpoints()):
        assert time.monotonic() < deadline, designer.endpoints()
        time.sleep(0.1)


def answering(answer: dict[str, Any]) -> Callable[[Route], None]:
    """A handler of requests that fulfils each with `answer`."""
    return lambda route: route.fulfill(**answer)


def turn_on(page: ComfyPage) -> None:
    page.find("aws-toggle").check()


def turn_off(page: ComfyPage) -> None:
    page.find("aws-toggle").uncheck()


def test_one_click_starts_the_local_stack(page, designer):
    if designer.call("GET", "/aws/status")["stack"]["running"]:
        designer.set_stack("stop")
    page.show_panel()
    start = page.find("aws-stack-start")
    start.click()
    expect(start).to_be_disabled()
    expect(page.find("aws-connection")).to_contain_text("Local stack")
    expect(page.find("aws-new-workflow")).to_be_visible()
    expect(page.find("aws-setup")).to_be_hidden()
    assert designer.call("GET", "/aws/status")["target"] == "local"


def test_publish_create_endpoint_tick_and_run(page, stack):
    settled = ("InService", "Failed")
    eventually(
        lambda: all(left["status"] in settled for left in stack.endpoints()), "none is changing"
    )
    for left in stack.endpoints():  # by tests before
        stack.call("DELETE", f"/aws/endpoints/{left['name']}")
    eventually(lambda: not stack.endpoints(), "no endpoint is left")
    page.load(load_workflow())
    page.show_connected_panel()

    page.watch(LOCK)  # what the bucket has already is published in a moment
    begin_publish(page, "Story")
    expect(page.toast("“Story” is published")).to_be_visible()
    assert "Publishing “Story”" in page.watched()
    expect(page.find(LOCK)).to_have_count(0)
    expect(page.tab.locator("[data-testid=aws-template][data-name=Story]")).to_have_attribute(
        "aria-current", "true"
    )

    turn_on(page)
    expect(page.find("aws-target-problem")).to_contain_text("no endpoint")
    page.find("aws-target-create").click()
    endpoint = page.find("aws-endpoint")
    expect(endpoint).to_have_attribute("data-status", "Creating")
    expect(page.find("aws-target-problem")).to_contain_text("not in service yet")
    expect(endpoint).to_have_attribute("data-status", "InService", timeout=2 * TIMEOUT_MS)
    expect(page.find("aws-target-warning")).to_be_hidden()
    expect(page.toast("Runs go to ")).to_be_visible()  # what they cost, though it was on before
    name = str(endpoint.get_attribute("data-name"))
    with page.tab.expect_response("**/aws/templates/Story"):
        page.find("aws-target-endpoint").select_option(name)
    assert stack.call("GET", "/aws/templates/Story")["template"]["endpoint"] == name

    page.record(NODES)
    prompt_id = page.run()
    job = page.tab.locator(f"[data-testid=aws-job][data-id='{prompt_id}']")
    expect(job).to_be_visible()
    page.wait_for_image(SAVE_ID)
    page.wait_for_event("execution_success", prompt_id)
    expect(job).to_have_attribute("data-state", "succeeded")

    seen = page.seen()
    assert seen["outlined"].get(SAMPLER_ID), "the sampler was not outlined while it ran"
    assert seen["previews"] > 0
    assert page.image_size(SAVE_ID) == [128, 128]
    assert stack.history(prompt_id)["status"]["status_str"] == "success"


REFUSED = {
    "a" * 21: "At most 20 characters; this has 21.",
    "two words": "a space is not one",
    "Übung": "“Ü” is not one",
    "../x": "“.” is not one",
    "": "Type a name.",
}


def test_a_name_that_is_not_allowed_is_said_in_the_dialog(page, stack):
    before = stack.template_names()
    page.show_connected_panel()
    page.find("aws-new-plus").click()
    field = page.find("aws-name-input")
    for name, said in REFUSED.items():
        field.fill(name)
        field.press("Enter")
        expect(page.find("aws-name-message")).to_contain_text(said)
        expect(field).to_have_value(name)
        expect(field).to_have_attribute("aria-invalid", "true")
    field.press("Escape")
    expect(page.find("aws-name-dialog")).to_have_count(0)
    assert stack.template_names() == before


def test_a_taken_name_is_said_and_can_get_a_new_version(page, stack):
    ensure_template(stack, "Taken")
    page.load(load_workflow())
    page.show_connected_panel()
    page.find("aws-new-workflow").click()
    page.find("aws-name-description").fill("of another workflow")
    page.find("aws-name-cancel").click()
    begin_publish(page, "Taken")
    expect(page.find("aws-name-description")).to_have_value("")
    expect(page.find("aws-name-message")).to_contain_text("Taken")
    expect(page.find("aws-name-input")).to_have_value("Taken")
    expect(page.find(LOCK)).to_have_count(0)

    page.find("aws-name-new-version").check()
    page.find("aws-name-ok").click()
    expect(page.toast("“Taken” is published")).to_be_visible()
    expect(page.tab.locator("[data-testid=aws-template][data-name=Taken]")).to_contain_text("v2")


def unpublished(name: str) -> str:
    """A name of this try alone: what an earlier try has published or sent does not count."""
    return f"{name}{uuid.uuid4().hex[:6]}"


def begin_large_publish(page: ComfyPage, designer: Designer, name: str) -> None:
    """Until the page is locked; the upload then takes seconds."""
    designer.add_model(f"{name}.safetensors")
    page.load(load_workflow())
    page.set_widget(LOADER_ID, "unet_name", f"{name}.safetensors")
    page.show_connected_panel()
    begin_publish(page, name)
    page.find(LOCK).wait_for()


def wait_for_template(designer: Designer, name: str) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while name not in designer.template_names():
        assert time.monotonic() < deadline, f"{name} was not published"
        time.sleep(0.1)


def test_the_lock_holds_edits_and_runs_and_survives_a_reload(page, stack):
    name = unpublished("Locked")
    queued = set(stack.call("GET", "/history"))
    with stack.slow_bucket():
        begin_large_publish(page, stack, name)
    with stack.frozen_bucket():
        nodes = page.node_count()
        page.count_heard("keydown", "paste", "drop")
        for keys in ("Control+Enter", "Control+a", "Delete", "Escape", "Escape", "Escape"):
            page.tab.keyboard.press(keys)
        page.tab.mouse.click(900, 400)
        for keys in ("Delete", "Control+Enter", "Escape", "Escape"):
            page.tab.keyboard.press(keys)
        page.drop_file("other.json", "{}")
        expect(page.find(LOCK)).to_be_visible()
        assert page.heard() == 0, "ComfyUI's page heard what was done in the lock"
        assert page.node_count() == nodes

        page.reload()
        expect(page.find(LOCK)).to_contain_text(name)
        page.tab.goto("about:blank")

    # It ends while nobody looks; who comes back is told, and sees that the canvas is what it was.
    wait_for_template(stack, name)
    page.open()
    expect(page.toast(f"“{name}” is published")).to_be_visible()
    expect(page.find(LOCK)).to_have_count(0)
    page.show_connected_panel()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    assert page.node_count() == nodes
    assert set(stack.call("GET", "/history")) == queued
    assert stack.call("GET", "/queue") == {"queue_running": [], "queue_pending": []}


def test_a_publish_can_be_cancelled_in_the_lock(page, stack):
    name = unpublished("Dropped")
    with stack.slow_bucket():
        begin_large_publish(page, stack, name)
        expect(page.find("aws-lock-bytes")).to_have_text(re.compile(r"[\d.]+ .?B of [\d.]+ .?B"))
        expect(page.find("aws-lock-rate")).to_have_text(re.compile(r"[\d.]+ .?B a second, .+ left"))
    with stack.frozen_bucket():
        page.find("aws-lock-cancel").click()
    expect(page.toast(f"“{name}” was not published")).to_be_visible()
    expect(page.find(LOCK)).to_have_count(0)
    assert name not in stack.template_names()

    # A server that takes the question and never answers does not hold the page.
    page.tab.route("**/aws/publishes/*", lambda route: None)
    page.tab.evaluate("() => sessionStorage.setItem('aws.tab', '{\"publish\": \"lost\"}')")
    page.reload()
    expect(page.find(LOCK)).to_contain_text("Looking for the publish")
    expect(page.toast("The publish was lost sight of")).to_be_visible()
    expect(page.find(LOCK)).to_have_count(0)


def test_cancelling_a_cloud_job_leaves_a_local_run_alone(page, stack):
    ensure_endpoint(stack)
    page.load(load_workflow())
    page.show_connected_panel()
    page.record(NODES)
    turn_on(page)
    page.set_widget(SAMPLER_ID, "steps", 10_000)
    cloud = page.run()
    job = page.tab.locator(f"[data-testid=aws-job][data-id='{cloud}']")
    expect(job).to_have_attribute("data-state", "running")

    turn_off(page)
    page.set_widget(SAMPLER_ID, "steps", 20)
    local = page.run()
    page.wait_for_event("execution_start", local)
    job.get_by_test_id("aws-job-cancel").click()
    expect(job).to_have_attribute("data-state", "cancelled")
    page.wait_for_event("execution_success", local)

    page.wait_for_image(SAVE_ID)
    assert stack.history(local)["status"]["status_str"] == "success"
    assert stack.history(cloud)["status"]["status_str"] == "error"
    assert ["execution_interrupted", local] not in page.seen()["events"]


def test_prompt_on_aws_is_of_this_tab_and_survives_a_reload(page, stack):
    page.show_connected_panel()
    turn_on(page)
    page.reload()
    page.show_connected_panel()
    expect(page.find("aws-toggle")).to_be_checked()

    other = ComfyPage(page.tab.context, stack.url).open()
    other.show_connected_panel()
    expect(other.find("aws-toggle")).not_to_be_checked()
    other.close()


def test_a_chosen_template_is_shown_on_the_canvas_in_a_tab_of_its_name(page, stack):
    ensure_template(stack, "Shown")
    page.show_connected_panel()
    row = page.tab.locator("[data-testid=aws-template][data-name=Shown]")
    row.focus()
    row.press("Enter")
    expect(row).to_have_attribute("aria-current", "true")
    expect(page.find("aws-target-template")).to_have_text("Shown")
    assert page.open_workflow_name().startswith("Shown")
    assert page.node_count() == len(load_workflow()["nodes"])

    page.find("aws-template-clear").click()
    expect(row).not_to_have_attribute("aria-current", "true")


def test_templates_and_endpoints_are_deleted_after_a_question(page, stack):
    ensure_template(stack, "Old")
    page.load(load_workflow())
    page.show_connected_panel()
    page.tab.get_by_role("button", name="Delete template Old").click()
    page.tab.locator("[role=dialog]").get_by_role("button", name="Cancel").click()
    row = page.tab.locator("[data-testid=aws-template][data-name=Old]")
    expect(row).to_be_visible()
    # The key asks of the row that has the focus, and leaves the selected node alone.
    page.tab.evaluate("() => window.app.canvas.selectNodes([window.app.graph.nodes[0]])")
    row.press("Delete")
    page.tab.locator("[role=dialog]").get_by_role("button", name="Cancel").click()
    page.tab.locator("[role=dialog]").wait_for(state="detached")
    assert page.node_count() == len(load_workflow()["nodes"])
    page.tab.get_by_role("button", name="Delete template Old").click()
    page.tab.locator("[role=dialog]").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert "Old" not in stack.template_names()


def test_what_does_not_answer_is_told_and_asked_again(page, stack):
    ensure_template(stack, "Stays")
    page.show_connected_panel()
    row = page.tab.locator("[data-testid=aws-template][data-name=Stays]")
    expect(row).to_be_visible()
    expect(page.find("aws-endpoints")).to_have_attribute("aria-busy", "false")
    place = row.bounding_box()
    trouble = page.find("aws-trouble")
    # Other news do not put off the next question.
    page.tell("aws.endpoint", {"endpoint": {"name": "other", "status": "Deleted"}}, every_ms=500)
    page.tab.route("**/aws/templates", lambda route: route.abort())
    page.find("aws-templates-refresh").click()
    expect(trouble).to_contain_text("ComfyUI does not answer.")
    page.tab.unroute("**/aws/templates")
    page.find("aws-trouble-retry").click()
    expect(trouble).to_be_hidden()

    expired = stack.call("GET", "/aws/status") | {
        "problem": {"code": "aws_denied", "message": "The credentials have expired.", "hint": ""}
    }
    for name, answer, testid, said in (
        ("status", {"status": 500, "body": "<h1>no JSON</h1>"}, "aws-trouble", "status 500"),
        ("status", {"json": expired}, "aws-trouble", "The credentials have expired."),
        ("templates", {"status": 500, "body": ""}, "aws-templates-note", "status 500"),
    ):
        page.tab.route(f"**/aws/{name}", answering(answer))
        page.find("aws-refresh").click()
        expect(page.find(testid)).to_contain_text(said)
        assert row.bounding_box() == place, "what is known stays, and stays where it is"
        page.tab.unroute(f"**/aws/{name}")
        expect(page.find(testid)).to_be_hidden()  # by itself

    page.tab.route("**/aws/**", lambda route: route.abort())
    page.find("aws-page-settings").click()
    expect(page.find("aws-settings-retry")).to_be_visible()
    page.find("aws-refresh").click()
    expect(trouble).to_be_visible()
    page.tab.unroute("**/aws/**")
    expect(page.find("aws-settings-form")).to_be_visible()  # by itself
