"""What is left of jobs when anything may die: random faults, then every job's end is looked at.

A designer queues prompts, some of them here and most on two workers, and takes some back. All the
while something is killed or stands still: a worker, its ComfyUI, the designer, the object store,
the control plane; or the endpoint is put to sleep under its jobs. Then every job must have come to
an end, and the output folder must hold each succeeded job's picture once, with the right pixels,
and nothing else.

    python bench/soak.py [--seconds 300] [--seed 1]

Ends with status 1, and a line for each, when something is wrong. The same seed draws the same
faults; when they hit is the machine's to say.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests
from PIL import Image
from rig import Rig, prompt, rig

from comfy_aws.aws import SageMaker
from comfy_aws.endpoint_plan import VARIANT
from comfy_aws.errors import ComfyAwsError
from tests.support.client import Client

WORKERS = 2
SECOND_S = 1.2
"""Mean time between prompts."""
FAULT_S = (8.0, 25.0)
FREEZE_S = (2.0, 9.0)
ENDED = ("succeeded", "failed", "cancelled")
DRAIN_S = 300.0
"""Until the last job has ended: a worker's start, and a lost one's time to be missed."""


@dataclass
class Sent:
    """A prompt that was queued, by what its picture shows."""

    grey: float
    prefix: str
    here: bool
    designer: int
    """Which start of the designer it was given to: its history is in that one's memory."""
    taken_back: bool = False


