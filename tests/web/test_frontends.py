"""The page on the newer frontends, served by the same ComfyUI: one way through the whole of it.

`make test-frontends` runs the other browser tests on them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.comfy.comfyui_process import EXTENSION_FOLDER, REPO_ROOT
from tests.pipeline.install import SAMPLER_ID, SAVE_ID, load_workflow
from tests.web.browser import RUN_TIMEOUT_MS, TIMEOUT_MS, ComfyPage, fresh_page
from tests.web.designer import NEWER_FRONTENDS, Designer, second_designer
from tests.web.test_access import press_until
from tests.web.test_page import (
    LOADER_ID,
    LOCK,
    NODES,
    begin_large_publish,
    ensure_endpoint,
    turn_off,
    turn_on,
)
from tests.web.test_start import extra_data, is_prompt
from tests.web.test_templates import change_seed, row, seed_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

MAIN = (REPO_ROOT / "web" / "js" / "main.js").read_text(encoding="utf-8")
SERVED = f"/extensions/{EXTENSION_FOLDER}/js/"
JAVASCRIPT = {"Content-Type": "text/javascript"}
OWN = ""  # what ComfyUI itself asks for
TOGGLE_APP = "() => window.app.extensionManager.command.execute('Comfy.ToggleLinear')"
NODE_NAME = "() => window.LiteGraph.registered_node_types.AwsRemoteOutput.title"


@pytest.fixture(scope="module", params=NEWER_FRONTENDS)
def newer(
    request: pytest.FixtureRequest, designer: Designer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Designer]:
    """A designer with one of the newer frontends, on the stack and the endpoint of the first."""
    if not designer.call("GET", "/aws/status")["stack"]["running"]:
        designer.set_stack("start")
    ensure_endpoint(designer)
    if request.param == OWN:
        yield designer
        return
    with second_designer(tmp_path_factory.mktemp("newer"), designer, request.param) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, newer: Designer) -> Iterator[ComfyPage]:
    """One tab for all tests of a frontend: each loads a graph of its own into it."""
    with fresh_page(browser, newer.url) as tab:
        tab.show_connected_panel()
        yield tab


def app_of(workflow: dict[str, Any]) -> dict[str, Any]:
    """The same, shown by App mode as an input and a picture."""
    shown = {"inputs": [[int(SAMPLER_ID), "steps"]], "outputs": [int(SAVE_ID)]}
    return {**workflow, "extra": {"linearData": shown}}


def name_of(designer: Designer) -> str:
    """A template's name that no other frontend has taken."""
    return f"Newer{designer.process.port}"


def test_where_runs_go_is_shown_and_changed_by_key(page: ComfyPage) -> None:
    button, keyboard = page.find("aws-run-button"), page.tab.keyboard
    expect(button).to_have_attribute("aria-pressed", "false")
    keyboard.press("Control+Shift+L")
    expect(button).to_have_attribute("data-tone", "on")
    expect(page.toast("Runs go to ")).to_be_visible()
    expect(page.toast("costs about $")).to_be_visible()
    keyboard.press("l")
    expect(page.find("aws-panel")).to_have_count(0)
    keyboard.press("l")
    page.find("aws-new-workflow").wait_for()
    press_until(page, "Tab", "aws-toggle")
    keyboard.press("Space")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(page.find("aws-toggle")).to_be_checked()
    turn_off(page)


def test_in_app_mode_it_is_shown_beside_the_run_button_there(page: ComfyPage) -> None:
    tour = page.find("coach-landing-overlay")  # which the newest begin with
    page.tab.add_locator_handler(tour, lambda: page.tab.keyboard.press("Escape"))
    page.load(app_of(load_workflow()), "app")
    run = page.tab.locator("[data-testid=linear-run-button]")
    switch = run.get_by_test_id("aws-run-button")
    page.tab.evaluate(TOGGLE_APP)
    try:
        expect(switch).to_have_attribute("aria-pressed", "false")
        switch.click()
        expect(switch).to_have_attribute("data-tone", "on")
        with page.tab.expect_request(is_prompt) as asked:
            run.get_by_role("button", name="Run", exact=True).click()
        assert "aws" in extra_data(asked.value)
        switch.click()
        expect(switch).to_have_attribute("aria-pressed", "false")
    finally:
        page.tab.evaluate(TOGGLE_APP)
        page.tab.remove_locator_handler(tour)
        page.show_connected_panel()  # which App mode has closed
    expect(page.find("aws-run-button")).to_be_visible()
    expect(run).to_have_count(0)


