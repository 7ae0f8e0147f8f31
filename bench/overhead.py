"""What the way through AWS costs a small prompt, on the local stack.

Overhead is the wall time of a prompt through AWS less that of the same prompt posted straight to
the worker's own ComfyUI. Next to it stands the sum of the bare boto3 calls that such a job needs,
each timed alone in the same run: what nobody can save. Rounds alternate, because the machine's
load changes.

    python bench/overhead.py [--rounds 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil
from rig import Rig, p50, p95, prompt, rig

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, Queues, SageMaker
from tests.support.client import Client

WARM_UP = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with rig(workers=1) as each:
        figures = measure(each, chosen.rounds)
    if chosen.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0


def measure(each: Rig, rounds: int) -> dict[str, Any]:
    for number in range(WARM_UP):
        run(each.client, 0.9 + number / 1000, on_aws=True)
    direct_client = Client(runner_url(each))
    cloud: list[float] = []
    direct: list[float] = []
    bare: dict[str, list[float]] = {}
    body = b""
    for number in range(-WARM_UP, rounds):
        took, job_id = run(each.client, 0.3 + number / 1000, on_aws=True)
        straight, _ = run(direct_client, 0.6 + number / 1000, on_aws=False)
        body = body or ObjectStore(each.session).get(layout.request_key(job_id))
        calls = bare_calls(each, job_id)
        if number >= 0:
            cloud.append(took * 1000)
            direct.append(straight * 1000)
            for name, value in calls.items():
                bare.setdefault(name, []).append(value * 1000)
    direct_client.close()
    overhead = [a - b for a, b in zip(cloud, direct, strict=True)]
    sums = [sum(values) for values in zip(*bare.values(), strict=True)]
    return {
        "unit": "ms",
        "rounds": rounds,
        "through AWS": {"p50": p50(cloud), "p95": p95(cloud)},
        "straight to the runner": {"p50": p50(direct), "p95": p95(direct)},
        "overhead": {"p50": p50(overhead), "p95": p95(overhead)},
        "bare calls": {"p50": p50(sums), "p95": p95(sums)},
        "each call": {name: p50(values) for name, values in bare.items()},
        "ratio p50": p50(overhead) / p50(sums),
    }


def run(client: Client, grey: float, *, on_aws: bool) -> tuple[float, str]:
    start = time.perf_counter()
    job = client.queue(prompt(0, grey), aws={} if on_aws else None)
    client.hear("executing", job, node=None)
    return time.perf_counter() - start, job


def runner_url(each: Rig) -> str:
    """Where the one worker's ComfyUI listens."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        base = " ".join(command)
        if str(each.home / "stack") in base and "--base-directory" in command:
            return f"http://127.0.0.1:{command[command.index('--port') + 1]}"
    raise SystemExit("The worker's ComfyUI was not found.")


def bare_calls(each: Rig, job_id: str) -> dict[str, float]:
    """Seconds of each call that one job needs, made alone, with the bodies of a real job."""
    store, queues, sagemaker = (
        ObjectStore(each.session), Queues(each.session), SageMaker(each.session)
    )  # fmt: skip
    prefix = f"bench/{job_id}/"
    request = store.get(layout.request_key(job_id))
    result = store.get(layout.result_key(job_id))
    events = store.get(layout.events_key(job_id))
    output = next(iter(store.list(f"{layout.job_prefix(job_id)}outputs/")))
    picture = store.get(output.key)
    url = queues.ensure("bench-bare", retention=3600)
    took: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        answer = call()
        took[name] = time.perf_counter() - start
        return answer

    timed("s3:PutObject request", lambda: store.put(prefix + "request", request))
    timed(
        "sagemaker:InvokeEndpointAsync",
        lambda: sagemaker.invoke_async(each.endpoint, f"bare-{uuid.uuid4().hex}", body=b"{}"),
    )  # refused by the worker at once
    timed("s3:HeadObject cancel", lambda: store.head(prefix + "cancel"))
    timed("s3:PutObject output", lambda: store.put(prefix + "output", picture))
    timed("sqs:SendMessage first", lambda: queues.send(url, '{"events":[]}'))
    timed("sqs:SendMessage executed", lambda: queues.send(url, events[:2000].decode()))
    timed("s3:PutObject events", lambda: store.put(prefix + "events", events))
    timed("s3:PutObject result", lambda: store.put(prefix + "result", result))
    timed("sqs:SendMessage result", lambda: queues.send(url, '{"events":[]}'))
    received = timed("sqs:ReceiveMessage", lambda: queues.receive(url, wait=1))
    queues.delete_messages(url, received)
    timed("s3:GetObject output", lambda: store.get(prefix + "output"))
    timed("s3:GetObject result", lambda: store.get(prefix + "result"))
    while queues_left := queues.receive(url, wait=0):
        queues.delete_messages(url, queues_left)
    return took


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['rounds']} rounds, milliseconds                   p50      p95")
    for name in ("through AWS", "straight to the runner", "overhead", "bare calls"):
        print(f"  {name:<38}{figures[name]['p50']:8.1f} {figures[name]['p95']:8.1f}")
    for name, value in figures["each call"].items():
        print(f"    {name:<36}{value:8.1f}")
    print(
        f"  overhead to bare calls, p50           {figures['ratio p50']:8.2f}   (target: 2 at most)"
    )


if __name__ == "__main__":
    raise SystemExit(main())
