"""The page in Japanese and Chinese: ComfyUI's language is ours, from the next draw on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.comfy.comfyui_process import EXTENSION_FOLDER
from tests.pipeline.install import load_workflow
from tests.web.browser import TIMEOUT_MS, VIEWPORT, ComfyPage
from tests.web.designer import Designer
from tests.web.test_page import begin_publish, ensure_template

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

TEMPLATE = "Spoken"
TABS = {
    "en": ["Run", "Models", "Logs", "Settings"],
    "ja": ["実行", "モデル", "ログ", "設定"],
    "zh": ["运行", "模型", "日志", "设置"],
}
HELP = f"/extensions/{EXTENSION_FOLDER}/docs/AwsRemoteOutput"


@pytest.fixture
def spoken(page: ComfyPage, stack: Designer) -> Iterator[ComfyPage]:
    """A page on a connected designer with a template; English again at the end."""
    ensure_template(stack, TEMPLATE)
    page.load(load_workflow())
    page.show_connected_panel()
    yield page
    page.set_setting("Comfy.Locale", "en")


def expect_language(page: ComfyPage, language: str) -> None:
    expect(page.find("aws-panel").get_by_role("tab")).to_have_text(TABS[language])
    expect(page.find("aws-panel")).to_have_attribute("lang", language)


def test_the_language_changes_on_the_page_and_only_the_chosen_one_is_fetched(
    spoken: ComfyPage,
) -> None:
    fetched: list[str] = []
    spoken.tab.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    row = spoken.tab.locator(f"[data-testid=aws-template][data-name={TEMPLATE}]")
    expect_language(spoken, "en")
    expect(row).to_contain_text(re.compile("just now|ago"))
    spoken.set_setting("Comfy.Locale", "ja")
    expect_language(spoken, "ja")
    expect(row).to_contain_text(re.compile("たった今|前"))
    expect(spoken.find("aws-run-words")).to_have_text("ローカル")
    spoken.set_setting("Comfy.Locale", "zh-TW")  # has no words of its own
    expect_language(spoken, "zh")
    spoken.set_setting("Comfy.Locale", "fr")
    expect_language(spoken, "en")
    spoken.set_setting("Comfy.Locale", "ja")
    expect_language(spoken, "ja")
    assert [name for name in fetched if name.endswith(("ja.mjs", "zh.mjs"))] == ["ja.mjs", "zh.mjs"]


def test_a_workflow_is_published_in_japanese(spoken: ComfyPage, stack: Designer) -> None:
    spoken.set_setting("Comfy.Locale", "ja")
    spoken.reload()
    spoken.load(load_workflow())
    spoken.show_connected_panel()
    expect_language(spoken, "ja")
    spoken.find("aws-new-workflow").click()
    dialog = spoken.find("aws-name-dialog")
    expect(dialog).to_have_attribute("lang", "ja")
    expect(dialog.get_by_role("heading")).to_have_text("新規ワークフロー")
    expect(dialog.get_by_role("button")).to_have_text(["キャンセル", "OK"])
    expect(spoken.find("aws-preflight-head")).to_contain_text("モデル：3、入力：1、ノードパック：1")
    field = spoken.find("aws-name-input")
    field.fill("図")
    expect(spoken.find("aws-name-message")).to_contain_text("「図」は使えません")
    field.fill(TEMPLATE)
    expect(spoken.find("aws-name-message")).to_contain_text("同じものがすでにあるか")
    expect(spoken.find("aws-name-message")).to_contain_text(TEMPLATE)  # the server's own words
    field.press("Escape")
    expect(dialog).to_have_count(0)
    spoken.watch("aws-lock")  # what the bucket has already is published in a moment
    begin_publish(spoken, "Nihongo")
    expect(spoken.toast("「Nihongo」を公開しました")).to_be_visible()
    assert "「Nihongo」を公開しています" in spoken.watched()
    assert "Nihongo" in stack.template_names()


def test_the_form_speaks_the_language_of_comfyui(
    spoken: ComfyPage, browser: Browser, stack: Designer
) -> None:
    spoken.set_setting("Comfy.Locale", "zh")
    expect_language(spoken, "zh")
    context = browser.new_context(viewport=VIEWPORT)
    try:
        tab = context.new_page()
        tab.goto(f"{stack.url}/aws/form?template={TEMPLATE}")
        expect(tab.get_by_test_id("aws-form-submit")).to_have_text("运行")
        expect(tab.locator("html")).to_have_attribute("lang", "zh")
    finally:
        context.close()


def test_comfyui_is_given_our_commands_and_nodes_in_japanese(designer: Designer) -> None:
    """What its page makes of them is tested on frontends that do not lose them: see there."""
    given = designer.call("GET", "/i18n")["ja"]
    assert given["nodeDefs"]["AwsRemoteOutput"]["display_name"] == "AWS 上の出力"
    assert given["commands"]["PromptOnAws_Toggle"]["label"] == "Prompt on AWS を切り替え"


@pytest.mark.parametrize("page_of_help", [f"{HELP}.md", f"{HELP}/ja.md", f"{HELP}/zh.md"])
def test_the_help_of_our_node_is_where_frontends_look_for_it(
    designer: Designer, page_of_help: str
) -> None:
    reply = requests.get(designer.url + page_of_help, timeout=30)
    assert reply.ok
    assert reply.text.startswith("# ")
    assert "AWS" in reply.text
