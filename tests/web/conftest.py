"""One browser, one designer and one local stack for all browser tests.

The environment variable FRONTEND chooses another frontend for them than ComfyUI's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.browser import ComfyPage, chromium, fresh_page
from tests.web.designer import Designer, running_designer


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def designer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Designer]:
    frontend = os.environ.get("FRONTEND", "")
    with running_designer(tmp_path_factory.mktemp("web"), frontend) as running:
        yield running


FIRST_TEMPLATES = pytest.StashKey[set[str]]()


@pytest.fixture(autouse=True)
def second_try(request: pytest.FixtureRequest) -> None:
    """A test that is tried again finds none of the templates that its first try left."""
    if "designer" not in request.fixturenames:
        return
    designer: Designer = request.getfixturevalue("designer")
    running = designer.call("GET", "/aws/status")["stack"]["running"]
    names = designer.template_names() if running else set()
    for name in names - request.node.stash.setdefault(FIRST_TEMPLATES, names):
        designer.call("DELETE", f"/aws/templates/{name}")


@pytest.fixture
def stack(designer: Designer) -> Designer:
    """The designer, connected to a running local stack."""
    if not designer.call("GET", "/aws/status")["stack"]["running"]:
        designer.set_stack("start")
    return designer


@pytest.fixture
def page(browser: Browser, designer: Designer) -> Iterator[ComfyPage]:
    """A fresh tab in a fresh profile; our code must not have complained in it."""
    with fresh_page(browser, designer.url) as tab:
        yield tab
