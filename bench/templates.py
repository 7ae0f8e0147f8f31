"""A thousand templates: what the list costs the server and the page, against a list of twenty.

    python bench/templates.py [COUNT]

The templates are pointers in the local stack's bucket. The server lists them for the first time
and again; the page draws the list, filters it by a key, and goes to its end. Medians of ROUNDS.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws import layout  # noqa: E402
from comfy_aws.aws import ObjectStore, Session  # noqa: E402
from comfy_aws.models import Template, to_json  # noqa: E402
from comfy_aws.stack import read_state  # noqa: E402
from comfy_aws.templates import Templates  # noqa: E402
from tests.functional.parts import access_to  # noqa: E402
from tests.web.browser import chromium, fresh_page  # noqa: E402
from tests.web.designer import Designer, running_designer  # noqa: E402

FEW = 20
MANY = 1000
ROUNDS = 5
WRITERS = 16

# Milliseconds of script, and until the frame after it.
MEASURE = """async () => {
  const find = (id) => document.querySelector(`[data-testid=${id}]`)
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
  const took = {}
  const time = async (name, act) => {
    await frame()
    const started = performance.now()
    act()
    took[`${name}, script`] = performance.now() - started
    await frame()
    took[`${name}, to the next frame`] = performance.now() - started
  }
  find('aws-page-settings').click()
  await time('draw', () => find('aws-page-run').click())
  const search = find('aws-template-search')
  const type = (text) => () => {
    search.value = text
    search.dispatchEvent(new Event('input', { bubbles: true }))
  }
  await time('search', type('9'))
  type('')()
  find('aws-template').focus()
  const end = new KeyboardEvent('keydown', { key: 'End', bubbles: true })
  await time('to the end', () => document.activeElement.dispatchEvent(end))
  return took
}"""


def fill(store: ObjectStore, count: int) -> None:
    def put(number: int) -> None:
        name = f"Bench{number}"
        template = Template(name, 1, 1.0, 1.0 + number, "bench", f"Number {number}")
        store.put(layout.template_key(name), to_json(template).encode())

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(put, range(count)))


def listed(store: ObjectStore) -> dict[str, float]:
    """Milliseconds of a designer's first list, and of the next one."""
    templates = Templates(store)
    taken = {}
    for name in ("first list", "next list"):
        started = time.perf_counter()
        templates.list()
        taken[name] = (time.perf_counter() - started) * 1000
    return taken


def visit(browser: Browser, designer: Designer) -> list[dict[str, float]]:
    with fresh_page(browser, designer.url) as page:
        page.show_connected_panel()
        page.find("aws-template").first.wait_for()
        return [page.tab.evaluate(MEASURE) for _ in range(ROUNDS)]


def main(arguments: Sequence[str]) -> int:
    many = int(arguments[0]) if arguments else MANY
    taken: dict[int, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="aws-templates-") as folder,
        chromium() as browser,
        running_designer(Path(folder)) as designer,
    ):
        designer.set_stack("start")
        state = read_state(designer.home / "stack")
        assert state is not None
        store = ObjectStore(Session(access_to(state)))
        for count in (FEW, many):
            fill(store, count)
            taken[count] = defaultdict(list)
            rounds = [listed(store) for _ in range(ROUNDS)] + visit(browser, designer)
            for measured in rounds:
                for name, value in measured.items():
                    taken[count][name].append(value)
    print(f"{'median, ms':<32}{FEW:>10}{many:>10}{'ratio':>8}")
    for name, values in taken[many].items():
        few, more = statistics.median(taken[FEW][name]), statistics.median(values)
        print(f"{name:<32}{few:>10.1f}{more:>10.1f}{more / few:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
