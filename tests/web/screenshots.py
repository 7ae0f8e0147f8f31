"""Takes the pictures of docs/images: every panel and dialog, dark and light; and the examples'.

    python -m tests.web.screenshots

Everything in them is real: a designer, the local stack, its workers, a port. Only the machine and
the folder that all of it lies in are called by other names. Takes some minutes.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Locator, ViewportSize

from comfy_aws.models import EndpointSpec
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess
from tests.pipeline.install import MODELS, SAMPLER_ID, SAVE_ID, load_prompt, load_workflow
from tests.support.fileserver import served
from tests.web.browser import NO_BANNER, TIMEOUT_MS, ComfyPage, chromium
from tests.web.designer import FOREIGN, Designer, running_designer
from tests.web.test_endpoints import broken_endpoints, row_of
from tests.web.test_jobs import ended, picture_prompt, submit

IMAGES = REPO_ROOT / "docs" / "images"
EXAMPLES = REPO_ROOT / "example_workflows"
EXAMPLE_SIZE = (640, 420)
SEEN = 24  # of 255: what a colour may be off in a smaller file
PALETTES = ("dark", "light")
VIEWPORT: ViewportSize = {"width": 1440, "height": 860}
SIDEBAR_WIDTH = 360
FORM_VIEWPORT: ViewportSize = {"width": 1000, "height": 700}
AUTHOR = "mika"
HOME, COMFYUI, SITE = "/home/mika/.comfy-aws", "/home/mika/ComfyUI", "models.example.com"

LOADER_ID, IMAGE_ID = "1", "3"
DENOISE = 0.12
SHORT_RUN, LONG_RUN = 12, 10_000
PATIENCE_MS = 4 * TIMEOUT_MS
MIB = 1024**2
ROOM = 4  # pixels around a row
ENDPOINT = "studio"
TEMPLATE = "Seaside"
BIG_TEMPLATE, BIG_MODEL = "SeasideXL", "seaside_xl.safetensors"

# Sky from its top down, sun, hills from far to near, sea.
SCENES = {
    "seaside": ("#27306f", "#b25f86", "#f9b064", "#fff0c4", "#6a4a78", "#332c55", "#35406f"),
    "morning": ("#5fb2dd", "#c4e6f0", "#fff0cf", "#fffbe6", "#7fb5a0", "#3f7a68", "#4c9cba"),
    "moonlight": ("#0a1033", "#1f3168", "#4a64a6", "#f4f6ff", "#26335f", "#0d1430", "#1b2a57"),
    "ember": ("#4a1430", "#b83f3a", "#f7a455", "#ffe9b8", "#7c2f3f", "#341727", "#5a2436"),
}

# Puts the nodes but for the notes into the part of the canvas that the panel leaves free.
PLACE = """(left) => {
  const { canvas, graph } = window.app
  const nodes = graph.nodes.filter(({ type }) => type !== 'MarkdownNote')
  const [x, y] = [0, 1].map((at) => Math.min(...nodes.map(({ pos }) => pos[at])))
  const [right, bottom] = [0, 1].map((at) =>
    Math.max(...nodes.map(({ pos, size }) => pos[at] + size[at])))
  const [free, high] = [innerWidth - left - 60, innerHeight - 210]
  const scale = Math.min(1, free / (right - x), high / (bottom - y))
  canvas.ds.scale = scale
  const top = 150 + (high - scale * (bottom - y)) / 3
  canvas.ds.offset = [(left + 30) / scale - x, top / scale - y]
  canvas.draw(true, true)
}"""

# The same for an example without a panel; gives the nodes' place on the page.
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

# What the lists of the panel hide below its end, and above it.
HIDDEN = """(part) => Math.max(...[part, ...part.querySelectorAll('*')]
  .filter((each) => /auto|scroll/.test(getComputedStyle(each).overflowY))
  .map((each) => each.scrollHeight - each.clientHeight), 0)"""

RENAME = """(names) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    for (const [from, to] of names) {
      if (node.data.includes(from)) node.data = node.data.replaceAll(from, to)
    }
  }
}"""


def scene(name: str, side: int = 512) -> Image.Image:
    """A sun over hills and the sea."""
    high, middle, low, sun, far, near, sea = SCENES[name]
    sky = Image.new("RGB", (1, 3))
    for at, color in enumerate((high, middle, low)):
        sky.paste(color, (0, at, 1, at + 1))
    picture = sky.resize((side, side), Image.Resampling.BICUBIC)
    light = Image.new("L", picture.size)
    x, y, radius = side * 0.62, side * 0.42, side * 0.1
    ImageDraw.Draw(light).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    glow = light.filter(ImageFilter.GaussianBlur(side / 12))
    picture.paste(sun, mask=glow)
    picture.paste(sun, mask=light.filter(ImageFilter.GaussianBlur(1)))
    draw = ImageDraw.Draw(picture)
    for color, base, rise, waves, shift in (
        (far, 0.56, 0.12, 1.3, 0.6),
        (near, 0.64, 0.1, 2.1, 2.4),
    ):
        heights = [
            side * (base - rise * (0.6 * math.sin(waves * 2 * math.pi * at / side + shift)
                                   + 0.25 * math.sin(5.3 * waves * at / side)))
            for at in range(side + 1)
        ]  # fmt: skip
        draw.polygon([(0, side), *enumerate(heights), (side, side)], fill=color)
    draw.rectangle((0, int(side * 0.72), side, side), fill=sea)
    for step in range(9):
        wide = radius * (1.1 - 0.09 * step)
        top = side * (0.745 + 0.026 * step)
        draw.rounded_rectangle((x - wide, top, x + wide, top + side / 80), 4, fill=sun)
    return picture


def cover(name: str) -> str:
    """A picture's bytes in base64, as a publish takes them."""
    file = io.BytesIO()
    scene(name, 256).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def workflow(image: str = "seaside", seed: int = 42, steps: int = SHORT_RUN) -> dict[str, Any]:
    """The test pipeline with a picture that can be looked at."""
    graph = load_workflow()
    nodes = {str(node["id"]): node for node in graph["nodes"]}
    nodes[IMAGE_ID]["widgets_values"][0] = f"{image}.png"
    values = nodes[SAMPLER_ID]["widgets_values"]
    values[0], values[2], values[-1] = seed, steps, DENOISE
    nodes[SAVE_ID]["widgets_values"][0] = image
    return graph


