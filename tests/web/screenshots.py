"""Takes the pictures of docs/images: every panel and dialog, dark and light; and the examples'.

    python -m tests.web.screenshots

Everything in them is real: a designer, the local stack, a worker. Takes about two minutes.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Locator, ViewportSize

from tests.comfy.comfyui_process import REPO_ROOT
from tests.pipeline.install import SAMPLER_ID, SAVE_ID, load_workflow
from tests.web.browser import VIEWPORT, ComfyPage, chromium
from tests.web.designer import Designer, running_designer

IMAGES = REPO_ROOT / "docs" / "images"
EXAMPLES = REPO_ROOT / "example_workflows"
EXAMPLE_SIZE = (640, 420)
PALETTES = ("dark", "light")
SIDEBAR_WIDTH = 340
LOADER_ID = "1"
SHORT_RUN = 12
LONG_RUN = 400
FORM_VIEWPORT: ViewportSize = {"width": 720, "height": 800}


# Puts the nodes but for the notes where they can be seen whole; gives their place on the page.
FRAME = """async () => {
  const { canvas, graph } = window.app
  const nodes = graph.nodes.filter(({ type }) => type !== 'MarkdownNote')
  const left = Math.min(...nodes.map(({ pos }) => pos[0])) - 20
  const top = Math.min(...nodes.map(({ pos }) => pos[1])) - 50
  const width = Math.max(...nodes.map(({ pos, size }) => pos[0] + size[0])) + 20 - left
  const height = Math.max(...nodes.map(({ pos, size }) => pos[1] + size[1])) + 20 - top
  canvas.ds.scale = 0.9
  canvas.ds.offset = [-left + 90, -top + 130]
  canvas.draw(true, true)
  return { x: 0.9 * 90, y: 0.9 * 130, width: 0.9 * width, height: 0.9 * height }
}"""


def compress(path: Path) -> None:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.save(path, optimize=True)


class Camera:
    """Takes each picture once per palette."""

    def __init__(self, browser: Browser, designer: Designer, palette: str) -> None:
        self._palette = palette
        self._context = browser.new_context(viewport=VIEWPORT)
        self._context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
        self.page = ComfyPage(self._context, designer.url).open()
        self.page.set_setting("Comfy.ColorPalette", palette)
        self.page.set_setting("Comfy.Minimap.Visible", False)
        self.page.load(load_workflow(), "Sketch")
        self.page.show_panel()
        self._widen_sidebar()

    def close(self) -> None:
        self._context.close()

    def take(self, name: str, part: Locator | None = None) -> None:
        """The page, or one part of it."""
        self.page.tab.mouse.move(900, 780)  # nothing is hovered
        self.page.tab.wait_for_timeout(400)  # transitions end
        path = IMAGES / f"{name}-{self._palette}.png"
        if part is None:
            self.page.tab.screenshot(path=path)
        else:
            part.screenshot(path=path)
        compress(path)

    def hide_toasts(self) -> None:
        for button in self.page.tab.locator(".p-toast-close-button").all():
            button.click()
        self.page.tab.locator(".p-toast-message").first.wait_for(state="detached")

    def _widen_sidebar(self) -> None:
        gutter = self.page.tab.locator(".p-splitter-gutter").first.bounding_box()
        panel = self.page.find("aws-panel").bounding_box()
        assert gutter is not None
        assert panel is not None
        mouse = self.page.tab.mouse
        mouse.move(gutter["x"] + 2, 400)
        mouse.down()
        mouse.move(panel["x"] + SIDEBAR_WIDTH, 400, steps=8)
        mouse.up()
        self.fit_canvas()

    def fit_canvas(self) -> None:
        self.page.tab.evaluate(
            "() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')"
        )


@contextmanager
def camera(browser: Browser, designer: Designer, palette: str) -> Iterator[Camera]:
    opened = Camera(browser, designer, palette)
    try:
        yield opened
    finally:
        opened.close()


def take_setup(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            shot.page.find("aws-stack-start").wait_for()
            shot.take("setup")
    designer.set_stack("start")
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            shot.page.find("aws-new-workflow").wait_for()
            shot.page.find("aws-jobs-note").get_by_text("No jobs yet").wait_for()
            shot.take("empty")


def take_publish(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            page = shot.page
            name = f"Portrait{palette.title()}"
            page.find("aws-new-workflow").click()
            page.find("aws-name-input").fill("my portrait")
            shot.take("name", page.find("aws-name-dialog"))
            page.find("aws-name-input").press("Escape")
            page.find("aws-templates-import").click()
            shot.take("import", page.find("aws-import-dialog"))
            page.tab.keyboard.press("Escape")
            page.find("aws-new-workflow").click()
            designer.add_model(f"{name}.safetensors")
            page.set_widget(LOADER_ID, "unet_name", f"{name}.safetensors")
            page.find("aws-name-input").fill(name)
            page.find("aws-name-ok").click()
            page.tab.wait_for_function(
                "() => document.querySelector('[data-testid=aws-lock-phase]')?.textContent"
                " === 'Uploading'"
            )
            with designer.frozen_bucket():
                shot.take("publish")
            page.toast(f"“{name}” is published").wait_for()
            shot.take("published")


def choose_template(shot: Camera) -> None:
    shot.page.tab.locator("[data-testid=aws-template][data-name=Diffusion]").click()
    shot.page.find("aws-target-template").get_by_text("Diffusion").wait_for()
    shot.fit_canvas()


def take_endpoint(browser: Browser, designer: Designer) -> None:
    for name in designer.template_names():
        designer.call("DELETE", f"/aws/templates/{name}")
    for name in ("ProductShot", "Portrait2", "Diffusion"):
        designer.publish(name)
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            choose_template(shot)
            shot.page.find("aws-toggle").check()
            shot.page.find("aws-target-create").wait_for()
            shot.hide_toasts()
            shot.take("no-endpoint")
            shot.page.find("aws-new-endpoint").click()
            shot.take("endpoint-form", shot.page.find("aws-endpoint-form"))


def take_pages(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            page = shot.page
            page.tab.get_by_role("button", name="Details of Diffusion").click()
            dialog = page.tab.locator("dialog.aws[open]")
            dialog.get_by_text("Versions").first.wait_for()
            shot.take("template-details", dialog)
            page.tab.keyboard.press("Escape")
            for name, shown in (
                ("models", page.tab.get_by_text("tiny_sd3.safetensors").first),
                ("settings", page.find("aws-settings-form")),
            ):
                page.find(f"aws-page-{name}").click()
                shown.wait_for()
                shot.take(name, page.find("aws-panel"))
            page.find("aws-page-run").click()


def take_form(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        context = browser.new_context(
            viewport=FORM_VIEWPORT, color_scheme="dark" if palette == "dark" else "light"
        )
        tab = context.new_page()
        tab.goto(f"{designer.url}/aws/form?template=Diffusion")
        tab.get_by_test_id("aws-form-field").first.wait_for()
        path = IMAGES / f"form-{palette}.png"
        tab.screenshot(path=path, full_page=True)
        compress(path)
        context.close()


def take_runs(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        with camera(browser, designer, palette) as shot:
            page = shot.page
            choose_template(shot)
            page.find("aws-toggle").check()
            if palette == PALETTES[0]:
                page.find("aws-target-create").click()
            page.tab.locator("[data-testid=aws-endpoint][data-status=InService]").wait_for(
                timeout=90_000
            )
            if palette == PALETTES[0]:
                shot.hide_toasts()
            page.record([SAMPLER_ID])
            page.set_widget(SAMPLER_ID, "steps", SHORT_RUN)  # else the draft of the last round
            first = page.run()
            page.wait_for_event("execution_success", first)
            page.wait_for_image(SAVE_ID)
            page.set_widget(SAMPLER_ID, "steps", LONG_RUN)
            page.set_widget(SAMPLER_ID, "seed", 7)
            page.run()
            page.tab.wait_for_function("(id) => window.awsTest.outlined[id]", arg=int(SAMPLER_ID))
            page.tab.wait_for_timeout(1500)
            shot.take("run")
            shot.take("panel", page.find("aws-panel"))
            page.find("aws-endpoint-more").first.click()
            shot.take("endpoint", page.find("aws-endpoint").first)
            job = page.tab.locator("[data-testid=aws-job][data-state=succeeded]").first
            job.get_by_test_id("aws-job-more").click()
            job.get_by_test_id("aws-job-result").first.wait_for()
            shot.take("job", job)
            page.find("aws-job-cancel").click()
            page.tab.locator("[data-testid=aws-job][data-state=cancelled]").first.wait_for()
            page.find("aws-endpoint-log").click()
            page.find("aws-log-line").first.wait_for()
            shot.take("logs", page.find("aws-panel"))


def take_examples(browser: Browser, designer: Designer) -> None:
    """What ComfyUI's template browser shows of the example workflows."""
    context = browser.new_context(viewport={"width": 1900, "height": 1000})
    context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
    page = ComfyPage(context, designer.url).open()
    page.set_setting("Comfy.ColorPalette", "dark")
    page.set_setting("Comfy.Minimap.Visible", False)
    for path in sorted(EXAMPLES.glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        page.load(workflow, path.stem)
        if not any("models" in node["properties"] for node in workflow["nodes"]):
            page.run()
            [save] = [node["id"] for node in workflow["nodes"] if node["type"] == "SaveImage"]
            page.wait_for_image(str(save))
        clip = page.tab.evaluate(FRAME)
        page.tab.wait_for_timeout(500)  # its widgets follow
        with Image.open(io.BytesIO(page.tab.screenshot(clip=clip))) as picture:
            small = picture.convert("RGB")
        small.thumbnail(EXAMPLE_SIZE, Image.Resampling.LANCZOS)
        small.save(path.with_suffix(".jpg"), quality=85, optimize=True)
    context.close()


def main(arguments: list[str]) -> int:
    if arguments:
        sys.stderr.write(__doc__ or "")
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    steps: list[Any] = [
        take_setup, take_publish, take_endpoint, take_pages, take_runs, take_form,
        take_examples,
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="aws-shots-") as folder,
        chromium() as browser,
        running_designer(Path(folder)) as designer,
    ):
        for step in steps:
            step(browser, designer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
