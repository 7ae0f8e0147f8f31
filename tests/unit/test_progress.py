"""The progress bar: what a terminal shows, and that nobody else sees any of it."""

from __future__ import annotations

import argparse
import sys

import pytest

from comfy_aws.cli.progress import Bar, bar
from comfy_aws.models import Job, JobState, Progress
from comfy_aws.orders import JobView

MIB = 1_000_000


@pytest.fixture
def drawn(capsys, monkeypatch):
    """What was drawn since the last call, a text a drawing."""
    monkeypatch.setenv("COLUMNS", "80")

    def texts():
        captured = capsys.readouterr()
        assert captured.out == ""
        return [text for text in captured.err.split("\r\x1b[K") if text]

    return texts


def view(state=JobState.RUNNING, **changes):
    return JobView(Job("j", "e", state, 0.0, 0.0), nodes_total=4, **changes)


def test_a_transfer_shows_its_part_and_bytes(drawn):
    shown = Bar(shown=True)
    shown(Progress("upload", "a.safetensors", 1 * MIB, 4 * MIB))
    [text] = drawn()
    assert text == "[######------------------]  25% upload a.safetensors 1 MB of 4 MB"
    shown(Progress("upload", "a.safetensors", 4 * MIB, 4 * MIB))
    assert drawn() == ["[########################] 100% upload a.safetensors 4 MB of 4 MB"]


def test_work_of_unknown_size_is_named(drawn):
    Bar(shown=True)(Progress("capture"))
    assert drawn() == ["capture"]


def test_a_job_shows_its_nodes_and_steps(drawn):
    for shown, text in [
        (view(JobState.PREPARING), "preparing"),
        (view(JobState.SUBMITTED, phase={"phase": "queued", "message": "Waiting for a machine",
                                         "done": 0, "total": 0}), "Waiting for a machine"),
        (view(phase={"phase": "restore", "message": "Models", "done": 1, "total": 2}),
         "[############------------]  50% Models"),
        (view(nodes_done=1, progress={"node": "7", "value": 10, "max": 20}),
         "[#########---------------]  38% 1 of 4 nodes, node 7: 10 of 20"),
        (view(nodes_done=4), "[########################] 100% 4 of 4 nodes"),
    ]:  # fmt: skip
        Bar(shown=True).job(shown)
        assert drawn() == [text]


def test_a_long_name_does_not_wrap(drawn):
    Bar(shown=True)(Progress("upload", "x" * 200))
    [text] = drawn()
    assert len(text) == 79


def test_it_is_wiped_at_the_end(capsys):
    with Bar(shown=True) as shown:
        shown(Progress("upload"))
    assert capsys.readouterr().err.endswith("\r\x1b[K")


def test_it_is_drawn_seldom(drawn):
    shown = Bar(shown=True)
    for done in range(1000):
        shown(Progress("upload", "a", done, 1_000_000))
    assert len(drawn()) < 100
    shown(Progress("store", "a"))
    assert drawn() == ["store a"], "another phase is shown at once"


@pytest.mark.parametrize(("terminal", "json", "seen"), [(True, False, True), (True, True, False),
                                                        (False, False, False)])  # fmt: skip
def test_only_a_terminal_without_json_has_one(drawn, monkeypatch, terminal, json, seen):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with bar(argparse.Namespace(json=json)) as shown:
        shown(Progress("upload"))
    assert bool(drawn()) is seen
