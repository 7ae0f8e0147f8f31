"""What the extension costs ComfyUI's start: the time of its import, and of the whole start.

    python bench/startup.py [ROUNDS]

ComfyUI is started in turns with a node pack that imports the extension as ComfyUI would, and with
one that imports an empty pack in the same way; the medians of all rounds are compared. The import
counts what the extension adds to what ComfyUI has loaded by then. Exit status 1 when that is more
than LIMIT seconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402

ROUNDS = 5
LIMIT = 0.3
"""Seconds that the import may add."""

# A node pack that imports another by its path, as ComfyUI's own loader does, and takes the time.
TIMER = """
import importlib.util, json, sys, time
from pathlib import Path

here = Path(__file__).resolve().parent
folder = Path({folder!r})
spec = importlib.util.spec_from_file_location(str(folder), folder / "__init__.py",
                                              submodule_search_locations=[str(folder)])
module = importlib.util.module_from_spec(spec)
sys.modules[str(folder)] = module
known = set(sys.modules)
started, worked = time.perf_counter(), time.thread_time()
spec.loader.exec_module(module)
taken = {{"import": time.perf_counter() - started, "import, CPU": time.thread_time() - worked,
         "modules": len(set(sys.modules) - known)}}
(here / "taken.json").write_text(json.dumps(taken))
NODE_CLASS_MAPPINGS = module.NODE_CLASS_MAPPINGS
"""


def prepare(base: Path, folder: Path) -> Path:
    """A base directory whose one node pack times the import of `folder`; returns the pack."""
    pack = base / "custom_nodes" / "timer"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(TIMER.format(folder=str(folder)))
    return pack


def start(base: Path, pack: Path) -> dict[str, float]:
    """Seconds of the import and until ComfyUI answers, and how many modules came with it."""
    env = {"COMFY_AWS_HOME": str(base / "settings"), "COMFY_AWS_TARGET": None,
           "PYTHONDONTWRITEBYTECODE": None}  # fmt: skip  # compiled once, as on any machine
    process = ComfyUIProcess(base, env=env)
    started = time.perf_counter()
    with process:
        ready = time.perf_counter() - started
    return {"start": ready, **json.loads((pack / "taken.json").read_text())}


def report(without: Mapping[str, Sequence[float]], with_: Mapping[str, Sequence[float]]) -> None:
    print(f"{'median, s':<12}{'without':>10}{'with':>10}{'more':>10}{'ratio':>8}")
    for name in ("import", "import, CPU", "start"):
        before, after = statistics.median(without[name]), statistics.median(with_[name])
        print(
            f"{name:<12}{before:>10.3f}{after:>10.3f}{after - before:>10.3f}"
            + (f"{after / before:>8.3f}" if name == "start" else "")
        )
    print(f"modules that come with the import: {statistics.median(with_['modules']):.0f}")


def main(arguments: Sequence[str]) -> int:
    rounds = int(arguments[0]) if arguments else ROUNDS
    taken: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="aws-startup-") as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        sides = {
            name: (Path(folder) / name, prepare(Path(folder) / name, pack))
            for name, pack in (("without", empty), ("with", ROOT))
        }
        for base, pack in sides.values():
            start(base, pack)  # what is read from disk for the first time
        taken = {name: defaultdict(list) for name in sides}
        for at in range(rounds):
            for name in sides if at % 2 else reversed(sides):
                for key, value in start(*sides[name]).items():
                    taken[name][key].append(value)
    report(taken["without"], taken["with"])
    more = statistics.median(taken["with"]["import"]) - statistics.median(
        taken["without"]["import"]
    )
    print(f"the import adds {more:.3f} s; {LIMIT} s are allowed")
    return int(more > LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
