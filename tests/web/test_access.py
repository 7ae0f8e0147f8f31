"""The page for everybody: by keyboard alone, and with nothing that axe-core calls serious."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.comfy.comfyui_process import REPO_ROOT
from tests.pipeline.install import load_workflow
from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer
from tests.web.test_page import ensure_endpoint, ensure_template

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

AXE = REPO_ROOT / "node_modules" / "axe-core" / "axe.min.js"
PALETTES = ("dark", "light")
TEMPLATE = "Access"

BARE_FIELD = "() => document.querySelector('.aws-panel').append(document.createElement('input'))"
FOCUSED = "() => document.activeElement?.dataset.testid ?? document.activeElement?.tagName"
MOST_STOPS = 60
WIDTHS = [320, 800]
OVERFLOWS = """(widths) => {
  const panel = document.querySelector('.aws-panel')
  const found = widths.flatMap((width) => {
    panel.style.width = `${width}px`
    const wide = [panel, ...panel.querySelectorAll('.aws-scroll, .aws-card, .aws-section')]
    return wide.filter((each) => each.scrollWidth > each.clientWidth)
      .map((each) => `${width}: ${each.className} ${each.scrollWidth} > ${each.clientWidth}`)
  })
  panel.style.width = ''
  return found
}"""

# Only our own elements: the page around them is ComfyUI's.
LOOK = """async (part) => {
  const { violations } = await axe.run({ include: [[part]] })
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(
      ({ html, any, all }) => `${id}: ${html.slice(0, 160)} ${[...any, ...all][0]?.message}`))
}"""


def faults(page: ComfyPage) -> set[str]:
    """What axe-core calls serious or critical in what is shown of ours, in either palette."""
    found: set[str] = set()
    for palette in PALETTES:
        page.set_setting("Comfy.ColorPalette", palette)
        page.tab.wait_for_timeout(300)  # transitions of colours end
        found |= {f"{palette}: {fault}" for fault in page.tab.evaluate(LOOK, ".aws")}
    return found


@pytest.fixture
def axed(page: ComfyPage, stack: Designer) -> ComfyPage:
    """A page on a designer with a template, an endpoint and a connected panel."""
    ensure_template(stack, TEMPLATE)
    ensure_endpoint(stack)
    page.load(load_workflow())
    page.show_connected_panel()
    page.tab.add_script_tag(path=AXE)
    return page


def test_axe_looks_at_what_is_ours(axed: ComfyPage) -> None:
    axed.tab.evaluate(BARE_FIELD)
    assert any(fault.startswith("dark: label: <input") for fault in faults(axed))


def test_no_page_of_the_panel_has_a_serious_fault(axed: ComfyPage) -> None:
    found: dict[str, set[str]] = {}
    for name in ("models", "logs", "settings", "run"):
        axed.find(f"aws-page-{name}").click()
        axed.tab.wait_for_timeout(500)  # its lists arrive
        found[name] = faults(axed)
        found[f"{name} in a narrow or wide panel"] = set(axed.tab.evaluate(OVERFLOWS, WIDTHS))
    row = axed.tab.locator(f"[data-testid=aws-template][data-name={TEMPLATE}]")
    row.click()
    axed.find("aws-toggle").check()
    axed.find("aws-new-endpoint").click()
    found["chosen template, endpoint form"] = faults(axed)
    assert {name: each for name, each in found.items() if each} == {}


def _name(page: ComfyPage) -> None:
    page.find("aws-new-workflow").click()
    page.find("aws-name-input").fill("two words")


def _details(page: ComfyPage) -> None:
    page.tab.get_by_role("button", name=f"Details of {TEMPLATE}").click()


@pytest.mark.parametrize("show", [_name, _details])
def test_no_dialog_has_a_serious_fault(axed: ComfyPage, show: Callable[[ComfyPage], Any]) -> None:
    show(axed)
    axed.tab.locator("dialog.aws[open]").wait_for()
    assert faults(axed) == set()


def press_until(page: ComfyPage, key: str, testid: str) -> None:
    """Press a key until the element has the focus, visibly."""
    passed: list[str] = []
    while (at := page.tab.evaluate(FOCUSED)) != testid:
        passed.append(at)
        assert len(passed) < MOST_STOPS, f"{key} does not reach {testid}, only {passed}"
        page.tab.keyboard.press(key)
    outline = page.tab.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", f"{testid} has the focus and does not show it"


def test_the_main_way_by_keyboard_alone(page: ComfyPage, stack: Designer) -> None:
    ensure_template(stack, TEMPLATE)
    ensure_endpoint(stack)
    page.load(load_workflow())
    keyboard = page.tab.keyboard
    run_button = page.find("aws-run-button")
    expect(run_button).to_have_attribute("aria-pressed", "false")
    keyboard.press("Control+Shift+L")
    expect(run_button).to_have_attribute("aria-pressed", "true")
    expect(run_button).to_have_attribute("data-tone", "on")
    keyboard.press("l")
    page.find("aws-new-workflow").wait_for()

    press_until(page, "Tab", "aws-toggle")
    keyboard.press("Space")
    expect(run_button).to_have_attribute("aria-pressed", "false")
    keyboard.press("Space")
    expect(page.find("aws-toggle")).to_be_checked()

    press_until(page, "Tab", "aws-template")  # the one stop of the list; arrow keys go on
    row = page.tab.locator(f"[data-testid=aws-template][data-name={TEMPLATE}]")
    keyboard.press("Home")
    for _ in stack.template_names():
        if row.evaluate("(row) => row === document.activeElement"):
            break
        keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(row).to_have_attribute("aria-current", "true")
    expect(page.find("aws-target-template")).to_have_text(TEMPLATE)

    press_until(page, "Shift+Tab", "aws-new-workflow")
    keyboard.press("Enter")
    expect(page.find("aws-name-input")).to_be_focused()
    keyboard.type("ByKeys")
    keyboard.press("Enter")
    expect(page.toast("“ByKeys” is published")).to_be_visible()
    published = page.tab.locator("[data-testid=aws-template][data-name=ByKeys]")
    expect(published).to_have_attribute("aria-current", "true")

    press_until(page, "Tab", "aws-new-endpoint")
    keyboard.press("Enter")
    expect(page.find("aws-endpoint-form-template")).to_be_focused()
    press_until(page, "Tab", "aws-endpoint-form-name")
    keyboard.type("by_keys")
    keyboard.press("Enter")
    expect(page.find("aws-endpoint-form-problem")).to_be_visible()
    keyboard.press("Escape")
    expect(page.find("aws-endpoint-form")).to_be_hidden()
