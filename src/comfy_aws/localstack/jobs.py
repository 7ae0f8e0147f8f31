"""An accepted invocation, and the folder that keeps it until its outcome is in S3.

The 202 of InvokeEndpointAsync is a promise, so an invocation is on disk before the answer goes
out. After a kill -9, what was queued is queued again in its old order. What was running is not
run a second time: its instance was lost under it, which SageMaker too reports as a failure, and
a second run could repeat what the first has already shown the world.
"""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from comfy_aws.localstack.state import read_json, write_json

DEFAULT_TIMEOUT_SECONDS: Final = 900
DEFAULT_TTL_SECONDS: Final = 21600
"""SageMaker's defaults for InvocationTimeoutSeconds and RequestTTLSeconds."""


@dataclass(frozen=True)
class Invocation:
    """One accepted InvokeEndpointAsync.

    Either `input_location` (an S3 URI) or `body` is set. `accepted` is in seconds since 1970.
    """

    endpoint: str
    inference_id: str
    output_uri: str
    failure_uri: str
    input_location: str = ""
    body: bytes | None = None
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    success_topic: str = ""
    error_topic: str = ""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    ttl_seconds: int = DEFAULT_TTL_SECONDS
    accepted: float = 0.0
    id: str = ""

    @property
    def expires(self) -> float:
        return self.accepted + self.ttl_seconds

    def headers(self) -> dict[str, str]:
        """What the container's POST /invocations carries."""
        headers = {
            "Content-Type": self.content_type or "application/octet-stream",
            "X-Amzn-SageMaker-Inference-Id": self.inference_id,
        }
        if self.accept:
            headers["Accept"] = self.accept
        if self.custom_attributes:
            headers["X-Amzn-SageMaker-Custom-Attributes"] = self.custom_attributes
        return headers


def _to_dict(invocation: Invocation) -> dict[str, Any]:
    fields = asdict(invocation)
    if invocation.body is not None:
        fields["body"] = base64.b64encode(invocation.body).decode()
    return fields


def _from_dict(fields: dict[str, Any]) -> Invocation:
    invocation = Invocation(**fields)
    if isinstance(fields["body"], str):
        return replace(invocation, body=base64.b64decode(fields["body"]))
    return invocation


class InvocationFiles:
    """The folder of one endpoint's accepted invocations, named so that they sort by arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def accept(self, invocation: Invocation) -> Invocation:
        """Write it down; the returned one has its `id` and time of acceptance."""
        now = time.time()
        name = f"{int(now * 1e9):020d}-{uuid.uuid4().hex[:8]}"
        kept = replace(invocation, accepted=now, id=name)
        write_json(self._folder / f"{name}.queued", _to_dict(kept))
        return kept

    def running(self, invocation: Invocation) -> None:
        self._path(invocation, "queued").replace(self._path(invocation, "running"))

    def queued_again(self, invocation: Invocation) -> None:
        self._path(invocation, "running").replace(self._path(invocation, "queued"))

    def done(self, invocation: Invocation) -> None:
        for state in ("queued", "running"):
            self._path(invocation, state).unlink(missing_ok=True)

    def _path(self, invocation: Invocation, state: str) -> Path:
        return self._folder / f"{invocation.id}.{state}"

    def left(self, state: str) -> list[Invocation]:
        """What an earlier life of the stack left in this state, oldest first."""
        return [_from_dict(read_json(path)) for path in sorted(self._folder.glob(f"*.{state}"))]

    def remove(self) -> None:
        """Forget the endpoint."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
        self._folder.rmdir()
