"""Values: JSON in and out, and the two state machines."""

from __future__ import annotations

import json
from itertools import product

import pytest

from comfy_aws.errors import InvalidDocument, InvalidTransition
from comfy_aws.models import (
    BlobRef,
    EndpointStatus,
    Environment,
    Event,
    EventBatch,
    EventKind,
    InputFile,
    InputPlace,
    JobRequest,
    JobResult,
    JobState,
    Manifest,
    ModelFile,
    NodePack,
    Outcome,
    OutputFile,
    Template,
    TemplateVersion,
    from_dict,
    from_json,
    to_dict,
    to_json,
)

BLOB = BlobRef("ab" * 32, 5)
MANIFEST = Manifest(
    models=(ModelFile("loras", "x/ü.safetensors", BLOB),),
    inputs=(InputFile("in.png", BlobRef("cd" * 32, 7), InputPlace.OUTPUT),),
    packs=(NodePack("pack", BlobRef("ef" * 32, 9), ("A", "B"), 3),),
    environment=Environment("0.3.75", "3.11"),
)
VALUES = [
    MANIFEST,
    Template("n", 2, 1.5, 2.5, "me"),
    TemplateVersion("n", 1, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, MANIFEST),
    JobRequest("j", {"1": {}}, ("1",), MANIFEST, {"k": [1, None, "日本"]}, "http://q", 3.0),
    JobResult(
        "j", Outcome.ERROR, {"9": {"images": []}}, messages=(("execution_start", {"a": 1}),),
        files=(OutputFile("9", "a.png", "", "output", "k", 4, "ab"),), timings={"run": 1.25},
    ),
    EventBatch((Event("j", 1, EventKind.HEARTBEAT, {}, 1.0),)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_json_round_trip(value):
    assert from_json(type(value), to_json(value)) == value
    assert from_dict(type(value), to_dict(value)) == value


def test_unknown_keys_are_ignored():
    raw = {**to_dict(Template("n", 1, 1.0, 1.0)), "of_a_newer_version": {"x": 1}}
    assert from_dict(Template, raw) == Template("n", 1, 1.0, 1.0)


def test_json_is_always_encodable():
    half = json.loads('"\\ud83d"')
    value = TemplateVersion("n", 1, 1.0, {"nodes": [half]}, {}, Manifest())
    assert from_json(TemplateVersion, to_json(value).encode()) == value


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({}, "name"),
        ({"name": "n", "version": "x", "created": 1, "updated": 1}, "version"),
        ([], r"\(top\)"),
        (None, r"\(top\)"),
    ],
)
def test_misfit_names_the_field(raw, path):
    with pytest.raises(InvalidDocument, match=path):
        from_dict(Template, raw, where="pointer")


def test_nested_misfit_names_the_whole_path():
    raw = to_dict(MANIFEST)
    raw["models"][0]["blob"]["size"] = "many"
    with pytest.raises(InvalidDocument, match=r"models\.0\.blob\.size"):
        from_dict(Manifest, raw)


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", "nope"])
def test_what_is_not_json_is_said(text):
    with pytest.raises(InvalidDocument, match="The pointer is not JSON"):
        from_json(Template, text, where="pointer")


def test_parts_of_equal_bytes_are_one_blob():
    twice = Manifest(models=(ModelFile("a", "x", BLOB), ModelFile("b", "y", BLOB)))
    assert twice.blobs() == {BLOB.digest: BLOB}
    assert len(MANIFEST.blobs()) == len(MANIFEST.parts()) == 3


LIVE = (JobState.PREPARING, JobState.SUBMITTED, JobState.RUNNING)
ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
LEGAL = {
    (JobState.PREPARING, JobState.SUBMITTED), (JobState.SUBMITTED, JobState.RUNNING),
    (JobState.PREPARING, JobState.FAILED), (JobState.PREPARING, JobState.CANCELLED),
    *product((JobState.SUBMITTED, JobState.RUNNING), ENDS),
    (JobState.RUNNING, JobState.SUBMITTED), (JobState.SUBMITTED, JobState.SUBMITTED),
}  # fmt: skip


@pytest.mark.parametrize(("source", "target"), list(product(JobState, JobState)))
def test_every_step_of_a_job(source, target):
    if (source, target) in LEGAL:
        assert source.to(target) is target
        return
    with pytest.raises(InvalidTransition, match=f"from {source.value} to {target.value}"):
        source.to(target)


def test_ends_of_a_job():
    assert {state for state in JobState if state.ended} == set(ENDS)
    assert {*LIVE, *ENDS} == set(JobState)


def test_endpoints_that_take_jobs():
    takes = {status.value for status in EndpointStatus if status.takes_jobs}
    assert takes == {"InService", "Updating", "SystemUpdating", "RollingBack"}
