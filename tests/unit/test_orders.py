"""What becomes of a job's view as it is told, and what is kept of how it ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_aws.errors import Unresolved
from comfy_aws.models import Event, EventKind, Job, JobFacts, JobResult, JobState, Outcome
from comfy_aws.orders import JobEnd, JobView, advanced, end_by, facts_at, in_phase

PROMPT = {
    "1": {"class_type": "Load", "inputs": {}, "_meta": {"title": "My loader"}},
    "2": {"class_type": "Sample", "inputs": {}},
}
JOB = Job("a", "e", JobState.RUNNING, 1.0, 1.0, facts=JobFacts("ml.g5.xlarge"))


def phase(name: str, **more) -> dict:
    return {"phase": name, "message": "", "done": 0, "total": 0, **more}


def event(kind: EventKind, **data) -> Event:
    return Event("a", 1, kind, data, at=0.0)


def test_each_phase_is_timed_until_the_next():
    view = in_phase(JobView(JOB), phase("hash"), 10.0)
    view = in_phase(view, phase("hash", done=5), 11.0)
    assert (view.since, view.phase["done"]) == (10.0, 5)
    view = in_phase(view, phase("upload"), 12.5)
    view = in_phase(view, None, 13.0)
    assert view.job.facts.timings == {"hash": 2.5, "upload": 0.5}
    assert (view.phase, view.since) == (None, 13.0)


def test_a_warning_is_no_phase():
    view = in_phase(JobView(JOB), phase("restore"), 10.0)
    warned = advanced(view, event(EventKind.PHASE, **phase("warning")), PROMPT, 11.0)
    assert warned == view


def test_the_node_that_runs_is_called_as_people_call_it():
    for node_id, title in (("1", "My loader"), ("2", "Sample"), ("7:2", "")):
        nodes = {node_id: {"node_id": node_id, "state": "running", "value": 1, "max": 4}}
        told = event(EventKind.COMFY, type="progress_state", data={"nodes": nodes})
        progress = advanced(JobView(JOB), told, PROMPT, 1.0).progress
        assert progress == {"node": node_id, "title": title, "value": 1, "max": 4}


def test_the_cost_is_that_of_the_workers_seconds():
    known = replace(JOB.facts, timings={"upload": 1.0, "queued": 2.0, "run": 29.0})
    told = {"restore": 4.0, "models": 4.0, "run": 30.0, "upload": 0.5, "total": 36.0}
    facts = facts_at(success(timings=told), known, PROMPT)
    view = JobView(JOB, price=2.0).with_facts(seconds=facts.seconds)
    assert view.cost == pytest.approx(0.02)
    assert JobView(JOB, price=2.0).cost is None
    assert list(facts.timings.items()) == [
        ("upload", 1.0), ("queued", 2.0), ("restore", 4.0), ("run", 30.0), ("outputs", 0.5)
    ]  # fmt: skip
    assert facts.error is None


def success(**wishes) -> JobEnd:
    return JobEnd(JobState.SUCCEEDED, JobResult("a", Outcome.SUCCESS, **wishes))


def node_failed(kind: str, text: str) -> JobEnd:
    error = {"node_id": "1", "exception_type": kind, "exception_message": text}
    return JobEnd(JobState.FAILED, JobResult("a", Outcome.ERROR, error=error), error)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("torch.cuda.OutOfMemoryError", "Allocation on device"),
        ("RuntimeError", "CUDA error: out of memory"),
    ],
)
def test_a_gpu_that_was_too_small_names_a_larger_one(kind, text):
    error = facts_at(node_failed(kind, text), JOB.facts, PROMPT).error
    assert (error.kind, error.node_id, error.node_title) == ("gpu_memory", "1", "My loader")
    assert (error.larger, error.larger_memory) == ("ml.g6e.xlarge", 48)


def test_a_machine_that_was_too_small_names_a_roomier_one():
    failed = node_failed("RuntimeError", "DefaultCPUAllocator: can't allocate memory")
    error = facts_at(failed, JOB.facts, PROMPT).error
    assert (error.kind, error.larger, error.larger_memory) == ("memory", "ml.g5.2xlarge", 32)
    unknown = facts_at(failed, JobFacts("ml.x1.huge"), PROMPT).error
    assert (unknown.kind, unknown.larger) == ("memory", "")


def test_another_exception_of_a_node_is_its_own_affair():
    error = facts_at(node_failed("ValueError", "no"), JOB.facts, PROMPT).error
    assert (error.kind, error.larger, error.hint) == ("node", "", "")


def test_what_this_side_refused_keeps_its_node_and_its_hint():
    node_errors = {"2": {"class_type": "Sample", "errors": [{"message": "gone"}]}}
    end = end_by(Unresolved("Not found.", hint="Add it.", node_errors=node_errors), "a")
    error = facts_at(end, JOB.facts, PROMPT).error
    assert (error.kind, error.node_id, error.node_title, error.hint) == (
        "job", "2", "Sample", "Add it.")  # fmt: skip
