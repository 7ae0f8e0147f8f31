"""The job service from an order to its end, with a worker over HTTP behind the local stack."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws import layout
from comfy_aws.aws import INLINE_BODY
from comfy_aws.costs import LONGEST, Costs, Limits
from comfy_aws.endpoint_plan import WorkerImage
from comfy_aws.endpoints import Endpoints
from comfy_aws.errors import AwsUnreachable, ConfigError, Conflict, EndpointUnusable, NotFound
from comfy_aws.events import Mailbox
from comfy_aws.jobindex import stored_jobs
from comfy_aws.jobs import Jobs
from comfy_aws.ledger import Ledger
from comfy_aws.models import (
    EndpointSpec,
    EndpointStatus,
    Event,
    Job,
    JobState,
    Outcome,
    SavedFile,
)
from comfy_aws.orders import JobEnd, JobView, Order
from comfy_aws.pricelist import PriceList
from comfy_aws.routing import Router
from comfy_aws.stack import StackState
from tests.functional.localstack_support import eventually
from tests.functional.parts import Parts, model_node
from tests.functional.rights import Recorder
from tests.support.stack import running_stack

LIMIT = 60.0
"""Seconds that anything may take; never a measure of speed."""

WORKER = [sys.executable, str(Path(__file__).with_name("scripted_worker.py"))]
TEXT = {"1": {"class_type": "Text", "inputs": {"text": "hello"}}}

PRICES = PriceList(None, lambda: "us-east-1", Path("nowhere"))
NO_LIMITS = Limits(Costs(PRICES), lambda since: [])


def endpoints_of(parts: Parts, worker: list[str] = WORKER) -> Endpoints:
    environment = {
        "COMFY_AWS_LOCAL_WORKER": json.dumps(worker), "COMFY_AWS_BUCKET": parts.access.bucket,
    }  # fmt: skip
    image = WorkerImage(parts.state.image_uri, parts.state.role_arn, environment)
    return Endpoints(parts.sagemaker, image, parts.access.bucket)


class Ears:
    """A listener that remembers; `before_change` runs inside the service's call."""

    def __init__(self) -> None:
        self.views: list[JobView] = []
        self.events: list[Event] = []
        self.ends: list[JobEnd] = []
        self.order: list[str] = []
        self.over, self.let_go = threading.Event(), threading.Event()
        self.before_change = lambda view: None

    def changed(self, view: JobView) -> None:
        self.views.append(view)
        self.before_change(view)

    def event(self, event: Event) -> None:
        self.order.append("event")
        self.events.append(event)

    def arriving(self, end: JobEnd) -> JobEnd:
        return end

    def ended(self, end: JobEnd) -> None:
        self.order.append("end")
        self.ends.append(end)
        self.over.set()

    def released(self) -> None:
        self.let_go.set()

    def end(self) -> JobEnd:
        assert self.over.wait(LIMIT), "the job did not end"
        return self.ends[0]

    @property
    def numbers(self) -> list[int]:
        return [each.seq for each in self.events]


class Desk:
    """A job service on an endpoint, restartable on its own ledger."""

    def __init__(self, parts: Parts, endpoint: str, folder: Path, **wishes: float) -> None:
        self.parts, self.endpoint, self.folder = parts, endpoint, folder
        self.wishes = {"silence": 0.3, **wishes}
        self.mailboxes = 0
        self.open()

    def open(self) -> None:
        parts = self.parts
        self.ledger = Ledger(self.folder / "ledger.sqlite")
        name = f"comfy-aws-test-{self.ledger.fact('designer', uuid.uuid4().hex)}"
        router = Router(parts.templates, endpoints_of(parts), self.endpoint)
        self.jobs = Jobs(
            parts.store, parts.sagemaker, parts.uploader, router, self.ledger,
            lambda deliver: Mailbox(parts.queues, name, deliver),
            **{"limits": NO_LIMITS, **self.wishes},
        )  # fmt: skip

    def close(self) -> None:
        self.jobs.close()
        self.ledger.close()

    def start(self, script: list[dict], ears: Ears | None = None, **wishes) -> tuple[str, Ears]:
        ears = ears or Ears()
        job_id = wishes.pop("job_id", uuid.uuid4().hex)
        wishes = {"prompt": TEXT, "extra_data": {"script": script}, **wishes}
        self.jobs.start(Order(job_id, **wishes), ears)
        return job_id, ears

    def run(self, script: list[dict], **wishes) -> tuple[str, Ears, JobEnd]:
        job_id, ears = self.start(script, **wishes)
        return job_id, ears, ears.end()

    def wait_state(self, job_id: str, state: JobState) -> None:
        until = time.monotonic() + LIMIT
        while self.ledger.get(job_id).state is not state:
            assert time.monotonic() < until, self.ledger.get(job_id)
            time.sleep(0.02)


