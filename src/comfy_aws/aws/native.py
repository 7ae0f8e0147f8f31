"""Downloads by AWS's native S3 client (PyPI `awscrt`), where it is installed: in workers.

Python reads a TLS connection in records of 16 KiB and takes its lock for each, so that all threads
together come to 6 Gbit/s, and to less beside a busy program. The native client has threads of its
own and asks Python only to take whole parts.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from comfy_aws.aws.downloads import Follow, shorter
from comfy_aws.aws.mapping import client_error, mapped
from comfy_aws.aws.session import Session
from comfy_aws.callbacks import IsCancelled, OnBytes
from comfy_aws.errors import AwsError, AwsUnreachable, Cancelled

MiB: Final = 1024 * 1024

PART: Final = 8 * MiB
"""Bytes of a range, and of what Python is given at a time."""

CONNECTIONS: Final = 16
"""Of one object."""

MEMORY: Final = 256 * MiB
"""What the client may hold at most, of all objects; it takes no smaller limit."""

AHEAD: Final = 2
"""Parts of one object that may wait for the file and the digest."""

_OPERATION: Final = "s3:GetObject"


def usable(session: Session) -> bool:
    """Whether the client is installed, would reach AWS as boto3 is told to, and is the faster way.

    It is over TLS; without, as from the local stack, ranges read by Python's threads are.
    """
    if importlib.util.find_spec("awscrt") is None or getproxies().keys() - {"no"}:
        return False
    return _is_tls(session.client("s3"))


class NativeDownloads:
    """The native client of one session. Safe to share between threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client: Any = None
        self._lock = threading.Lock()

    def run(
        self,
        at: tuple[str, str],
        path: Path,
        size: int,
        *,
        follow: Follow | None,
        progress: OnBytes,
        cancelled: IsCancelled,
    ) -> None:
        """As `ObjectStore.download`."""
        url, got = "s3://{}/{}".format(*at), 0
        try:
            with path.open("wb") as file, closing(self._parts(at)) as parts:
                for part in parts:
                    if cancelled():
                        raise Cancelled(f"The download of {at[1]} was cancelled.")
                    file.write(part)  # whole: each call takes Python's lock once more
                    if follow:
                        follow(part)
                    got += len(part)
                    progress(len(part))
        except AwsError as exc:
            if exc.aws_code not in {"InvalidRange", "416"}:  # what S3 says of an empty object
                raise
        if got < size:
            raise shorter(url, size)

    def _parts(self, at: tuple[str, str]) -> Generator[memoryview]:
        """The parts of an object in their order, as they come."""
        from awscrt import s3

        queue: Queue[memoryview | BaseException | None] = Queue(AHEAD)
        request = self._connected().make_request(
            type=s3.S3RequestType.GET_OBJECT,
            request=self._request(*at),
            on_body=lambda chunk, **_: queue.put(memoryview(chunk)),
            on_done=lambda error=None, **_: queue.put(error),
        )
        ended = False
        try:
            while isinstance(part := queue.get(), memoryview):
                yield part
            ended = True
            if part is not None:
                raise _error(part, "s3://{}/{}".format(*at)) from part
        finally:
            if not ended:  # the client's threads wait for room in the queue, also to cancel
                request.cancel()
                while isinstance(queue.get(), memoryview):
                    pass

    def _request(self, bucket: str, key: str) -> Any:
        """The request without a signature; botocore knows what the address of a bucket is."""
        from awscrt import http

        with mapped("s3:GetObject", f"s3://{bucket}/{key}"):
            address = urlsplit(
                self._session.client("s3").generate_presigned_url(
                    "get_object", Params={"Bucket": bucket, "Key": key}
                )
            )
        return http.HttpRequest("GET", address.path, http.HttpHeaders([("host", address.netloc)]))

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        from awscrt import auth, s3

        client = self._session.client("s3")
        provider = auth.AwsCredentialsProvider.new_delegate(self._credentials)
        modes = s3.S3RequestTlsMode
        return s3.S3Client(
            region=client.meta.region_name,
            signing_config=s3.create_default_s3_signing_config(
                region=client.meta.region_name, credential_provider=provider
            ),
            tls_mode=modes.ENABLED if _is_tls(client) else modes.DISABLED,
            tls_connection_options=_trust(),
            part_size=PART,
            memory_limit=MEMORY,
            throughput_target_gbps=s3.get_recommended_throughput_target_gbps(),
            max_active_connections_override=CONNECTIONS,
        )

    def _credentials(self) -> Any:
        from awscrt import auth

        frozen = self._session.credentials()
        return auth.AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token)


def _is_tls(client: Any) -> bool:
    return str(client.meta.endpoint_url).startswith("https:")


def _trust() -> Any:
    """What makes the client trust the certificates that boto3 is told to; None for the usual."""
    from awscrt import io
    from botocore.session import Session as Settings

    bundle = Settings().get_config_variable("ca_bundle")
    if not bundle:
        return None
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=bundle)
    return io.ClientTlsContext(options).new_connection_options()


def _error(error: BaseException, url: str) -> AwsError:
    """Ours for one of the native client's: what S3 answered, or that it did not."""
    status = getattr(error, "status_code", None)
    if not status:
        return AwsUnreachable(
            f"AWS cannot be reached for {_OPERATION} for {url}: {error}.", operation=_OPERATION,
            hint="Check the network, the region, and that the local stack is up if you use it.",
        )  # fmt: skip
    body = (getattr(error, "body", None) or b"").decode(errors="replace")
    told = dict(re.findall(r"<(Code|Message)>([^<]*)<", body))
    return client_error({"Error": {"Code": str(status), **told}}, _OPERATION, f" for {url}")
