"""A worker over HTTP that does what the job's extra_data.script says, on real S3 and SQS.

Steps: ``{"do": "event", "seq", "kind", "data"}`` sends an event, ``"lose"`` only keeps it,
``"store"`` writes events.jsonl (without previews), ``"result"`` writes result.json,
``"await"`` waits until the object `key` exists, ``"refuse"`` answers with status 500. A step
with ``"try"`` is left out of the other tries of the job; events are numbered within a try.
"""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, Queues, Session
from comfy_aws.config import load_worker
from comfy_aws.livejobs import EVENTS_OF_A_TRY
from comfy_aws.models import (
    Event,
    EventBatch,
    EventKind,
    JobRequest,
    JobResult,
    Outcome,
    from_json,
    to_json,
)

CONFIG = load_worker()
SESSION = Session(CONFIG.access)
STORE, QUEUES = ObjectStore(SESSION), Queues(SESSION)


class Refused(Exception):
    pass


def perform(job: JobRequest) -> None:
    kept: list[Event] = []
    this_try = 1 + job.events_after // EVENTS_OF_A_TRY
    for step in job.extra_data["script"]:
        if step.get("try", this_try) == this_try:
            STEPS[step["do"]](job, step, kept)


def event(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    lose(job, step, kept)
    QUEUES.send(job.events, to_json(EventBatch((kept[-1],))))


def lose(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    kind = EventKind(step.get("kind", "comfy"))
    number = job.events_after * (not step.get("late")) + step["seq"]
    kept.append(Event(job.job_id, number, kind, step.get("data", {}), time.time()))


def store(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    lines = [to_json(each) for each in kept if each.kind is not EventKind.PREVIEW]
    STORE.put(layout.events_key(job.job_id), "\n".join(lines).encode())


def result(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    made = JobResult(
        job.job_id, Outcome(step["outcome"]), outputs={"prompt": job.prompt}, usage=job.usage,
        timings={"total": job.lost_seconds + 90.0},
        error=step.get("error", {}),
        last_seq=job.events_after + step["last_seq"] if "last_seq" in step else 0,
    )  # fmt: skip
    STORE.put(layout.result_key(job.job_id), to_json(made).encode())


def wait(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    until = time.monotonic() + 60
    while STORE.head(step["key"]) is None:
        assert time.monotonic() < until, step["key"]
        time.sleep(0.05)


def refuse(job: JobRequest, step: dict[str, Any], kept: list[Event]) -> None:
    raise Refused(step["message"])


STEPS = {
    "event": event, "lose": lose, "store": store, "result": result, "await": wait,
    "refuse": refuse,
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            perform(from_json(JobRequest, body))
        except Refused as exc:
            self._answer(500, json.dumps({"message": str(exc)}).encode())
        else:
            self._answer(200, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(
        ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler
    ).serve_forever()
