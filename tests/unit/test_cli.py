"""The command line: usage, help and errors. What it does to a cloud is tested on a real stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_aws import cli
from comfy_aws.cli.common import status_of
from comfy_aws.cli.tree import nodes
from comfy_aws.errors import Cancelled, InvalidParameters, NotFound

COMMANDS = [
    ["stack", "up"], ["stack", "down"], ["stack", "status"],
    ["template", "list"], ["template", "show"], ["template", "delete"],
    ["endpoint", "list"], ["endpoint", "create"], ["endpoint", "wait"], ["endpoint", "delete"],
    ["jobs"],
]  # fmt: skip
OPERATOR = [["deploy"], ["update"], ["status"], ["destroy"], ["iam-policy"], ["doctor"]]
NAMED = {("template", "show"), ("template", "delete"), ("endpoint", "wait"), ("endpoint", "delete")}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("COMFY_AWS_TARGET", "COMFY_AWS_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path))
    return tmp_path


TREE = [node for node in nodes(cli._parser()._subparsers._group_actions[0]) if node.path]
LEAVES = [node for node in TREE if not node.words or node.path == ("jobs",)]
NO_JSON = {("completion",)}
"""Commands whose output is a script."""


@pytest.mark.parametrize("node", TREE, ids=lambda node: " ".join(node.path))
def test_every_command_says_what_it_is_for(node):
    assert node.about[0].isupper()
    assert len(node.about) > 15
    assert all(about for _, about in node.words)
    silent = [option.names for option in node.options if not option.about]
    assert not silent
    for option in node.options:
        assert not option.about.endswith("."), option


@pytest.mark.parametrize("node", LEAVES, ids=lambda node: " ".join(node.path))
def test_every_command_has_json(node):
    has_json = any("--json" in option.names for option in node.options)
    assert has_json is (node.path not in NO_JSON)


def test_options_of_one_name_take_the_same():
    """A value is learned once: what --limit or --version is in one command it is in all."""
    kinds = {}
    for node in TREE:
        for option in node.options:
            kinds.setdefault(option.names[-1], set()).add(bool(option.takes))
    assert not [name for name, found in kinds.items() if len(found) > 1]


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
    assert cli.main(["iam-policy", "designer", *named, "--execution-role", role]) == 1
    assert "--repository" in capsys.readouterr().err
    whole = [*named, "--execution-role", role, "--repository", "workers"]
    assert cli.main(["iam-policy", "designer", *whole]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["Version"] == "2012-10-17"
    assert role in text
    assert "${" not in text
    assert cli.main(["iam-policy", "execution", *named]) == 1
    assert "needs --repository" in capsys.readouterr().err


def test_version(capsys):
    assert usage("--version") == 0
    assert capsys.readouterr().out.startswith("comfy-aws ")


def test_an_exit_status_says_what_happened():
    assert status_of(NotFound("x")) == 1
    assert status_of(InvalidParameters("x", parameters={})) == 2
    assert status_of(Cancelled("x")) == 3
    text = " ".join(cli._parser().format_help().split())
    for told in ("0 done", "1 failed", "2 wrong usage", "3 cancelled", "130 by Ctrl+C"):
        assert told in text


def test_an_error_is_json_where_json_is_asked_for(capsys):
    assert cli.main(["jobs", "--json"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    error = json.loads(output.err)["error"]
    assert (error["code"], error["message"]) == ("config", "No AWS account is configured.")
    assert error["hint"]
    assert cli.main(["jobs", "--json", "show", "x"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "config"


def test_a_wrong_usage_is_json_where_json_is_asked_for(capsys):
    for arguments in (["jobs", "--json", "--limit", "x"], ["jobs", "--json", "--nonsense"]):
        assert usage(*arguments) == 2
        error = json.loads(capsys.readouterr().err)["error"]
        assert (error["code"], bool(error["message"])) == ("usage", True)
        assert error["hint"].startswith("usage: comfy-aws")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["tempalte"], "template"),
        (["template", "lst"], "list"),
        (["cost", "--by", "users"], "user"),
    ],
    ids=str,
)
def test_what_may_be_meant_is_told(arguments, meant, capsys):
    assert usage(*arguments) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


def test_a_file_that_cannot_be_used_is_told(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert cli.main(["template", "import", str(tmp_path / "folder")]) == 1
    assert "Traceback" not in (told := capsys.readouterr().err)
    assert told.startswith("comfy-aws: ")


START = [sys.executable, "-c", "import sys; from comfy_aws.cli import main; sys.exit(main())"]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}


IMPORTED = "import sys; from comfy_aws.cli import main\ntry: main()\nexcept SystemExit: pass\n"


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (["--version"], "comfy_aws.cli.deploy"),
        (["stack", "status"], "comfy_aws.services"),
        (["port", "--help"], "comfy_aws.services"),
        (["--help"], "boto3"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_command_imports_no_more_than_it_needs(arguments, left_out, environment):
    show = "print(' '.join(sys.modules), file=sys.stderr)"
    command = [sys.executable, "-c", IMPORTED + show, *arguments]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = found.stderr.split()
    assert "comfy_aws.cli.parser" in loaded
    assert left_out not in loaded
    assert "torch" not in loaded


def test_what_an_encoding_lacks_is_left_out(environment):
    """Windows gives a pipe the letters of its code page."""
    found = subprocess.run(
        [*START, "doctor"], env={**environment, "PYTHONIOENCODING": "cp1252"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (1, b"")
    assert b"? Set bucket, region and role" in found.stdout


PRESSED = """
import os, signal, sys

class Press:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Press())
from comfy_aws.cli import main
sys.exit(main(["jobs"]))
"""


@pytest.mark.parametrize("during", ["argparse", "comfy_aws.cli.jobs", "comfy_aws.services"])
@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C is no signal there")
def test_an_interrupt_is_quiet_from_the_start(during, environment):
    """Ctrl+C while the modules are imported, and while the command runs."""
    command = [sys.executable, "-c", PRESSED, during]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["--help"]], ids=" ".join)
def test_a_reader_that_has_seen_enough(arguments, environment):
    """As `comfy-aws … | head -1`: no traceback."""
    with subprocess.Popen(
        [*START, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(60) in {0, 1}  # argparse takes a help that nobody reads for read
    assert error == b""
