"""Logs: endpoints' on a local stack, without gaps and repeats and by job; a machine's journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from comfy_aws.aws import Logs
from comfy_aws.endpoint_plan import log_group
from comfy_aws.layout import request_key
from comfy_aws.loglines import LogFilter, written
from comfy_aws.logs import CloudWatchTail
from tests.functional.localstack_support import Cloud
from tests.functional.parts import Parts
from tests.unit.test_loglines import JOURNALCTL

ENDPOINT = "logs-test"
Say = Callable[..., None]


@pytest.fixture
def say(parts: Parts) -> Iterator[Say]:
    """Puts lines into the endpoint's log group, as the agents of instances do."""
    client = Cloud(parts.state).logs
    group = log_group(ENDPOINT)
    client.create_log_group(logGroupName=group)
    streams: set[str] = set()

    def put(*lines: str, stream: str = "one", ago: float = 0.0) -> None:
        if stream not in streams:
            client.create_log_stream(logGroupName=group, logStreamName=stream)
            streams.add(stream)
        at = int((time.time() - ago) * 1000)
        events = [{"timestamp": at, "message": line} for line in lines]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    yield put
    client.delete_log_group(logGroupName=group)


def tail_of(parts: Parts, wanted: LogFilter | None = None, **wishes: float) -> CloudWatchTail:
    return CloudWatchTail(Logs(parts.session), log_group(ENDPOINT), wanted or LogFilter(), **wishes)


def test_a_log_is_followed_without_gaps_and_repeats(parts, say):
    say(*(f"old {n}" for n in range(300)), ago=3 * 3600)
    say(*(f"new {n}" for n in range(3)), ago=5)
    tail = tail_of(parts, last=50)
    first = [line.text for line in tail.read()]
    assert first == [f"old {n}" for n in range(253, 300)] + ["new 0", "new 1", "new 2"]
    assert tail.read() == []
    heard = []
    for n in range(20):
        say(f"line {n}", stream="one")
        if n % 3 == 0:  # an instance that is slower to deliver
            say(f"late {n}", stream="two", ago=20)
        if n % 2:
            heard += [line.text for line in tail.read()]
    heard += [line.text for line in tail.read()]
    said = [f"line {n}" for n in range(20)] + [f"late {n}" for n in range(0, 20, 3)]
    assert sorted(heard) == sorted(said)
    assert [text for text in heard if text.startswith("line")] == said[:20]


def test_lines_are_chosen_by_job_level_and_text(parts, say):
    mine, other = "job-1111", "job-2222"
    say(
        written("info", mine, "runner", "Prompt executed"),
        written("error", mine, "runner", "KeyError: 'x'"),
        written("info", other, "runner", "Prompt executed"),
        written("info", "", "worker", f"Look for {mine}"),
        "[local stack] started",
    )

    def texts(**wishes: str) -> list[str]:
        return [line.text for line in tail_of(parts, LogFilter(**wishes)).read()]

    assert texts(job=mine) == ["Prompt executed", "KeyError: 'x'"]
    assert texts(job=mine, level="warning") == ["KeyError: 'x'"]
    assert texts(text="PROMPT") == ["Prompt executed"] * 2
    assert len(texts()) == 5
    tail = tail_of(parts, LogFilter(job=other))
    [line] = tail.read()
    assert (line.job, line.source, line.level) == (other, "runner", "info")
    say(written("info", mine, "runner", "again"), written("info", other, "worker", "done"))
    assert [line.text for line in tail.read()] == ["done"]


def test_an_endpoint_that_says_nothing_yet(parts):
    tail = tail_of(parts)
    assert tail.read() == []
    assert tail.read() == []


def test_the_command_line(parts, say, terminal):
    job = "job-3333"
    parts.store.put(request_key(job), b"{}")
    say(written("info", job, "runner", "Prompt executed"), written("error", "", "worker", "Broke"))
    lines = terminal("logs", "endpoint", ENDPOINT).splitlines()
    assert [line.split(None, 2)[2] for line in lines] == [
        f"INFO    runner job={job}: Prompt executed",
        "ERROR   worker: Broke",
    ]
    assert "Broke" in terminal("logs", "endpoint", ENDPOINT, "--level", "error", "--last", "1")
    [line] = terminal("logs", "endpoint", ENDPOINT, "--job", job, "--json").splitlines()
    assert json.loads(line)["text"] == "Prompt executed"
    assert "no endpoint named nobody" in terminal("logs", "endpoint", "nobody", status=1)
    assert "no job nobody" in terminal("logs", "job", "nobody", status=1)
    assert terminal("logs", "job", job) == "", "the endpoint does not exist any more"
    assert "journal" in terminal("logs", "designer", status=1)
    assert "no start-up log" in terminal("logs", "designer", "--start-up", status=1)


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """The file that a journalctl on the PATH reads its lines from."""
    lines, program = tmp_path / "lines", tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(JOURNALCTL.format(python=sys.executable, lines=str(lines)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
    return lines


def test_the_designers_journal_by_the_command_line(journal, terminal):
    journal.write_text("one\ntwo\nthree\n")
    told = terminal("logs", "designer", "--last", "2").splitlines()
    assert [line.rpartition(" ")[2] for line in told] == ["two", "three"]
    assert terminal("logs", "designer", "--text", "TWO").count("\n") == 1


@pytest.fixture
def interruptible():
    """Ctrl+C reaches children also of tests in the background, whose shell forbids it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_log_is_followed_by_the_command_line_until_it_is_interrupted(journal):
    journal.write_text("one\n")
    command = [sys.executable, "-m", "comfy_aws.cli", "logs", "designer", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        heard = (json.loads(line)["text"] for line in following.stdout)
        try:
            assert next(heard) == "one"
            with journal.open("a") as lines:
                lines.write("two\n")
            assert next(heard) == "two"
            following.send_signal(signal.SIGINT)
            assert following.wait(30) == 130
        finally:
            following.kill()