def prompt(image: str = "seaside", seed: int = 42, steps: int = SHORT_RUN) -> dict[str, Any]:
    graph = load_prompt(seed=seed, steps=steps)
    graph[SAMPLER_ID]["inputs"]["denoise"] = DENOISE
    graph[IMAGE_ID]["inputs"]["image"] = f"{image}.png"
    graph[SAVE_ID]["inputs"]["filename_prefix"] = image
    return graph


def compress(path: Path) -> None:
    """As 256 colours where that shows nowhere: not where a dot or a picture has colours alone."""
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    small = whole.quantize(256, dither=Image.Dither.NONE)
    off = ImageChops.difference(whole, small.convert("RGB")).getextrema()
    best = small if max(most for _, most in off) <= SEEN else whole
    best.save(path, optimize=True)


class Camera:
    """One tab of a ComfyUI; takes each picture once per palette."""

    def __init__(self, browser: Browser, url: str, home: Path) -> None:
        self._names = [(str(home), HOME), (str(home.parent), COMFYUI), ("127.0.0.1", SITE),
                       (str(REPO_ROOT), COMFYUI)]  # fmt: skip
        self._context = browser.new_context(viewport=VIEWPORT)
        self._context.add_init_script(NO_BANNER)
        self.page = ComfyPage(self._context, url)
        self.page.tab.set_default_timeout(PATIENCE_MS)
        self.page.open()
        self.page.set_setting("Comfy.Minimap.Visible", False)
        self.page.show_panel()
        self._widen_sidebar()

    def close(self) -> None:
        self._context.close()

    def load(self, graph: dict[str, Any], name: str) -> None:
        """The graph in the only tab of the page, beside the panel."""
        self.page.load(graph, name)
        self.page.tab.evaluate("""async () => {
          const { workflow } = window.app.extensionManager
          for (const other of [...workflow.openWorkflows]) {
            if (other === workflow.activeWorkflow) continue
            await workflow.closeWorkflow(other, { warnIfUnsaved: false })
          }
        }""")
        self.place()

    def place(self) -> None:
        panel = self.page.find("aws-panel").bounding_box()
        assert panel is not None
        self.page.tab.evaluate(PLACE, panel["x"] + panel["width"])

    def take(self, name: str, part: Locator | None = None, margin: int = 0) -> None:
        """The page, or one part of it with so many pixels around."""
        self.page.tab.mouse.move(VIEWPORT["width"] - 400, VIEWPORT["height"] - 20)
        for palette in PALETTES:
            self.page.set_setting("Comfy.ColorPalette", palette)
            self.page.tab.evaluate(RENAME, self._names)
            self.page.tab.wait_for_timeout(350)  # transitions end
            path = IMAGES / f"{name}-{palette}.png"
            if part is None:
                self.page.tab.screenshot(path=path)
            else:
                part.scroll_into_view_if_needed()
                box: Any = part.bounding_box()
                clip: Any = {"x": box["x"] - margin, "y": box["y"] - margin,
                             "width": box["width"] + 2 * margin,
                             "height": box["height"] + 2 * margin}  # fmt: skip
                self.page.tab.screenshot(path=path, clip=clip)
        for palette in PALETTES:  # not between the two: what is shown may pass
            compress(IMAGES / f"{name}-{palette}.png")
        self.page.set_setting("Comfy.ColorPalette", PALETTES[0])

    def take_whole(self, name: str, part: Locator, margin: int = 0) -> None:
        """A part with all that it would have to be scrolled for."""
        panel = self.page.find("aws-panel")
        for _ in range(2):
            size = self.page.tab.viewport_size or VIEWPORT
            hidden = max(int(each.evaluate(HIDDEN)) for each in (panel, part))
            height = size["height"] + hidden
            self.page.tab.set_viewport_size({**VIEWPORT, "height": height})
        self.take(name, part, margin)
        self.page.tab.set_viewport_size(VIEWPORT)

    def hide_toasts(self) -> None:
        for button in self.page.tab.locator(".p-toast-close-button").all():
            button.click()
        self.page.tab.locator(".p-toast-message").first.wait_for(state="detached")

    def show(self, page: str) -> None:
        self.page.find(f"aws-page-{page}").click()

    def row(self, kind: str, **data: str) -> Locator:
        wanted = "".join(f"[data-{key}='{value}']" for key, value in data.items())
        return self.page.tab.locator(f"[data-testid=aws-{kind}]{wanted}")

    def choose(self, template: str) -> None:
        self.row("template", name=template).click()
        self.page.find("aws-target-template").get_by_text(template).wait_for()
        self.place()

    def run(self) -> None:
        self.row("job", id=self.page.run(), state="succeeded").wait_for()

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


