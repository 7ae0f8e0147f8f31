"""What the extension costs a local run that loads its models: it watches which files are opened.

Two ComfyUIs with the test pipeline, one without the extension and one with it, run the same prompts
in turns. Before each, the models are unloaded and the seed is another one, so that everything is
read and computed again. What is compared is ComfyUI's own time, from the start of the execution to
its end. One process is some percent faster than the next, whatever it has loaded: so there are
several pairs of processes, begun in turns with the one and with the other, and the ratio comes with
its standard error. Of a process the median counts, and torch has one thread: a machine that others
use as well tells less about two.

    python bench/local_runs.py [--pairs 6] [--rounds 25] [--gpu] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median, stdev

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline.install import install, load_prompt  # noqa: E402
from tests.support.client import Client  # noqa: E402

LIMIT = 1.01
WARM_UP = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--gpu", action="store_true", help="compute on this machine's GPU")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.pairs < 2:
        parser.error("--pairs must be at least 2: one pair says nothing about its error")
    pairs = [
        measure(chosen.rounds, gpu=chosen.gpu, first="with" if number % 2 else "without")
        for number in range(chosen.pairs)
    ]
    ratios = [extended / bare for bare, extended in pairs]
    figures = {
        "without": mean(bare for bare, _ in pairs),
        "with": mean(extended for _, extended in pairs),
        "ratio": mean(ratios),
        "error": stdev(ratios) / math.sqrt(len(ratios)),
    }
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        print("without {without:.3f} s, with {with:.3f} s: {ratio:.3f} ± {error:.3f} times".format(
            **figures), f"at most {LIMIT} wanted", sep=", ")  # fmt: skip
    return 0


def measure(rounds: int, *, gpu: bool, first: str) -> tuple[float, float]:
    """Seconds of a run without and with the extension, in a pair of fresh processes.

    first   which of them is started first
    """
    with tempfile.TemporaryDirectory(prefix="aws-local-runs-") as place:
        folder = Path(place)
        for name in ("without", "with"):
            install(folder / name)
        home = str(folder / "home")
        env = {"COMFY_AWS_HOME": home, "COMFY_AWS_TARGET": None, "OMP_NUM_THREADS": "1"}
        with ExitStack() as running:
            clients = {}
            for name in sorted(("without", "with"), key=lambda name: name != first):
                process = ComfyUIProcess(
                    folder / name, with_extension=name == "with", env=env, cpu=not gpu
                )
                clients[name] = Client(running.enter_context(process).url)
            taken: dict[str, list[float]] = {name: [] for name in clients}
            for number in range(WARM_UP + rounds):
                for name in sorted(clients, reverse=bool(number % 2)):
                    seconds = run(clients[name], seed=number)
                    if number >= WARM_UP:
                        taken[name].append(seconds)
            for client in clients.values():
                client.close()
    return median(taken["without"]), median(taken["with"])


def run(client: Client, seed: int) -> float:
    """Seconds of one run with nothing loaded."""
    client.post("/free", {"unload_models": True, "free_memory": True})
    entry = client.end(client.queue(load_prompt(seed=seed, steps=8)))
    at = {kind: payload["timestamp"] for kind, payload in entry["status"]["messages"]}
    return float(at["execution_success"] - at["execution_start"]) / 1000


if __name__ == "__main__":
    raise SystemExit(main())
