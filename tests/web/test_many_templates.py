"""A list of many templates: few rows are in the page, and every one can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, Session
from comfy_aws.models import Template, to_json
from comfy_aws.stack import read_state
from tests.functional.parts import access_to
from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

COUNT = 200
DRAWN = 60
"""More rows than are in the page at a time."""

FOCUSED = "() => document.activeElement?.dataset.name ?? ''"
IN_SIGHT = """() => {
  const list = document.querySelector('.aws-long-list').getBoundingClientRect()
  const rows = [...document.querySelectorAll('[data-testid=aws-template]')]
  return rows.filter((row) => {
    const { top, bottom } = row.getBoundingClientRect()
    return bottom > list.top && top < list.bottom
  }).map((row) => row.dataset.name)
}"""


def name_of(number: int) -> str:
    return f"Many{number:03d}"


@pytest.fixture
def many(page: ComfyPage, stack: Designer) -> Iterator[ComfyPage]:
    """A page on a bucket with COUNT more templates, newer than all others; Many000 is the first."""
    state = read_state(stack.home / "stack")
    assert state is not None
    store = ObjectStore(Session(access_to(state)))
    made = [
        Template(name_of(number), 1, 4e9, 5e9 - number, "somebody", f"The {number}th of many")
        for number in range(COUNT)
    ]
    keys = [layout.template_key(template.name) for template in made]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.put, keys, (to_json(each).encode() for each in made)))
    try:
        page.show_connected_panel()
        # A page that was opened before may have read some of them, and show more any moment.
        first = page.tab.locator("li", has=row(page, 0))
        expect(first).to_have_attribute("aria-setsize", str(len(stack.template_names())))
        yield page
    finally:
        store.delete(*keys)


def row(page: ComfyPage, number: int):
    return page.tab.locator(f"[data-testid=aws-template][data-name={name_of(number)}]")


def test_few_rows_are_drawn_and_every_one_is_reached_by_key(many: ComfyPage, stack: Designer):
    total = len(stack.template_names())
    rows = many.find("aws-template")
    assert rows.count() < DRAWN
    keyboard = many.tab.keyboard
    many.find("aws-template-search").focus()
    keyboard.press("ArrowDown")
    expect(row(many, 0)).to_be_focused()
    item = many.tab.locator("li", has=row(many, 0))
    expect(item).to_have_attribute("aria-posinset", "1")
    expect(item).to_have_attribute("aria-setsize", str(total))

    for number in range(1, 30):  # further than what was drawn at first
        keyboard.press("ArrowDown")
        assert many.tab.evaluate(FOCUSED) == name_of(number)
        assert name_of(number) in many.tab.evaluate(IN_SIGHT)
    keyboard.press("End")
    assert many.tab.evaluate(FOCUSED) not in ("", name_of(29))
    last = many.tab.locator(":focus").locator("xpath=..")
    expect(last).to_have_attribute("aria-posinset", str(total))
    keyboard.press("ArrowDown")
    expect(last).to_have_attribute("aria-posinset", str(total))
    keyboard.press("PageUp")
    keyboard.press("Home")
    expect(row(many, 0)).to_be_focused()
    assert rows.count() < DRAWN
    keyboard.press("Tab")
    expect(item.get_by_test_id("aws-template-details")).to_be_focused()
    keyboard.press("Tab")
    expect(item.get_by_test_id("aws-template-delete")).to_be_focused()
    keyboard.press("Tab")
    expect(many.find("aws-template-list").locator(":focus")).to_have_count(0)


def test_the_focus_stays_while_the_list_is_scrolled_and_changes(many: ComfyPage):
    row(many, 3).focus()
    many.tab.locator(".aws-long-list").hover()
    many.tab.mouse.wheel(0, 5000)
    expect(row(many, 92)).to_be_in_viewport()
    expect(row(many, 3)).to_be_focused()
    expect(row(many, 3)).not_to_be_in_viewport()
    many.tab.keyboard.press("ArrowDown")
    expect(row(many, 4)).to_be_focused()
    expect(row(many, 4)).to_be_in_viewport()
    expect(row(many, 92)).to_have_count(0)

    # The list comes anew from the server, and nothing of this moves.
    with many.tab.expect_response(lambda reply: reply.url.endswith("/aws/templates")):
        many.find("aws-templates-refresh").dispatch_event("click")
    expect(row(many, 4)).to_be_focused()


def test_a_row_far_down_is_found_and_chosen(many: ComfyPage):
    expect(row(many, 170)).to_have_count(0)
    many.find("aws-template-search").fill("the 170TH")
    expect(many.find("aws-template")).to_have_count(1)
    expect(row(many, 170)).to_contain_text("somebody")
    many.find("aws-template-search").fill("no such template")
    expect(many.find("aws-templates-none")).to_contain_text("no such template")
    expect(many.find("aws-template")).to_have_count(0)
    many.find("aws-template-search").fill("")
    expect(row(many, 0)).to_be_visible()
