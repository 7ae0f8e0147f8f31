"""Webhooks against a real receiver on loopback: signed, tried again, bounded, over restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from comfy_aws import webhooks
from comfy_aws.errors import AwsUnreachable, InvalidWebhook, NotFound
from comfy_aws.web import Web
from comfy_aws.webhook_messages import Webhook, key_of
from comfy_aws.webhooks import GIVE_UP, UNKNOWN, Webhooks
from tests.support.receiver import LIMIT, SECRET, listening

DONE = {"id": "job", "state": "succeeded", "updated": 1_700_000_000.0, "outputs": []}


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Desk:
    """A record and whoever sends from it; `jobs` are the reports of ended jobs."""

    def __init__(self, path) -> None:
        self.path = path
        self.jobs = {"job": DONE}
        self.clock = Clock()

    def report(self, job_id):
        found = self.jobs.get(job_id)
        if isinstance(found, Exception):
            raise found
        if job_id not in self.jobs:
            raise NotFound(f"There is no job {job_id}.")
        return found

    @contextmanager
    def open(self, delays=(0.01,) * 7, *, private=True):
        made = Webhooks(
            self.path, Web(private=private, setting="COMFY_AWS_WEBHOOK_PRIVATE", timeout=5),
            self.report, delays=delays, clock=self.clock,
        )  # fmt: skip
        try:
            yield made
        finally:
            made.close()

    def wait(self, hooks, state, job_id="job"):
        until = time.monotonic() + LIMIT
        while (told := hooks.of(job_id))["state"] != state:
            assert time.monotonic() < until, told
            time.sleep(0.01)
        return told

    def secrets(self):
        with closing(sqlite3.connect(self.path)) as database:
            return [row[0] for row in database.execute("SELECT secret FROM webhooks")]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "webhooks.sqlite")


def test_a_message_is_signed_and_sent_again_until_it_is_heard(desk):
    with listening(500, 429) as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url, SECRET))
        hooks.look()
        told = desk.wait(hooks, "delivered")
    assert (told["attempts"], told["error"], told["next"]) == (3, "", None)
    assert len(receiver.heard) == 3
    assert len({each.headers["webhook-id"] for each in receiver.heard}) == 1
    for heard in receiver.heard:
        assert heard.is_signed_by(SECRET)
        assert heard.headers["content-type"] == "application/json"
        assert heard.content == {
            "type": "job.succeeded", "timestamp": "2023-11-14T22:13:20Z", "data": DONE,
        }  # fmt: skip
    assert desk.secrets() == [""]


def test_a_secret_of_another_or_a_changed_body_does_not_verify(desk):
    with listening() as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url, SECRET))
        hooks.look()
        [heard] = receiver.wait(1)
    other = "whsec_" + "A" * 43 + "="
    assert not heard.is_signed_by(other)
    forged = type(heard)(heard.headers, heard.body.replace(b"succeeded", b"cancelled"))
    assert not forged.is_signed_by(SECRET)
    older = {**heard.headers, "webhook-timestamp": str(int(time.time()) - 400)}
    assert not type(heard)(older, heard.body).is_signed_by(SECRET)


def test_without_a_secret_nothing_is_signed(desk):
    with listening() as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url))
        hooks.look()
        [heard] = receiver.wait(1)
    assert "webhook-signature" not in heard.headers
    assert heard.headers["webhook-id"].startswith("msg_")


def test_a_job_that_has_not_ended_is_waited_for(desk):
    desk.jobs["job"] = None
    with listening() as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url))
        for _ in range(3):
            hooks.look()
            time.sleep(0.02)
        assert hooks.of("job")["state"] == "waiting"
        assert receiver.heard == []
        desk.jobs["job"] = DONE
        hooks.look()
        desk.wait(hooks, "delivered")


def test_a_restart_goes_on_where_it_stopped(desk):
    with listening(500) as receiver:
        with desk.open(delays=(3600.0,)) as hooks:
            hooks.add("job", Webhook(receiver.url, SECRET))
            hooks.look()
            told = desk.wait(hooks, "pending")
            assert told["error"] == "The receiver answered 500."
            assert told["next"] > time.time() + 3000
            hooks.add("later", Webhook(receiver.url, SECRET))
        assert webhooks.has_open(desk.path)
        desk.clock.ahead = 3700.0
        desk.jobs["later"] = {**DONE, "id": "later", "state": "failed"}
        with desk.open() as hooks:  # nobody says that a job has ended
            desk.wait(hooks, "delivered")
            desk.wait(hooks, "delivered", "later")
        first, second, third = receiver.heard
    assert first.headers["webhook-id"] in {each.headers["webhook-id"] for each in (second, third)}
    assert {second.content["type"], third.content["type"]} == {"job.succeeded", "job.failed"}
    assert not webhooks.has_open(desk.path)
    assert desk.path.stat().st_mode & 0o077 == 0


def test_tries_are_bounded_by_number(desk):
    with listening(*[503] * 9) as receiver, desk.open(delays=(0.0, 0.0)) as hooks:
        hooks.add("job", Webhook(receiver.url, SECRET))
        hooks.look()
        told = desk.wait(hooks, "failed")
        assert (told["attempts"], told["error"]) == (3, "The receiver answered 503.")
        assert len(receiver.heard) == 3
    assert desk.secrets() == [""]
    assert len(webhooks.DELAYS) < 10
    assert sum(webhooks.DELAYS) < 3 * 3600


def test_tries_are_bounded_by_time(desk):
    with listening(500) as receiver:
        with desk.open(delays=(60.0,)) as hooks:
            hooks.add("job", Webhook(receiver.url))
            hooks.look()
            desk.wait(hooks, "pending")
        desk.clock.ahead = GIVE_UP + 60
        with desk.open() as hooks:
            assert "in time" in desk.wait(hooks, "failed")["error"]
        assert len(receiver.heard) == 1


def test_a_receiver_that_is_gone_hears_no_more(desk):
    with listening(410) as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url))
        hooks.look()
        assert desk.wait(hooks, "failed")["attempts"] == 1
        assert len(receiver.heard) == 1


def test_a_redirect_is_not_followed(desk):
    with listening(307) as receiver, desk.open(delays=()) as hooks:
        hooks.add("job", Webhook(receiver.url))
        hooks.look()
        assert desk.wait(hooks, "failed")["error"] == "The receiver answered 307."
        assert len(receiver.heard) == 1


def test_a_receiver_that_is_down_is_tried_again(desk):
    with listening() as receiver:
        url = receiver.url
    with desk.open(delays=(0.0,)) as hooks:
        hooks.add("job", Webhook(url))
        hooks.look()
        told = desk.wait(hooks, "failed")
    assert told["attempts"] == 2
    assert "The connection to 127.0.0.1 broke" in told["error"]


def test_a_slow_receiver_holds_up_no_other(desk):
    desk.jobs["other"] = {**DONE, "id": "other"}
    gate = threading.Event()
    with listening() as slow, listening() as quick, desk.open() as hooks:
        slow.gate = gate
        hooks.add("job", Webhook(slow.url))
        hooks.add("other", Webhook(quick.url))
        hooks.look()
        desk.wait(hooks, "delivered", "other")
        assert hooks.of("job")["state"] == "waiting"
        gate.set()
        desk.wait(hooks, "delivered")


def test_a_bucket_that_cannot_be_asked_is_asked_again(desk):
    desk.jobs["job"] = AwsUnreachable("AWS does not answer.")
    with listening() as receiver, desk.open(delays=(0.0, 3600.0)) as hooks:
        hooks.add("job", Webhook(receiver.url))
        hooks.look()
        until = time.monotonic() + LIMIT
        while hooks.of("job")["attempts"] < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert hooks.of("job")["error"] == "AWS does not answer."
        assert receiver.heard == []


def test_an_order_that_broke_off_is_forgotten(desk):
    with listening() as receiver:
        with desk.open() as hooks:
            hooks.add("never", Webhook(receiver.url))
            hooks.add("dropped", Webhook(receiver.url))
            hooks.drop("dropped")
            hooks.look()
            assert hooks.of("dropped") is None
            assert hooks.of("never")["state"] == "waiting"
        desk.clock.ahead = UNKNOWN + 1
        with desk.open() as hooks:
            assert "never started" in desk.wait(hooks, "failed", "never")["error"]
        assert receiver.heard == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/hook", "https URL"),
        ("https://127.0.0.1/hook", "private network"),
        ("https://localhost:8188/aws/settings", "private network"),
        ("https://10.1.2.3/hook", "private network"),
        ("https://[::1]/hook", "private network"),
        ("https://[::ffff:10.0.0.1]/hook", "private network"),
        ("https://169.254.169.254/latest/meta-data", "surroundings"),
        ("https://0.0.0.0/hook", "surroundings"),
        ("https://user:word@example.com/", "user's name or password"),
        ("file:///etc/passwd", "https URL"),
        ("hook", "https URL"),
    ],
)
def test_an_inner_address_is_refused(desk, url, says):
    with desk.open(private=False) as hooks, pytest.raises(InvalidWebhook, match=says) as caught:
        hooks.check(Webhook(url))
    if says == "private network":
        assert "COMFY_AWS_WEBHOOK_PRIVATE=1" in caught.value.hint


def test_an_address_is_looked_at_again_when_it_is_sent_to(desk):
    """A name may have changed its mind since the order."""
    with listening() as receiver, desk.open(delays=(), private=False) as hooks:
        hooks.add("job", Webhook(receiver.url))
        hooks.look()
        assert "private network" in desk.wait(hooks, "failed")["error"]
        assert receiver.heard == []


def test_metadata_is_refused_whatever_is_allowed(desk):
    with desk.open() as hooks:
        assert hooks.check(Webhook("http://127.0.0.1:9/hook")).url
        with pytest.raises(InvalidWebhook, match="surroundings"):
            hooks.check(Webhook("http://169.254.169.254/"))


@pytest.mark.parametrize(
    "secret", ["word", "whsec_", "whsec_c2hvcnQ=", "whsec_????", SECRET[6:], "whsec_" + "A" * 120]
)
def test_a_secret_is_of_the_standards_form(secret):
    with pytest.raises(InvalidWebhook, match="24 to 64 bytes"):
        key_of(secret)
    assert key_of(SECRET) == bytes(range(32))


def test_the_example_of_the_specification():
    """Its test vector: what its libraries sign, we sign the same."""
    from comfy_aws.webhook_messages import signed

    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )  # fmt: skip
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_messages_are_json_that_anybody_reads(desk):
    desk.jobs["job"] = {**DONE, "message": "ünï \ud83d\ude00"}
    with listening() as receiver, desk.open() as hooks:
        hooks.add("job", Webhook(receiver.url, SECRET))
        hooks.look()
        [heard] = receiver.wait(1)
    assert heard.body.isascii()
    assert json.loads(heard.body)["data"]["message"] == "ünï 😀"
