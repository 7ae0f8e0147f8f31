"""A real Chromium on ComfyUI's page, for the browser tests and the screenshots.

What a person sees is found by data-testid; what only ComfyUI knows is asked of `window.app`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, sync_playwright

from tests.comfy.comfyui_process import EXTENSION_FOLDER

TIMEOUT_MS = 60_000
RUN_TIMEOUT_MS = 90_000  # a run shares the machine's cores with the browser and a worker
VIEWPORT = {"width": 1280, "height": 800}

NO_BANNER = "localStorage.setItem('vueNodesBannerDismissed', 'true')"

# --headless=new is Chromium's real browser; the old headless is another program.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_READY = """() => window.app?.vueAppReady
    && window.app.extensionManager?.workflow?.activeWorkflow
    && window.app.extensions?.some(({ name }) => name === 'PromptOnAws')"""

# In the colours that frontends outline failed nodes with.
_MARKED = """(id) => {
  const failed = window.app.graph.nodes.filter((node) =>
    Object.values(node.strokeStyles ?? {}).some((style) =>
      ['red', '#f0f', '#e00'].includes(style.call(node)?.color?.toLowerCase())))
  return failed.length === 1 && String(failed[0].id) === String(id)
}"""

# Events of the run, and whether a node was outlined as running when the page had drawn it.
_RECORD = """async ({ nodes }) => {
  const { api } = await import(new URL('scripts/api.js', document.baseURI).href)
  const seen = (window.awsTest = { events: [], outlined: {}, previews: 0 })
  const look = () => {
    for (const id of nodes) {
      const node = window.app.graph.getNodeById(id)
      const strokes = Object.values(node?.strokeStyles ?? {}).map((style) => style.call(node))
      if (strokes.some(Boolean)) seen.outlined[id] = true
    }
  }
  const types = ['execution_start', 'progress_state', 'executed', 'execution_success',
    'execution_error', 'execution_interrupted']
  for (const type of types) {
    api.addEventListener(type, ({ detail }) => {
      seen.events.push([type, detail?.prompt_id ?? ''])
      setTimeout(look)
    })
  }
  api.addEventListener('b_preview_with_metadata', () => { seen.previews += 1 })
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Its first context is a profile that keeps what was fetched and compiled.

    Raises:
        RuntimeError: there is no `chromium` on PATH.
    """
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("no `chromium` on PATH; install Debian's package chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory("chromium") as folder:
        profile = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, headless=False, args=list(FLAGS), viewport=VIEWPORT
        )
        profile.add_init_script(NO_BANNER)
        assert profile.browser is not None
        try:
            yield profile.browser
        finally:
            profile.close()


class ComfyPage:
    """One browser tab on a designer."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.tab: Page = context.new_page()
        self.tab.set_default_timeout(TIMEOUT_MS)
        self.complaints: list[str] = []
        self.tab.on("pageerror", self._note_error)
        self.tab.on("console", self._hear)
        self._url = url

    def _note_error(self, error: Any) -> None:
        # ComfyUI's own page fails at things, too: only what passed through our files counts.
        if f"/extensions/{EXTENSION_FOLDER}/" in str(error.stack):
            self.complaints.append(str(error.stack))

    def _hear(self, message: Any) -> None:
        if message.text.startswith("[aws]"):
            self.complaints.append(message.text)

    # -- the page ------------------------------------------------------------------------------

    def open(self) -> ComfyPage:
        self.tab.goto(self._url)
        self.wait_ready()
        return self

    def reload(self) -> None:
        self.tab.reload()
        self.wait_ready()

    def wait_ready(self) -> None:
        self.tab.wait_for_function(_READY)
        self.tab.locator(".aws-tab-button, [data-testid='aws-tab-button']").first.wait_for()

    def close(self) -> None:
        self.tab.close()

    def find(self, testid: str) -> Locator:
        return self.tab.get_by_test_id(testid)

    def click_tab(self) -> None:
        self.tab.locator(".aws-tab-button, [data-testid='aws-tab-button']").first.click()

    def show_panel(self) -> None:
        if self.find("aws-panel").count() == 0:
            self.click_tab()
        self.find("aws-panel").wait_for()

    def show_connected_panel(self) -> None:
        self.show_panel()
        self.find("aws-new-workflow").wait_for()

    def toast(self, text: str) -> Locator:
        return self.tab.get_by_text(text).first

    def watch(self, testid: str) -> None:
        """Keep from now on what this element says, though it may be gone before one looks."""
        self.tab.evaluate(
            """(testid) => {
              const said = (window.awsSaid = new Set())
              new MutationObserver(() => {
                const text = document.querySelector(`[data-testid=${testid}]`)?.textContent
                if (text) said.add(text)
              }).observe(document, { childList: true, subtree: true, characterData: true })
            }""",
            testid,
        )

    def watched(self) -> str:
        """All that the watched element has said."""
        return str(self.tab.evaluate("() => [...window.awsSaid].join('\\n')"))

    def set_setting(self, key: str, value: Any) -> None:
        self.tab.evaluate(
            "([key, value]) => window.app.extensionManager.setting.set(key, value)", [key, value]
        )

    def tell(self, kind: str, detail: Any, *, every_ms: int = 0) -> None:
        """Have the page hear what the server might send by ComfyUI's websocket, once or always."""
        self.tab.evaluate(
            """async ([type, detail, pause]) => {
              const { api } = await import(new URL('scripts/api.js', document.baseURI).href)
              const tell = () => api.dispatchEvent(new CustomEvent(type, { detail }))
              tell()
              if (pause) setInterval(tell, pause)
            }""",
            [kind, detail, every_ms],
        )

    # -- the canvas ----------------------------------------------------------------------------

    def load(self, workflow: dict[str, Any], name: str = "test") -> None:
        self.tab.evaluate(
            "async ([graph, name]) => { await window.app.loadGraphData(graph, true, true, name) }",
            [workflow, name],
        )

    def set_widget(self, node: str, widget: str, value: Any) -> None:
        self.tab.evaluate(
            """([id, name, value]) => {
              const node = window.app.graph.getNodeById(id)
              node.widgets.find((widget) => widget.name === name).value = value
            }""",
            [int(node), widget, value],
        )

    def node_count(self) -> int:
        return int(self.tab.evaluate("() => window.app.graph.nodes.length"))

    def open_workflow_name(self) -> str:
        return str(
            self.tab.evaluate("() => window.app.extensionManager.workflow.activeWorkflow.filename")
        )

    def images_of(self, node: str) -> list[str]:
        """Addresses of the images that a node shows."""
        found = self.tab.evaluate(
            "(id) => (window.app.graph.getNodeById(id).imgs ?? []).map((image) => image.src)",
            int(node),
        )
        return [str(source) for source in found]

    def wait_for_image(self, node: str) -> None:
        self.tab.wait_for_function(
            """(id) => {
              const images = window.app.graph.getNodeById(id).imgs ?? []
              return images.length > 0 && images.every((image) => image.naturalWidth > 0)
            }""",
            arg=int(node),
        )

    def image_size(self, node: str) -> list[int]:
        size: list[int] = self.tab.evaluate(
            """(id) => {
              const [image] = window.app.graph.getNodeById(id).imgs
              return [image.naturalWidth, image.naturalHeight]
            }""",
            int(node),
        )
        return size

    def count_heard(self, *events: str) -> None:
        """Count from now on how many of these events reach listeners such as ComfyUI's own."""
        self.tab.evaluate(
            """(types) => {
              window.awsHeard = 0
              const hear = () => { window.awsHeard += 1 }
              for (const type of types) {
                window.addEventListener(type, hear, true)
                document.addEventListener(type, hear)
              }
            }""",
            list(events),
        )

    def heard(self) -> int:
        return int(self.tab.evaluate("() => window.awsHeard"))

    def drop_file(self, name: str, text: str) -> None:
        """Let go of a file over the middle of the page."""
        self.tab.evaluate(
            """([name, text]) => {
              const dataTransfer = new DataTransfer()
              dataTransfer.items.add(new File([text], name, { type: 'application/json' }))
              const target = document.elementFromPoint(innerWidth / 2, innerHeight / 2)
              const options = { dataTransfer, bubbles: true, cancelable: true }
              target.dispatchEvent(new DragEvent('drop', options))
            }""",
            [name, text],
        )

    # -- runs ----------------------------------------------------------------------------------

    def record(self, nodes: list[str]) -> None:
        """Note events from now on, and which of `nodes` get an outline while they run."""
        self.tab.evaluate(_RECORD, {"nodes": [int(node) for node in nodes]})

    def seen(self) -> dict[str, Any]:
        recorded: dict[str, Any] = self.tab.evaluate("() => window.awsTest")
        return recorded

    def run(self) -> str:
        """Click Run; the prompt id that the server gave."""
        answer = self._click_run()
        assert "prompt_id" in answer, answer
        return str(answer["prompt_id"])

    def refused_run(self) -> dict[str, Any]:
        """Click Run; what the server refused it with."""
        answer = self._click_run()
        assert "node_errors" in answer, answer
        return answer

    def _click_run(self) -> dict[str, Any]:
        with self.tab.expect_response(lambda reply: reply.url.endswith("/api/prompt")) as waiting:
            self.tab.locator('[data-testid="queue-button"]').first.click()
        answer: dict[str, Any] = waiting.value.json()
        return answer

    def wait_for_marked(self, node: str) -> None:
        """Until the canvas outlines the node, and no other, as failed."""
        self.tab.wait_for_function(_MARKED, arg=int(node))

    def wait_for_event(self, kind: str, prompt_id: str) -> None:
        self.tab.wait_for_function(
            """([kind, id]) => window.awsTest.events.some(
              ([type, prompt]) => type === kind && prompt === id)""",
            arg=[kind, prompt_id],
            timeout=RUN_TIMEOUT_MS,
        )


def hold(tab: Page, url: str) -> list[Route]:
    """The requests for these addresses, as they come; the test answers them."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    tab.route(url, keep)
    return held


@contextmanager
def fresh_page(browser: Browser, url: str) -> Iterator[ComfyPage]:
    """A tab as on a first visit; our code must not have complained in it."""
    page = ComfyPage(browser.contexts[0], url)
    forget_visits(page.tab, url)
    page.open()
    try:
        yield page
        assert page.complaints == [], page.complaints
    finally:
        page.close()


def forget_visits(tab: Page, url: str) -> None:
    """Take away what earlier visits left of themselves, but for the cache."""
    session = tab.context.new_cdp_session(tab)
    storage = {"origin": url, "storageTypes": "cookies,local_storage,indexeddb,service_workers"}
    session.send("Storage.clearDataForOrigin", storage)
    session.detach()


@contextmanager
def other_page(browser: Browser, url: str) -> Iterator[ComfyPage]:
    """A tab that shares nothing with others, as in another browser; else like `fresh_page`."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(NO_BANNER)
    page = ComfyPage(context, url).open()
    try:
        yield page
        assert page.complaints == [], page.complaints
    finally:
        context.close()
