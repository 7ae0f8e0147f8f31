"""Many jobs at once: 16 prompts of two seconds on four workers, beside local prompts.

The makespan stands next to the ideal (rounds of four, each as long as the prompt alone takes on
the runner). Meanwhile prompts run locally, one after the other; their time stands next to that
of the same prompts before, when nothing else ran.

    python bench/fanout.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rig import Rig, p50, prompt, rig

WORKERS = 4
JOBS = 16
SECONDS = 2.0
LOCAL_SECONDS = 0.3
LOCAL_ROUNDS = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with rig(workers=WORKERS) as each:
        figures = measure(each)
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0


def measure(each: Rig) -> dict[str, Any]:
    client = each.client
    # The first job on a worker restarts its ComfyUI with the node pack; all four shall have it.
    for job in [client.queue(prompt(2, 0.9 + n / 100), aws={}) for n in range(WORKERS * 2)]:
        client.end(job)
    idle = local_prompts(each, 0.1)
    start = time.perf_counter()
    jobs = [client.queue(prompt(SECONDS, 0.3 + n / 100), aws={}) for n in range(JOBS)]
    meanwhile = local_prompts(each, 0.2)
    for job in jobs:
        assert client.end(job)["status"]["completed"]
    makespan = time.perf_counter() - start
    ideal = SECONDS * JOBS / WORKERS
    return {
        "unit": "s",
        "makespan": makespan,
        "ideal": ideal,
        "ratio makespan": makespan / ideal,
        "local prompt idle p50": p50(idle),
        "local prompt meanwhile p50": p50(meanwhile),
        "ratio local": p50(meanwhile) / p50(idle),
    }


def local_prompts(each: Rig, grey: float) -> list[float]:
    """Seconds of local prompts, one after the other."""
    times = []
    for number in range(LOCAL_ROUNDS):
        start = time.perf_counter()
        job = each.client.queue(prompt(LOCAL_SECONDS, grey + number / 1000, "local"))
        each.client.hear("executing", job, node=None)
        times.append(time.perf_counter() - start)
    return times


def show(figures: dict[str, Any]) -> None:
    print(f"{JOBS} prompts of {SECONDS:.0f} s on {WORKERS} workers")
    print(f"  makespan {figures['makespan']:6.2f} s, ideal {figures['ideal']:.2f} s, "
          f"ratio {figures['ratio makespan']:.3f}   (target: 1.15 at most)")  # fmt: skip
    print(f"  a local prompt, idle {figures['local prompt idle p50']:.3f} s, meanwhile "
          f"{figures['local prompt meanwhile p50']:.3f} s, "
          f"ratio {figures['ratio local']:.3f}   (target: 1.1 at most)")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
