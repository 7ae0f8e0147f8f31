"""What the extension costs ComfyUI's page: its time to be ready, and the time of a canvas frame.

    python bench/page.py [--rounds 7] [--no-frames] [--json]

One ComfyUI with the extension and one without serve the same browser in turns; the medians of
all rounds are told, and the median of what a round took more, with the interval that holds it in 95
of 100 cases, whatever the differences are distributed like. A page is ready when ComfyUI's Vue app
is, with a workflow open; until then its main thread was busy for a while. Most of that goes by
before its scripts ask ComfyUI anything, of its extensions, too: one visit takes a tenth of a second
more or less than the next by this alone, so what comes after has a row of its own, and 50 ms are
told from nothing by some hundred rounds, without frames. A frame is one full draw of the canvas,
with the panel closed and then open.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline.install import install, load_workflow  # noqa: E402
from tests.web.browser import NO_BANNER, TIMEOUT_MS, VIEWPORT, chromium  # noqa: E402

LEAST_ROUNDS = 6
"""Of fewer, the smallest and the largest hold the median in less than 95 of 100 cases."""
NORMAL_95 = 1.96
FRAMES = 200

READY_MS = """() => window.app?.vueAppReady
    && window.app.extensionManager?.workflow?.activeWorkflow && performance.now()"""
# A page of hundreds of files would overrun the browser's own list of them.
KEEP_TIMES = "performance.setResourceTimingBufferSize(9999)"
FIRST_QUESTION_MS = """() => performance.getEntriesByType('resource')
    .find(({ name, initiatorType }) => ['fetch', 'xmlhttprequest'].includes(initiatorType)
        && new URL(name).pathname.startsWith('/api/')).startTime"""
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


def visit(browser: Browser, url: str, *, frames: bool, panel: bool) -> dict[str, float]:
    """One cold visit: what it took, in milliseconds."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(f"{NO_BANNER}; {KEEP_TIMES}")
    try:
        tab = context.new_page()
        tab.set_default_timeout(TIMEOUT_MS)
        chrome = context.new_cdp_session(tab)
        chrome.send("Performance.enable")
        tab.goto(url, wait_until="commit")
        ready = float(tab.wait_for_function(READY_MS, polling=5).json_value())
        taken = {"ready": ready, "busy": busy_ms(chrome)}
        taken["after its scripts"] = ready - float(tab.evaluate(FIRST_QUESTION_MS))
        if frames:
            taken["frame"] = frame_ms(tab)
        if frames and panel:
            tab.locator(".aws-tab-button").first.click()
            tab.get_by_test_id("aws-panel").wait_for()
            taken["frame, panel open"] = frame_ms(tab)
        return taken
    finally:
        context.close()


def compared(bare: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Medians of both, and of what a round took more, with the bounds of its 95 % interval."""
    more = sorted(with_ - without for with_, without in zip(ours, bare, strict=True))
    outside = max(0, math.floor((len(more) - 1 - NORMAL_95 * math.sqrt(len(more))) / 2))
    return {
        "without": statistics.median(bare),
        "with": statistics.median(ours),
        "more": statistics.median(more),
        "from": more[outside],
        "to": more[-1 - outside],
    }


def measure(rounds: int, *, frames: bool) -> dict[str, dict[str, float]]:
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
            visit(browser, without.url, frames=frames, panel=False)  # the browser itself warms up
            visit(browser, with_.url, frames=frames, panel=True)
            for at in range(rounds):
                sides = [(without.url, plain, False), (with_.url, ours, True)]
                for url, taken, panel in sides if at % 2 else sides[::-1]:
                    for name, value in visit(browser, url, frames=frames, panel=panel).items():
                        taken[name].append(value)
    return {name: compared(plain[name.split(",")[0]], values) for name, values in ours.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-frames", action="store_true", help="only until the page is ready")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be at least {LEAST_ROUNDS}: fewer give no interval of 95 %")
    figures = measure(chosen.rounds, frames=not chosen.no_frames)
    if chosen.json:
        print(json.dumps(figures, indent=2))
        return 0
    print(f"{'median, ms':<20}{'without':>10}{'with':>10}{'more':>10}{'95 %':>20}")
    for name, row in figures.items():
        bounds = f"{row['from']:.2f} to {row['to']:.2f}"
        print(
            f"{name:<20}{row['without']:>10.2f}{row['with']:>10.2f}{row['more']:>10.2f}{bounds:>20}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
