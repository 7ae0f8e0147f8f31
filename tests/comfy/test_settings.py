"""The settings over HTTP, and the test of the connection that they describe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.test_forward import slow
from tests.comfy.test_routes import call
from tests.support.client import Client
from tests.support.stack import frozen, object_stores


def put(designer: ComfyUIProcess, body: Any) -> tuple[int, Any]:
    status, answer = call(designer, "PUT", "/aws/settings", body)
    return status, answer


def test_settings_are_shown_changed_and_kept(designer: ComfyUIProcess, home: Path) -> None:
    _, known = call(designer, "GET", "/aws/settings")
    assert known["settings"]["target"] == "local"
    assert known["file"] == str(home / "settings.json")
    shown = json.dumps(known)
    state = json.loads((home / "stack" / "stack.json").read_text())
    assert state["secret_access_key"] not in shown
    assert "runner_args" not in shown
    try:
        status, after = put(designer, {"endpoint": " forward-tests ", "profile": "painters"})
        assert status == 200
        assert after["settings"]["endpoint"] == "forward-tests"
        assert json.loads((home / "settings.json").read_text())["profile"] == "painters"
        assert call(designer, "GET", "/aws/status")[1]["endpoint"] == "forward-tests"
    finally:
        put(designer, {"endpoint": "", "profile": ""})
    assert call(designer, "GET", "/aws/settings")[1] == known


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"secret_access_key": "x"}, "config", "is not a setting"),
        ({"comfyui": "/tmp"}, "config", "is not a setting"),
        ({"target": "moon"}, "config", "'aws' or 'local'"),
        ({"bucket": 7}, "config", "one line of text"),
        ({"bucket": "a\nb"}, "config", "one line of text"),
        ({"endpoint": "under_score"}, "invalid_name", "endpoint name"),
    ],
)
def test_a_setting_that_is_refused_changes_nothing(
    designer: ComfyUIProcess, home: Path, changes: Any, code: str, says: str
) -> None:
    before = (home / "settings.json").read_bytes()
    status, answer = put(designer, {"region": "eu-west-1", **changes})
    assert 400 <= status < 500
    assert answer["error"]["code"] == code
    assert says in answer["error"]["message"]
    assert (home / "settings.json").read_bytes() == before


def test_the_connection_is_tried(designer: ComfyUIProcess) -> None:
    status, answer = call(designer, "POST", "/aws/test")
    assert status == 200
    checks = {check["name"]: check for check in answer["checks"]}
    skipped = {name for name, check in checks.items() if check["state"] == "skipped"}
    assert skipped == {"bucket_rules", "prices", "rights"}  # which the local stack has not
    assert {checks[name]["state"] for name in checks.keys() - skipped} == {"passed"}, answer
    assert len(checks) == 24
    assert re.search(r"ComfyUI [\d.]+, frontend [\d.]+, worker", checks["versions"]["message"])


def test_settings_that_lead_nowhere_are_a_finding(designer: ComfyUIProcess) -> None:
    try:
        put(designer, {"target": "aws", "bucket": ""})
        (check,) = call(designer, "POST", "/aws/test")[1]["checks"]
        assert (check["name"], check["state"]) == ("settings", "failed")
        assert "bucket" in check["hint"]
    finally:
        put(designer, {"target": "local"})


def test_a_job_under_way_is_kept_from_settings_that_would_lose_it(
    designer: ComfyUIProcess, home: Path, client: Client
) -> None:
    before = (home / "settings.json").read_bytes()
    with frozen(object_stores(home)):
        job = client.queue(slow(3, prefix="quiet", grey=0.87), aws={})
        client.wait_state(job, "preparing")
        status, answer = put(designer, {"cost_limit_job": "5"})
        assert (status, answer["error"]["code"]) == (409, "conflict")
        assert "Jobs that are being sent: 1." in answer["error"]["message"]
    client.wait_state(job, "running")
    status, answer = put(designer, {"target": "aws", "bucket": "elsewhere"})
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "under way: 1." in answer["error"]["message"]
    assert (home / "settings.json").read_bytes() == before
    try:
        assert put(designer, {"cost_limit_job": "5"})[0] == 200
        client.wait_state(job, "succeeded")
    finally:
        put(designer, {"cost_limit_job": ""})
