"""The command line: usage, help and errors. What it does to a cloud is tested on a real stack."""

from __future__ import annotations

import json

import pytest

from comfy_aws import cli

COMMANDS = [
    ["stack", "up"], ["stack", "down"], ["stack", "status"],
    ["template", "list"], ["template", "show"], ["template", "delete"],
    ["endpoint", "list"], ["endpoint", "create"], ["endpoint", "wait"], ["endpoint", "delete"],
    ["jobs"],
]  # fmt: skip
OPERATOR = [["deploy"], ["update"], ["status"], ["destroy"], ["iam-policy"]]
NAMED = {("template", "show"), ("template", "delete"), ("endpoint", "wait"), ("endpoint", "delete")}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("COMFY_AWS_TARGET", "COMFY_AWS_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path))
    return tmp_path


def usage(*arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


@pytest.mark.parametrize(
    "command", [[], ["stack"], ["template"], ["endpoint"], *COMMANDS, *OPERATOR]
)
def test_every_command_has_help(command, capsys):
    assert usage(*command, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: comfy-aws")
    assert len(text.splitlines()) > 5


@pytest.mark.parametrize("command", COMMANDS + OPERATOR)
def test_every_command_prints_json_on_demand(command, capsys):
    usage(*command, "--help")
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["stack"], ["template", "show"], ["jobs", "--limit", "0"],
     ["jobs", "--limit", "x"], ["endpoint", "create", "a", "--min", "many"],
     ["stack", "up", "--port", "-1"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(arguments, capsys):
    assert usage(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "usage: comfy-aws" in output.err


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c[0] != "stack" and c != ["endpoint", "create"]],
    ids=" ".join,
)
def test_nothing_configured(command, capsys):
    named = ["x"] if tuple(command) in NAMED else []
    assert cli.main([*command, *named]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "comfy-aws: No AWS account is configured." in output.err
    assert "start the local stack" in output.err


def test_the_stack_is_chosen_and_down(home, capsys):
    (home / "settings.json").write_text(json.dumps({"target": "local"}))
    assert cli.main(["template", "list"]) == 1
    assert "Start it: comfy-aws stack up." in capsys.readouterr().err


def test_a_damaged_settings_file(home, capsys):
    (home / "settings.json").write_text("{")
    assert cli.main(["jobs"]) == 1
    error = capsys.readouterr().err
    assert "settings.json cannot be read" in error
    assert "Mend it or delete it." in error


def test_no_stack(capsys):
    assert cli.main(["stack", "status"]) == 1
    assert "is not running" in capsys.readouterr().out
    assert cli.main(["stack", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"running": False}
    assert cli.main(["stack", "down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": False}


def test_an_endpoint_without_a_name(capsys):
    assert cli.main(["endpoint", "create"]) == 1
    assert "needs a name" in capsys.readouterr().err


def test_a_policy_without_an_account(capsys):
    """Who has no credentials at hand names everything."""
    named = ["--region", "eu-west-1", "--account", "123456789012", "--bucket", "b"]
    assert cli.main(["iam-policy", "designer", *named]) == 1
    assert "needs --execution-role" in capsys.readouterr().err
    role = "arn:aws:iam::123456789012:role/r"
    assert cli.main(["iam-policy", "designer", *named, "--execution-role", role]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["Version"] == "2012-10-17"
    assert role in text
    assert "${" not in text
    assert cli.main(["iam-policy", "execution", *named]) == 1
    assert "needs --repository" in capsys.readouterr().err


def test_version(capsys):
    assert usage("--version") == 0
    assert capsys.readouterr().out.startswith("comfy-aws ")
