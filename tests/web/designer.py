"""A designer for a browser to look at: ComfyUI, this extension, the test pipeline."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from comfy_aws import stack
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess
from tests.pipeline.install import SAVE_ID, install, load_prompt, load_workflow
from tests.support.stack import frozen, object_stores

# A machine's own configuration must not reach the designer under test.
FOREIGN = ("AWS_", "COMFY_AWS_")

# The page is tested on the frontend that ComfyUI asks for, and on these.
NEWER_FRONTENDS = ("1.45.21", "1.58.1")
FRONTENDS = REPO_ROOT / ".comfyui" / "frontends"

LARGE_MODEL = 256 * 1024**2

# What a slow bucket does in turns.
SLOW_WORK_S = 0.03
SLOW_REST_S = 0.27

PUBLISH_TIMEOUT_S = 30.0


class Designer:
    """Its routes and files, as a person without a page sees them."""

    def __init__(self, process: ComfyUIProcess, home: Path) -> None:
        self.process = process
        self.home = home
        self.url = process.url

    def call(self, method: str, route: str, body: Any = None) -> Any:
        reply = requests.request(method, self.url + route, json=body, timeout=60)
        assert reply.ok, f"{method} {route}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def set_stack(self, action: str) -> None:
        self.call("POST", "/aws/stack", {"action": action})

    def history(self, prompt_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = self.call("GET", f"/history/{prompt_id}").get(prompt_id, {})
        return entry

    def endpoints(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/aws/endpoints")["endpoints"]
        return found

    def template_names(self) -> set[str]:
        return {item["name"] for item in self.call("GET", "/aws/templates")["templates"]}

    def publish(
        self,
        name: str,
        nodes: Mapping[str, Any] | None = None,
        workflow: Mapping[str, Any] | None = None,
        **saved: str,
    ) -> None:
        """The test pipeline, as another person would, with more `nodes` and more of a `workflow`.

        `saved` are inputs of its last node.
        """
        prompt = {**load_prompt(), **(nodes or {})}
        prompt[SAVE_ID]["inputs"].update(saved)
        body = {"name": name, "workflow": {**load_workflow(), **(workflow or {})}, "prompt": prompt}
        route = f"/aws/publishes/{self.call('POST', '/aws/publishes', body)['publish']['id']}"
        deadline = time.monotonic() + PUBLISH_TIMEOUT_S
        while (ended := self.call("GET", route)["publish"])["state"] == "running":
            assert time.monotonic() < deadline, ended
            time.sleep(0.05)
        assert ended["state"] == "done", ended

    def add_model(self, name: str, size: int = LARGE_MODEL) -> None:
        """A safetensors file, which takes seconds to upload; sparse, and no other test's bytes."""
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        header = json.dumps({"__metadata__": {"name": name}, "zeros": tensor}).encode()
        path = self.process.base_dir / "models" / "diffusion_models" / name
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(file.tell() + size)

    @contextmanager
    def frozen_bucket(self) -> Iterator[None]:
        """The object store stands still, so that an upload lasts as long as a test needs.

        Meanwhile the stack answers no question that needs the store.
        """
        with frozen(object_stores(self.home)):
            yield

    @contextmanager
    def slow_bucket(self) -> Iterator[None]:
        """The object store works a tenth of the time, so that no machine is too fast for a test."""
        stores, over = object_stores(self.home), threading.Event()

        def hinder() -> None:
            while not over.wait(SLOW_WORK_S):
                with frozen(stores):
                    over.wait(SLOW_REST_S)

        thread = threading.Thread(target=hinder)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def running_designer(base: Path, frontend: str = "") -> Iterator[Designer]:
    """AWS is not configured and no stack runs at first; one that was started ends with it.

    frontend    one of NEWER_FRONTENDS; empty for ComfyUI's own
    """
    home = base / "home"
    with _designer(base, home, frontend) as running:
        try:
            yield running
        finally:
            stack.down(home / "stack")


@contextmanager
def second_designer(base: Path, first: Designer, frontend: str) -> Iterator[Designer]:
    """Another ComfyUI on the home of `first`, and so on its local stack."""
    with _designer(base, first.home, frontend) as running:
        yield running


@contextmanager
def _designer(base: Path, home: Path, frontend: str) -> Iterator[Designer]:
    install(base)
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(FOREIGN)}
    env["COMFY_AWS_HOME"] = str(home)
    env["COMFY_AWS_FETCH_PRIVATE"] = "1"  # the tests fetch models from loopback
    root = ["--front-end-root", str(FRONTENDS / frontend)] if frontend else []
    with ComfyUIProcess(base, with_extension=True, env=env, extra_args=root) as process:
        yield Designer(process, home)
