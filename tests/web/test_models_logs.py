"""The pages of models and logs, by click and key, in a real Chromium on the real thing."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.functional.localstack_support import eventually
from tests.pipeline.install import load_workflow
from tests.support.fileserver import served
from tests.web.browser import TIMEOUT_MS, ComfyPage, hold
from tests.web.designer import Designer
from tests.web.test_page import ensure_template

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

FOLDER = "diffusion_models"
LOADER_ID = "1"


def safetensors(fill: int) -> bytes:
    header = json.dumps({"t": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([fill]) * 64


def show(page: ComfyPage, name: str) -> None:
    page.show_panel()
    page.find(f"aws-page-{name}").click()
    page.find(f"aws-{name}-page").wait_for()


def model(page: ComfyPage, name: str) -> Locator:
    return page.tab.locator(f"[data-testid=aws-model][data-name='{name}']")


def choices(page: ComfyPage) -> list[str]:
    """What the model loader on the canvas offers."""
    found: list[str] = page.tab.evaluate(
        """(id) => {
          const node = window.app.graph.getNodeById(id)
          return node.widgets.find(({ name }) => name === 'unet_name').options.values
        }""",
        int(LOADER_ID),
    )
    return found


def wait_for_choice(page: ComfyPage, name: str) -> None:
    page.tab.wait_for_function(
        """([id, name]) => window.app.graph.getNodeById(id).widgets
          .find((widget) => widget.name === 'unet_name').options.values.includes(name)""",
        arg=[int(LOADER_ID), name],
    )


def drop_model(page: ComfyPage, name: str, body: bytes) -> None:
    page.tab.evaluate(
        """([name, text]) => {
          const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
          const dataTransfer = new DataTransfer()
          dataTransfer.items.add(new File([bytes], name))
          const target = document.querySelector('[data-testid=aws-models-search]')
          const options = { dataTransfer, bubbles: true, cancelable: true }
          for (const type of ['dragenter', 'dragover', 'drop']) {
            target.dispatchEvent(new DragEvent(type, options))
          }
        }""",
        [name, base64.b64encode(body).decode()],
    )


def test_a_model_from_a_url_sent_to_the_bucket_and_deleted(
    page: ComfyPage, stack: Designer
) -> None:
    name = "from-the-web.safetensors"
    page.load(load_workflow())
    show(page, "models")
    page.find("aws-models-folder").select_option(FOLDER)
    page.find("aws-models-url").click()
    field = page.find("aws-models-url-url-input")
    expect(field).to_be_focused()
    field.fill("file:///etc/passwd")
    field.press("Enter")
    expect(page.find("aws-models-url-problem")).to_contain_text("http or https one")
    field.fill("http://127.0.0.1:9/x.safetensors")
    page.find("aws-models-url-name-input").fill("../../x.safetensors")
    field.press("Enter")
    expect(page.find("aws-models-url-problem")).to_contain_text("../../x.safetensors")
    page.find("aws-models-url-name-input").fill("")
    with served(safetensors(1)) as site:
        site.filename, site.hold = name, threading.Event()
        field.fill(site.url)
        page.find("aws-models-url-sha256-input").fill("0" * 64)
        field.press("Enter")
        transfer = page.tab.locator("[data-testid=aws-transfer][data-kind=url]")
        expect(transfer).to_have_attribute("data-state", "running")
        site.hold.set()
        expect(transfer.get_by_test_id("aws-transfer-error")).to_contain_text("has the sha256")
        with page.tab.expect_request("**/aws/models/url") as again:
            transfer.get_by_test_id("aws-transfer-retry").click()
        assert again.value.post_data_json["sha256"] == "0" * 64
        expect(transfer).to_have_count(1)
        expect(transfer.get_by_test_id("aws-transfer-error")).to_contain_text("has the sha256")
        transfer.get_by_test_id("aws-transfer-stop").click()
        expect(transfer).to_have_count(0)
        field.fill(site.url)
        field.press("Enter")
        expect(transfer).to_have_attribute("data-state", "done")
    expect(page.find("aws-models-url-problem")).to_be_empty()
    page.find("aws-models-search").fill("from-the WEB")
    row = model(page, name)
    expect(row).to_have_attribute("data-here", "true")
    expect(page.find("aws-model")).to_have_count(1)
    wait_for_choice(page, name)

    row.get_by_test_id("aws-model-push").click()
    expect(row).to_have_attribute("data-bucket", "true")
    expect(row.get_by_test_id("aws-model-push")).to_be_hidden()
    page.find("aws-models-show").select_option("unsent")
    expect(page.find("aws-models-note")).to_contain_text("No model fits.")
    page.find("aws-models-show").select_option("all")
    for place in ("here", "bucket"):
        row.get_by_test_id("aws-model-delete").click()
        expect(page.find("aws-model-users")).to_contain_text("No template uses it.")
        page.find(f"aws-model-delete-{place}").click()
        expect(page.find("aws-model-dialog")).to_have_count(0)
        if place == "here":
            expect(row).to_have_attribute("data-here", "false")
            expect(row.get_by_test_id("aws-model-pull")).to_be_visible()
    expect(row).to_have_count(0)
    assert name not in {each["name"] for each in stack.call("GET", "/aws/models")["models"]}


def forget_transfers(page: ComfyPage) -> None:
    """Dismiss what other tests left in the list."""
    page.tab.wait_for_function("() => document.querySelector('[data-testid=aws-model]')")
    for _ in range(page.find("aws-transfer").count()):
        count = page.find("aws-transfer").count()
        page.find("aws-transfer-stop").first.click()
        expect(page.find("aws-transfer")).to_have_count(count - 1)


def test_files_that_are_dropped(page: ComfyPage, stack: Designer) -> None:
    name, body = "dropped.safetensors", safetensors(2)
    ensure_template(stack, "Users")
    page.load(load_workflow())
    show(page, "models")
    page.find("aws-models-folder").select_option(FOLDER)
    forget_transfers(page)
    before = page.node_count()
    drop_model(page, name, body)
    expect(page.find("aws-transfer")).to_have_attribute("data-state", "done")
    expect(model(page, name)).to_have_attribute("data-here", "true")
    wait_for_choice(page, name)
    found = list(stack.process.base_dir.rglob(name))
    assert [each.read_bytes() for each in found] == [body]
    page.find("aws-transfer-stop").click()
    for wrong, says in {"notes.txt": "Files in", name: "of this name already"}.items():
        drop_model(page, wrong, body)
        expect(page.find("aws-transfer-error")).to_contain_text(says)
        page.find("aws-transfer-stop").click()
        expect(page.find("aws-transfer")).to_have_count(0)
    drop_model(page, "cut.safetensors", body[:-1])
    expect(page.find("aws-transfer-error")).to_contain_text("is cut off")
    with page.tab.expect_request("**/aws/models/upload?*"):
        page.find("aws-transfer-retry").click()
    expect(page.find("aws-transfer")).to_have_count(1)
    expect(page.find("aws-transfer-error")).to_contain_text("is cut off")
    page.find("aws-transfer-stop").click()
    assert page.node_count() == before, "ComfyUI took the file, too"

    used = model(page, "tiny_sd3.safetensors")
    used.get_by_test_id("aws-model-delete").click()
    expect(page.find("aws-model-users")).to_contain_text("Users")
    page.find("aws-model-delete-cancel").click()

    model(page, name).get_by_test_id("aws-model-delete").focus()
    page.tab.keyboard.press("Enter")
    expect(page.find("aws-model-delete-cancel")).to_be_focused()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Enter")
    expect(model(page, name)).to_have_count(0)
    assert found[0].exists() is False


def test_ten_thousand_lines_do_not_freeze_the_page(page: ComfyPage, designer: Designer) -> None:
    answers = iter([0, 10_000, 10_000])

    def answer(route: Any) -> None:
        first = next(answers, -1)
        lines = [
            {
                "at": 1.0,
                "level": "info",
                "job": "",
                "source": "designer",
                "text": f"line {n} <b>x</b>",
            }
            for n in range(first, first + 10_000 if first >= 0 else first)
        ]
        route.fulfill(json={"lines": lines, "after": "token", "fresh": first == 0})

    page.show_panel()
    page.tab.route("**/aws/logs?*", answer)
    show(page, "logs")
    lines = page.find("aws-log-line")
    expect(lines).to_have_count(2000)
    expect(lines.last).to_contain_text("line 19999 <b>x</b>")
    assert page.find("aws-log").locator("b").count() == 0
    page.find("aws-logs-text").fill("typed at once")
    expect(page.find("aws-logs-text")).to_have_value("typed at once")

    with page.tab.expect_request("**/aws/logs?*level=error*"):
        page.find("aws-logs-level").select_option("error")
    page.find("aws-logs-follow").click()
    expect(page.find("aws-logs-state")).to_have_text("2,000 lines, paused")
    with page.tab.expect_download() as download:
        page.find("aws-logs-download").click()
    assert download.value.suggested_filename == "designer.log"
    # As on a page that came by plain HTTP from another machine.
    page.tab.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.find("aws-logs-copy").click()
    expect(page.toast("The lines are copied")).to_be_visible()


def test_an_answer_that_comes_late_undoes_no_news(page: ComfyPage, stack: Designer) -> None:
    transfer = {"id": "late", "kind": "push", "folder": FOLDER, "name": "late.safetensors",
                "state": "running", "phase": "upload", "done": 1, "total": 2, "error": None,
                "source": "", "created": 1.0}  # fmt: skip
    page.tab.route("**/aws/models/transfers", lambda route: route.fulfill(
        json={"transfers": [transfer]}))  # fmt: skip
    show(page, "models")
    shown = page.tab.locator("[data-testid=aws-transfer]")
    expect(shown).to_have_attribute("data-state", "running")
    held = hold(page.tab, "**/aws/models")
    page.find("aws-models-refresh").click()
    eventually(lambda: page.tab.wait_for_timeout(50) or held, "the models are asked for")
    transfer["state"] = "cancelled"
    page.tell("aws.model", {"transfer": transfer})
    expect(shown).to_have_attribute("data-state", "cancelled")
    with page.tab.expect_response("**/aws/models"):
        held[0].continue_()
    page.tab.wait_for_timeout(300)
    expect(shown).to_have_attribute("data-state", "cancelled")
