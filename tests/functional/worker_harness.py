"""A real worker process against a real S3 and SQS server on loopback, for the worker's tests."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, Queues, Session
from comfy_aws.blobs import Blobs
from comfy_aws.config import AwsAccess
from comfy_aws.models import (
    Event,
    EventBatch,
    InputFile,
    JobRequest,
    JobResult,
    Manifest,
    ModelFile,
    NodePack,
    from_json,
    to_json,
)
from tests.comfy.comfyui_process import comfyui_path
from tests.pipeline.install import INPUT_IMAGE, MODELS, NODE_PACK, install

BUCKET = "worker-tests"
READY_LIMIT = 180.0
MODULE = ("-m", "comfy_aws.worker", "serve")
_DRAINING = """
import asyncio, logging, sys
from comfy_aws.config import load_worker
from comfy_aws.worker.server import serve
logging.basicConfig(level="INFO")
sys.exit(asyncio.run(serve(load_worker(), drain=float(sys.argv[1]))))
"""
DRAINING = ("-c", _DRAINING)
"""The same with another time to drain."""


class Cloud:
    """S3 and SQS, and what a designer would put there."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        access = AwsAccess(
            bucket=BUCKET, region="us-east-1", endpoint_url=self.url,
            access_key_id="test", secret_access_key="test",
        )  # fmt: skip
        self.session = session = Session(access)
        session.client("s3").create_bucket(Bucket=BUCKET)
        self.store, self.queues, self.blobs = (
            ObjectStore(session), Queues(session), Blobs(ObjectStore(session)),
        )  # fmt: skip
        # moto keeps what an earlier server of this process had.
        self.store.delete(*(entry.key for entry in self.store.list("")))

    def stop(self) -> None:
        self._server.stop()

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
            "COMFY_AWS_BUCKET": BUCKET,
        }  # fmt: skip

    def queue(self) -> str:
        return self.queues.ensure(f"events-{uuid.uuid4().hex}", retention=3600)

    def events(self, queue: str) -> list[Event]:
        """All events in a queue, in order of their numbers."""
        events: list[Event] = []
        while messages := self.queues.receive(queue, wait=0):
            for message in messages:
                events += from_json(EventBatch, message.body).events
            self.queues.delete_messages(queue, messages)
        return sorted(events, key=lambda event: event.seq)

    def kept_events(self, job_id: str) -> list[Event]:
        body = self.store.get(layout.events_key(job_id)).decode()
        return [from_json(Event, line) for line in body.splitlines()]

    def result(self, job_id: str) -> JobResult:
        return from_json(JobResult, self.store.get(layout.result_key(job_id)))

    def model(self, folder: str, name: str, body: bytes) -> ModelFile:
        return ModelFile(folder, name, self.blobs.put(body))

    def input(self, name: str, body: bytes) -> InputFile:
        return InputFile(name, self.blobs.put(body))

    def pack(self, name: str, files: Mapping[str, str], *classes: str) -> NodePack:
        return NodePack(name, self.blobs.put(packed(name, files)), classes, len(files))


def packed(name: str, files: Mapping[str, str]) -> bytes:
    """A node pack's archive; with the single file "" it is a file of that name."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}/{path}" if path else name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue(), mtime=0)


def pipeline_manifest(cloud: Cloud, base: Path) -> Manifest:
    """The test pipeline's manifest, its files made below `base`."""
    install(base)
    pack = base / "custom_nodes" / NODE_PACK
    files = {path.name: path.read_text() for path in pack.iterdir() if path.is_file()}
    return Manifest(
        models=tuple(
            cloud.model(*name.split("/", 1), (base / "models" / name).read_bytes())
            for name in MODELS
        ),
        inputs=(cloud.input(INPUT_IMAGE, (base / "input" / INPUT_IMAGE).read_bytes()),),
        packs=(cloud.pack(NODE_PACK, files, "TinyConditioning"),),
    )


class WorkerProcess:
    """``python -m comfy_aws.worker serve`` with its output in a file."""

    def __init__(
        self,
        cloud: Cloud,
        directory: Path,
        *,
        drain: float | None = None,
        python: str = sys.executable,
        **environ: str,
    ) -> None:
        self.cloud = cloud
        self.directory = directory
        self.port = _free_port()
        self.log_path = directory.with_suffix(".log")
        environment = {
            **os.environ, **cloud.environment(),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "COMFY_AWS_WORKER_DIR": str(directory),
            "COMFYUI_PATH": str(comfyui_path()),
            "COMFY_AWS_RUNNER_ARGS": "--cpu --disable-api-nodes --preview-method latent2rgb",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"),
            **environ,
        }  # fmt: skip
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [python, *(MODULE if drain is None else (*DRAINING, str(drain)))],
                env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def base(self) -> Path:
        return self.directory / "base"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def ping(self) -> int:
        """The status of GET /ping; 0 when nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status
        except ConnectionRefusedError:
            return 0
        finally:
            connection.close()

    def wait_ready(self) -> None:
        wait_until(lambda: self.ping() == 200 or self.process.poll() is not None)
        assert self.process.poll() is None, self.log

    def invoke(self, body: bytes) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def run(self, request: JobRequest) -> JobResult:
        """Run a job and check that the answer is what lies in the bucket."""
        status, answer = self.invoke(to_json(request).encode())
        assert status == 200, answer
        result = self.cloud.result(request.job_id)
        assert json.loads(to_json(result)) == answer
        return result

    @contextmanager
    def running(self, request: JobRequest) -> Iterator[list[JobResult]]:
        """Run a job meanwhile; its result is in the list afterwards."""
        results: list[JobResult] = []
        thread = threading.Thread(target=lambda: results.append(self.run(request)))
        thread.start()
        try:
            yield results
        finally:
            thread.join()

    def runner_pid(self) -> int:
        """The process id of its ComfyUI; 0 for none."""
        for pid in children(self.process.pid):
            if b"main.py" in _read(Path(f"/proc/{pid}/cmdline")):
                return pid
        return 0

    def descendants(self) -> list[int]:
        """Process ids of its children, theirs, and so on."""
        found, new = [], children(self.process.pid)
        while new:
            found += new
            new = [child for pid in new for child in children(pid)]
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def request(
    prompt: dict[str, Any],
    *,
    manifest: Manifest | None = None,
    outputs: tuple[str, ...] = (),
    events: str = "",
) -> JobRequest:
    return JobRequest(
        job_id=str(uuid.uuid4()), prompt=prompt, outputs=outputs,
        manifest=manifest or Manifest(), events=events, created=time.time(),
    )  # fmt: skip


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def wait_until(condition: Any, limit: float = READY_LIMIT) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in _read(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet reaped does not."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    return bool(stat) and stat.rpartition(b")")[2].split()[0] != b"Z"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
