"""Every command of README and docs/ is run, or named here with what runs it or why it cannot be.

The user guide's and the programs' are run by test_user_guide.py; the operator's here, in order, on
the local stack's CloudFormation, which stands in AWS's place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws import versions
from comfy_aws.stack import StackState
from tests.comfy.comfyui_process import comfyui_path
from tests.functional import test_user_guide
from tests.functional.test_doctor import client
from tests.support.documents import DOCUMENTS, Terminal, commands_of, scripts_of
from tests.support.faults import aws_before

OPERATOR, PROGRAMS = "docs/operator.md", "docs/programs.md"

# moto has no machine image with a GPU's driver, and nobody is there to be asked.
COMFYUI = versions.installed(comfyui_path()).comfyui
INSTEAD = {
    "comfy-aws deploy": f"comfy-aws deploy --yes --comfyui-version {COMFYUI}",
    "comfy-aws update": "comfy-aws update --yes",
    "comfy-aws destroy": "comfy-aws destroy --yes",
    "--designer-type g5.xlarge": "--designer-type g5.xlarge --designer-image ami-12c6146b",
    "/opt/ComfyUI": str(comfyui_path()),
}

_SUITE = "runs what this is a part of, or changes the working tree"
_TEST_INSTALL = "changes a ComfyUI; tests/comfy/test_install.py does it in one of its own"
ELSEWHERE = {
    "make demo": "tests/web and tests/comfy do all its steps; run by hand before each release",
    "make test": _SUITE,
    "COMFYUI_PATH=~/ComfyUI make test": _SUITE,
    "make bootstrap": _SUITE,
    "make lint": _SUITE,
    "make format": _SUITE,
    "make docs": "tests/unit/test_documents.py and test_agents.py hold its results up to date",
    "make test-pythons": "takes minutes, and other Pythons",
    "make test-frontends": "runs tests/web twice",
    "make bench": "takes half an hour",
    "make soak": "takes ten minutes, by chance",
    "make screenshots": "takes minutes, and changes the working tree",
    "make clean": "takes away what this runs in",
    ".venv/bin/python -m pytest tests/unit/test_prompt.py": _SUITE,
    "cm-cli install https://github.com/prompt-on-aws/prompt-on-aws": _TEST_INSTALL,
    "comfy node install https://github.com/prompt-on-aws/prompt-on-aws": "calls cm-cli install",
    "git clone https://github.com/prompt-on-aws/prompt-on-aws"
    " ~/ComfyUI/custom_nodes/prompt-on-aws": _TEST_INSTALL,
    "python -m pip install -r ~/ComfyUI/custom_nodes/prompt-on-aws/requirements.txt": "changes "
    "this Python; Manager does it in tests/comfy/test_install.py",
    'python -m pip install -e "$HOME/ComfyUI/custom_nodes/prompt-on-aws[local]"': "changes this "
    "Python; tools/bootstrap.py has done it before any test",
    "comfy --skip-prompt node validate": "tests/unit/test_packaging.py",
    "comfy --skip-prompt node pack": "tests/comfy/test_install.py",
}


def test_every_command_is_run_or_excused() -> None:
    run = {command for document in (test_user_guide.GUIDE, PROGRAMS, OPERATOR)
           for command in commands_of(document)}  # fmt: skip
    named = {command for document in DOCUMENTS for command in commands_of(document)}
    assert named - run == set(ELSEWHERE)
    assert [document for document in DOCUMENTS if scripts_of(document)] == [PROGRAMS]


@pytest.fixture
def operator(shared_stack: StackState, tmp_path: Path) -> Iterator[Terminal]:
    """An administrator's terminal; the local stack is reached as AWS is.

    What it has nothing to say to, such as prices, is answered by the proxy before it.
    """
    foreign = [name for name in os.environ if name.startswith(("AWS_", "COMFY_AWS_"))]
    variables: dict[str, str | None] = {
        **dict.fromkeys([*foreign, "COMFYUI_PATH"]),  # which workers are not made of
        "AWS_ACCESS_KEY_ID": shared_stack.access_key_id,
        "AWS_SECRET_ACCESS_KEY": shared_stack.secret_access_key,
        "AWS_REGION": shared_stack.region,
    }
    account = client(shared_stack, "sts").get_caller_identity()["Account"]
    bucket = f"comfy-aws-{account}-{shared_stack.region}"
    store = client(shared_stack, "s3")
    with aws_before(shared_stack.endpoint_url) as aws:
        yield Terminal(tmp_path, {**variables, "AWS_ENDPOINT_URL": aws.url}, INSTEAD)
    client(shared_stack, "cloudformation").delete_stack(StackName="comfy-aws")
    if bucket not in {each["Name"] for each in store.list_buckets()["Buckets"]}:
        return
    for each in store.list_objects_v2(Bucket=bucket).get("Contents", []):
        store.delete_object(Bucket=bucket, Key=each["Key"])
    store.delete_bucket(Bucket=bucket)


@pytest.mark.stack
@pytest.mark.slow
def test_the_operator_guide(operator: Terminal) -> None:
    told = {command: operator.run(command) for command in commands_of(OPERATOR)}

    def of(start: str) -> str:
        return next(text for command, text in told.items() if command.startswith(start))

    assert "The stack comfy-aws is CREATE_COMPLETE, and the settings name it." in of(
        "comfy-aws deploy"
    )
    assert "DesignerUrl" in of("comfy-aws update --designer-type")
    assert "DesignerUrl" in of("comfy-aws status")
    assert "my-workers" in of("comfy-aws iam-policy execution")
    assert json.loads(of("comfy-aws iam-policy designer"))["Statement"]
    for options in ("", " --type ml.g6.xlarge", " --principal"):
        assert "Everything that was tried works." in of(f"comfy-aws doctor{options}")
    assert "ml.g6.xlarge may stand behind endpoints" in of("comfy-aws doctor --type")
    assert "role/painter" in of("comfy-aws doctor --principal")
    assert "Estimates" in of("comfy-aws cost --by day")
    assert "ml.g5.xlarge" in of("comfy-aws cost --prices")
    assert "is kept" in of("comfy-aws destroy")
    operator.run("comfy-aws status", status=1)