@pytest.fixture(scope="module")
def endpoint(shared_stack: StackState, tmp_path_factory) -> Iterator[str]:
    parts = Parts(shared_stack, tmp_path_factory.mktemp("endpoint"))
    endpoints = endpoints_of(parts)
    spec = EndpointSpec("scripted", max_instances=2, min_instances=1, initial_instances=2)
    try:
        endpoints.create(spec)
        assert endpoints.wait(spec.name, every=0.1).status is EndpointStatus.IN_SERVICE
        with pytest.raises(Conflict, match="named scripted exists already"):
            endpoints.create(spec)
        yield spec.name
    finally:  # also after a failure: a rerun makes it anew
        endpoints.delete(spec.name)
        eventually(
            lambda: spec.name not in {each.name for each in endpoints.list()},
            "the endpoint is gone",
        )
        parts.close()


@pytest.fixture
def desk(parts: Parts, endpoint: str, tmp_path: Path) -> Iterator[Desk]:
    recorder = Recorder(parts.session)
    made = Desk(parts, endpoint, tmp_path / "desk")
    yield made
    made.close()
    assert recorder.refused(parts.store.bucket) == set()


def comfy(seq: int, kind: str = "progress_state", do: str = "event", **data) -> dict:
    return {"do": do, "seq": seq, "kind": "comfy", "data": {"type": kind, "data": data}}


def ending(seq: int, outcome: str = "success", **more) -> list[dict]:
    result = {"do": "result", "outcome": outcome, "last_seq": seq, **more}
    event = {"do": "event", "seq": seq, "kind": "result", "data": {"outcome": outcome}}
    return [{"do": "store"}, result, event]


# -- events ------------------------------------------------------------------------------------


def test_a_job_from_order_to_end(desk):
    nodes = {"1": {"node_id": "1", "state": "running", "value": 1, "max": 2}}
    script = [
        {"do": "event", "seq": 1, "kind": "phase", "data": {"phase": "restore"}},
        comfy(2, "execution_start"), comfy(3, nodes=nodes),
        {"do": "event", "seq": 4, "kind": "heartbeat"}, comfy(5, "execution_success"),
        *ending(6),
    ]  # fmt: skip
    job_id, ears, end = desk.run(script, client_id="tab")
    assert (end.state, end.result.outcome, end.error) == (JobState.SUCCEEDED, Outcome.SUCCESS, {})
    assert ears.numbers == [1, 2, 3, 5]
    assert ears.order[-1] == "end"
    states = [view.job.state for view in ears.views]
    assert states == sorted(states, key=list(JobState).index)
    assert set(states) == {JobState.PREPARING, JobState.SUBMITTED, JobState.RUNNING,
                           JobState.SUCCEEDED}  # fmt: skip
    progress = {"node": "1", "title": "Text", "value": 1, "max": 2}
    assert progress in [view.progress for view in ears.views]
    job = desk.ledger.get(job_id)
    assert (job.state, job.endpoint, job.client_id, job.message) == (
        JobState.SUCCEEDED, desk.endpoint, "tab", "")  # fmt: skip
    assert not desk.jobs.is_live(job_id)
    assert [view.job for view in desk.jobs.views()] == [job]


@pytest.mark.parametrize("seed", range(3))
def test_order_and_duplicates(desk, seed):
    numbers = [number for number in range(1, 21) for _ in range(2)]
    random.Random(seed).shuffle(numbers)
    _, ears, end = desk.run([*map(comfy, numbers), *ending(21)])
    assert end.state is JobState.SUCCEEDED
    assert ears.numbers == list(range(1, 21))


def test_lost_events_are_filled_from_the_bucket(desk):
    """Also after a lost one, also with previews that the bucket does not keep."""
    preview = {"do": "event", "seq": 4, "kind": "preview", "data": {}}
    lost_preview = {"do": "lose", "seq": 6, "kind": "preview", "data": {}}
    script = [comfy(1), comfy(2, do="lose"), comfy(3), preview, comfy(5, do="lose"), lost_preview,
              comfy(7, do="lose"), comfy(8), comfy(9, do="lose"), *ending(10)]  # fmt: skip
    _, ears, end = desk.run(script)
    assert end.state is JobState.SUCCEEDED
    assert ears.numbers == [1, 2, 3, 4, 5, 7, 8, 9]


def test_a_lost_event_does_not_hold_up_the_live_view(desk):
    gate = "jobs/gates/lost"
    script = [comfy(1), comfy(2, do="lose"), comfy(3), {"do": "await", "key": gate}, *ending(4)]
    _, ears = desk.start(script)
    until = time.monotonic() + LIMIT
    while ears.numbers != [1, 3]:
        assert time.monotonic() < until, ears.numbers
        time.sleep(0.02)
    desk.parts.store.put(gate, b"")
    assert ears.end().state is JobState.SUCCEEDED


def test_a_result_without_any_event(desk):
    script = [comfy(1, do="lose"), {"do": "store"},
              {"do": "result", "outcome": "success", "last_seq": 2}]  # fmt: skip
    _, ears, end = desk.run(script)
    assert end.state is JobState.SUCCEEDED
    assert ears.numbers == [1]


def test_a_result_whose_events_cannot_be_read(desk):
    script = [comfy(3), {"do": "result", "outcome": "success", "last_seq": 9}]
    _, ears, end = desk.run(script)
    assert end.state is JobState.SUCCEEDED
    assert ears.numbers == [3]


