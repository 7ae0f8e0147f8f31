"""The ledger outlives its process and takes only legal steps."""

from __future__ import annotations

import sqlite3
import threading
from itertools import product

import pytest

from comfy_aws.errors import InvalidTransition, NotFound
from comfy_aws.ledger import Ledger
from comfy_aws.models import Job, JobError, JobFacts, JobState, SavedFile


def job(name, state=JobState.PREPARING, created=1.0):
    return Job(name, "e", state, created, created, "T", "client")


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "deep" / "ledger.sqlite")
    yield made
    made.close()


def test_a_restart_forgets_nothing(tmp_path):
    first = Ledger(tmp_path / "ledger.sqlite")
    first.add(job("a"))
    first.move("a", JobState.SUBMITTED, at=2.0, endpoint="other")
    first.set_failure_location("a", "s3://b/k")
    name = first.fact("designer", "one")
    first.close()
    second = Ledger(tmp_path / "ledger.sqlite")
    found = second.get("a")
    assert (found.state, found.endpoint, found.updated) == (JobState.SUBMITTED, "other", 2.0)
    assert (found.template, found.client_id, found.created) == ("T", "client", 1.0)
    assert second.failure_location("a") == "s3://b/k"
    assert second.fact("designer", "two") == name == "one"
    second.close()


@pytest.mark.parametrize(("source", "target"), list(product(JobState, JobState)))
def test_an_illegal_step_changes_nothing(ledger, source, target):
    ledger.add(job("a", source))
    try:
        source.to(target)
    except InvalidTransition:
        with pytest.raises(InvalidTransition):
            ledger.move("a", target, at=5.0, message="x")
        assert ledger.get("a") == job("a", source)
    else:
        moved = ledger.move("a", target, at=5.0, message="x")
        assert moved == ledger.get("a")
        assert (moved.state, moved.updated, moved.message) == (target, 5.0, "x")


def test_a_new_job_replaces_an_ended_one_of_the_same_id(ledger):
    ledger.add(job("a"))
    ledger.set_failure_location("a", "s3://b/old")
    ledger.move("a", JobState.FAILED, at=2.0, message="broken")
    ledger.add(job("a", created=3.0))
    assert ledger.get("a") == job("a", created=3.0)
    assert ledger.failure_location("a") == ""


def test_order_and_limit(ledger):
    for number in range(5):
        ledger.add(job(f"j{number}", created=float(number // 2)))
    assert [each.id for each in ledger.latest()] == ["j4", "j3", "j2", "j1", "j0"]
    assert [each.id for each in ledger.latest(2)] == ["j4", "j3"]
    ledger.move("j2", JobState.CANCELLED, at=9.0)
    assert [each.id for each in ledger.live()] == ["j0", "j1", "j3", "j4"]


def test_unknown_job(ledger):
    for ask in (ledger.get, lambda name: ledger.move(name, JobState.FAILED, at=1.0)):
        with pytest.raises(NotFound, match="no job gone"):
            ask("gone")
    assert ledger.failure_location("gone") == ""


def test_of_many_ends_one_counts(ledger):
    ledger.add(job("a"))
    ledger.move("a", JobState.SUBMITTED, at=1.0)
    won, lost = [], []

    def end(number):
        target = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)[number % 3]
        try:
            won.append(ledger.move("a", target, at=float(number)).state)
        except InvalidTransition:
            lost.append(target)

    threads = [threading.Thread(target=end, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 11)
    assert ledger.get("a").state is won[0]


def test_what_is_known_of_a_job_is_kept(tmp_path):
    first = Ledger(tmp_path / "ledger.sqlite")
    first.add(job("a"))
    facts = JobFacts(
        "ml.g5.xlarge", 3.0, 9.0, {"hash": 0.5, "run": 8.0},
        (SavedFile("9", "cat_00001_.png", "cats", "output"),),
        JobError("gpu_memory", "9", "Save", "Be small.", "ml.g6e.xlarge", 48),
    )  # fmt: skip
    first.move("a", JobState.SUBMITTED, at=2.0, facts=facts)
    assert first.move("a", JobState.FAILED, at=4.0).facts == facts
    first.close()
    second = Ledger(tmp_path / "ledger.sqlite")
    assert second.get("a").facts == facts
    assert second.note("a", JobFacts(seconds=1.0)).facts.seconds == 1.0
    second.close()


def test_the_ledger_of_an_earlier_version_is_taken_over(tmp_path):
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.executescript(
        "CREATE TABLE jobs (id TEXT PRIMARY KEY, endpoint TEXT, state TEXT, created REAL, "
        "updated REAL, template TEXT, client_id TEXT, message TEXT, "
        "failure_location TEXT DEFAULT '');"
        "INSERT INTO jobs VALUES ('a','e','succeeded',1.0,2.0,'T','client','','');"
    )
    old.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.get("a") == Job("a", "e", JobState.SUCCEEDED, 1.0, 2.0, "T", "client")
    ledger.add(job("b", created=3.0))
    assert [each.id for each in ledger.latest()] == ["b", "a"]
    ledger.close()


def test_older_jobs_are_found_by_the_last_one_that_is_known(ledger):
    for number in range(5):
        ledger.add(job(str(number), created=float(number)))
    assert [each.id for each in ledger.latest(2)] == ["4", "3"]
    assert [each.id for each in ledger.latest(2, before=3.0)] == ["2", "1"]
