"""Jobs in the page: watched, run again, shown on the canvas, and what a failed one says."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.functional.localstack_support import eventually
from tests.pipeline.install import SAMPLER_ID, SAVE_ID, load_workflow
from tests.web.browser import RUN_TIMEOUT_MS, TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer
from tests.web.test_access import AXE, faults
from tests.web.test_page import NODES, ensure_endpoint, turn_off, turn_on

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

SHOWN_AT_FIRST = 5
HUGE = 16384
"""Pixels of a side; a batch of 4096 such pictures fits into no machine."""


@pytest.fixture
def panel(page: ComfyPage, stack: Designer) -> ComfyPage:
    """The test pipeline on the canvas, and an endpoint in service."""
    ensure_endpoint(stack)
    page.load(load_workflow())
    page.show_connected_panel()
    page.record(NODES)
    return page


def row_of(page: ComfyPage, job_id: str) -> Locator:
    return page.tab.locator(f"[data-testid=aws-job][data-id='{job_id}']")


def expect_state(row: Locator, state: str) -> None:
    expect(row).to_have_attribute("data-state", state, timeout=RUN_TIMEOUT_MS)


def picture_prompt(side: int, batch: int, color: int = 0) -> dict[str, Any]:
    """A picture of one colour, as a script would have it made."""
    made = {"width": side, "height": side, "batch_size": batch, "color": color}
    saved = {"images": ["1", 0], "filename_prefix": "plain"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": made, "_meta": {"title": "Big picture"}},
        "2": {"class_type": "SaveImage", "inputs": saved},
    }


def submit(designer: Designer, prompt: dict[str, Any]) -> str:
    """Queue a prompt on AWS without a page."""
    body = {"prompt": prompt, "extra_data": {"aws": {}}}
    return str(designer.call("POST", "/prompt", body)["prompt_id"])


def ended(designer: Designer, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + RUN_TIMEOUT_MS / 1000
    while True:
        job: dict[str, Any] = designer.call("GET", f"/aws/jobs/{job_id}")["job"]
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.1)


def test_a_job_is_watched_and_drawn_in_another_tab(panel: ComfyPage, stack: Designer) -> None:
    turn_on(panel)
    panel.set_widget(SAMPLER_ID, "steps", 10_000)
    job_id = panel.run()
    row = row_of(panel, job_id)
    expect_state(row, "running")
    expect(row.get_by_test_id("aws-job-node")).to_have_text(re.compile(r"KSampler \d+/10000"))
    expect(row.get_by_test_id("aws-job-progress").first).to_be_visible()
    preview = row.get_by_test_id("aws-job-preview")
    expect(preview).to_be_visible()
    panel.tab.wait_for_function(
        "() => document.querySelector('[data-testid=aws-job-preview]').naturalWidth > 0"
    )
    row.get_by_test_id("aws-job-more").click()
    expect(row.get_by_test_id("aws-job-fact-took")).to_contain_text("so far")
    expect(row.get_by_test_id("aws-job-fact-cost")).to_contain_text("about $0.")
    expect(row.get_by_test_id("aws-job-fact-phases")).to_contain_text("Running")
    panel.tab.add_script_tag(path=AXE)
    assert faults(panel) == set()

    other = ComfyPage(panel.tab.context, stack.url).open()
    other.show_connected_panel()
    other.record(NODES)
    there = row_of(other, job_id)
    expect(there.get_by_test_id("aws-job-node")).to_have_text(re.compile(r"KSampler \d+/10000"))
    there.get_by_test_id("aws-job-more").click()
    there.get_by_test_id("aws-job-show").click()
    other.tab.wait_for_function("(id) => window.awsTest.outlined[id]", arg=int(SAMPLER_ID))
    other.tab.wait_for_function("() => window.awsTest.previews > 0")
    assert other.node_count() == len(load_workflow()["nodes"])
    other.close()

    waiting = row_of(panel, submit(stack, picture_prompt(64, 1)))
    expect_state(waiting, "submitted")
    waiting.get_by_test_id("aws-job-more").click()
    expect(waiting.get_by_test_id("aws-job-fact-phases")).to_contain_text("Waiting for a machine")

    row.get_by_test_id("aws-job-cancel").click()
    expect_state(row, "cancelled")
    expect(row.get_by_test_id("aws-job-results")).to_be_hidden()


def test_a_done_job_shows_its_result_runs_again_and_gives_its_workflow(
    panel: ComfyPage, stack: Designer
) -> None:
    turn_on(panel)
    panel.set_widget(SAMPLER_ID, "steps", 7)
    panel.set_widget(SAMPLER_ID, "seed", 4711)
    job_id = panel.run()
    row = row_of(panel, job_id)
    expect_state(row, "succeeded")
    result = row.get_by_test_id("aws-job-result")
    expect(result).to_have_count(1)
    with panel.tab.context.expect_page() as opened:
        result.click()
    size = opened.value.locator("img").evaluate("(image) => image.decode().then(() => image.width)")
    assert size == 128
    opened.value.close()

    # Neither the switch nor the canvas decides about a job that is run again.
    turn_off(panel)
    panel.set_widget(SAMPLER_ID, "seed", 1)
    panel.set_widget(SAMPLER_ID, "steps", 3)
    row.get_by_test_id("aws-job-more").click()
    row.get_by_test_id("aws-job-again").click()
    again = panel.tab.locator("[data-testid=aws-job]").first
    expect(again).not_to_have_attribute("data-id", job_id)
    again_id = str(again.get_attribute("data-id"))
    expect_state(again, "succeeded")
    first, second = (stack.call("GET", f"/aws/jobs/{each}/request") for each in (job_id, again_id))
    assert second["prompt"] == first["prompt"]
    assert second["prompt"][SAMPLER_ID]["inputs"]["seed"] == 4711
    assert second["workflow"] == first["workflow"]

    row.get_by_test_id("aws-job-load").click()
    panel.tab.wait_for_function(
        """(id) => window.app.graph.getNodeById(id)?.widgets
          .find(({ name }) => name === 'steps')?.value === 7""",
        arg=int(SAMPLER_ID),
    )
    # The graph is on the canvas before its tab is the open one.
    eventually(lambda: job_id[:4] in panel.open_workflow_name(), "a tab of the job's own name")


def test_a_job_whose_node_fails_shows_it(panel: ComfyPage, stack: Designer) -> None:
    turn_on(panel)
    panel.set_widget(SAVE_ID, "filename_prefix", "../../outside")
    row = row_of(panel, panel.run())
    expect_state(row, "failed")
    expect(row.get_by_test_id("aws-job-message")).to_contain_text("output")
    expect(row.get_by_test_id("aws-job-advice")).to_contain_text("Look at the node")
    selected = "() => Object.keys(window.app.canvas.selected_nodes ?? {})"
    panel.tab.wait_for_function(f"(id) => ({selected})().join() === id", arg=SAVE_ID)
    panel.tab.locator("[role=dialog]").wait_for()  # ComfyUI tells it, too
    panel.tab.keyboard.press("Escape")
    panel.tab.locator("[role=dialog]").wait_for(state="detached")
    panel.load({"nodes": [], "links": [], "version": 0.4}, "other")
    assert panel.node_count() == 0
    row.get_by_test_id("aws-job-show-node").click()
    panel.wait_for_marked(SAVE_ID)
    assert panel.node_count() == len(load_workflow()["nodes"])
    assert panel.tab.evaluate(selected) == [SAVE_ID]


def test_a_job_that_ran_out_of_memory_names_a_larger_instance(
    panel: ComfyPage, stack: Designer
) -> None:
    job_id = submit(stack, picture_prompt(HUGE, 4096))
    row = row_of(panel, job_id)
    expect_state(row, "failed")
    advice = row.get_by_test_id("aws-job-advice")
    expect(advice).to_contain_text("The machine’s memory was too small. ml.g5.2xlarge has 32 GB.")
    panel.tab.add_script_tag(path=AXE)
    assert faults(panel) == set()
    row.get_by_test_id("aws-job-larger").click()
    expect(page_form := panel.find("aws-endpoint-form")).to_be_visible()
    expect(page_form.get_by_test_id("aws-endpoint-form-type")).to_have_value("ml.g5.2xlarge")
    page_form.get_by_test_id("aws-endpoint-form-cancel").click()

    # It came without a workflow: its nodes are put onto the canvas all the same.
    expect(row.get_by_test_id("aws-job-show-node")).to_have_text("Show “Big picture”")
    row.get_by_test_id("aws-job-show-node").click()
    panel.wait_for_marked("1")
    assert panel.node_count() == 2

    row.get_by_test_id("aws-job-failure-log").click()
    expect(panel.find("aws-logs-job")).to_have_value(job_id)
    expect(panel.find("aws-log-line").first).to_have_attribute("data-job", job_id)


def test_jobs_by_state_and_older_ones(panel: ComfyPage, stack: Designer) -> None:
    done = [submit(stack, picture_prompt(16, 6, color)) for color in range(SHOWN_AT_FIRST + 1)]
    for job_id in done:
        assert ended(stack, job_id)["state"] == "succeeded"
    failed = submit(stack, picture_prompt(HUGE, 4096))
    expect_state(row_of(panel, failed), "failed")

    rows = panel.find("aws-job")
    expect(rows).to_have_count(SHOWN_AT_FIRST)
    panel.find("aws-jobs-filter").press("l")  # elsewhere it closes the panel
    panel.tab.wait_for_timeout(300)
    panel.find("aws-jobs-filter").select_option("succeeded", timeout=5000)
    expect(rows.first).to_have_attribute("data-id", done[-1])
    expect(row_of(panel, done[0])).to_have_count(0)
    panel.find("aws-jobs-more").click()
    expect(row_of(panel, done[0])).to_be_visible()

    many = row_of(panel, done[0])
    expect(many.get_by_test_id("aws-job-result")).to_have_count(3)
    many.get_by_test_id("aws-job-results-more").click()
    expect(many.get_by_test_id("aws-job-result")).to_have_count(6)

    panel.find("aws-jobs-filter").select_option("failed")
    expect(rows.first).to_have_attribute("data-id", failed)
    assert set(rows.evaluate_all("(rows) => rows.map((row) => row.dataset.state)")) == {"failed"}
    panel.find("aws-jobs-filter").select_option("live")
    expect(rows).to_have_count(0)
    expect(panel.find("aws-jobs-note")).to_contain_text("No such jobs")