@dataclass
class Soak:
    each: Rig
    draw: random.Random
    client: Client
    started: float = field(default_factory=time.monotonic)
    sent: dict[str, Sent] = field(default_factory=dict)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    number: int = 0
    starts: int = 1

    def say(self, *words: object) -> None:
        print(f"{time.monotonic() - self.started:7.1f}", *words, flush=True)

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        fault_at = time.monotonic() + self.draw.uniform(*FAULT_S)
        while time.monotonic() < until:
            self.try_to(self.queue)
            if self.draw.random() < 0.12:
                self.try_to(self.take_back)
            if time.monotonic() > fault_at:
                fault_at = time.monotonic() + self.draw.uniform(*FAULT_S)
                self.try_to(self.fault)
            time.sleep(self.draw.expovariate(1 / SECOND_S))

    def try_to(self, act: Callable[[], None]) -> None:
        """A prompt that is refused, and a call that goes nowhere, belong to a soak."""
        try:
            act()
        except (requests.RequestException, ComfyAwsError, AssertionError, OSError) as error:
            self.say("refused:", str(error)[:200])

    def queue(self) -> None:
        self.number += 1
        here = self.draw.random() < 0.15
        sent = Sent(round(self.draw.uniform(0.05, 0.95), 4), f"p{self.number}", here, self.starts)
        graph = prompt(self.draw.choice([0.1, 0.5, 1, 3]), sent.grey, sent.prefix)
        self.sent[self.client.queue(graph, aws=None if here else {})] = sent

    def take_back(self) -> None:
        late = [job for job, sent in self.sent.items() if not sent.here][-6:]
        if not late:
            return
        job = self.draw.choice(late)
        self.sent[job].taken_back = True
        path, body = self.draw.choice(
            [
                ("/interrupt", {"prompt_id": job}),
                ("/queue", {"delete": [job]}),
                (f"/aws/jobs/{job}/cancel", {}),
            ]
        )
        self.client.post(path, body)

    def fault(self) -> None:
        kinds: dict[str, Callable[[], None]] = {
            "worker killed": lambda: self.kill(self.workers()),
            "worker's ComfyUI killed": lambda: self.kill(self.runners()),
            "worker stands still": lambda: self.freeze(self.workers()),
            "worker's ComfyUI stands still": lambda: self.freeze(self.runners()),
            "object store stands still": lambda: self.freeze(self.processes("weed")),
            "control plane stands still": lambda: self.freeze(
                self.processes("comfy_aws.localstack")
            ),
            "designer killed": lambda: self.restart(self.each.designer.kill),
            "designer restarted": lambda: self.restart(self.each.designer.stop),
            "all instances taken": lambda: self.scale(0),
            "all instances given": lambda: self.scale(WORKERS),
        }
        kind = self.draw.choice(list(kinds))
        self.faults[kind] += 1
        self.say(kind)
        kinds[kind]()

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of this soak whose command line has `words`."""
        home = str(self.each.home)
        found = []
        for process in psutil.process_iter(["cmdline", "environ", "cwd"]):
            told = process.info
            command = " ".join(told["cmdline"] or [])
            around = " ".join((told["environ"] or {}).values())
            ours = home in f"{command} {around} {told['cwd'] or ''}"
            if ours and process.pid != os.getpid() and all(word in command for word in words):
                found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        return self.processes("comfy_aws.worker", "serve")

    def runners(self) -> list[psutil.Process]:
        designer = str(self.each.designer.base_dir)
        return [process for process in self.processes("main.py", "--base-directory")
                if designer not in process.cmdline()]  # fmt: skip

    def kill(self, among: list[psutil.Process]) -> None:
        if among:
            signalled([self.draw.choice(among)], signal.SIGKILL)

    def freeze(self, all_of: list[psutil.Process]) -> None:
        signalled(all_of, signal.SIGSTOP)
        time.sleep(self.draw.uniform(*FREEZE_S))
        signalled(all_of, signal.SIGCONT)

    def restart(self, end: Callable[[], None]) -> None:
        """What ran in the designer itself ends with it, as ever with ComfyUI."""
        self.client.close()
        end()
        for job in [job for job, sent in self.sent.items() if sent.here]:
            del self.sent[job]
        self.each.designer.start()
        self.each.designer.wait_ready()
        self.client = Client(self.each.designer.url)
        self.starts += 1

    def scale(self, count: int) -> None:
        """As scaling does, which asks no job. `Endpoints` would."""
        wanted = {"VariantName": VARIANT, "DesiredInstanceCount": count}
        SageMaker(self.each.session).call(
            "update_endpoint_weights_and_capacities",
            {"EndpointName": self.each.endpoint, "DesiredWeightsAndCapacities": [wanted]},
        )

    def drain(self) -> list[str]:
        """Wait until nothing runs here or there, and return the ids of what still does."""
        self.try_to(lambda: self.scale(WORKERS))
        until = time.monotonic() + DRAIN_S
        while True:
            queue = self.client.get("/queue")
            left = [item[1] for item in queue["queue_running"] + queue["queue_pending"]]
            left += [job for job, view in self.views().items()
                     if view["state"] not in ENDED and job not in left]  # fmt: skip
            if not left or time.monotonic() > until:
                return left
            time.sleep(2)

    def wrong(self) -> list[str]:
        """A line for each job that did not end as it should have."""
        lines = [f"{job} did not end" for job in self.drain()]
        views = self.views()
        states: collections.Counter[str] = collections.Counter()
        for job, sent in self.sent.items():
            view = views.get(job, {})
            state = "here" if sent.here else view.get("state", "unknown")
            states[state] += 1
            lines += self.wrong_of(job, sent, state)
            if state == "failed":
                why, tries = view["message"].partition("\n")[0], view["facts"]["tries"]
                self.say(f"failed: {job}, {why} Machines: {tries}.")
        lines += [f"{path} was left" for path in self.each.designer.base_dir.glob("output/**/*")
                  if path.is_file() and path.suffix != ".png"]  # fmt: skip
        self.say("faults", dict(self.faults))
        self.say("jobs", dict(states))
        return lines

    def wrong_of(self, job: str, sent: Sent, state: str) -> list[str]:
        pictures = list((self.each.designer.base_dir / "output").glob(f"{sent.prefix}_*"))
        wanted = 1 if state in ("here", "succeeded") else 0
        lines = []
        if state == "cancelled" and not sent.taken_back:
            lines.append(f"{job} is cancelled, and nobody asked")
        if len(pictures) != wanted:
            lines.append(f"{job} is {state} and has {len(pictures)} pictures")
        for picture in pictures:
            with Image.open(picture) as image:
                shades = image.convert("L").getextrema()
            if any(abs(float(shade) - sent.grey * 255) > 1 for shade in shades):
                lines.append(f"{job} shows {shades} for {sent.grey * 255:.0f}")
        if sent.designer == self.starts and job not in self.client.get(f"/history/{job}"):
            lines.append(f"{job} has no history")
        return lines

    def views(self) -> dict[str, dict[str, Any]]:
        """Every job as the panel shows it, page by page."""
        views: dict[str, dict[str, Any]] = {}
        before = ""
        while True:
            page = self.client.get(f"/aws/jobs{before}")
            views |= {view["id"]: view for view in page["jobs"]}
            if not page["more"]:
                return views
            before = f"?before={min(view['created'] for view in page['jobs'])}"


def signalled(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}")
    with rig(WORKERS, least=0) as each:
        soak = Soak(each, random.Random(chosen.seed), each.client)
        soak.run(chosen.seconds)
        lines = soak.wrong()
        soak.client.close()
    for line in lines:
        print(line)
    print(f"{len(soak.sent)} jobs, {sum(soak.faults.values())} faults, {len(lines)} wrong")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