@contextmanager
def camera(browser: Browser, designer: Designer) -> Iterator[Camera]:
    opened = Camera(browser, designer.url, designer.home)
    try:
        yield opened
    finally:
        opened.close()


def sparse_model(designer: Designer, name: str, size: int) -> None:
    """A model file that takes no room on the disk."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"name": name}, "zeros": tensor}).encode()
    path = designer.process.base_dir / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(file.tell() + size)


def publish(designer: Designer, name: str, image: str, **more: Any) -> None:
    graphs = {key: more.pop(key) for key in ("seed", "steps") if key in more}
    body = {"name": name, "workflow": workflow(image, **graphs), "prompt": prompt(image, **graphs),
            "cover": cover(image), **more}  # fmt: skip
    made = designer.call("POST", "/aws/publishes", body)["publish"]
    while made["state"] == "running":
        time.sleep(0.1)
        made = designer.call("GET", f"/aws/publishes/{made['id']}")["publish"]
    assert made["state"] == "done", made


def take_setup(browser: Browser, designer: Designer) -> None:
    inputs = designer.process.base_dir / "input"
    for name in SCENES:
        scene(name).save(inputs / f"{name}.png")
    with camera(browser, designer) as shot:
        shot.load(workflow(), TEMPLATE)
        shot.page.find("aws-stack-start").wait_for()
        shot.take("setup")
        designer.set_stack("start")
        shot.page.find("aws-refresh").click()
        shot.page.find("aws-new-workflow").wait_for()
        for note in ("endpoints", "jobs"):
            shot.page.find(f"aws-{note}-note").get_by_text(f"No {note} yet").wait_for()
        shot.take("empty")


def begin_publish(shot: Camera, name: str) -> None:
    """New Workflow with the large model, and with a result for its cover."""
    page = shot.page
    shot.load(workflow(), name)
    page.run()
    page.wait_for_image(SAVE_ID)
    page.set_widget(LOADER_ID, "unet_name", BIG_MODEL)
    page.find("aws-new-workflow").click()


def take_publish(browser: Browser, designer: Designer) -> None:
    sparse_model(designer, f"diffusion_models/{BIG_MODEL}", 256 * MIB)
    with camera(browser, designer) as shot:
        page = shot.page
        begin_publish(shot, TEMPLATE)
        page.find("aws-name-input").fill(TEMPLATE)
        page.find("aws-name-ok").click()
        page.tab.wait_for_function(
            """() => document.querySelector('[data-testid=aws-lock-rate]')?.textContent
              && document.querySelector('[data-testid=aws-lock-progress]').ariaValueNow > 32""",
            polling=50,
        )
        with designer.frozen_bucket():
            shot.take("publish")
        # An upload may not live through that: what is published to the end is a small one.
        page.find("aws-lock-cancel").click()
        page.find("aws-lock").wait_for(state="detached")
        page.toast("was not published").wait_for()
        shot.hide_toasts()
        page.set_widget(LOADER_ID, "unet_name", Path(MODELS[0]).name)
        page.find("aws-new-workflow").click()
        page.find("aws-name-input").fill(TEMPLATE)
        page.find("aws-name-ok").click()
        page.toast(f"“{TEMPLATE}” is published").wait_for()
        shot.take("published")
        shot.hide_toasts()
        page.find("aws-templates-import").click()
        shot.take("import", page.find("aws-import-dialog"))


def take_templates(browser: Browser, designer: Designer) -> None:
    words = "A sun over the sea, from any photograph."
    if TEMPLATE in designer.template_names():
        designer.call("DELETE", f"/aws/templates/{TEMPLATE}")
    publish(designer, "Moonlight", "moonlight", description="Night over the bay.")
    publish(designer, "ProductShot", "ember", description="A product before an evening sky.")
    publish(designer, "Morning", "morning", description="Soft light, few steps.")
    for number, (seed, steps) in enumerate(((7, 20), (42, 20), (42, SHORT_RUN))):
        more = {"seed": seed, "steps": steps, "new_version": number > 0}
        publish(designer, TEMPLATE, "seaside", description=words, **more)
    with camera(browser, designer) as shot:
        page = shot.page
        page.find("aws-toggle").check()
        shot.choose(TEMPLATE)
        page.find("aws-target-create").wait_for()
        shot.hide_toasts()
        shot.take("no-endpoint")
        page.find("aws-new-endpoint").click()
        form = page.find("aws-endpoint-form")
        page.find("aws-endpoint-form-name").fill(ENDPOINT)
        page.find("aws-endpoint-form-type").select_option("ml.g6.xlarge")
        page.find("aws-endpoint-form-template").select_option(TEMPLATE)
        shot.take("endpoint-form", form)
        page.find("aws-endpoint-form-create").click()
        row = shot.row("endpoint", name=ENDPOINT)
        row.locator("[data-name=start][data-stage=now]").wait_for()
        shot.take("endpoint-start", row, ROOM)
        row.and_(page.tab.locator("[data-status=InService]")).wait_for()

        page.tab.get_by_role("button", name=f"Details of {TEMPLATE}").click()
        dialog = page.tab.locator("dialog.aws[open]")
        dialog.get_by_test_id("aws-changes").get_by_text("→").first.wait_for()
        shot.take_whole("template-details", dialog)


def take_name(browser: Browser, designer: Designer) -> None:
    """New Workflow while there is an endpoint: the dialog says what that has to fetch."""
    with camera(browser, designer) as shot:
        page = shot.page
        begin_publish(shot, BIG_TEMPLATE)
        dialog = page.find("aws-name-dialog")
        page.find("aws-name-input").fill("seaside xl")
        page.find("aws-preflight-endpoint").get_by_text("fetch").wait_for()
        page.find("aws-name-message").get_by_text("a space").wait_for()
        shot.take("name-refused", dialog)
        page.find("aws-name-input").fill(BIG_TEMPLATE)
        page.find("aws-name-description").fill("The same sun, in finer strokes.")
        page.find("aws-name-message").get_by_text("free").wait_for()
        shot.take("name", dialog)


def take_runs(browser: Browser, designer: Designer) -> None:
    huge = picture_prompt(16384, 4096)
    huge["1"]["_meta"]["title"] = "Poster"
    with camera(browser, designer) as shot:
        page = shot.page
        page.find("aws-toggle").check()
        shot.choose(TEMPLATE)
        page.record([SAMPLER_ID])
        for seed in (3, 5):
            page.set_widget(SAMPLER_ID, "seed", seed)
            shot.run()
        page.wait_for_image(SAVE_ID)
        failed = submit(designer, huge)
        assert ended(designer, failed)["state"] == "failed"
        row = shot.row("job", id=failed)
        row.get_by_test_id("aws-job-advice").wait_for()
        shot.take("job-failed", row, ROOM)
        page.set_widget(SAMPLER_ID, "seed", 7)
        shot.run()
        page.set_widget(SAMPLER_ID, "steps", LONG_RUN)
        row = shot.row("job", id=page.run())
        row.get_by_test_id("aws-job-node").get_by_text("KSampler").wait_for()
        row.get_by_test_id("aws-job-preview").wait_for()
        page.tab.wait_for_function("() => window.awsTest.previews > 2")
        shot.hide_toasts()
        shot.place()
        shot.take("run")
        panel = page.find("aws-panel")
        shot.take_whole("panel", panel)
        for language in ("ja", "zh"):
            page.set_setting("Comfy.Locale", language)
            page.tab.locator(f"[data-testid=aws-panel][lang={language}]").wait_for()
            page.tab.wait_for_timeout(1000)
            shot.take_whole(f"panel-{language}", panel)
        page.set_setting("Comfy.Locale", "en")
        page.find("aws-job-cancel").first.click()
        shot.row("job", state="cancelled").first.wait_for()
        done = shot.row("job", state="succeeded").first
        done.get_by_test_id("aws-job-more").click()
        done.get_by_test_id("aws-job-result").first.wait_for()
        shot.take_whole("job", done, ROOM)


def take_endpoint(browser: Browser, designer: Designer) -> None:
    with camera(browser, designer) as shot:
        page = shot.page
        page.find("aws-toggle").check()
        shot.choose(TEMPLATE)
        shot.hide_toasts()
        row = shot.row("endpoint", name=ENDPOINT)
        row.get_by_test_id("aws-endpoint-more").click()
        row.get_by_test_id("aws-endpoint-fact-queue").get_by_text("Empty").wait_for()
        shot.take_whole("endpoint", row, ROOM)
        row.get_by_role("button", name="Edit").click()
        row.get_by_test_id("aws-endpoint-edit-max").fill("3")
        shot.take_whole("endpoint-edit", row, ROOM)
        row.get_by_test_id("aws-endpoint-edit-cancel").click()

        row.get_by_role("button", name="Sleep now").click()
        row.get_by_test_id("aws-endpoint-status").get_by_text("Asleep").wait_for()
        page.set_widget(SAMPLER_ID, "steps", SHORT_RUN)  # the draft has those of the long run
        job = page.tab.locator(f"[data-testid=aws-job][data-id='{page.run()}']")
        row.locator("[data-name=start][data-stage=now]").wait_for()
        job.get_by_test_id("aws-job-more").click()
        shot.take_whole("job-start", job, ROOM)
        job.and_(page.tab.locator("[data-state=succeeded]")).wait_for()


def take_endpoint_failed(browser: Browser, designer: Designer) -> None:
    """A worker that ends at once, since a setting of it makes no sense."""
    endpoints = broken_endpoints(designer, {"COMFY_AWS_CACHE_BYTES": "80 GB"})
    endpoints.create(EndpointSpec("studio-2", "ml.g6.xlarge"))
    with camera(browser, designer) as shot:
        failed = row_of(shot.page, "studio-2")
        failed.get_by_test_id("aws-endpoint-lines").get_by_text("80 GB").wait_for()
        shot.take_whole("endpoint-failed", failed, ROOM)
    endpoints.delete("studio-2")


def take_models(browser: Browser, designer: Designer) -> None:
    away = "loras/ink_lines.safetensors"
    sparse_model(designer, away, 18 * MIB)
    for name, size in (
        ("checkpoints/paper_cut.safetensors", 6617 * MIB),
        ("loras/soft_light.safetensors", 218 * MIB),
        ("vae/clear_vae.safetensors", 320 * MIB),
    ):
        sparse_model(designer, name, size)
    with camera(browser, designer) as shot:
        page = shot.page
        shot.show("models")
        ink = shot.row("model", name="ink_lines.safetensors")
        ink.get_by_test_id("aws-model-push").click()
        ink.and_(page.tab.locator("[data-bucket=true]")).wait_for()
        ink.get_by_test_id("aws-model-delete").click()
        page.find("aws-model-delete-here").click()
        ink.and_(page.tab.locator("[data-here=false]")).wait_for()
        for stop in page.find("aws-transfer-stop").all():
            stop.click()
        page.find("aws-models-url").click()
        page.find("aws-models-folder").select_option("loras")
        url = page.find("aws-models-url-url-input")
        page.find("aws-models-url-sha256-input").fill("9f2c07d1" * 8)
        page.find("aws-models-url-sha256-input").press("Home")
        url.fill(f"https://{SITE}/golden_hour.safetensors")
        url.press("Home")
        shot.take("model-url", page.find("aws-models-drop"))
        with served((Path(designer.process.base_dir) / "models" / MODELS[0]).read_bytes()) as site:
            site.filename, site.hold = "golden_hour.safetensors", threading.Event()
            url.fill(site.url)
            page.find("aws-models-url-sha256-input").fill("")
            url.press("Enter")
            shot.row("transfer", state="running").wait_for()
            page.find("aws-models-url-cancel").click()
            page.tab.wait_for_timeout(1500)
            shot.take_whole("models", page.find("aws-panel"))
            site.hold.set()
        shot.row("model", name="tiny_sd3.safetensors").get_by_test_id("aws-model-delete").click()
        page.find("aws-model-users").get_by_text(TEMPLATE).wait_for()
        shot.take("model-delete", page.find("aws-model-dialog"))


def take_logs(browser: Browser, designer: Designer) -> None:
    """The lines of one job: an endpoint's others tell of the folders of this machine."""
    with camera(browser, designer) as shot:
        done = shot.row("job", state="succeeded").first
        done.get_by_test_id("aws-job-more").click()
        done.get_by_test_id("aws-job-log").click()
        shot.page.find("aws-log-line").last.wait_for()
        shot.page.tab.wait_for_timeout(1500)
        shot.take("logs", shot.page.find("aws-panel"))


