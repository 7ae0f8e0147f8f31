"""`comfy-aws run` as a script uses it: a process without a ComfyUI, on real workers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_aws import cli
from comfy_aws.aws import ObjectStore
from comfy_aws.layout import request_key
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess
from tests.comfy.test_routes import call
from tests.pipeline import install as pipeline

NAME, SLOW, BROKEN = "Commands", "SlowCommands", "BrokenCommands"


def slow(seconds: float) -> dict[str, Any]:
    return {
        "1": {"class_type": "SlowImage", "inputs": {"seconds": seconds, "grey": 0.5, "batch": 1}},
        "2": {"class_type": "SaveImage",
              "inputs": {"images": ["1", 0], "filename_prefix": "sub/slow"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def published(designer: ComfyUIProcess) -> None:
    broken = slow(0)
    broken["1"] = {"class_type": "FailingImage", "inputs": {"reason": "as it should"}}
    for name, prompt in (
        (NAME, pipeline.load_prompt(seed=77, steps=2)),
        (SLOW, slow(40)),
        (BROKEN, broken),
    ):
        body = {"name": name, "workflow": pipeline.load_workflow(), "prompt": prompt}
        publish = call(designer, "POST", "/aws/publishes", body)[1]["publish"]
        while publish["state"] == "running":
            publish = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])[1]["publish"]
        assert publish["state"] == "done", publish


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(home: Path, tmp_path: Path, published: None) -> Iterator[Started]:
    """Starts the command in a folder of its own; `PYTHONPATH` has no ComfyUI."""
    environment = {**os.environ, "COMFY_AWS_HOME": str(home), "PYTHONPATH": str(REPO_ROOT / "src")}
    # Tests that run in the background ignore Ctrl+C, and so would their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def started(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "comfy_aws.cli", *arguments], env=environment, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    yield started
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def told(start: Started) -> Callable[..., str]:
    """Runs the command to its end; gives what it prints, errors where it fails."""

    def run(*arguments: str, status: int = 0) -> str:
        with start(*arguments) as process:
            out, error = process.communicate(timeout=180)
        assert process.returncode == status, out + error
        return out if status == 0 else out + error

    return run


@pytest.fixture
def told_here(
    home: Path,
    tmp_path: Path,
    published: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """As `told`, in this process: what needs no signal and no terminal of its own."""
    monkeypatch.setenv("COMFY_AWS_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, status: int = 0) -> str:
        assert cli.main(arguments) == status
        output = capsys.readouterr()
        return output.out if status == 0 else output.out + output.err

    return run


def test_a_run_by_title_and_id_brings_its_files(
    told: Callable[..., str],
    told_here: Callable[..., str],
    tmp_path: Path,
    bucket: ObjectStore,
    home: Path,
) -> None:
    kept = tmp_path / "out" / "tiny_00004_.png"
    kept.parent.mkdir()
    kept.write_bytes(b"mine")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "teal.png")
    arguments = ["--set", "KSampler.steps=3", "--set", "4.text=a = b", "--input", "teal.png"]
    report = json.loads(told("run", NAME, *arguments, "--output", "out", "--json"))
    assert (report["state"], report["template"]) == ("succeeded", NAME)
    [output] = report["outputs"]
    path = tmp_path / output["path"]
    assert path == kept.with_name("tiny_00005_.png")
    assert kept.read_bytes() == b"mine"
    body = path.read_bytes()
    assert hashlib.sha256(body).hexdigest() == output["sha256"]
    picture = Image.open(io.BytesIO(body))
    graph = json.loads(picture.info["prompt"])
    assert picture.size == (64, 64)
    assert graph[pipeline.SAMPLER_ID]["inputs"]["steps"] == 3
    assert graph["4"]["inputs"]["text"] == "a = b"
    [item] = json.loads(bucket.get(request_key(report["id"])))["manifest"]["inputs"]
    assert item["name"] == "teal.png"
    assert not list((home / "queues").iterdir()), "the queue goes with the command"

    assert "tiny_00006_.png" in told_here("jobs", "fetch", report["id"], "--output", "out")
    shown = told_here("jobs", "show", report["id"], "--urls")
    assert f"({NAME}) is succeeded" in shown
    assert "X-Amz-Signature" in shown
    listed = json.loads(told_here("jobs", "--json", "--template", NAME, "--state", "succeeded"))
    assert report["id"] in {job["id"] for job in listed}
    assert json.loads(told_here("jobs", "--json", "--template", "Nobody")) == []
    assert json.loads(told_here("cancel", report["id"], "--json"))["state"] == "succeeded"


def test_events_come_as_lines(told_here: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text(json.dumps({"7.steps": 2, "Positive.seed": 5}))
    lines = told_here("run", NAME, "--values", "values.json", "--set", "7.steps=4", "--events")
    events = [json.loads(line) for line in lines.splitlines()]
    states = [each["state"] for each in events if each["type"] == "state"]
    assert states == ["preparing", "submitted", "running"]
    assert (events[-1]["type"], events[-1]["job"]["state"]) == ("job", "succeeded")
    heard = [each for each in events if each["type"] == "event"]
    assert [each["seq"] for each in heard] == sorted({each["seq"] for each in heard})
    steps = [
        node["max"]
        for each in heard if each["data"].get("type") == "progress_state"
        for node in each["data"]["data"]["nodes"].values() if node["node_id"] == "7"
    ]  # fmt: skip
    assert steps[-1] == 4


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([NAME, "--set", "KSampler.step=3"], 2, "Did you mean KSampler.steps?"),
        ([NAME, "--set", "7.steps=few"], 2, "It is a whole number; got 'few'"),
        ([NAME, "--set", "7.steps=0"], 2, "It is at least 1; got 0"),
        ([NAME, "--set", "7.denoise=1.5"], 2, "It is at most 1.0; got 1.5"),
        ([NAME, "--set", "7.sampler_name=no"], 2, "It is one of: euler"),
        ([NAME, "--set", "7.steps"], 2, "A value is set by NAME=VALUE"),
        ([NAME, "--set", "3.image=@nowhere.png"], 1, "There is no file nowhere.png"),
        ([NAME, "--input", "nowhere.png"], 1, "There is no file nowhere.png"),
        ([NAME, "--set", "3.image=nowhere.png"], 2, "There is no input file nowhere.png"),
        ([SLOW, "--input", "nowhere.png"], 2, "those that are not set: none"),
        ([NAME, "--set", "Load Image.image=a.png", "--input", "b.png"], 2, "not set: none"),
        ([NAME, "--values", "nowhere.json"], 1, "cannot be read"),
        ([NAME, "--version", "9"], 1, "has no version 9"),
        ([NAME, "--endpoint", "nowhere"], 1, "nowhere"),
        (["Nobody"], 1, "There is no template named Nobody"),
    ],
)
def test_what_cannot_run_is_told_before_anything_is_sent(
    told_here: Callable[..., str], arguments: list[str], status: int, says: str
) -> None:
    assert says in told_here("run", *arguments, status=status)


def test_a_job_that_fails(told_here: Callable[..., str], tmp_path: Path) -> None:
    output = told_here("run", BROKEN, "--set", "1.reason=no luck", "--output", "out", status=1)
    assert "is failed" in output
    assert "no luck at node 1 (FailingImage)" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_signal_cancels_the_job(
    start: Started, bucket: ObjectStore, number: signal.Signals, status: int
) -> None:
    grey = f"1.grey=0.{number.value}"  # else its result is known
    with start("run", SLOW, "--events", "--set", grey) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("state") == "running":
                break
        process.send_signal(number)
        out, error = process.communicate(timeout=180)
    assert process.returncode == status, out + error
    assert "Cancelling the job" in error
    job = json.loads(out.splitlines()[-1])["job"]
    assert job["state"] == "cancelled"
    result = json.loads(bucket.get(f"jobs/{job['id']}/result.json"))
    assert result["outcome"] == "interrupted", "the worker has stopped, too"


def test_a_job_is_sent_cancelled_and_seen_by_others(
    told_here: Callable[..., str], designer: ComfyUIProcess, bucket: ObjectStore
) -> None:
    """One terminal sends it, another one cancels it, a third waits for its files."""
    report = json.loads(told_here("run", SLOW, "--no-wait", "--json", "--disable-metadata"))
    assert report["state"] in ("submitted", "running")
    assert json.loads(bucket.get(request_key(report["id"])))["disable_metadata"] is True
    assert report["id"] in {
        job["id"] for job in json.loads(told_here("jobs", "--json", "--state", "open"))
    }
    assert "no files" in told_here("jobs", "fetch", report["id"], status=1)
    seen = call(designer, "GET", "/aws/jobs/{id}", id=report["id"])[1]["job"]
    assert (seen["state"], seen["template"]) == ("submitted", SLOW)
    assert json.loads(told_here("cancel", report["id"], "--json"))["state"] == "cancelled"
    while json.loads(told_here("jobs", "show", report["id"], "--json"))["state"] == "submitted":
        pass
    assert "is cancelled" in told_here("jobs", "fetch", report["id"], status=3)
    assert "There is no job nobody" in told_here("cancel", "nobody", status=1)
    assert "1 to 64 letters" in told_here("jobs", "show", "../x", status=1)


def test_parameters_are_listed(told_here: Callable[..., str]) -> None:
    table = told_here("template", "parameters", NAME)
    [row] = [line for line in table.splitlines() if line.startswith("7.steps")]
    assert row.split() == ["7.steps", "KSampler.steps", "int", "2", "1", "to", "10000"]
    main = json.loads(told_here("template", "parameters", NAME, "--main", "--json"))
    assert "9.filename_prefix" not in {each["name"] for each in main}
