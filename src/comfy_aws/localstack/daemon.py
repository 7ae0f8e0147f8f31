"""The stack's life: parts are started in order, served until a signal, stopped in reverse."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from comfy_aws.errors import LocalStackError
from comfy_aws.localstack import buckets
from comfy_aws.localstack.control import ControlPlane
from comfy_aws.localstack.fleet import Fleet
from comfy_aws.localstack.front import Front, serve
from comfy_aws.localstack.instances import Surroundings
from comfy_aws.localstack.invocations import Services
from comfy_aws.localstack.logs import LogSink, put_logs
from comfy_aws.localstack.notifications import publish
from comfy_aws.localstack.objects import ObjectStore
from comfy_aws.localstack.processes import free_port
from comfy_aws.localstack.quotas import Quotas
from comfy_aws.localstack.scaling import DEFAULT_PERIOD_SECONDS, Scaler
from comfy_aws.localstack.state import Identity, load_identity, read_json, write_json
from comfy_aws.stack import StackState

_log = logging.getLogger(__name__)

SCALE_VARIABLE: Final = "COMFY_AWS_LOCAL_SCALE_SECONDS"
_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_STOP_SECONDS: Final = 10.0
"""Workers have so long to end when the stack stops."""


class AlreadyRunning(LocalStackError):
    """Raised when another process serves this home."""


def lock(home: Path) -> None:
    """Hold the home until this process is gone, however it ends.

    The descriptor is never closed on purpose: who finds the lock free may rely on that.

    Raises:
        AlreadyRunning: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise AlreadyRunning(f"Another stack runs in {home}.") from exc


def worker_base(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment every worker starts from: clean, as a container's, with this package on it.

    Args:
        environ: this process's environment. Its COMFYUI_PATH stands for the ComfyUI of an image.
    """
    kept = (*_KEPT, "COMFYUI_PATH")
    base = {
        name: value for name, value in environ.items() if name in kept or name.startswith("PYTHON")
    }
    source = str(Path(__file__).resolve().parents[2])
    rest = [part for part in base.get("PYTHONPATH", "").split(os.pathsep) if part]
    base["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([source, *rest]))
    base["PYTHONUNBUFFERED"] = "1"
    return base


def worker_address(identity: Identity, url: str, s3_url: str) -> dict[str, str]:
    """Where and who a worker is to AWS, in the variables that boto3 reads."""
    return {
        "AWS_ACCESS_KEY_ID": identity.worker_access_key_id,
        "AWS_SECRET_ACCESS_KEY": identity.worker_secret_access_key,
        "AWS_REGION": identity.region,
        "AWS_DEFAULT_REGION": identity.region,
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_S3": s3_url,
    }


async def run(home: Path, port: int | None, environ: Mapping[str, str]) -> None:
    """Serve a home whose lock is held until SIGTERM or SIGINT.

    Raises:
        LocalStackError: it cannot start; what was started has been stopped.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as parts:
        started = time.time()
        state_file = home / "stack.json"
        state_file.unlink(missing_ok=True)
        parts.callback(state_file.unlink, missing_ok=True)
        state = await _start(home, port, environ, parts, started)
        write_json(state_file, asdict(state))
        _log.info("ready: %s", state.endpoint_url)
        await stop.wait()
        _log.info("stopping")
        state_file.unlink(missing_ok=True)


async def _start(
    home: Path,
    port: int | None,
    environ: Mapping[str, str],
    parts: AsyncExitStack,
    started: float,
) -> StackState:
    identity = load_identity(home)
    kept = {name: value for name, value in environ.items() if name in _KEPT}
    store = ObjectStore(home, identity, kept)
    parts.push_async_callback(store.stop)

    # A connection of its own for every call: see `Services.worker_session`.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    )
    parts.push_async_callback(session.close)
    usual = (read_json(home / "front.json") or {}).get("port", 0)
    chosen = port or free_port(usual)
    write_json(home / "front.json", {"port": chosen})
    url = f"http://127.0.0.1:{chosen}"

    address: dict[str, str] = {}
    sink = LogSink(partial(put_logs, identity))
    parts.push_async_callback(sink.close)
    surroundings = Surroundings(
        worker_base(environ), address, home / "endpoints", home / "logs", session, sink
    )
    services = Services(store, session, partial(publish, identity))
    fleet = Fleet(identity, home / "queue", surroundings, services)
    quotas = Quotas(identity, home / "quotas.json")
    control = ControlPlane(identity, fleet, quotas, home / "control.json")
    await asyncio.gather(
        store.start(),
        asyncio.to_thread(control.warm),
        # What instances of an earlier life left on their disks, if it was killed.
        asyncio.to_thread(shutil.rmtree, home / "endpoints", ignore_errors=True),
    )
    address.update(worker_address(identity, url, store.url))
    front = Front(identity, store, fleet, control, quotas)
    runner = await serve(front.app(), chosen)
    parts.push_async_callback(runner.cleanup)
    parts.callback(front.close)
    parts.push_async_callback(fleet.shut_down, _STOP_SECONDS)
    control.restore(asyncio.get_running_loop())
    buckets.keep_in(store, asyncio.get_running_loop())
    period = float(environ.get(SCALE_VARIABLE) or DEFAULT_PERIOD_SECONDS)
    scaler = asyncio.create_task(Scaler(fleet, control.scaling, identity, period).run())
    parts.push_async_callback(_cancel, scaler)
    state = StackState(
        pid=os.getpid(),
        endpoint_url=url,
        s3_endpoint_url=store.url,
        region=identity.region,
        access_key_id=identity.access_key_id,
        secret_access_key=identity.secret_access_key,
        bucket=identity.bucket,
        role_arn=identity.role_arn,
        image_uri=identity.image_uri,
        started=started,
    )
    front.ready({"pid": state.pid, "started": state.started, "url": state.endpoint_url})
    return state


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def log_to_stderr() -> None:
    """Our own words at INFO, everybody else's at WARNING."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("comfy_aws").setLevel(logging.INFO)