def test_a_message_that_is_no_event_is_passed_over(desk):
    gate = "jobs/gates/noise"
    _, ears = desk.start([{"do": "await", "key": gate}, comfy(1), *ending(2)])
    url = desk.parts.queues.ensure(
        f"comfy-aws-test-{desk.ledger.fact('designer', '')}", retention=345600
    )
    for body in ("noise", '{"events": 5}', '{"events": []}'):
        desk.parts.queues.send(url, body)
    desk.parts.store.put(gate, b"")
    assert ears.end().state is JobState.SUCCEEDED
    assert ears.numbers == [1]


@pytest.mark.parametrize(
    ("outcome", "state", "error"),
    [
        ("error", JobState.FAILED, {"exception_message": "node 1 broke\n", "node_id": "1"}),
        ("invalid", JobState.FAILED, {"message": "Prompt outputs failed validation"}),
        ("failed", JobState.FAILED, {"code": "runner_crashed", "message": "out of memory"}),
        ("interrupted", JobState.CANCELLED, {}),
    ],
)
def test_what_a_result_makes_of_a_job(desk, outcome, state, error):
    job_id, _, end = desk.run(ending(1, outcome, error=error))
    assert (end.state, end.error, end.result.outcome.value) == (state, error, outcome)
    message = error.get("exception_message") or error.get("message") or ""
    assert desk.ledger.get(job_id).message == message.strip()


def test_sagemaker_gives_up(desk):
    job_id, _, end = desk.run([comfy(1), {"do": "refuse", "message": "no room"}])
    assert (end.state, end.result) == (JobState.FAILED, None)
    assert "SageMaker gave up on the job" in end.error["message"]
    assert "no room" in end.error["message"]
    assert "Another machine was lost" in end.error["hint"]
    assert desk.ledger.get(job_id).facts.tries == 2


STOPPED = {"outcome": "failed", "error": {"code": "worker_stopped", "message": "shut down"}}


@pytest.mark.parametrize(
    "loss", [[{"do": "refuse", "message": "died", "try": 1}],
             [{"try": 1, **step} for step in ending(4, **STOPPED)]],
)  # fmt: skip
def test_a_machine_is_lost_under_a_job(desk, loss):
    gate = f"jobs/gates/{uuid.uuid4().hex}"
    more = [{"do": "await", "key": gate}, {**comfy(7), "late": True},
            comfy(1, "execution_start"), comfy(2), comfy(3, "execution_success"),
            *ending(4)]  # fmt: skip
    script = [
        *({**comfy(seq), "try": 1} for seq in (1, 2, 3)), *loss,
        *({"try": 2, **step} for step in more),
    ]  # fmt: skip
    job_id, ears = desk.start(script)
    eventually(lambda: desk.ledger.get(job_id).facts.tries == 2, "it is given to another machine")
    time.sleep(1)  # in which the bucket is asked some times
    desk.parts.store.put(gate, b"")
    end = ears.end()
    assert (end.state, end.error, end.lost) == (JobState.SUCCEEDED, {}, False)
    again = 1_000_000
    assert ears.numbers == [1, 2, 3, again + 1, again + 2, again + 3]
    states = [view.job.state.value for view in ears.views]
    states = [state for at, state in enumerate(states) if state != states[at - 1]]
    assert states == ["preparing", "submitted", "running", "submitted", "running", "succeeded"]
    phases = [view.phase["message"] for view in ears.views if view.phase]
    assert "The machine was lost; waiting for another" in phases
    facts = desk.ledger.get(job_id).facts
    assert facts.tries == 2
    assert {"queued", "requeued", "run"} <= facts.timings.keys()
    assert facts.seconds > 90.0, "the lost machine costs, too"


def test_a_machine_is_lost_before_a_word_of_it(desk):
    script = [{"do": "refuse", "message": "shut down", "try": 1}, comfy(1), *ending(2)]
    job_id, ears, end = desk.run(script)
    assert (end.state, end.error) == (JobState.SUCCEEDED, {})
    assert ears.numbers == [1_000_001]
    assert desk.ledger.get(job_id).facts.tries == 2


def test_what_was_sent_is_called_back_where_the_job_ends_here(desk):
    job_id = uuid.uuid4().hex
    desk.parts.wire.refuses = lambda method, key: key == layout.request_key(job_id)
    cancel_key = layout.cancel_key(job_id)
    _, _, end = desk.run([{"do": "await", "key": cancel_key}, *ending(1)], job_id=job_id)
    assert (end.state, end.error["code"]) == (JobState.FAILED, "aws_denied")
    assert desk.parts.store.head(cancel_key)
    eventually(lambda: desk.parts.store.head(layout.result_key(job_id)), "the worker is told")


MINUTE_AND_A_HALF = PRICES.of("ml.g5.xlarge").price * 90 / 3600