def test_a_workflow_is_published_and_chosen(page: ComfyPage, newer: Designer) -> None:
    name = name_of(newer)
    page.load(load_workflow())
    page.find("aws-new-workflow").click()
    field = page.find("aws-name-input")
    field.fill("two words")
    expect(page.find("aws-name-message")).to_contain_text("a space is not one")
    page.count_heard("keydown")
    field.fill("")
    page.tab.keyboard.type(name)
    expect(field).to_have_value(name)
    assert page.heard() == 0, "ComfyUI's page heard what was typed into the dialog"
    field.press("Escape")

    begin_large_publish(page, newer, name)  # waits for the lock
    expect(page.toast(f"“{name}” is published")).to_be_visible()
    expect(page.find(LOCK)).to_have_count(0)

    other = f"{name}b"
    newer.publish(other)
    page.load({"version": 0.4, "nodes": [], "links": []}, "blank")
    assert page.node_count() == 0
    page.tab.locator(f"[data-testid=aws-template][data-name={other}]").click()
    expect(page.find("aws-target-template")).to_have_text(other)
    page.tab.wait_for_function(
        "(count) => window.app.graph.nodes.length === count", arg=len(load_workflow()["nodes"])
    )
    page.find("aws-template-clear").click()
    expect(page.find("aws-target-template")).to_have_text("None")


def test_each_template_keeps_its_draft(page: ComfyPage, newer: Designer) -> None:
    first, second = (f"{name_of(newer)}{letter}" for letter in "cd")
    for name in (first, second):
        newer.publish(name)
    row(page, first).click()
    expect(page.find("aws-draft-text")).to_have_text("Published version 1.")
    published = seed_of(page)
    change_seed(page, published + 1)
    row(page, second).click()
    expect(row(page, second)).to_have_attribute("aria-current", "true")
    assert seed_of(page) == published
    row(page, first).click()
    expect(row(page, first)).to_have_attribute("aria-current", "true")
    assert seed_of(page) == published + 1
    page.find("aws-template-clear").click()
    # The next test loads a graph; a page is not asked for two at once.
    expect(page.find("aws-target-template")).to_have_text("None")


def test_a_run_on_aws_is_shown_and_cancelled(page: ComfyPage, newer: Designer) -> None:
    page.load(load_workflow())
    page.record(NODES)
    turn_on(page)
    first = page.run()
    page.wait_for_event("execution_success", first)
    page.wait_for_image(SAVE_ID)
    assert page.image_size(SAVE_ID) == [128, 128]

    page.set_widget(SAMPLER_ID, "steps", 10_000)
    second = page.run()
    job = page.tab.locator(f"[data-testid=aws-job][data-id='{second}']")
    expect(job).to_have_attribute("data-state", "running", timeout=RUN_TIMEOUT_MS)
    page.tab.wait_for_function("(id) => window.awsTest.outlined[id]", arg=int(SAMPLER_ID))
    page.tab.wait_for_function("() => window.awsTest.previews > 0")
    job.get_by_test_id("aws-job-cancel").click()
    expect(job).to_have_attribute("data-state", "cancelled")
    page.wait_for_event("execution_interrupted", second)
    turn_off(page)


@pytest.mark.parametrize("newer", [OWN, *NEWER_FRONTENDS], indirect=True)
def test_what_cannot_run_is_marked_on_the_canvas(page: ComfyPage, newer: Designer) -> None:
    page.load(load_workflow())
    page.record(NODES)
    turn_on(page)
    page.set_widget(LOADER_ID, "unet_name", "nowhere.safetensors")
    assert page.refused_run()["node_errors"].keys() == {LOADER_ID}
    page.wait_for_marked(LOADER_ID)
    page.tab.keyboard.press("Escape")  # ComfyUI tells it in a dialog, too

    page.load(load_workflow())
    page.set_widget(SAVE_ID, "filename_prefix", "../../outside")
    prompt_id = page.run()
    page.wait_for_event("execution_error", prompt_id)
    job = page.tab.locator(f"[data-testid=aws-job][data-id='{prompt_id}']")
    expect(job).to_have_attribute("data-state", "failed")
    page.wait_for_marked(SAVE_ID)
    page.tab.keyboard.press("Escape")
    turn_off(page)


@pytest.mark.parametrize("newer", [OWN, *NEWER_FRONTENDS], indirect=True)
def test_comfyui_is_ready_after_one_more_file(page: ComfyPage, newer: Designer) -> None:
    asked: list[str] = []
    page.tab.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.reload()
    scripts = [path for path in asked if path.startswith(("/extensions/", "/scripts/"))]
    assert [path for path in scripts if not path.endswith(".mjs")] == [f"{SERVED}main.js"]

    # A ComfyUI whose page keeps to itself what its modules hand on.
    def without_the_short_way(route: Route) -> None:
        route.fulfill(body=MAIN.replace("window.comfyAPI", "window.none"), headers=JAVASCRIPT)

    page.tab.route(f"**{SERVED}main.js", without_the_short_way)
    asked.clear()
    page.reload()
    page.show_connected_panel()
    assert {"/scripts/api.js", "/scripts/app.js"} <= set(asked)
    page.tab.unroute(f"**{SERVED}main.js")
    page.reload()


def test_our_node_and_panel_speak_japanese(page: ComfyPage) -> None:
    page.set_setting("Comfy.Locale", "ja")
    page.reload()
    try:
        assert page.tab.evaluate(NODE_NAME) == "AWS 上の出力"
        page.show_connected_panel()
        expect(page.find("aws-page-run")).to_have_text("実行")
        page.set_setting("Comfy.Locale", "zh")
        expect(page.find("aws-page-run")).to_have_text("运行")
    finally:
        page.set_setting("Comfy.Locale", "en")
