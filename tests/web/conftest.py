"""One browser, one designer and one local stack for all browser tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.browser import VIEWPORT, ComfyPage, chromium
from tests.web.designer import Designer, running_designer


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def designer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Designer]:
    with running_designer(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def stack(designer: Designer) -> Designer:
    """The designer, connected to a running local stack."""
    if not designer.call("GET", "/aws/status")["stack"]["running"]:
        designer.set_stack("start")
    return designer


@pytest.fixture
def page(browser: Browser, designer: Designer) -> Iterator[ComfyPage]:
    """A fresh tab in a fresh profile; our code must not have complained in it."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
    tab = ComfyPage(context, designer.url).open()
    try:
        yield tab
        assert tab.complaints == []
    finally:
        context.close()
