"""What the extension costs ComfyUI's page: its time to be ready, and the time of a canvas frame.

    python bench/page.py [--pairs 4] [--rounds 5] [--no-frames] [--no-reloads] [--json]

One ComfyUI with the extension and one without serve the same browser in turns. Of a pair of
processes the medians count, and of what a round took more; a process may be slower than the next,
whatever it has loaded, so there are several pairs, begun in turns with the one and with the other,
and what the extension takes more comes with its standard error.

A page is ready when ComfyUI's Vue app is, with a workflow open: at a first visit, with nothing
kept, and again after a reload, as most are; until then its main thread was busy for a while. Much
goes by before its scripts ask ComfyUI anything, of its extensions, too, and one first visit takes a
tenth of a second more or less than the next by this alone. So what comes after has a row of its
own, and 50 ms are told from nothing by some hundred rounds: 30 pairs of 8 take three quarters of an
hour, without frames and reloads. A frame is one full draw of the canvas, with the panel closed and
then open.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median, stdev

from playwright.sync_api import Browser, CDPSession, Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline.install import install, load_workflow  # noqa: E402
from tests.web.browser import NO_BANNER, TIMEOUT_MS, VIEWPORT, chromium  # noqa: E402

FRAMES = 200
SETTLE_MS = 700
"""From a page that is ready to the next one, for what it still does."""
WARM_UP = 2
"""Reloads before the first that counts: by then the browser keeps what it has compiled."""
SIDES = ("without", "with")

Row = dict[str, float]
"""Milliseconds by what took them, or by side."""

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


def opened(browser: Browser) -> Page:
    """A tab of a browser that has kept nothing."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(f"{NO_BANNER}; {KEEP_TIMES}")
    tab = context.new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    return tab


def ready_ms(tab: Page) -> tuple[float, float]:
    """When the page is ready, and how long after its scripts asked ComfyUI the first time."""
    ready = float(tab.wait_for_function(READY_MS, polling=5).json_value())
    return ready, ready - float(tab.evaluate(FIRST_QUESTION_MS))


def reload(tab: Page) -> Row:
    tab.bring_to_front()
    tab.reload(wait_until="commit")
    ready, after = ready_ms(tab)
    tab.wait_for_timeout(SETTLE_MS)
    return {"ready again": ready, "again after scripts": after}


def visit(browser: Browser, url: str, *, frames: bool, panel: bool) -> Row:
    """A first visit."""
    tab = opened(browser)
    try:
        chrome = tab.context.new_cdp_session(tab)
        chrome.send("Performance.enable")
        tab.goto(url, wait_until="commit")
        ready, after = ready_ms(tab)
        taken = {"ready": ready, "after its scripts": after, "busy": busy_ms(chrome)}
        if frames:
            taken["frame"] = frame_ms(tab)
        if frames and panel:
            tab.locator(".aws-tab-button").first.click()
            tab.get_by_test_id("aws-panel").wait_for()
            taken["frame, panel open"] = frame_ms(tab)
        return taken
    finally:
        tab.context.close()


def measure(
    browser: Browser, rounds: int, *, frames: bool, reloads: bool, first: str
) -> dict[str, Row]:
    """Medians of the rounds of a pair of fresh processes, and of what a round took more.

    first   which of them is started first
    """
    taken: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="aws-page-") as place, ExitStack() as running:
        urls, tabs = {}, {name: opened(browser) for name in SIDES if reloads}
        for name in sorted(SIDES, key=lambda name: name != first):
            install(Path(place, name))
            process = ComfyUIProcess(
                Path(place, name),
                with_extension=name == "with",
                env={"COMFY_AWS_HOME": str(Path(place, "home"))},
            )
            urls[name] = running.enter_context(process).url
        for name in SIDES:  # the browser itself warms up
            taken[name] = defaultdict(list)
            visit(browser, urls[name], frames=frames, panel=name == "with")
        for name, tab in tabs.items():
            tab.goto(urls[name], wait_until="commit")
            ready_ms(tab)
            for _ in range(WARM_UP):
                reload(tab)
        for number in range(rounds):
            for name in sorted(SIDES, reverse=bool(number % 2)):
                found = visit(browser, urls[name], frames=frames, panel=name == "with")
                again = reload(tabs[name]) if reloads else {}
                for row, value in {**found, **again}.items():
                    taken[name][row].append(value)
        for tab in tabs.values():
            tab.context.close()
    rows = {}
    for row, ours in taken["with"].items():
        bare = taken["without"][row.split(",")[0]]
        more = median(with_ - without for with_, without in zip(ours, bare, strict=True))
        rows[row] = {"without": median(bare), "with": median(ours), "more": more}
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-frames", action="store_true", help="only until the page is ready")
    parser.add_argument("--no-reloads", action="store_true", help="only first visits")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.pairs < 2:
        parser.error("--pairs must be at least 2: one pair says nothing about its error")
    with chromium() as browser:
        pairs = [
            measure(
                browser,
                chosen.rounds,
                frames=not chosen.no_frames,
                reloads=not chosen.no_reloads,
                first=SIDES[number % 2],
            )
            for number in range(chosen.pairs)
        ]
    figures = {
        row: {
            **{name: mean(pair[row][name] for pair in pairs) for name in (*SIDES, "more")},
            "error": stdev(pair[row]["more"] for pair in pairs) / math.sqrt(len(pairs)),
        }
        for row in pairs[0]
    }
    if chosen.json:
        print(json.dumps(figures, indent=2))
        return 0
    print(f"{'ms':<20}{'without':>10}{'with':>10}{'more':>10}{'error':>10}")
    for row, columns in figures.items():
        print(f"{row:<20}" + "".join(f"{value:>10.2f}" for value in columns.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
