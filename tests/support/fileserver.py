"""A web server on loopback that gives one file, and breaks as it is told."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server gives, and what it was asked for.

    `breaks` are the bytes after which an answer ends early, one an answer; `moved` sends
    elsewhere; `hold` makes answers wait in their middle until it is set.
    """

    body: bytes
    url: str = ""
    etag: str = '"one"'
    status: int = 200
    kind: str = "application/octet-stream"
    filename: str = ""
    moved: str = ""
    breaks: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    hold: threading.Event | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        site = self.server.site
        site.ranges.append(self.headers.get("Range", ""))
        if site.moved:
            self.send_response(302)
            self.send_header("Location", site.moved)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = re.fullmatch(r"bytes=(\d+)-", site.ranges[-1])
        start = int(asked[1]) if asked and self.headers.get("If-Range") == site.etag else 0
        self.send_response(206 if start else site.status)
        rest = site.body[start:]
        if start:
            total = len(site.body)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("Content-Type", site.kind)
        self.send_header("ETag", site.etag)
        if site.filename:
            self.send_header("Content-Disposition", f'attachment; filename="{site.filename}"')
        self.end_headers()
        if site.hold is not None:
            half = len(rest) // 2
            self.wfile.write(rest[:half])
            self.wfile.flush()
            site.hold.wait(60)
            rest = rest[half:]
        self.wfile.write(rest[: site.breaks.pop(0)] if site.breaks else rest)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a fetch that was given up
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The tests ask `Site.ranges`."""


@contextmanager
def served(body: bytes) -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = Site(body, f"http://127.0.0.1:{server.server_port}/files/model.safetensors")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        if server.site.hold is not None:
            server.site.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
