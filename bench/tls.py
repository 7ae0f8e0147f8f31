"""A TLS door to the objects of a local stack, as S3 has: with a certificate of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from comfy_aws.localstack.objects import find_weed
from comfy_aws.stack import StackState
from tests.comfy.comfyui_process import free_port

START_SECONDS = 30.0


@contextmanager
def tls_door(state: StackState, home: Path) -> Iterator[StackState]:
    """The stack with an S3 that speaks TLS. Whoever is started within trusts its certificate.

    It speaks HTTP/1.1, as S3 does: with HTTP/2 s5cmd would send all over one line.

    Args:
        home: the stack's folder.
    """
    key, certificate = home / "tls-key.pem", home / "tls.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    usual = json.loads((home / "ports.json").read_text())
    plain, tls, grpc = free_port(), free_port(), free_port()
    trust = {"AWS_CA_BUNDLE": str(certificate), "SSL_CERT_FILE": str(certificate)}
    with (home / "tls.log").open("wb") as log:
        process = subprocess.Popen(
            [find_weed(), "-logtostderr=true", "s3", "-ip.bind=127.0.0.1",
             f"-filer=127.0.0.1:{usual['filer.port']}.{usual['filer.port.grpc']}",
             f"-config={home / 's3.json'}", f"-port={plain}", f"-port.grpc={grpc}",
             f"-port.https={tls}", f"-cert.file={certificate}", f"-key.file={key}",
             f"-localSocket={home / 's3.sock'}", "-iam=false", "-port.iceberg=0", "-port.lance=0"],
            stderr=log, cwd=home, env={**os.environ, "GODEBUG": "http2server=0"},
        )  # fmt: skip
    before = {name: os.environ.get(name) for name in trust}
    try:
        _until_open(process, tls, home / "tls.log")
        os.environ |= trust
        yield replace(state, s3_endpoint_url=f"https://127.0.0.1:{tls}")
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        process.kill()
        process.wait()


def _until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"The TLS server did not start:\n{log.read_text()[-2000:]}")