@pytest.mark.parametrize(
    ("limit", "after", "left"),
    [(None, LONGEST / 2, LONGEST), (None, LONGEST, 0),
     (MINUTE_AND_A_HALF, 20, 70), (MINUTE_AND_A_HALF, 50, 0),
     (60 * MINUTE_AND_A_HALF, LONGEST - 100, 1900)],
)  # fmt: skip
def test_a_job_is_tried_again_in_the_time_that_is_left(desk, limit, after, left):
    """One that has had its time was not lost, and a limit holds for both tries together."""
    desk.close()
    late = [0.0]
    desk.wishes["clock"] = lambda: time.time() + late[0]
    desk.wishes["limits"] = Limits(Costs(PRICES), lambda since: [], job=limit)
    desk.open()
    gate = f"jobs/gates/{uuid.uuid4().hex}"
    gone = [{"do": "await", "key": gate}, {"do": "refuse", "message": "gone"}]
    script = [comfy(1), *({"try": 1, **step} for step in gone), *ending(2)]
    job_id, ears = desk.start(script)
    desk.wait_state(job_id, JobState.RUNNING)
    late[0] = after
    desk.parts.store.put(gate, b"")
    end = ears.end()
    if not left:
        assert "gone" in end.error["message"]
        assert desk.ledger.get(job_id).facts.tries == 1
        return
    assert end.state is JobState.SUCCEEDED
    assert left - LIMIT <= desk.jobs.request(job_id).seconds <= left


def test_a_lost_job_that_was_cancelled_is_not_tried_again(desk):
    gate = f"jobs/gates/{uuid.uuid4().hex}"
    script = [comfy(1), {"do": "await", "key": gate}, {"do": "refuse", "message": "died"}]
    job_id, ears = desk.start(script)
    desk.wait_state(job_id, JobState.RUNNING)
    desk.jobs.cancel(job_id)
    desk.parts.store.put(gate, b"")
    ears.end()
    assert desk.ledger.get(job_id).facts.tries == 1


def test_a_damaged_result(desk):
    job_id = uuid.uuid4().hex
    gate = layout.result_key(job_id)
    _, ears = desk.start([comfy(1), {"do": "await", "key": gate}], job_id=job_id)
    desk.wait_state(job_id, JobState.RUNNING)
    desk.parts.store.put(gate, b'{"job_id": "x", "outcome": "won"}')
    assert ears.end().state is JobState.FAILED
    assert ears.end().error["code"] == "invalid_document"


# -- what is sent ------------------------------------------------------------------------------


def test_what_the_request_holds(desk):
    desk.parts.catalog.model("sub/a.safetensors", b"model")
    prompt = {**TEXT, "2": model_node("sub\\a.safetensors"),  # as ComfyUI on Windows names it
              "3": {"class_type": "Save", "inputs": {"x": ["2", 0], "list": ["a", "b", "c"]}},
              "4": {"class_type": "Save", "inputs": {}}}  # fmt: skip
    secrets = {"auth_token_comfy_org": "secret", "api_key_comfy_org": "secret"}
    extra = {**secrets, "aws": {}, "client_id": "tab", "script": ending(1), "extra_pnginfo": {}}
    job_id, _, end = desk.run([], prompt=prompt, outputs=("3",), extra_data=extra)
    assert end.state is JobState.SUCCEEDED
    body = desk.parts.store.get(layout.request_key(job_id)).decode()
    request = json.loads(body)
    assert "secret" not in body
    assert set(request["extra_data"]) == {"script", "extra_pnginfo"}
    assert (set(request["prompt"]), request["outputs"]) == ({"2", "3"}, ["3"])
    assert request["prompt"]["3"]["inputs"]["list"] == {"__value__": ["a", "b", "c"]}
    [model] = request["manifest"]["models"]
    assert request["prompt"]["2"]["inputs"]["name"] == model["name"] == "sub/a.safetensors"
    assert desk.parts.store.get(layout.blob_key(model["blob"]["digest"])) == b"model"


def test_a_large_request_goes_through_the_bucket(desk):
    text = base64.b64encode(os.urandom(INLINE_BODY)).decode()
    prompt = {"1": {"class_type": "Text", "inputs": {"text": text}}}
    _, _, end = desk.run(ending(1), prompt=prompt)
    assert end.result.outputs["prompt"] == prompt


def test_many_jobs_at_once(desk):
    for number in range(8):
        desk.parts.catalog.model(f"{number % 2}.safetensors", bytes([number % 2]) * 1000)
    desk.parts.catalog.pack(__init__="x = 1")
    started = [
        desk.start(
            [comfy(1), *ending(2)],
            prompt={"1": model_node(f"{number % 2}.safetensors"),
                    "2": {"class_type": "PackNode", "inputs": {"number": number}}},
        )
        for number in range(8)
    ]  # fmt: skip
    for number, (_, ears) in enumerate(started):
        end = ears.end()
        assert end.state is JobState.SUCCEEDED, end
        assert end.result.outputs["prompt"]["2"]["inputs"]["number"] == number
    sent = desk.parts.wire.puts("blobs/")
    assert len(sent) == len(set(sent)) == 3


def test_the_same_id_twice(desk):
    gate = "jobs/gates/twice"
    job_id, ears = desk.start([{"do": "await", "key": gate}, *ending(1)])
    with pytest.raises(Conflict, match=f"A job {job_id} is under way already"):
        desk.start([], job_id=job_id)
    desk.parts.store.put(gate, b"")
    assert ears.end().state is JobState.SUCCEEDED
    until = time.monotonic() + LIMIT
    while desk.jobs.is_live(job_id):
        assert time.monotonic() < until
        time.sleep(0.01)
    desk.jobs.start(Order(job_id, TEXT, template="Gone"), Ears())


