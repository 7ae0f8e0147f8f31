"""The command line on a real local stack."""

from __future__ import annotations

import json

import pytest

from comfy_aws import cli, config, stack
from comfy_aws.layout import request_key, result_key
from comfy_aws.models import JobResult, Outcome, Usage, to_json
from comfy_aws.prices import LISTED
from tests.functional.parts import Parts, model_node


@pytest.fixture
def home(not_preloaded, tmp_path, monkeypatch):
    for name in ("COMFY_AWS_TARGET", "COMFY_AWS_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    stack.down(tmp_path / "home/stack")


def test_from_start_to_stop(home, capsys, tmp_path):
    def told(*arguments: str, status: int = 0) -> str:
        assert cli.main(arguments) == status
        output = capsys.readouterr()
        return output.out if status == 0 else output.err

    assert "started (process" in told("stack", "up")
    assert "runs already" in told("stack", "up")
    assert config.load(home, {}).target == "local"
    state = stack.read_state(home / "stack")
    shown = told("stack", "status", "--json")
    assert json.loads(shown)["endpoint_url"] == state.endpoint_url
    assert state.secret_access_key not in shown

    assert "Everything that was tried works." in told("doctor")

    assert told("template", "list") == "No templates.\n"
    assert told("endpoint", "list") == "No endpoints.\n"
    assert told("jobs") == "No jobs.\n"

    parts = Parts(state, tmp_path / "designer")
    parts.catalog.model("a.safetensors", b"x" * 1234)
    parts.publish("First", {"1": model_node("a.safetensors")}, description="what it is")
    for number in range(3):
        parts.store.put(f"jobs/j{number}/request.json", b"{}")
    failed = JobResult("j1", Outcome.ERROR, error={"exception_message": "broke\nhere"})
    parts.store.put(result_key("j1"), to_json(failed).encode())
    parts.store.put(result_key("j2"), b"{")
    parts.close()

    [row] = [line for line in told("template", "list").splitlines() if "First" in line]
    assert "what it is" in row
    [listed] = json.loads(told("template", "list", "--json"))
    assert (listed["name"], listed["version"]) == ("First", 1)
    assert "1.23 kB" in told("template", "show", "First")
    shown = json.loads(told("template", "show", "First", "--version", "1", "--json"))
    assert shown["version"]["prompt"] == {"1": model_node("a.safetensors")}
    assert "First has no version 2" in told("template", "show", "First", "--version", "2", status=1)
    assert "Deleted the template First" in told("template", "delete", "First")
    assert "no template named First" in told("template", "delete", "First", status=1)

    outcomes = {job["id"]: job["outcome"] for job in json.loads(told("jobs", "--json"))}
    assert outcomes == {"j0": "", "j1": "error", "j2": "unreadable"}
    assert "broke" in told("jobs")
    assert "here" not in told("jobs")
    assert len(json.loads(told("jobs", "--json", "--limit", "1"))) == 1

    error = told("endpoint", "create", "e", "--min", "9", status=1)
    assert "comfy-aws: An endpoint scales between" in error
    assert "no endpoint named e" in told("endpoint", "wait", "e", status=1)
    assert "no endpoint named e" in told("endpoint", "delete", "e", status=1)

    assert told("stack", "down") == "The local stack has stopped.\n"
    assert "Start it: comfy-aws stack up." in told("template", "list", status=1)


def test_what_a_form_shows_is_chosen_without_a_publish(terminal, parts):
    nodes = {
        str(number): {"class_type": "Text", "inputs": {"text": str(number)}} for number in (1, 2)
    }
    inputs = {"first": ["1", 0], "second": ["2", 0]}
    parts.publish("Formed", nodes | {"3": {"class_type": "Save", "inputs": inputs}})

    def form(*arguments: str) -> tuple[bool, list[tuple[str, str]]]:
        found = json.loads(terminal("template", "form", "Formed", *arguments, "--json"))
        return found["chosen"], [(each["name"], each["label"]) for each in found["parameters"]]

    by_rule = form()
    assert not by_rule[0]
    chosen = (True, [("2.text", "Second words"), ("1.text", "")])
    assert form("--parameter", "2.text=Second words", "--parameter", "1.text") == chosen
    assert form() == chosen
    assert "shows 2 parameters, chosen" in terminal("template", "form", "Formed")
    for wrong, why in (("9.text", "no such widget"), ("2.text", "chosen twice")):
        arguments = ("--parameter", "2.text", "--parameter", wrong)
        assert why in terminal("template", "form", "Formed", *arguments, status=2)
    assert form() == chosen
    assert form("--by-rule") == by_rule
    [version] = json.loads(terminal("template", "versions", "Formed", "--json"))
    assert version["version"] == 1


def test_what_jobs_have_cost(terminal, parts):
    for number, user in enumerate(("ann", "ann", "bob")):
        usage = Usage("fast", "ml.g5.xlarge", "Cat", user)
        done = JobResult(f"job{number}", Outcome.SUCCESS, timings={"total": 1800.0}, usage=usage)
        parts.store.put(request_key(f"job{number}"), b"{}")
        parts.store.put(result_key(f"job{number}"), to_json(done).encode())
    found = json.loads(terminal("cost", "--by", "user", "--json"))
    price = found["prices"][0]["price"]
    assert [(c["name"], c["jobs"]) for c in found["costs"]] == [("ann", 2), ("bob", 1)]
    assert found["total"]["usd"] == pytest.approx(1.5 * price)
    text = terminal("cost", "--by", "job")
    assert f"ml.g5.xlarge: ${price:.2f} an hour, built-in price of {LISTED}, us-east-1." in text
    assert f"list, {LISTED}" in terminal("cost", "--prices")
