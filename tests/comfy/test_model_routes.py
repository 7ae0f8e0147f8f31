"""Models and logs by the routes of a real ComfyUI."""

from __future__ import annotations

import json
import time
from typing import Any

import requests

from tests.comfy.comfyui_process import ComfyUIProcess
from tests.comfy.conftest import ENDPOINT
from tests.comfy.test_routes import call
from tests.pipeline import install as pipeline
from tests.support.client import Client
from tests.support.fileserver import served

FOLDER = "diffusion_models"
TIMEOUT = 60.0


def safetensors(fill: int) -> bytes:
    header = json.dumps({"t": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([fill]) * 64


def ended(designer: ComfyUIProcess, transfer_id: str) -> dict[str, Any]:
    until = time.monotonic() + TIMEOUT
    while True:
        _, answer = call(designer, "GET", "/aws/models/transfers")
        [found] = [each for each in answer["transfers"] if each["id"] == transfer_id]
        if found["state"] not in ("waiting", "running"):
            return dict(found)
        assert time.monotonic() < until, found
        time.sleep(0.05)


def known(designer: ComfyUIProcess, name: str) -> dict[str, Any]:
    _, answer = call(designer, "GET", "/aws/models")
    assert answer["problem"] is None
    return next((model for model in answer["models"] if model["name"] == name), {})


def choices(designer: ComfyUIProcess) -> list[str]:
    info = requests.get(f"{designer.url}/object_info/UNETLoader", timeout=TIMEOUT).json()
    names: list[str] = info["UNETLoader"]["input"]["required"]["unet_name"][0]
    return names


def test_a_model_from_a_url_to_the_bucket_and_back(designer: ComfyUIProcess) -> None:
    name = "sub/fetched.safetensors"
    with served(safetensors(1)) as site:
        body = {"url": site.url, "folder": FOLDER, "name": name}
        status, answer = call(designer, "POST", "/aws/models/url", body)
        assert status == 202
        [transfer] = answer["transfers"]
        assert transfer["source"] == "127.0.0.1"
        assert ended(designer, transfer["id"])["state"] == "done"
        assert call(designer, "POST", "/aws/models/url", body)[0] == 409
        assert name in choices(designer), "the loaders do not offer it"
        _, answer = call(designer, "POST", "/aws/models/url", {**body, "name": "x.safetensors",
                                                               "sha256": "0" * 64})  # fmt: skip
        failed = ended(designer, answer["transfers"][0]["id"])
        assert (failed["state"], failed["error"]["code"]) == ("failed", "download")
    assert (known(designer, name)["here"], known(designer, name)["bucket"]) == (True, False)

    models = {"models": [{"folder": FOLDER, "name": name, "in_bucket": False}]}
    status, answer = call(designer, "POST", "/aws/models/push", models)
    assert status == 202
    assert ended(designer, answer["transfers"][0]["id"])["state"] == "done"
    assert known(designer, name)["bucket"] is True

    where = {"folder": FOLDER, "name": name}
    url = f"{designer.url}/aws/models"
    here, bucket = ({**where, "place": place} for place in ("here", "bucket"))
    assert requests.delete(url, params=here, timeout=TIMEOUT).status_code == 204
    assert requests.delete(url, params=here, timeout=TIMEOUT).status_code == 404
    assert known(designer, name)["here"] is False
    status, answer = call(designer, "POST", "/aws/models/pull", models)
    transfer = answer["transfers"][0]
    assert ended(designer, transfer["id"])["state"] == "done"
    path = "/aws/models/transfers/{id}"
    assert call(designer, "DELETE", path, id=transfer["id"])[0] == 200
    assert call(designer, "DELETE", path, id=transfer["id"])[0] == 404
    assert known(designer, name)["here"] is True
    for place in (bucket, here):
        assert requests.delete(url, params=place, timeout=TIMEOUT).status_code == 204
    assert known(designer, name) == {}
    assert name not in choices(designer)


def test_an_upload_is_written_as_it_comes(designer: ComfyUIProcess) -> None:
    url, name = f"{designer.url}/aws/models/upload", "uploaded.safetensors"
    where = {"folder": FOLDER, "name": name}
    done = requests.post(url, params=where, data=safetensors(2), timeout=TIMEOUT)
    assert (done.status_code, done.json()["model"]["name"]) == (201, name)
    assert name in choices(designer)
    assert requests.post(url, params=where, data=b"x", timeout=TIMEOUT).status_code == 409
    for wrong in ({"name": "../../x.safetensors"}, {"name": "x.py"}, {"folder": "custom_nodes"}):
        answer = requests.post(url, params={**where, **wrong}, data=b"x", timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_name")
    cut = requests.post(url, params={**where, "name": "cut_short.safetensors"},
                        data=safetensors(3)[:-1], timeout=TIMEOUT)  # fmt: skip
    assert cut.status_code == 422
    assert "is cut off" in cut.json()["error"]["message"]
    folder = designer.base_dir / "models"
    assert not list(folder.rglob("*.part"))
    requests.delete(
        f"{designer.url}/aws/models", params={**where, "place": "here"}, timeout=TIMEOUT
    )


def test_what_is_wrong_with_a_request(designer: ComfyUIProcess) -> None:
    for body in ({}, {"models": []}, {"models": [{"folder": FOLDER}]}, {"models": "all"}):
        assert call(designer, "POST", "/aws/models/push", body)[0] == 400
    missing = {"models": [{"folder": FOLDER, "name": "nowhere.safetensors"}]}
    for path in ("/aws/models/push", "/aws/models/pull"):
        assert call(designer, "POST", path, missing)[0] == 404
    for url in ("file:///etc/passwd", "", "http://169.254.169.254/x.safetensors"):
        body = {"url": url, "folder": FOLDER, "name": "x.safetensors"}
        status, answer = call(designer, "POST", "/aws/models/url", body)
        if status == 202:  # the address is looked at when it is connected to
            failed = ended(designer, answer["transfers"][0]["id"])
            assert "surroundings" in failed["error"]["message"]
        else:
            assert status == 400
    for path, query in {
        "/aws/models": {"place": "there", "folder": "a", "name": "b"},
        "/aws/models/users": {},
    }.items():
        method = "DELETE" if "place" in query else "GET"
        answer = requests.request(method, designer.url + path, params=query, timeout=TIMEOUT)
        assert answer.status_code == 400
    for query in ({}, {"source": "all"}, {"source": "designer", "level": "loud"},
                  {"source": "designer", "last": "0"}):  # fmt: skip
        answer = requests.get(f"{designer.url}/aws/logs", params=query, timeout=TIMEOUT)
        assert answer.status_code == 400, query
    for source in ("endpoint:nobody", "job:nobody"):
        answer = requests.get(
            f"{designer.url}/aws/logs", params={"source": source}, timeout=TIMEOUT
        )
        assert answer.status_code == 404


def read(designer: ComfyUIProcess, **query: str) -> dict[str, Any]:
    answer = requests.get(f"{designer.url}/aws/logs", params=query, timeout=TIMEOUT)
    assert answer.ok, answer.text
    return dict(answer.json())


def test_logs_of_a_job(designer: ComfyUIProcess, client: Client) -> None:
    before = read(designer, source="designer")
    assert any("pytorch version" in line["text"] for line in before["lines"])
    job = client.queue(pipeline.load_prompt(seed=77), aws={})
    client.end(job)
    after = read(designer, source="designer", after=before["after"])
    assert "got prompt" in [line["text"] for line in after["lines"]]
    assert (after["fresh"], before["fresh"]) == (False, True)
    until = time.monotonic() + TIMEOUT
    tail = read(designer, source=f"endpoint:{ENDPOINT}", job=job)
    lines = tail["lines"]
    while not any(line["source"] == "worker" for line in lines):
        assert time.monotonic() < until, lines
        lines += read(designer, source=f"endpoint:{ENDPOINT}", after=tail["after"])["lines"]
    assert {line["job"] for line in lines} == {job}
    runner = [line["text"] for line in lines if line["source"] == "runner"]
    assert any("Prompt executed in" in text for text in runner)
    assert {line["text"] for line in read(designer, source=f"job:{job}")["lines"]} >= set(runner)