def test_an_id_that_is_used_again_gets_no_answer_of_before(desk):
    store, gate = desk.parts.store, "jobs/gates/again"
    job_id, _, end = desk.run(ending(1))
    assert end.result.outputs == {"prompt": TEXT}
    eventually(lambda: not desk.jobs.is_live(job_id), "it is over")
    store.put(layout.cancel_key(job_id), b"")
    other = {"2": {"class_type": "Text", "inputs": {"text": "again"}}}
    script = [{"do": "await", "key": gate}, *ending(1)]
    _, ears = desk.start(script, job_id=job_id, prompt=other)
    desk.wait_state(job_id, JobState.SUBMITTED)
    time.sleep(1)  # in which the bucket is asked some times
    assert ears.ends == []
    assert store.head(layout.cancel_key(job_id)) is None
    store.put(gate, b"")
    assert ears.end().result.outputs == {"prompt": other}


def test_an_unknown_template(desk):
    job_id, _, end = desk.run([], template="Gone")
    assert (end.state, end.error["code"]) == (JobState.FAILED, "not_found")
    assert "no template named Gone" in desk.ledger.get(job_id).message
    assert desk.parts.keys("jobs/") == []


def test_what_nobody_has(desk):
    _, _, end = desk.run([], prompt={"7": model_node("gone.safetensors")})
    assert end.error["code"] == "unresolved"
    assert set(end.error["node_errors"]) == {"7"}
    assert desk.parts.keys("jobs/") == []


@pytest.mark.parametrize("job_id", ["", "../x", "a/b", "x" * 65])
def test_an_id_that_cannot_be_one(desk, job_id):
    from comfy_aws.errors import InvalidName

    with pytest.raises(InvalidName):
        desk.start([], job_id=job_id)
    assert desk.jobs.views() == []


# -- cancel ------------------------------------------------------------------------------------


def test_cancel_while_preparing(desk):
    ears = Ears()
    job_id = uuid.uuid4().hex
    once = iter([True])

    def cancel(view: JobView) -> None:
        if next(once, False):
            desk.jobs.cancel(job_id)

    ears.before_change = cancel
    _, ears = desk.start(ending(1), ears, job_id=job_id)
    assert ears.end() == JobEnd(JobState.CANCELLED)
    assert desk.ledger.get(job_id).state is JobState.CANCELLED
    assert desk.parts.keys("jobs/") == []


def test_cancel_at_the_moment_of_sending(desk):
    """The job is on its way when the cancel comes: it must be called back."""
    job_id = uuid.uuid4().hex
    client = desk.parts.session.client("sagemaker-runtime")
    cancel_key = layout.cancel_key(job_id)

    def before_send(**_) -> None:
        desk.jobs.cancel(job_id)

    client.meta.events.register_first("before-send.sagemaker-runtime", before_send)
    _, ears = desk.start([{"do": "await", "key": cancel_key}, *ending(1)], job_id=job_id)
    assert ears.end().state is JobState.CANCELLED
    client.meta.events.unregister("before-send.sagemaker-runtime", before_send)
    until = time.monotonic() + LIMIT
    while desk.parts.store.head(layout.result_key(job_id)) is None:
        assert time.monotonic() < until, "the worker was not told"
        time.sleep(0.05)


def test_cancel_while_waiting_for_a_machine(desk):
    gate = "jobs/gates/busy"
    busy = [desk.start([comfy(1), {"do": "await", "key": gate}, *ending(2)]) for _ in range(2)]
    for job_id, _ in busy:
        desk.wait_state(job_id, JobState.RUNNING)
    job_id, ears = desk.start([{"do": "await", "key": "jobs/gates/never"}])
    desk.wait_state(job_id, JobState.SUBMITTED)
    desk.jobs.cancel(job_id)
    assert ears.end() == JobEnd(JobState.CANCELLED)
    until = time.monotonic() + LIMIT
    while desk.parts.store.head(layout.cancel_key(job_id)) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    desk.parts.store.put("jobs/gates/never", b"")
    desk.parts.store.put(gate, b"")
    assert {ears.end().state for _, ears in busy} == {JobState.SUCCEEDED}


def test_cancel_while_running(desk):
    job_id = uuid.uuid4().hex
    script = [comfy(1), {"do": "await", "key": layout.cancel_key(job_id)},
              *ending(2, "interrupted")]  # fmt: skip
    _, ears = desk.start(script, job_id=job_id)
    desk.wait_state(job_id, JobState.RUNNING)
    desk.jobs.cancel(job_id)
    desk.jobs.cancel(job_id)
    end = ears.end()
    assert (end.state, end.result.outcome) == (JobState.CANCELLED, Outcome.INTERRUPTED)


def test_cancel_comes_too_late(desk):
    job_id, _, _ = desk.run(ending(1))
    assert desk.jobs.cancel(job_id).state is JobState.SUCCEEDED
    assert desk.parts.store.head(layout.cancel_key(job_id)) is None
    with pytest.raises(NotFound, match="no job gone"):
        desk.jobs.cancel("gone")


# -- restart and loss --------------------------------------------------------------------------


