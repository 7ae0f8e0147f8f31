"""The /aws routes are what docs/openapi.yaml says they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import yaml
from openapi_spec_validator import validate

from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess
from tests.pipeline import install as pipeline
from tests.support.client import Client

DOCUMENT: dict[str, Any] = yaml.safe_load((REPO_ROOT / "docs" / "openapi.yaml").read_text())
METHODS = ("get", "post", "patch", "delete", "put")
OPERATIONS = {
    (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method in METHODS
}


def call(
    designer: ComfyUIProcess, method: str, path: str, body: Any = None, **names: str
) -> tuple[int, Any]:
    """Call a route, and hold its answer against the document."""
    answer = requests.request(method, designer.url + path.format(**names), json=body, timeout=180)
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    described = responses.get(str(answer.status_code)) or responses["default"]
    if "$ref" in described:
        described = _at(described["$ref"])
    content = described.get("content")
    if content is None:
        assert answer.content == b""
        return answer.status_code, None
    schema = {**content["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema.validate(answer.json(), schema)
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]
    return answer.status_code, answer.json()


def _at(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_the_document_names_the_very_routes() -> None:
    folder = REPO_ROOT / "src" / "comfy_aws" / "comfyui" / "routes"
    source = "\n".join(path.read_text() for path in folder.glob("*.py"))
    table = set(re.findall(r'\bRoute\("(GET|POST|PATCH|DELETE|PUT)", "(/aws/[^"]*)"', source))
    assert table == OPERATIONS


def test_the_document_is_served(designer: ComfyUIProcess) -> None:
    for prefix in ("", "/api"):
        answer = requests.get(f"{designer.url}{prefix}/aws/openapi.json", timeout=60)
        assert answer.json() == DOCUMENT


def test_reading(designer: ComfyUIProcess) -> None:
    status, answer = call(designer, "GET", "/aws/status")
    assert (status, answer["target"], answer["problem"]) == (200, "local", None)
    for path in ("/aws/templates", "/aws/publishes", "/aws/endpoints", "/aws/jobs"):
        assert call(designer, "GET", path)[0] == 200
    _, endpoints = call(designer, "GET", "/aws/endpoints")
    name = endpoints["endpoints"][0]["name"]
    status, answer = call(designer, "GET", "/aws/endpoints/{name}", name=name)
    assert (status, answer["endpoint"]["status"]) == (200, "InService")


def test_a_template_from_publish_to_delete(designer: ComfyUIProcess) -> None:
    body = {"name": "Routes", "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(), "description": "for a test",
            "parameters": [{"node": "7", "input": "seed", "label": "Dice"}]}  # fmt: skip
    status, answer = call(designer, "POST", "/aws/publishes", body)
    assert status == 202
    publish = answer["publish"]
    while publish["state"] == "running":
        _, answer = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])
        publish = answer["publish"]
    assert (publish["state"], publish["version"]) == ("done", 1)
    assert publish["dropped"] == []

    status, answer = call(designer, "GET", "/aws/templates/{name}", name="Routes")
    assert status == 200
    assert answer["prompt"] == body["prompt"]
    assert answer["template"]["parameters"] == body["parameters"]
    assert answer["workflow"] == body["workflow"]
    names = {model["name"] for model in answer["manifest"]["models"]}
    assert names == {Path(name).name for name in pipeline.MODELS}
    assert [item["name"] for item in answer["manifest"]["inputs"]] == [pipeline.INPUT_IMAGE]
    assert [pack["name"] for pack in answer["manifest"]["packs"]] == [pipeline.NODE_PACK]

    status, answer = call(designer, "POST", "/aws/templates/check", {"name": "Routes"})
    assert answer["error"]["code"] == "conflict"
    status, answer = call(
        designer, "PATCH", "/aws/templates/{name}", {"description": "changed"}, name="Routes"
    )
    assert answer["template"]["description"] == "changed"
    assert call(designer, "DELETE", "/aws/templates/{name}", name="Routes")[0] == 204
    assert call(designer, "GET", "/aws/templates/{name}", name="Routes")[0] == 404


def test_versions_of_a_template(designer: ComfyUIProcess) -> None:
    for seed in (1, 2):
        body = {"name": "Versions", "workflow": pipeline.load_workflow(),
                "prompt": pipeline.load_prompt(seed=seed), "new_version": seed > 1}  # fmt: skip
        publish = call(designer, "POST", "/aws/publishes", body)[1]["publish"]
        while publish["state"] == "running":
            publish = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])[1]["publish"]
        assert publish["version"] == seed
    path = "/aws/templates/{name}/versions"
    listed = call(designer, "GET", path, name="Versions")[1]["versions"]
    assert [(each["version"], each["current"]) for each in listed] == [(1, False), (2, True)]

    url = f"{designer.url}/aws/templates/Versions/diff"
    found = requests.get(url, params={"before": 1, "after": 2}, timeout=60).json()["changes"]
    name = f"{pipeline.SAMPLER_ID}.seed"
    assert found == [{"kind": "parameter", "name": name, "before": 1, "after": 2}]
    assert requests.get(url, params={"before": 1, "after": "x"}, timeout=60).status_code == 400
    assert requests.get(url, params={"before": 1, "after": 9}, timeout=60).status_code == 404

    path = "/aws/templates/{name}/rollback"
    status, answer = call(designer, "POST", path, {"version": 1}, name="Versions")
    assert (status, answer["template"]["version"]) == (200, 1)
    assert call(designer, "POST", path, {"version": 0}, name="Versions")[0] == 400
    assert call(designer, "POST", path, {"version": 7}, name="Versions")[0] == 404
    call(designer, "DELETE", "/aws/templates/{name}", name="Versions")


@pytest.mark.parametrize("name", ["", "x" * 21, "a b", "ä", "../x", "a_b", "a\n", 7, None])
def test_a_template_name_that_is_not_allowed(designer: ComfyUIProcess, name: Any) -> None:
    _, answer = call(designer, "POST", "/aws/templates/check", {"name": name})
    assert (answer["ok"], answer["error"]["code"]) == (False, "invalid_name")
    assert "1 to 20 letters and digits" in answer["error"]["message"]
    body = {"name": name, "workflow": {"nodes": []}, "prompt": {}}
    status, answer = call(designer, "POST", "/aws/publishes", body)
    assert (status, answer["error"]["code"]) == (400, "invalid_name")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"workflow": "text"}, "A workflow is a JSON object with a list of nodes"),
        ({"workflow": {"nodes": [], "big": "x" * (50 * 2**20)}}, "at most 32 MiB"),
        ({"prompt": {}}, "A prompt is a JSON object of nodes"),
        ({"prompt": {"1": {"inputs": {}}}}, "Node '1' of the prompt has no class_type"),
        ({"prompt": {"1": {"class_type": "NoSuchNode", "inputs": {}}}}, "NoSuchNode"),
    ],
)
def test_a_workflow_that_cannot_be_published(
    designer: ComfyUIProcess, changes: dict[str, Any], says: str
) -> None:
    body = {"name": "Broken", "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(), **changes}  # fmt: skip
    status, answer = call(designer, "POST", "/aws/publishes", body)
    assert status == 202
    publish = answer["publish"]
    while publish["state"] == "running":
        _, answer = call(designer, "GET", "/aws/publishes/{id}", id=publish["id"])
        publish = answer["publish"]
    assert publish["state"] == "failed"
    assert says in publish["error"]["message"]
    assert call(designer, "GET", "/aws/templates/{name}", name="Broken")[0] == 404


@pytest.mark.parametrize("text", ["", "{", "[1]", "nul"])
def test_a_body_that_is_no_json_object(designer: ComfyUIProcess, text: str) -> None:
    for path in ("/aws/publishes", "/aws/endpoints", "/aws/templates/check", "/aws/stack"):
        answer = requests.post(designer.url + path, data=text, timeout=60)
        assert answer.status_code == 400, f"{path}: {answer.text}"
        assert "JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({}, "endpoint name"),
        ({"name": "under_score"}, "endpoint name"),
        ({"name": "e" * 64}, "endpoint name"),
        ({"name": "ok", "min_instances": 3, "max_instances": 2}, "min not above max"),
        ({"name": "ok", "instance_type": "g5.xlarge"}, "begins with 'ml.'"),
        ({"name": "ok", "max_instances": "two"}, "max_instances"),
        ({"name": "ok", "fallbacks": "ml.g6.xlarge"}, "fallbacks is a list"),
        ({"name": "ok", "fallbacks": ["ml.g5.xlarge"]}, "different instance types"),
        ({"name": "ok", "template": "no such"}, "1 to 20 letters and digits"),
    ],
)
def test_an_endpoint_that_cannot_be_made(
    designer: ComfyUIProcess, wishes: dict[str, Any], says: str
) -> None:
    status, answer = call(designer, "POST", "/aws/endpoints", wishes)
    assert 400 <= status < 500, answer
    assert says in answer["error"]["message"]
    _, known = call(designer, "GET", "/aws/endpoints")
    assert "ok" not in {endpoint["name"] for endpoint in known["endpoints"]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/aws/templates/{name}"),
        ("DELETE", "/aws/templates/{name}"),
        ("GET", "/aws/endpoints/{name}"),
        ("DELETE", "/aws/endpoints/{name}"),
        ("GET", "/aws/publishes/{id}"),
        ("DELETE", "/aws/publishes/{id}"),
        ("GET", "/aws/endpoints/{name}/start"),
        ("GET", "/aws/jobs/{id}"),
        ("GET", "/aws/jobs/{id}/request"),
        ("GET", "/aws/jobs/{id}/preview"),
        ("POST", "/aws/jobs/{id}/cancel"),
    ],
)
def test_what_does_not_exist(designer: ComfyUIProcess, method: str, path: str) -> None:
    status, answer = call(designer, method, path, {}, name="Nobody", id="nobody")
    assert (status, answer["error"]["code"]) == (404, "not_found")


def test_an_endpoint_that_is_changed_through_the_routes(designer: ComfyUIProcess) -> None:
    _, answer = call(designer, "GET", "/aws/endpoints")
    before = answer["endpoints"][0]
    name, path = before["name"], "/aws/endpoints/{name}"
    status, answer = call(designer, "PATCH", path, {"idle_seconds": 1234}, name=name)
    assert (status, answer["endpoint"]["idle_seconds"]) == (200, 1234)
    status, answer = call(designer, "PATCH", path, {"instance_type": "ml.g6.xlarge"}, name=name)
    assert (status, answer["error"]["code"]) == (409, "config")
    status, answer = call(designer, "PATCH", path, {"max_instances": "9"}, name=name)
    assert "max_instances is a whole number; got '9'" in answer["error"]["message"]
    status, _ = call(designer, "PATCH", path, {"idle_seconds": before["idle_seconds"]}, name=name)
    assert status == 200
    assert call(designer, "POST", f"{path}/wake", name=name)[0] == 202  # it is awake
    assert call(designer, "POST", f"{path}/sleep", name="nowhere")[0] == 409


def test_jobs_with_what_they_took_and_were_sent_with(
    designer: ComfyUIProcess, client: Client
) -> None:
    prompt = pipeline.load_prompt(seed=12)
    workflow = pipeline.load_workflow()
    extra = {"workflow": workflow}
    ids = [client.queue(prompt, aws={}, extra_pnginfo=extra) for _ in range(2)]
    for job_id in ids:
        client.end(job_id)
    _, answer = call(designer, "GET", "/aws/jobs/{id}", id=ids[1])
    job = answer["job"]
    assert job["state"] == "succeeded"
    assert job["facts"]["seconds"] > 0
    assert job["cost"] == pytest.approx(job["price"] * job["facts"]["seconds"] / 3600)
    assert [file["node_id"] for file in job["facts"]["files"]] == [pipeline.SAVE_ID]
    _, sent = call(designer, "GET", "/aws/jobs/{id}/request", id=ids[1])
    assert sent["prompt"] == prompt
    assert sent["workflow"] == workflow
    status, answer = call(designer, "POST", "/aws/jobs/{id}/show", {"client_id": "page"}, id=ids[1])
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert "it has ended" in answer["error"]["message"]

    pages = [requests.get(f"{designer.url}/aws/jobs", params=asked, timeout=60).json()
             for asked in ({"limit": 1}, {"limit": 1, "before": job["created"]})]  # fmt: skip
    assert [page["jobs"][0]["id"] for page in pages] == ids[::-1]
    assert pages[0]["more"]


def test_what_instances_and_jobs_cost(designer: ComfyUIProcess) -> None:
    _, answer = call(designer, "GET", "/aws/instance-types")
    [g5] = [each for each in answer["instance_types"] if each["name"] == "ml.g5.xlarge"]
    assert g5["price"] > 0
    assert g5["source"] == "list"
    assert call(designer, "GET", "/aws/costs")[0] == 200
