"""docs/programs.md: its commands are understood, its code verifies what we sign."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from comfy_aws import cli
from comfy_aws.cli.common import CANCELLED, ERROR, INTERRUPTED, TERMINATED, USAGE
from comfy_aws.webhook_messages import key_of, signed
from comfy_aws.webhooks import DELAYS
from tests.support.receiver import SECRET

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "programs.md").read_text()
COMMANDS = re.findall(r"^\$ comfy-aws (.+)$", GUIDE, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_is_understood(command):
    assert cli._parser().parse_args(shlex.split(command)).run


def test_the_guides_code_verifies_what_is_sent():
    names: dict = {}
    exec("\n".join(PYTHON), names)
    is_ours, body, now = names["is_ours"], b'{"type":"job.succeeded"}', int(time.time())
    headers = signed("msg_1", now, body, SECRET)
    assert is_ours(headers, body, SECRET)
    assert not is_ours(headers, body + b" ", SECRET)
    assert not is_ours(headers, body, "whsec_" + "A" * 43 + "=")
    assert not is_ours({**headers, "webhook-id": "msg_2"}, body, SECRET)
    assert not is_ours(signed("msg_1", now - 301, body, SECRET), body, SECRET)
    others = {**headers, "webhook-signature": f"v1,AAAA {headers['webhook-signature']} v2,ü"}
    assert is_ours(others, body, SECRET)


def test_the_guides_secret_is_one():
    [command] = re.findall(r"^(python3 -c .*whsec.*)$", GUIDE, re.MULTILINE)
    made = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
    assert len(key_of(made.strip())) == 32


def test_the_guide_names_every_exit_status():
    rows = re.findall(r"^\| ([\d, ]+) \|", GUIDE, re.MULTILINE)
    told = {int(number) for row in rows for number in row.split(",")}
    assert told == {0, ERROR, USAGE, CANCELLED, INTERRUPTED, TERMINATED}


def test_the_guide_names_routes_and_delays_that_are():
    paths = yaml.safe_load((DOCS / "openapi.yaml").read_text())["paths"]
    named = set(re.findall(r"(/aws/[A-Za-z/0-9.]+)", GUIDE))
    known = {path.replace("{name}", "Portrait").replace("{id}", "JOB").replace("{number}", "1")
             for path in paths}  # fmt: skip
    assert {path.rstrip(".") for path in named} <= known
    assert "1 s, 5 s, 30 s, 2, 10 and 30 minutes and 2 hours" in GUIDE
    assert DELAYS == (1, 5, 30, 120, 600, 1800, 7200)
