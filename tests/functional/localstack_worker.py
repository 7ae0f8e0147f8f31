"""A worker with SageMaker's contract and nothing else, for the tests of the local stack.

What a request does stands in its JSON body: {"do": "echo" | "sleep" | "crash" | "fail"}.
What the process does at start stands in its environment: TEST_WORKER_START is "ok", "exit" or
"silent" (never answers 200); it exits, too, while the file TEST_WORKER_FAULT is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from aiohttp import web


async def ping(_request: web.Request) -> web.Response:
    silent = os.environ.get("TEST_WORKER_START") == "silent"
    return web.Response(status=503 if silent else 200)


async def invocations(request: web.Request) -> web.Response:
    body = await request.read()
    try:
        wish = json.loads(body)
    except ValueError:
        return web.Response(body=body, content_type="application/octet-stream")
    print(f"invoked: {wish['do']} {wish.get('mark', '')}", flush=True)
    return await {"echo": echo, "sleep": sleep, "crash": crash, "fail": fail}[wish["do"]](
        request, wish
    )


async def echo(request: web.Request, wish: dict[str, object]) -> web.Response:
    return web.json_response(
        {
            "wish": wish,
            "headers": dict(request.headers),
            "environment": dict(os.environ),
            "pid": os.getpid(),
        }
    )


running = {"now": 0, "peak": 0}


async def sleep(_request: web.Request, wish: dict[str, object]) -> web.Response:
    running["now"] += 1
    running["peak"] = max(running["peak"], running["now"])
    try:
        await asyncio.sleep(float(str(wish["seconds"])))
    finally:
        running["now"] -= 1
    return web.json_response({"wish": wish, "pid": os.getpid(), "peak": running["peak"]})


async def crash(_request: web.Request, _wish: dict[str, object]) -> web.Response:
    os._exit(3)


async def fail(_request: web.Request, wish: dict[str, object]) -> web.Response:
    return web.json_response({"message": wish["message"]}, status=500)


def main() -> None:
    print("worker starts", flush=True)
    fault = os.environ.get("TEST_WORKER_FAULT")
    if os.environ.get("TEST_WORKER_START") == "exit" or (fault and Path(fault).exists()):
        sys.exit(7)
    if os.environ.get("TEST_WORKER_CHILD"):
        # As the real worker's runner: a process below, in a session of its own.
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)", os.environ["TEST_WORKER_CHILD"]],
            start_new_session=True,
        )
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/ping", ping)
    app.router.add_post("/invocations", invocations)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]),
        print=None,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=1,
    )


if __name__ == "__main__":
    main()
