"""docs/operator.md: its commands are ones that there are, and its policies come out as told."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from comfy_aws import cli
from comfy_aws.deploy_plan import PARAMETERS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text()
COMMANDS = re.findall(r"^\$ comfy-aws (.+)$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_is_understood(command):
    assert cli._parser().parse_args(shlex.split(command)).run


def test_options_of_the_guide_are_offered():
    named = set(re.findall(r"`--([a-z-]+)`", GUIDE)) - {
        "json", "bucket", "name", "region",
        "disable-metadata",  # ComfyUI's own
    }  # fmt: skip
    offered = {name.replace("_", "-") for name in PARAMETERS}
    assert named <= offered
    assert offered - named <= {
        "designer-type",
        "inference-ports",
        "models-snapshot",
    }  # in a command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("iam-policy")])
def test_a_policy_of_the_guide_is_printed(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFY_AWS_HOME", str(tmp_path))
    monkeypatch.delenv("COMFY_AWS_BUCKET", raising=False)
    assert cli.main(shlex.split(command)) == 0
    text = capsys.readouterr().out
    assert len(json.loads(text)["Statement"]) > 5
    assert "arn:aws:s3:::my-bucket" in text
