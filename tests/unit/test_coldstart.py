"""A worker's start as its log tells it."""

from __future__ import annotations

from comfy_aws.coldstart import Phase, read
from comfy_aws.loglines import LineReader

ALL = 2_000_000_000
LINES = (
    (10.0, "INFO job=- worker: The worker starts."),
    (11.0, "INFO job=- worker: environment: Installing needs_pip"),
    (12.0, "INFO job=- worker: environment: Installed (1.0 s)"),
    (12.1, "INFO job=- worker: restore: Fetching models 2.0 GB (0 of 2000000000)"),
    (14.0, f"INFO job=- worker: restore: Fetching models, 1.5 GB of 2.0 GB (1500000000 of {ALL})"),
    (15.0, "INFO job=- worker: restore: Fetched models 2.0 GB in 2.9 s (2.9 s)"),
    (15.1, "INFO job=- worker: start: Starting ComfyUI"),
    (16.0, "INFO job=- runner: start: a node pack that says so (9 of 9)"),
    (19.1, "INFO job=- worker: start: ComfyUI started in 4.0 s (4.0 s)"),
    (19.2, "INFO job=- worker: Loading the models of Cat"),
    (25.2, "INFO job=- worker: Loaded the models in 6.0 s"),
    (25.3, "INFO job=- worker: The worker is ready."),
)


def start(count: int, lines=LINES):
    reader = LineReader("worker")
    return read([reader.read(at, text) for at, text in lines[:count]], began=4.0)


def test_before_the_first_line_the_machine_is_waited_for():
    assert start(0).phases == (Phase("machine", 4.0),)


def test_a_phase_under_way_tells_its_bytes():
    *before, restore = start(5).phases
    assert [(each.name, each.began, each.ended) for each in before] == [
        ("machine", 4.0, 10.0), ("environment", 11.0, 12.0)]  # fmt: skip
    assert (restore.name, restore.ended) == ("restore", 0.0)
    assert (restore.done, restore.total) == (1_500_000_000, 2_000_000_000)
    assert restore.message == "Fetching models, 1.5 GB of 2.0 GB"


def test_the_whole_start():
    whole = start(len(LINES))
    assert whole.ready == 25.3
    assert [(each.done, each.total) for each in whole.phases if each.total] == [(ALL, ALL)]
    assert {name: round(took, 1) for name, took in whole.seconds.items()} == {
        "machine": 6.0, "environment": 1.0, "restore": 2.9, "start": 4.0, "load": 6.0}  # fmt: skip


def test_what_jobs_write_later_is_not_of_the_start():
    later = (*LINES, (30.0, "INFO job=- worker: restore: Fetching models 1.0 GB (0 of 1)"))
    assert start(len(later), later) == start(len(LINES))


def test_a_container_that_died_begins_anew():
    again = (*LINES[:9], (40.0, "[local stack] The worker ended."), (41.0, LINES[0][1]))
    assert start(len(again), again).phases == (Phase("machine", 4.0, 41.0),)


def test_models_that_cannot_be_loaded_end_the_phase():
    lines = (*LINES[:10], (21.0, "WARNING job=- worker: The models of Cat cannot be loaded: no."))
    assert start(len(lines), lines).seconds["load"] == 21.0 - 19.2
