"""A program on loopback that hears webhooks, and answers as it is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT = 90.0
"""Seconds that anything may take; never a measure of speed."""

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Heard:
    """One message as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    def is_signed_by(self, secret: str) -> bool:
        """As the Standard Webhooks specification tells receivers to look."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        at = int(self.headers["webhook-timestamp"])
        text = f"{self.headers['webhook-id']}.{at}.".encode() + self.body
        wanted = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        signatures = self.headers["webhook-signature"].split(" ")
        return abs(time.time() - at) < 300 and f"v1,{wanted}" in signatures


@dataclass
class Receiver:
    """What was heard; `answers` are the next statuses, 204 when there are none left.

    `gate` holds answers back until it is set.
    """

    url: str = ""
    gate: threading.Event | None = None
    answers: list[int] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int) -> list[Heard]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.heard) >= count, LIMIT), self.heard
        return self.heard


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if receiver.gate is not None:
            receiver.gate.wait(LIMIT)
        status = receiver.answers.pop(0) if receiver.answers else 204
        self.send_response(status)
        if status in (301, 302, 307, 308):
            self.send_header("Location", receiver.url)
        self.send_header("Content-Length", "0")
        with receiver.changed:  # before the answer: whoever has that looks at once
            receiver.heard.append(Heard(headers, body))
            receiver.changed.notify_all()
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def listening(*answers: int) -> Iterator[Receiver]:
    """A receiver for the time of a test."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        receiver = Receiver(
            f"http://127.0.0.1:{server.server_port}/hook?to=me", answers=list(answers)
        )
        server.receiver = receiver
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown()
