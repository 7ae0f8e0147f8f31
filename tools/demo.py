"""The main job, end to end, on this machine: the README's first command.

Starts the local stack and a real ComfyUI with the extension, publishes the test pipeline,
creates an endpoint, runs the workflow on it as a page does, and compares the image with a local
run of the same seed. With a terminal it keeps serving; without one it stops everything and ends
with status 0 when the pixels are equal.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws import stack  # noqa: E402
from comfy_aws.comfy import BinaryMessage, ComfyClient, TextMessage  # noqa: E402
from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.pipeline import install as pipeline  # noqa: E402

TEMPLATE = "Demo"
SEED = 20251122


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print a step with its duration."""
    print(f"  {what:<58}", end="", flush=True)
    start = time.monotonic()
    yield
    print(f"{time.monotonic() - start:7.2f} s", flush=True)


class Designer:
    """The designer's ComfyUI as its page uses it: routes, queue and websocket."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.client_id = uuid.uuid4().hex

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as answer:
            if answer.status == 204:
                return None
            parsed = await answer.json()
            if answer.status >= 400:
                raise SystemExit(f"\n{method} {path}: {parsed.get('error', parsed)}")
            return parsed

    async def publish(self, name: str) -> None:
        known = await self.call("GET", "/aws/templates")
        body = {
            "name": name,
            "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(seed=SEED),
            "new_version": any(each["name"] == name for each in known["templates"]),
        }
        publish = (await self.call("POST", "/aws/publishes", body))["publish"]
        while publish["state"] == "running":
            await asyncio.sleep(0.05)
            publish = (await self.call("GET", f"/aws/publishes/{publish['id']}"))["publish"]
        if publish["state"] != "done":
            raise SystemExit(f"\nPublishing failed: {publish['error']}")

    async def endpoint(self, template: str) -> str:
        """Create the template's endpoint unless it is there, and wait until it is in service."""
        known = (await self.call("GET", "/aws/endpoints"))["endpoints"]
        mine = [each for each in known if each["template"] == template]
        wishes = {"template": template, "min_instances": 1, "max_instances": 2}
        endpoint = (
            mine[0] if mine else (await self.call("POST", "/aws/endpoints", wishes))["endpoint"]
        )
        while endpoint["status"] == "Creating":
            await asyncio.sleep(0.2)
            path = f"/aws/endpoints/{endpoint['name']}"
            endpoint = (await self.call("GET", path))["endpoint"]
        if endpoint["status"] != "InService":
            raise SystemExit(f"\nThe endpoint is {endpoint['status']}: {endpoint['failure']}")
        return str(endpoint["name"])

    async def run(self, *, on_aws: bool) -> tuple[dict[str, str], int, int]:
        """Queue the pipeline and wait; returns its image, and counts of progress and previews."""
        progress = previews = 0
        extra_data = {"aws": {"template": TEMPLATE}} if on_aws else {}
        async with ComfyClient(self._url, self.client_id) as client:
            messages = client.listen()
            await anext(messages)  # the server knows this client from now on
            prompt = pipeline.load_prompt(seed=SEED)
            prompt_id = (await client.submit(prompt, extra_data=extra_data))["prompt_id"]
            async for message in messages:
                if isinstance(message, BinaryMessage):
                    previews += 1
                elif message.type == "progress_state":
                    progress += 1
                elif _ends(message, prompt_id):
                    break
            history = await client.history(prompt_id)
        if history is None or not history["status"]["completed"]:
            reason = history["status"]["messages"][-1] if history else "it left no history"
            raise SystemExit(f"\nThe run failed: {reason}")
        return history["outputs"][pipeline.SAVE_ID]["images"][0], progress, previews

    async def pixels(self, image: dict[str, str]) -> bytes:
        async with self._session.get(self._url + "/view", params=image) as answer:
            return Image.open(io.BytesIO(await answer.read())).tobytes()


def _ends(message: TextMessage, prompt_id: str) -> bool:
    payload = message.data
    return (
        message.type == "executing"
        and payload.get("node") is None
        and payload.get("prompt_id") == prompt_id
    )


async def main_job(comfyui: ComfyUIProcess) -> bool:
    """Everything after start-up; whether the pixels were equal."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        designer = Designer(comfyui.url, session)
        with step("publish the workflow: models, input, node pack"):
            await designer.publish(TEMPLATE)
        with step("publish it again: nothing is sent twice"):
            await designer.publish(TEMPLATE)
        with step("create an endpoint, wait until it is InService"):
            await designer.endpoint(TEMPLATE)
        with step("Run with Prompt on AWS"):
            cloud, progress, previews = await designer.run(on_aws=True)
        with step("Run here"):
            local, _, _ = await designer.run(on_aws=False)
        equal = await designer.pixels(cloud) == await designer.pixels(local)
        print(f"\n  progress events {progress}, previews {previews}")
        folder = comfyui.base_dir / "output" / cloud["subfolder"]
        print(f"  image: {folder / cloud['filename']}")
        print(f"  pixels equal to the local run: {'yes' if equal else 'no'}")
        return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=ROOT / ".demo", help="where all state lies")
    parser.add_argument("--fresh", action="store_true", help="forget earlier demos first")
    parser.add_argument("--gpu", action="store_true", help="compute on this machine's GPU")
    chosen = parser.parse_args()
    home: Path = chosen.home.resolve()
    base = home / "comfyui"
    if chosen.fresh:
        stack.down(home / "aws" / "stack")
        shutil.rmtree(home, ignore_errors=True)
    equal = False
    print("Prompt on AWS, on the local stack\n")
    with step("install the test pipeline: 14 MB of models"):
        pipeline.install(base)
    previews = ["--preview-method", "latent2rgb"]
    runner_args = " ".join(previews if chosen.gpu else ["--cpu", *previews])
    environment = {"COMFY_AWS_HOME": str(home / "aws"), "COMFY_AWS_TARGET": "local",
                   "COMFY_AWS_RUNNER_ARGS": runner_args}  # fmt: skip
    try:
        with step("start the local stack"):
            stack.up(home / "aws" / "stack")
        comfyui = ComfyUIProcess(
            base, with_extension=True, env=environment, extra_args=previews, cpu=not chosen.gpu
        )  # fmt: skip
        with step("start ComfyUI with the extension"):
            comfyui.start()
            comfyui.wait_ready()
        try:
            equal = asyncio.run(main_job(comfyui))
            if sys.stdin.isatty() and sys.stdout.isatty():
                _serve(comfyui)
        finally:
            comfyui.stop()
    finally:
        stack.down(home / "aws" / "stack")
    return 0 if equal else 1


def _serve(comfyui: ComfyUIProcess) -> None:
    print(f"\n  Open {comfyui.url}, click the cloud in the sidebar, tick Prompt on AWS, Run.")
    print("  Ctrl+C stops everything.", flush=True)
    try:
        while comfyui.running:
            time.sleep(1)
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    raise SystemExit(main())
