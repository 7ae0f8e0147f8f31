"""What the extension costs a local run that loads its models: it watches which files are opened.

Two ComfyUIs with the test pipeline, one without the extension and one with it, run the same prompts
in turns. Before each, the models are unloaded and the seed is another one, so that everything is
read and computed again. What is compared is ComfyUI's own time, from the start of the execution to
its end.

    python bench/local_runs.py [--rounds 40] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline.install import install, load_prompt  # noqa: E402
from tests.support.client import Client  # noqa: E402

LIMIT = 1.01
WARM_UP = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aws-local-runs-") as folder:
        figures = measure(Path(folder), chosen.rounds)
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"without {figures['without']:.3f} s, with {figures['with']:.3f} s: "
              f"{figures['ratio']:.3f} times, at most {LIMIT} wanted")  # fmt: skip
    return 0


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of two runs that follow each other."""
    for name in ("without", "with"):
        install(folder / name)
    env = {"COMFY_AWS_HOME": str(folder / "home"), "COMFY_AWS_TARGET": None}
    with (
        ComfyUIProcess(folder / "without", env=env) as bare,
        ComfyUIProcess(folder / "with", with_extension=True, env=env) as extended,
    ):
        clients = {"without": Client(bare.url), "with": Client(extended.url)}
        taken: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(WARM_UP + rounds):
            for name in sorted(clients, reverse=bool(number % 2)):
                seconds = run(clients[name], seed=number)
                if number >= WARM_UP:
                    taken[name].append(seconds)
        for client in clients.values():
            client.close()
    ratios = [after / before for before, after in zip(*taken.values(), strict=True)]
    return {**{name: median(each) for name, each in taken.items()}, "ratio": median(ratios)}


def run(client: Client, seed: int) -> float:
    """Seconds of one run with nothing loaded."""
    client.post("/free", {"unload_models": True, "free_memory": True})
    entry = client.end(client.queue(load_prompt(seed=seed, steps=8)))
    at = {kind: payload["timestamp"] for kind, payload in entry["status"]["messages"]}
    return float(at["execution_success"] - at["execution_start"]) / 1000


if __name__ == "__main__":
    raise SystemExit(main())