def test_a_restart_takes_up_what_was_under_way(desk):
    gate = "jobs/gates/restart"
    script = [comfy(1, "execution_start"), {"do": "await", "key": gate}, comfy(2), *ending(3)]
    job_id, ears = desk.start(script, client_id="tab")
    desk.wait_state(job_id, JobState.RUNNING)
    desk.close()
    assert ears.let_go.is_set()
    assert ears.ends == []
    desk.open()
    desk.ledger.add(Job("unsent", "", JobState.PREPARING, 1.0, 1.0))
    desk.ledger.add(Job("lost", desk.endpoint, JobState.SUBMITTED, 1.0, 1.0))
    again = Ears()
    resumed = []

    def listen(job: Job, request) -> Ears:
        resumed.append((job.id, job.client_id, request.prompt))
        return again

    desk.jobs.resume(listen)
    desk.jobs.resume(listen)
    assert resumed == [(job_id, "tab", TEXT)]
    assert desk.jobs.view(job_id).nodes_total == 1
    desk.parts.store.put(gate, b"")
    assert again.end().state is JobState.SUCCEEDED
    assert 2 in again.numbers
    for name, text in (("unsent", "before the job was sent"), ("lost", "request.json")):
        job = desk.ledger.get(name)
        assert job.state is JobState.FAILED
        assert text in job.message


def test_a_close_while_preparing_leaves_the_job_to_the_next_start(desk):
    ears = Ears()
    inside, go_on = threading.Event(), threading.Event()

    def hold(view: JobView) -> None:
        inside.set()
        assert go_on.wait(LIMIT)

    ears.before_change = hold
    job_id, _ = desk.start(ending(1), ears)
    assert inside.wait(LIMIT)
    closer = threading.Thread(target=desk.close)
    closer.start()
    go_on.set()
    closer.join()
    assert ears.let_go.wait(LIMIT)
    assert ears.ends == []
    desk.open()
    assert desk.ledger.get(job_id).state is JobState.PREPARING
    desk.jobs.resume(lambda job, request: Ears())
    assert desk.ledger.get(job_id).state is JobState.FAILED
    assert desk.parts.keys("jobs/") == []


def test_a_job_ends_though_its_end_cannot_be_recorded(desk):
    gate = "jobs/gates/record"
    job_id, ears = desk.start([comfy(1), {"do": "await", "key": gate}, *ending(2)])
    desk.wait_state(job_id, JobState.RUNNING)
    desk.ledger.move(job_id, JobState.FAILED, at=1.0)  # which no step leads on from
    desk.parts.store.put(gate, b"")
    assert ears.end().state is JobState.SUCCEEDED
    eventually(lambda: not desk.jobs.is_live(job_id), "it is out of the service's hands")
    assert ears.views[-1].job.state is JobState.SUCCEEDED


def test_a_result_that_does_not_come_home_fails_the_job(desk):
    """What the ledger says is what the canvas shows."""
    ears = Ears()
    error = {"code": "aws", "message": "The picture cannot be written."}
    ears.arriving = lambda end: JobEnd(JobState.FAILED, end.result, error)
    job_id, _ = desk.start(ending(1), ears)
    assert ears.end().error == error
    job = desk.ledger.get(job_id)
    assert (job.state, job.message) == (JobState.FAILED, "The picture cannot be written.")

    def mistaken(end: JobEnd) -> JobEnd:
        raise RuntimeError("a mistake of ours")

    ears = Ears()
    ears.arriving = mistaken
    job_id, _ = desk.start(ending(1), ears)
    assert "a mistake of ours" in ears.end().error["message"]
    assert desk.ledger.get(job_id).state is JobState.FAILED


def test_a_close_while_results_come_home_leaves_the_job_to_the_next_start(desk):
    ears = Ears()
    inside, go_on = threading.Event(), threading.Event()

    def hold(end: JobEnd) -> JobEnd:
        inside.set()
        assert go_on.wait(LIMIT)
        return end

    ears.arriving = hold
    job_id, _ = desk.start(ending(1), ears)
    assert inside.wait(LIMIT)
    closer = threading.Thread(target=desk.close)
    closer.start()
    eventually(desk.jobs._closed.is_set, "it closes")
    go_on.set()
    closer.join()
    assert ears.let_go.wait(LIMIT)
    assert ears.ends == []
    desk.open()
    again = Ears()
    desk.jobs.resume(lambda job, request: again)
    assert again.end().state is JobState.SUCCEEDED
    assert desk.ledger.get(job_id).state is JobState.SUCCEEDED


def test_what_cannot_be_taken_up_at_the_start_is_later(desk):
    gate = "jobs/gates/later"
    started = [
        desk.start([comfy(1), {"do": "await", "key": gate}, *ending(2)])[0] for _ in range(2)
    ]
    for job_id in started:
        desk.wait_state(job_id, JobState.RUNNING)
    desk.close()
    desk.wishes["resume_every"] = 0.1
    desk.open()
    out_of_reach, tries = [True], []

    def refuse(**_) -> None:
        if out_of_reach[0]:
            tries.append(1)
            raise AwsUnreachable("The network is not up yet.")

    events = desk.parts.session.client("s3").meta.events
    events.register("provide-client-params.s3.GetObject", refuse)
    ears = {job_id: Ears() for job_id in started}
    desk.jobs.resume(lambda job, request: ears[job.id])
    eventually(lambda: len(tries) > 4, "it is tried again")
    assert not any(map(desk.jobs.is_live, started))
    desk.jobs.cancel(started[0])
    out_of_reach[0] = False
    for job_id in started:
        eventually(lambda job_id=job_id: desk.jobs.is_live(job_id), "it is taken up")
    events.unregister("provide-client-params.s3.GetObject", refuse)
    cancelled = layout.cancel_key(started[0])
    eventually(lambda: desk.parts.store.head(cancelled), "the worker is told of the cancel")
    desk.parts.store.put(gate, b"")
    assert {each.end().state for each in ears.values()} == {JobState.SUCCEEDED}


