"""The API for programs on a real ComfyUI: runs by name, files by URL, webhooks over a restart."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
import requests
from PIL import Image

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.test_routes import call
from tests.pipeline import install as pipeline
from tests.support.receiver import SECRET, listening

RUN = "/aws/templates/{name}/run"
NAME = "Programs"


@pytest.fixture(scope="module", autouse=True)
def template(designer: ComfyUIProcess) -> None:
    body = {"name": NAME, "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(seed=31, steps=2)}  # fmt: skip
    publish = call(designer, "POST", "/aws/publishes", body)[1]["publish"]
    while publish["state"] == "running":
        publish = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])[1]["publish"]
    assert publish["state"] == "done", publish


def run(designer: ComfyUIProcess, *, name: str = NAME, **wishes: Any) -> tuple[int, Any]:
    return call(designer, "POST", RUN, wishes, name=name)


def test_a_run_by_name_is_waited_for_and_its_file_fetched(designer: ComfyUIProcess) -> None:
    """Models and packs come with the template; nothing of the run is put into this ComfyUI."""
    before = {path.name for path in (designer.base_dir / "output").iterdir()}
    values = {"KSampler.steps": "3", "7.seed": 2**63, "Positive.text": "an island"}
    status, answer = run(designer, parameters=values, wait=120)
    job = answer["job"]
    assert (status, job["state"], job["error"], job["webhook"]) == (200, "succeeded", None, None)
    assert (job["template"], job["client_id"]) == (NAME, "program")
    assert job["seconds"] > 0
    [output] = job["outputs"]
    assert (output["number"], output["node_id"], output["type"]) == (1, pipeline.SAVE_ID, "output")

    fetched = requests.get(output["url"], timeout=60)
    assert fetched.headers["Content-Type"] == "image/png"
    assert hashlib.sha256(fetched.content).hexdigest() == output["sha256"]
    graph = json.loads(Image.open(io.BytesIO(fetched.content)).info["prompt"])
    sampler = graph[pipeline.SAMPLER_ID]["inputs"]
    assert (sampler["steps"], sampler["seed"]) == (3, 2**63)
    assert graph[pipeline.CONDITIONING_ID]["inputs"]["text"] == "an island"

    forever = f"{designer.url}/aws/jobs/{job['id']}/outputs/"
    assert requests.get(f"{forever}1", timeout=60).content == fetched.content
    assert requests.get(f"{forever}2", timeout=60).status_code == 404
    assert requests.get(f"{forever}x", timeout=60).status_code == 400

    assert job["id"] not in requests.get(f"{designer.url}/history", timeout=60).json()
    assert {path.name for path in (designer.base_dir / "output").iterdir()} == before
    _, answer = call(designer, "GET", "/aws/jobs/{id}", id=job["id"])
    assert answer["job"]["outputs"][0]["sha256"] == output["sha256"]
    listed = call(designer, "GET", "/aws/jobs")[1]["jobs"]
    assert job["id"] in {each["id"] for each in listed}


def test_a_url_ends_when_it_is_told_to(designer: ComfyUIProcess) -> None:
    _, answer = run(designer, wait=120)
    path = f"{designer.url}/aws/jobs/{answer['job']['id']}"
    asked = requests.get(path, params={"expires": 60}, timeout=60).json()
    url = asked["job"]["outputs"][0]["url"]
    assert "X-Amz-Expires=60&" in url
    assert requests.get(url, timeout=60).status_code == 200
    assert requests.get(url.replace("Expires=60&", "Expires=61&"), timeout=60).status_code == 403
    for wrong in ({"expires": 59}, {"expires": 604801}, {"wait": "long"}, {"wait": "nan"}):
        refused = requests.get(path, params=wrong, timeout=60)
        assert refused.status_code == 400, wrong
        assert next(iter(wrong)) in refused.json()["error"]["message"]


def test_an_uploaded_image_goes_into_the_run(designer: ComfyUIProcess, bucket: ObjectStore) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    body = picture.getvalue()
    files = {"image": ("teal.png", body, "image/png")}
    sent = requests.post(f"{designer.url}/upload/image", files=files, timeout=60).json()
    _, answer = run(designer, parameters={"3.image": sent["name"]}, wait=120)
    job = answer["job"]
    assert job["state"] == "succeeded", job
    request = json.loads(bucket.get(layout.request_key(job["id"])))
    [item] = request["manifest"]["inputs"]
    assert (item["name"], item["blob"]["digest"]) == ("teal.png", hashlib.sha256(body).hexdigest())
    fetched = requests.get(job["outputs"][0]["url"], timeout=60).content
    assert Image.open(io.BytesIO(fetched)).size == (64, 64)


def test_parameters_that_may_be_set_are_listed(designer: ComfyUIProcess) -> None:
    path = f"{designer.url}/aws/templates/{NAME}/parameters"
    main, every = (
        {each["name"]: each for each in requests.get(
            path, params=params, timeout=60).json()["parameters"]}
        for params in ({}, {"all": "1"})
    )  # fmt: skip
    assert main.keys() < every.keys()
    assert every["9.filename_prefix"]["kind"] == "text"
    assert "euler" in every["7.sampler_name"]["choices"]


@pytest.mark.parametrize(
    ("wishes", "status", "says"),
    [
        ({"parameters": {"7.step": 3}}, 400, "no such parameter. Did you mean 7.steps?"),
        ({"parameters": {"7.steps": 0}}, 400, "7.steps: It is at least 1; got 0"),
        ({"parameters": {"7.steps": "few"}}, 400, "7.steps: It is a whole number; got 'few'"),
        ({"parameters": {"7.sampler_name": "no"}}, 400, "It is one of: euler"),
        ({"parameters": {"3.image": "nowhere.png"}}, 400, "There is no input file nowhere.png"),
        ({"parameters": {"3.image": "../user/default/x.json"}}, 400, "below the input"),
        # Other tests of this ComfyUI add models, so that more may be named.
        ({"parameters": {"1.unet_name": "gone.safetensors"}}, 400, "got 'gone.safetensors'"),
        ({"parameters": [1]}, 400, "parameters is a JSON object; got [1]"),
        ({"steps": 3}, 400, "'steps' is not known; a run takes parameters, version"),
        ({"version": 0}, 400, "version is 1 or more"),
        ({"version": True}, 400, "version is a whole number"),
        ({"version": 9}, 404, "has no version 9"),
        ({"name": "Nobody"}, 404, "no template named Nobody"),
        ({"endpoint": "nowhere"}, 409, "nowhere"),
        ({"wait": -1}, 400, "wait is a number of seconds"),
        ({"id": "a/b"}, 400, "letters, digits, dots"),
        ({"webhook": {"url": "ftp://example.com"}}, 400, "http or https"),
        ({"webhook": {"url": "http://169.254.169.254/latest"}}, 400, "surroundings"),
        ({"webhook": {"secret": "x"}}, 400, 'A webhook is {"url"'),
        ({"webhook": {"url": "http://127.0.0.1:9", "secret": "hunter2"}}, 400, "whsec_"),
        ({"webhook": {"url": "http://127.0.0.1:9", "secret": "whsec_c2hvcnQ="}}, 400, "24 to 64"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_is_refused_before_anything_is_sent(
    designer: ComfyUIProcess, wishes: dict[str, Any], status: int, says: str
) -> None:
    before = call(designer, "GET", "/aws/jobs")[1]["jobs"]
    got, answer = run(designer, **wishes)
    assert got == status, answer
    assert says in answer["error"]["message"]
    after = call(designer, "GET", "/aws/jobs")[1]["jobs"]
    assert [job["id"] for job in after] == [job["id"] for job in before]


def test_a_request_that_is_sent_twice_runs_once(designer: ComfyUIProcess) -> None:
    status, answer = run(designer, id="order-17")
    assert (status, answer["job"]["id"]) == (202, "order-17")
    assert run(designer, id="order-17")[0] == 409
    answer = requests.get(f"{designer.url}/aws/jobs/order-17?wait=120", timeout=180).json()
    assert answer["job"]["state"] == "succeeded"
    assert run(designer, id="order-17")[0] == 409


def test_a_webhook_is_told_over_failures_and_a_killed_comfyui(designer: ComfyUIProcess) -> None:
    with listening(500, 302) as receiver:
        webhook = {"url": receiver.url, "secret": SECRET}
        status, answer = run(designer, webhook=webhook, id="hooked")
        assert status == 202
        assert answer["job"]["webhook"]["state"] == "waiting"
        assert SECRET not in json.dumps(answer)
        receiver.wait(2)
        designer.kill()
        designer.start()
        designer.wait_ready()
        first, *_, last = receiver.wait(3)  # nothing has asked for the routes meanwhile
        assert first.is_signed_by(SECRET)
        assert last.is_signed_by(SECRET)
        assert not last.is_signed_by(SECRET[:-8] + "AAAAAAA=")
        assert last.headers["webhook-id"] == first.headers["webhook-id"]
        assert (last.content["type"], last.content["data"]["id"]) == ("job.succeeded", "hooked")
        [output] = last.content["data"]["outputs"]
        assert requests.get(output["url"], timeout=60).status_code == 200
        while (told := call(designer, "GET", "/aws/jobs/{id}", id="hooked")[1]["job"]["webhook"])[
            "state"
        ] != "delivered":
            assert told["state"] == "pending", told
    record = designer.base_dir / "user" / "comfy-aws" / "webhooks.sqlite"
    assert record.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(record)) as database:
        assert database.execute("SELECT DISTINCT secret FROM webhooks").fetchall() == [("",)]
