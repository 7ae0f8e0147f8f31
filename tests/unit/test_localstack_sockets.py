"""SeaweedFS's sockets in the temporary folder: those of a killed stack go, others stay."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from comfy_aws.localstack.objects import forget_dead_sockets


def test_sockets_that_nobody_listens_on_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is 107 bytes at most
    old = time.time() - 3600
    listening = socket.socket(socket.AF_UNIX)
    for name in ("dead", "young", "alive"):
        with socket.socket(socket.AF_UNIX) as server:
            (listening if name == "alive" else server).bind(f"seaweedfs-s3-{name}.sock")
    listening.listen()
    for name in ("dead", "alive"):
        os.utime(f"seaweedfs-s3-{name}.sock", (old, old))
    (tmp_path / "seaweedfs-s3-file.sock").touch()
    (tmp_path / "another.sock").touch()

    forget_dead_sockets(Path(), time.time() - 60)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        "seaweedfs-s3-young.sock", "seaweedfs-s3-alive.sock", "seaweedfs-s3-file.sock",
        "another.sock",
    }  # fmt: skip
    listening.close()