def test_looks_that_fail_now_and_then_end_no_job_that_is_heard_of(parts, endpoint, tmp_path):
    """Two short outages with a job that talks between are not one long one."""
    desk = Desk(parts, endpoint, tmp_path / "outages", silence=1.0, lost_after=0.5)
    gates = [f"jobs/gates/outage-{number}" for number in range(3)]
    script = [step for number, gate in enumerate(gates)
              for step in (comfy(number + 1), {"do": "await", "key": gate})]  # fmt: skip
    _, ears = desk.start([*script, *ending(4)])
    out_of_reach, tries = [False], []

    def refuse(**_) -> None:
        if out_of_reach[0]:
            tries.append(1)
            out_of_reach[0] = False
            raise AwsUnreachable("The line is cut.")

    events = parts.session.client("s3").meta.events
    events.register("provide-client-params.s3.GetObject", refuse)
    for number, gate in enumerate(gates[:2]):
        eventually(lambda number=number: ears.numbers == [*range(1, number + 2)], "it talks")
        out_of_reach[0] = True
        eventually(lambda number=number: len(tries) == number + 1, "a look fails")
        parts.store.put(gate, b"")
    events.unregister("provide-client-params.s3.GetObject", refuse)
    parts.store.put(gates[2], b"")
    assert ears.end().state is JobState.SUCCEEDED
    desk.close()


def test_nothing_is_left_running(desk):
    desk.run(ending(1))
    desk.close()
    until = time.monotonic() + LIMIT
    while alive := {each.name for each in threading.enumerate() if each.name.startswith("aws-")}:
        assert time.monotonic() < until, alive
        time.sleep(0.02)
    desk.open()


def test_aws_is_lost_in_the_middle_of_a_job(tmp_path):
    with running_stack(tmp_path / "stack") as state:
        parts = Parts(state, tmp_path / "designer")
        endpoints = endpoints_of(parts)
        endpoints.create(EndpointSpec("lost", min_instances=1))
        endpoints.wait("lost", every=0.1)
        desk = Desk(parts, "lost", tmp_path / "desk", silence=0.2, lost_after=0.5)
        _, ears = desk.start([comfy(1), {"do": "await", "key": "jobs/gates/never"}])
        until = time.monotonic() + LIMIT
        while not ears.numbers:
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(state.pid, signal.SIGKILL)
        end = ears.end()
        assert end.state is JobState.FAILED
        assert end.error["code"] == "aws_unreachable"
        assert end.error["message"].startswith("The connection to the job is lost.")
        _, refused, end = desk.run([])
        assert end.error["code"] == "aws_unreachable"
        assert refused.views[-1].job.state is JobState.FAILED
        desk.close()
        parts.close()


# -- endpoints ---------------------------------------------------------------------------------


def test_an_endpoint_that_failed(parts, tmp_path):
    endpoints = endpoints_of(parts, [sys.executable, "-c", "raise SystemExit(3)"])
    endpoints.create(EndpointSpec("broken"))
    with pytest.raises(EndpointUnusable, match="broken is Failed: ") as caught:
        endpoints.wait("broken", every=0.1)
    assert "Delete it" in caught.value.hint
    desk = Desk(parts, "broken", tmp_path / "desk")
    _, _, end = desk.run([])
    assert (end.state, end.error["code"]) == (JobState.FAILED, "endpoint_unusable")
    assert "broken is Failed" in end.error["message"]
    desk.close()
    endpoints.delete("broken")
    until = time.monotonic() + LIMIT
    while [each for each in endpoints.list() if each.name == "broken"]:
        assert time.monotonic() < until
    with pytest.raises(EndpointUnusable, match="no endpoint named broken"):
        endpoints.usable("broken")


def test_an_endpoint_that_is_not_there(desk):
    job_id, _, end = desk.run([], endpoint="nowhere")
    assert end.error["code"] == "endpoint_unusable"
    assert "no endpoint named nowhere" in desk.ledger.get(job_id).message


def test_leftovers_of_a_broken_attempt_are_replaced(parts):
    from comfy_aws.endpoint_plan import plan_create

    endpoints = endpoints_of(parts)
    spec = EndpointSpec("leftover")
    image = WorkerImage(parts.state.image_uri, parts.state.role_arn, {"OLD": "1"})
    for step in plan_create(spec, image, parts.access.bucket)[:2]:
        parts.sagemaker.call(step.operation, step.request)
    endpoints.create(spec)
    model = parts.sagemaker.call("describe_model", {"ModelName": "leftover"})
    assert "OLD" not in model["PrimaryContainer"]["Environment"]
    endpoints.wait("leftover", every=0.1)
    assert [each.name for each in endpoints.list() if each.name == "leftover"] == ["leftover"]
    endpoints.delete("leftover")


