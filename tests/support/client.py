"""A script that uses a ComfyUI: posts prompts, hears its websocket, reads the history."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import requests
import websocket

LIMIT = 90.0
"""Seconds that anything may take; never a measure of speed."""


class Client:
    """`messages` collects (type, payload) of every JSON message, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.id = uuid.uuid4().hex
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.previews = 0
        self._socket = websocket.WebSocket()
        self._socket.connect(f"{url.replace('http', 'ws', 1)}/ws?clientId={self.id}")
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.close()
        self._thread.join(timeout=10)

    def _listen(self) -> None:
        while True:
            try:
                frame = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if frame == "":
                return
            with self._heard:
                if isinstance(frame, bytes):
                    self.previews += 1
                else:
                    message = json.loads(frame)
                    self.messages.append((message["type"], message["data"]))
                self._heard.notify_all()

    def post(self, path: str, body: Any = None) -> requests.Response:
        return requests.post(self.url + path, json=body or {}, timeout=60)

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=60).json()

    def submit(
        self, prompt: dict[str, Any], *, aws: dict[str, Any] | None = None, **extra_data: Any
    ) -> requests.Response:
        if aws is not None:
            extra_data["aws"] = aws
        body = {"prompt": prompt, "client_id": self.id, "extra_data": extra_data}
        return self.post("/prompt", body)

    def queue(
        self, prompt: dict[str, Any], *, aws: dict[str, Any] | None = None, **extra_data: Any
    ) -> str:
        """Queue a prompt, here or with `aws={}` (or a template) on AWS; returns its id."""
        answer = self.submit(prompt, aws=aws, **extra_data)
        assert answer.status_code == 200, answer.text
        prompt_id: str = answer.json()["prompt_id"]
        return prompt_id

    def hear(self, kind: str, prompt_id: str, **wanted: Any) -> dict[str, Any]:
        """Wait for a message about a prompt whose payload holds `wanted`."""
        deadline = time.monotonic() + LIMIT
        with self._heard:
            while True:
                for heard, payload in self.messages:
                    if heard == kind and payload.get("prompt_id") == prompt_id and all(
                        payload.get(key) == value for key, value in wanted.items()
                    ):  # fmt: skip
                        return payload
                assert time.monotonic() < deadline, f"no {kind} for {prompt_id}: {self.kinds()}"
                self._heard.wait(1.0)

    def end(self, prompt_id: str) -> dict[str, Any]:
        """Wait until a prompt is over, and return its history."""
        self.hear("executing", prompt_id, node=None)
        entry: dict[str, Any] = self.get(f"/history/{prompt_id}")[prompt_id]
        return entry

    def kinds(self, prompt_id: str = "") -> list[str]:
        """The types of the messages so far, of one prompt if given."""
        return [kind for kind, payload in self.messages
                if not prompt_id or payload.get("prompt_id") == prompt_id]  # fmt: skip

    def job(self, prompt_id: str) -> dict[str, Any]:
        """The job as the panel sees it."""
        found = self._listed(prompt_id)
        assert found is not None, f"there is no job {prompt_id}"
        return found

    def _listed(self, prompt_id: str) -> dict[str, Any] | None:
        jobs = self.get("/aws/jobs")["jobs"]
        return next((job for job in jobs if job["id"] == prompt_id), None)

    def wait_state(self, prompt_id: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT
        while True:
            job = self._listed(prompt_id)  # a moment after ComfyUI's queue has it
            if job is not None and job["state"] in states:
                return job
            assert time.monotonic() < deadline, f"{prompt_id} is not {states}: {job}"
            time.sleep(0.05)