def take_settings(browser: Browser, designer: Designer) -> None:
    with camera(browser, designer) as shot:
        shot.show("settings")
        shot.page.find("aws-settings-test").click()
        shot.page.find("aws-checks-sum").get_by_text("works").wait_for()
        shot.take_whole("settings", shot.page.find("aws-panel"))


def take_port(browser: Browser, designer: Designer) -> None:
    """What artists have: a ComfyUI of their own."""
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(FOREIGN)}
    env |= {"COMFY_AWS_HOME": str(designer.home), "COMFY_AWS_ROLE": "inference"}
    base = designer.home.parent / "port"
    with ComfyUIProcess(base, with_extension=True, env=env) as port:
        shot = Camera(browser, port.url, designer.home)
        shot.choose("Morning")
        shot.run()
        shot.page.wait_for_image(SAVE_ID)
        shot.place()
        shot.take("port")
        shot.close()


def take_forms(browser: Browser, designer: Designer) -> None:
    for palette in PALETTES:
        take_form(browser, designer.url, palette)


def take_form(browser: Browser, url: str, palette: str) -> None:
    """The list of forms, and one of them with a result."""
    scheme: Any = palette
    context = browser.new_context(viewport=FORM_VIEWPORT, color_scheme=scheme)
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE_MS)
    tab.goto(f"{url}/aws/form")
    tab.get_by_test_id("aws-form-template").last.wait_for()
    tab.wait_for_load_state("networkidle")
    files = [IMAGES / f"forms-{palette}.png", IMAGES / f"form-{palette}.png"]
    tab.set_viewport_size({**FORM_VIEWPORT, "height": 300})
    tab.screenshot(path=files[0])
    tab.get_by_role("link", name=TEMPLATE).click()
    tab.get_by_label("Prompt", exact=True).fill("a low sun over a quiet sea")
    tab.get_by_test_id("aws-form-submit").click()
    tab.get_by_test_id("aws-form-image").wait_for()
    height = int(tab.evaluate("document.getElementById('page').offsetHeight"))
    tab.set_viewport_size({**FORM_VIEWPORT, "height": height})
    tab.get_by_test_id("aws-form-submit").blur()
    tab.wait_for_timeout(300)
    tab.screenshot(path=files[1])
    context.close()
    for file in files:
        compress(file)


def take_examples(browser: Browser, designer: Designer) -> None:
    """What ComfyUI's template browser shows of the example workflows."""
    context = browser.new_context(viewport={"width": 1900, "height": 1000})
    context.add_init_script(NO_BANNER)
    page = ComfyPage(context, designer.url).open()
    page.set_setting("Comfy.ColorPalette", "dark")
    page.set_setting("Comfy.Minimap.Visible", False)
    for path in sorted(EXAMPLES.glob("*.json")):
        graph = json.loads(path.read_text(encoding="utf-8"))
        page.load(graph, path.stem)
        if not any("models" in node["properties"] for node in graph["nodes"]):
            page.run()
            [save] = [node["id"] for node in graph["nodes"] if node["type"] == "SaveImage"]
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
    os.environ["LOGNAME"] = AUTHOR
    steps: list[Any] = [
        take_setup, take_publish, take_templates, take_name, take_runs, take_logs, take_endpoint,
        take_endpoint_failed, take_models, take_settings, take_forms, take_port, take_examples,
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