def test_a_job_says_what_it_used_and_is_priced_by_it(parts, desk):
    job_id, _, end = desk.run(ending(1))
    assert end.result is not None
    usage = end.result.usage
    assert (usage.endpoint, usage.instance_type) == (desk.endpoint, "ml.g5.xlarge")
    [job] = [each for each in stored_jobs(parts.store) if each.id == job_id]
    [cost] = Costs(PRICES).by("job", [job])
    assert cost.usd == pytest.approx(job.seconds / 3600 * PRICES.of("ml.g5.xlarge").price)


def test_what_a_job_took_cost_and_failed_of_is_kept(desk):
    picture = base64.b64encode(b"picture").decode()
    preview = {"metadata": {}, "image": picture, "format": "PNG"}
    error = {"node_id": "1", "exception_type": "torch.OutOfMemoryError", "exception_message": "!"}
    gate = "jobs/gates/facts"
    script = [{"do": "event", "seq": 1, "kind": "phase", "data": {"phase": "restore"}},
              comfy(2, "execution_start"),
              {"do": "event", "seq": 3, "kind": "preview", "data": preview},
              {"do": "await", "key": gate}, *ending(4, "error", error=error)]  # fmt: skip
    job_id, ears = desk.start(script, template="")
    until = time.monotonic() + LIMIT
    while not desk.jobs.view(job_id).previews:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert desk.jobs.preview(job_id) == (b"picture", "image/png")
    kept = (SavedFile("1", "cat_00001_.png", "", "output"),)
    desk.jobs.keep_files(job_id, kept)
    desk.parts.store.put(gate, b"")
    ears.end()
    desk.close()
    desk.open()  # what is kept outlives the process
    view = desk.jobs.view(job_id)
    facts = view.job.facts
    assert (facts.seconds, facts.instance_type, facts.files) == (90.0, "ml.g5.xlarge", kept)
    assert {"queued", "restore", "run"} <= facts.timings.keys()
    assert view.job.created <= facts.started <= view.job.updated
    assert (facts.error.kind, facts.error.node_title, facts.error.larger) == (
        "gpu_memory", "Text", "ml.g6e.xlarge")  # fmt: skip
    assert view.cost == pytest.approx(90 / 3600 * PRICES.of("ml.g5.xlarge").price)
    assert desk.jobs.views() == [view]
    assert desk.jobs.preview(job_id) is None
    request = desk.jobs.request(job_id)
    assert (request.prompt, request.extra_data["script"]) == (TEXT, script)
    with pytest.raises(NotFound):
        desk.jobs.request("nobody")


def test_a_month_that_has_cost_its_limit_takes_no_new_job(parts, desk):
    desk.run(ending(1))
    before = len(list(parts.store.list(layout.JOBS)))
    known: dict = {}
    desk.close()
    desk.wishes["limits"] = Limits(
        Costs(PRICES), lambda since: stored_jobs(parts.store, since=since, known=known), month=1e-9
    )
    desk.open()
    _, _, end = desk.run(ending(1))
    assert end.state is JobState.FAILED
    assert end.error["code"] == "cost_limit"
    assert "The jobs of this month have cost" in end.error["message"]
    assert len(list(parts.store.list(layout.JOBS))) == before


def test_an_endpoint_gets_other_limits_wakes_and_goes_to_sleep(parts, endpoint):
    endpoints = endpoints_of(parts)
    changed = endpoints.change(endpoint, min_instances=0, idle_seconds=900)
    assert (changed.min_instances, changed.max_instances, changed.idle_seconds) == (0, 2, 900)
    again = endpoints_of(parts).get(endpoint)  # as another machine sees it
    assert (again.min_instances, again.idle_seconds) == (0, 900)
    with pytest.raises(ConfigError, match="min not above max"):
        endpoints.change(endpoint, min_instances=3)
    with pytest.raises(EndpointUnusable, match="no endpoint named nowhere"):
        endpoints.wake("nowhere")

    def settles(count: int) -> None:
        until = time.monotonic() + LIMIT
        while (endpoints.get(endpoint).instances, endpoints.get(endpoint).status) != (
            count, EndpointStatus.IN_SERVICE
        ):  # fmt: skip
            assert time.monotonic() < until
            time.sleep(0.05)

    until = time.monotonic() + LIMIT
    while endpoints.get(endpoint, queue=True).backlog != 0:  # CloudWatch is told now and then
        assert time.monotonic() < until
        time.sleep(0.1)
    own = [1]  # sent a moment ago, so CloudWatch does not tell of it yet
    endpoints.own_jobs = lambda _: own.pop()
    with pytest.raises(EndpointUnusable, match="1 jobs wait or run"):
        endpoints.sleep(endpoint)
    own = [0]
    endpoints.sleep(endpoint)
    settles(0)
    endpoints.wake(endpoint)
    settles(1)
    elsewhere = endpoints_of(parts)
    elsewhere.change(endpoint, min_instances=1)
    with pytest.raises(ConfigError, match="always keeps 1 instances"):
        endpoints.sleep(endpoint)
    elsewhere.change(endpoint, max_instances=4)
    assert endpoints.change(endpoint, idle_seconds=1200).max_instances == 4
