"""The settings in the sidebar: shown, changed, and the connection tried."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.web.browser import TIMEOUT_MS, ComfyPage
from tests.web.designer import Designer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    pytest.mark.stack,
    pytest.mark.slow,
]

expect.set_options(timeout=TIMEOUT_MS)

DENIED = {"name": "write", "state": "failed", "message": "AWS does not permit it.",
          "hint": "Let the role write.", "permission": "s3:PutObject"}  # fmt: skip


def open_settings(page: ComfyPage) -> None:
    page.show_connected_panel()
    page.find("aws-page-settings").click()
    expect(page.find("aws-settings-form")).to_be_visible()


def test_a_setting_is_saved_and_the_connection_tried(page: ComfyPage, stack: Designer) -> None:
    open_settings(page)
    save = page.find("aws-settings-save")
    expect(save).to_be_disabled()
    expect(page.find("aws-setting-bucket")).to_be_hidden()
    endpoint = page.find("aws-setting-endpoint")
    try:
        endpoint.fill("no_such")
        save.click()
        expect(page.find("aws-settings-problem")).to_contain_text("endpoint name")
        endpoint.fill("painters")
        with page.tab.expect_response("**/aws/settings"):
            endpoint.press("Enter")
        expect(save).to_be_disabled()
        expect(page.find("aws-settings-problem")).to_be_hidden()
        assert stack.call("GET", "/aws/status")["endpoint"] == "painters"
        page.reload()
        page.show_panel()
        expect(page.find("aws-setting-endpoint")).to_have_value("painters")

        page.find("aws-settings-test").click()
        checks = page.find("aws-check")
        expect(checks).to_have_count(24)
        expect(page.find("aws-checks-sum")).to_contain_text("Everything that was tried works")
        state = {c.get_attribute("data-name"): c.get_attribute("data-state") for c in checks.all()}
        skipped = {name for name, found in state.items() if found == "skipped"}
        assert skipped == {"bucket_rules", "prices", "rights"}
        assert set(state.values()) == {"passed", "skipped"}
    finally:
        stack.call("PUT", "/aws/settings", {"endpoint": ""})


def test_what_is_missing_is_told_with_its_cure(page: ComfyPage, stack: Designer) -> None:
    open_settings(page)
    try:
        page.find("aws-setting-target").select_option("aws")
        page.find("aws-setting-bucket").fill("nobodys-bucket")
        page.find("aws-setting-profile").fill("no-such-profile")
        page.find("aws-page-logs").click()
        page.find("aws-page-settings").click()
        expect(page.find("aws-setting-bucket")).to_have_value("nobodys-bucket")
        expect(page.find("aws-settings-test")).to_have_text("Save and test")
        page.find("aws-settings-test").click()
        check = page.tab.locator("[data-testid=aws-check][data-name=region]")
        expect(check).to_have_attribute("data-state", "failed")
        expect(check).to_contain_text("no-such-profile")
        expect(check.get_by_test_id("aws-check-hint")).to_contain_text("AWS_PROFILE")
        skipped = page.tab.locator("[data-testid=aws-check][data-state=skipped]")
        expect(skipped).to_have_count(21)
        expect(page.find("aws-checks-sum")).to_contain_text("Not working")
        expect(page.find("aws-settings-test")).to_have_text("Test connection")
        page.find("aws-page-run").click()
        page.find("aws-page-settings").click()
        expect(page.find("aws-checks-sum")).to_contain_text("Not working")

        page.tab.route("**/aws/test", lambda route: route.fulfill(json={"checks": [DENIED]}))
        page.find("aws-settings-test").click()
        expect(page.find("aws-check").locator("code")).to_have_text("s3:PutObject")
    finally:
        stack.call("PUT", "/aws/settings", {"target": "local", "bucket": "", "profile": ""})
