"""What the extension costs ComfyUI's page: its time to be ready, and the time of a canvas frame.

    python bench/page.py [ROUNDS]

One ComfyUI with the extension and one without serve the same browser in turns; the medians of
all rounds are told, and the median of what a round took more, with its standard error. A page is
ready when ComfyUI's Vue app is, with a workflow open; until then its main thread was busy for a
while, which says more than the clock on a machine that others use as well. A frame is one full draw
of the canvas, with the panel closed and then open.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline.install import install, load_workflow  # noqa: E402
from tests.web.browser import TIMEOUT_MS, VIEWPORT, chromium  # noqa: E402

ROUNDS = 7
MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of a median, in those of the mean."""
FRAMES = 200

READY = "() => window.app?.vueAppReady && window.app.extensionManager?.workflow?.activeWorkflow"
FRAME_MS = """async ([workflow, frames]) => {
  await window.app.loadGraphData(workflow, true, true, 'bench')
  const draw = () => window.app.canvas.draw(true, true)
  for (let at = 0; at < 20; at += 1) draw()
  const started = performance.now()
  for (let at = 0; at < frames; at += 1) draw()
  return (performance.now() - started) / frames
}"""


def frame_ms(tab: Page) -> float:
    return float(tab.evaluate(FRAME_MS, [load_workflow(), FRAMES]))


def busy_ms(chrome: CDPSession) -> float:
    metrics = chrome.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration") * 1000


def visit(browser: Browser, url: str, *, panel: bool) -> dict[str, float]:
    """One cold visit: what it took, in milliseconds."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script("localStorage.setItem('vueNodesBannerDismissed', 'true')")
    try:
        tab = context.new_page()
        tab.set_default_timeout(TIMEOUT_MS)
        chrome = context.new_cdp_session(tab)
        chrome.send("Performance.enable")
        tab.goto(url, wait_until="commit")
        tab.wait_for_function(READY, polling=5)
        taken = {"ready": float(tab.evaluate("() => performance.now()")), "busy": busy_ms(chrome)}
        taken["frame"] = frame_ms(tab)
        if panel:
            tab.locator(".aws-tab-button").first.click()
            tab.get_by_test_id("aws-panel").wait_for()
            taken["frame, panel open"] = frame_ms(tab)
        return taken
    finally:
        context.close()


def report(plain: Mapping[str, Sequence[float]], ours: Mapping[str, Sequence[float]]) -> None:
    print(f"{'median, ms':<20}{'without':>10}{'with':>10}{'more':>10}{'±':>8}{'ratio':>8}")
    for name, values in ours.items():
        bare = plain[name.split(",")[0]]
        more = [with_ - without for with_, without in zip(values, bare, strict=True)]
        without, with_ = statistics.median(bare), statistics.median(values)
        error = MEDIAN * statistics.stdev(more) / math.sqrt(len(more))
        print(
            f"{name:<20}{without:>10.2f}{with_:>10.2f}{statistics.median(more):>10.2f}"
            f"{error:>8.2f}{with_ / without:>8.3f}"
        )


def main(arguments: Sequence[str]) -> int:
    rounds = int(arguments[0]) if arguments else ROUNDS
    plain: dict[str, list[float]] = defaultdict(list)
    ours: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="aws-page-") as folder:
        bare, extended = Path(folder) / "bare", Path(folder) / "extended"
        for base in (bare, extended):
            install(base)
        env = {"COMFY_AWS_HOME": str(Path(folder) / "home")}
        with (
            ComfyUIProcess(bare) as without,
            ComfyUIProcess(extended, with_extension=True, env=env) as with_,
            chromium() as browser,
        ):
            visit(browser, without.url, panel=False)  # the browser itself warms up
            visit(browser, with_.url, panel=True)
            for at in range(rounds):
                sides = [(without.url, plain, False), (with_.url, ours, True)]
                for url, taken, panel in sides if at % 2 else sides[::-1]:
                    for name, value in visit(browser, url, panel=panel).items():
                        taken[name].append(value)
    report(plain, ours)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
