"""deploy/install_worker.py in a clean virtual environment, and what it makes: a worker that works.

No container engine is needed: the image is this script on a pinned Python, and hadolint reads its
Dockerfile. PyTorch is taken from the environment of the tests, as from the image's first layer.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from moto.moto_api import recorder

from comfy_aws import permissions
from comfy_aws.models import Manifest, Outcome
from comfy_aws.permissions import EXECUTION
from tests.comfy.comfyui_process import comfyui_path
from tests.functional.worker_harness import (
    BUCKET,
    Cloud,
    WorkerProcess,
    node,
    request,
)

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, Path]:
    """Python of a virtual environment with a worker, and its ComfyUI."""
    folder = tmp_path_factory.mktemp("worker")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "venv/lib" / version / "site-packages"
    # Below the environment's own packages, so that what the script installs comes first.
    (site / "torch-layer.pth").write_text(
        f"{sysconfig.get_path('purelib')}\nimport torchvision_schemas\n"
    )
    subprocess.run(
        [
            python, DEPLOY / "install_worker.py", "comfyui", "worker",
            "--comfyui-source", comfyui_path(), "--target", folder / "comfyui",
            "--requirements", ROOT / "tools/requirements-comfyui.txt",
        ],
        check=True,
    )  # fmt: skip
    return python, folder / "comfyui"


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> Iterator[tuple[Cloud, Path]]:
    """S3 and SQS whose requests are written down."""
    # It reads its variable once a process, which other tests have done already.
    monkeypatch.setattr(recorder, "_location", str(tmp_path / "requests"))
    cloud = Cloud()
    yield cloud, tmp_path / "requests"
    cloud.stop()


@pytest.mark.slow
def test_the_installed_worker_runs_a_job_within_its_rights(installed, recorded, tmp_path):
    python, comfyui = installed
    cloud, requests = recorded
    manifest = Manifest(inputs=(cloud.input("any.txt", b"an input"),))
    events = cloud.queues.ensure("comfy-aws-events", retention=3600)
    job = request(
        {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=7),
         "2": node("SaveImage", images=["1", 0], filename_prefix="installed")},
        outputs=("2",), manifest=manifest, events=events,
    )  # fmt: skip
    record(cloud, "start-recording")
    worker = WorkerProcess(
        cloud, tmp_path / "worker", python=str(python), COMFYUI_PATH=str(comfyui), PYTHONPATH=""
    )
    try:
        worker.wait_ready()
        assert worker.ping() == 200
        found = subprocess.run(
            [python, "-c", "import comfy_aws; print(comfy_aws.__file__)"],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert Path(found.strip()).is_relative_to(python.parents[1])
        result = worker.run(job)
    finally:
        assert worker.stop() == 0, worker.log
        record(cloud, "stop-recording")
    assert result.outcome is Outcome.SUCCESS
    calls = [call_of(json.loads(line)) for line in requests.read_text().splitlines()]
    assert {"s3:GetObject", "s3:PutObject", "sqs:SendMessage"} <= {action for action, _ in calls}
    refused = [call for call in calls if not allowed(*call)]
    assert refused == []


def record(cloud: Cloud, what: str) -> None:
    url = f"{cloud.url}/moto-api/recorder/{what}"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).close()


S3_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject",
              "POST": "s3:PutObject", "DELETE": "s3:DeleteObject"}  # fmt: skip


def call_of(request: dict[str, object]) -> tuple[str, str]:
    """The IAM action and the resource of a request that moto has written down."""
    headers = {str(k).lower(): str(v) for k, v in dict(request["headers"]).items()}
    if "x-amz-target" in headers:
        operation = headers["x-amz-target"].partition(".")[2]
        return f"sqs:{operation}", "arn:aws:sqs:us-east-1:123456789012:comfy-aws-events"
    url = urlsplit(str(request["url"]))
    bucket, _, key = url.path.lstrip("/").partition("/")
    if not key or "list-type" in parse_qs(url.query):
        return "s3:ListBucket", f"arn:aws:s3:::{bucket}"
    return S3_ACTIONS[str(request["method"])], f"arn:aws:s3:::{bucket}/{key}"


def allowed(action: str, resource: str) -> bool:
    names = permissions.names_of(
        region="us-east-1", account="123456789012", bucket=BUCKET,
        execution_role="", repository="worker",
    )  # fmt: skip
    document = permissions.resolved(permissions.policy(EXECUTION), names)
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in document["Statement"]
    )


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/templates/A/template.json"),
        ("s3:GetObject", "arn:aws:s3:::another/blobs/sha256/aa/aa"),
        ("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/jobs/a/result.json"),
        ("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:another"),
        ("sqs:ReceiveMessage", "arn:aws:sqs:us-east-1:123456789012:comfy-aws-events"),
    ],
)
def test_what_a_worker_may_not(action, resource):
    assert not allowed(action, resource)


def test_the_dockerfile_has_no_findings():
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_is_started_as_sagemaker_does_it():
    text = (DEPLOY / "Dockerfile").read_text()
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    assert json.loads(entry) == ["python", "-m", "comfy_aws.worker"]
    [base] = re.findall(r"^FROM (.+)$", text, re.MULTILINE)
    assert re.search(r":\d+\.\d+\.\d+-", base), "the base image is pinned"
    steps = re.findall(r"^RUN .*install_worker\.py\"?,? \"?(\w+)", text, re.MULTILINE)
    [known] = [
        ast.literal_eval(each.value)
        for each in ast.parse((DEPLOY / "install_worker.py").read_text()).body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "STEPS"
    ]
    assert tuple(steps) == known
