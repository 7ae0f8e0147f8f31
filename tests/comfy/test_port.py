"""An inference port: a real one, started by `comfy-aws port`, refuses all but running templates."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from comfy_aws.errors import Forbidden
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess, comfyui_path, free_port
from tests.pipeline import install as pipeline
from tests.support.client import Client

ROUTES = REPO_ROOT / "src" / "comfy_aws" / "comfyui" / "routes"
MANAGER = (
    ("GET", "/customnode/getmappings"),
    ("POST", "/customnode/install"),
    ("POST", "/customnode/install/git_url"),
    ("GET", "/manager/reboot"),
    ("POST", "/v2/manager/queue/start"),
    ("POST", "/v2/customnode/install/git_url"),
    ("GET", "/snapshot/restore"),
)


def table() -> Iterator[tuple[str, str, bool]]:
    """Method, path and whether artists have it, of every route in every group's table."""
    for path in ROUTES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Route":
                method, route = (ast.literal_eval(argument) for argument in node.args[:2])
                yield method, route, any(keyword.arg == "artist" for keyword in node.keywords)


ALL = sorted(table())
CLOSED = [(method, path) for method, path, artist in ALL if not artist]
OPEN = [(method, path) for method, path, artist in ALL if artist]


class Port:
    """`comfy-aws port` with one port."""

    def __init__(self, home: Path) -> None:
        self.number = free_port()
        self.url = f"http://127.0.0.1:{self.number}"
        command = [sys.executable, "-c",
                   "import sys; from comfy_aws.cli import main; sys.exit(main())",
                   "port", "--json", "--first", str(self.number),
                   "--comfyui", str(comfyui_path())]  # fmt: skip
        environment = {**os.environ, "COMFY_AWS_HOME": str(home)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def hear(self, kind: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if json.loads(line)["kind"] == kind:
                return
        raise AssertionError(f"The command ended before a port was {kind}.")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def port(home: Path) -> Iterator[Port]:
    started = Port(home)
    try:
        started.hear("ready")
        yield started
    finally:
        family = started.children()
        started.process.send_signal(signal.SIGTERM)
        try:
            assert started.process.wait(timeout=60) == 0
        finally:
            started.process.kill()
            started.process.communicate()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive


@pytest.fixture
def artist(port: Port) -> Iterator[Client]:
    opened = Client(port.url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def template(designer: ComfyUIProcess) -> str:
    body = {"name": "OnPorts", "workflow": pipeline.load_workflow(),
            "prompt": pipeline.load_prompt(seed=8), "new_version": False}  # fmt: skip
    publish = requests.post(f"{designer.url}/aws/publishes", json=body, timeout=60).json()
    path = f"{designer.url}/aws/publishes/{publish['publish']['id']}"
    while (state := requests.get(path, timeout=60).json()["publish"])["state"] == "running":
        pass
    assert state["state"] == "done", state["error"]
    return "OnPorts"


def send(port: Port, method: str, path: str) -> requests.Response:
    names = {"name": "OnPorts", "id": "nobody", "folder": "loras", "digest": "0" * 64}
    for part in [part for part in path.split("/") if part.startswith("{")]:
        key = part.strip("{}").partition(":")[0]
        path = path.replace(part, names.get(key, "x"))
    return requests.request(method, port.url + path, json={}, timeout=60)


def test_the_table_is_read_whole() -> None:
    assert ("DELETE", "/aws/templates/{name}") in CLOSED
    assert ("POST", "/aws/publishes") in CLOSED
    assert ("POST", "/aws/endpoints") in CLOSED
    assert ("GET", "/aws/templates/{name}") in OPEN
    assert {method for method, _ in OPEN} <= {"GET", "POST"}


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_route_that_is_not_for_artists_is_refused(port: Port, method: str, path: str) -> None:
    for prefix in ("", "/api"):
        answer = send(port, method, prefix + path)
        assert answer.status_code == Forbidden.http_status, answer.text
        error = answer.json()["error"]
        assert error["code"] == "forbidden"
        assert "inference port" in error["message"]
        assert error["hint"]


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_a_route_for_artists_is_served(port: Port, template: str, method: str, path: str) -> None:
    assert send(port, method, path).status_code != Forbidden.http_status


@pytest.mark.parametrize(("method", "path"), MANAGER)
def test_nothing_can_be_installed_through_a_port(port: Port, method: str, path: str) -> None:
    for prefix in ("", "/api"):
        answer = requests.request(method, port.url + prefix + path, json={}, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_a_port_says_what_it_is(artist: Client, designer: ComfyUIProcess) -> None:
    status = artist.get("/aws/status")
    assert (status["role"], status["problem"]) == ("inference", None)
    assert requests.get(f"{designer.url}/aws/status", timeout=60).json()["role"] == "designer"
    assert "TinyConditioning" not in artist.get("/system_stats")
    stats = artist.get("/system_stats")
    assert [device["type"] for device in stats["devices"]] == ["cpu"]


def test_a_template_whose_classes_are_not_installed_runs(artist: Client, template: str) -> None:
    assert artist.get("/object_info")["TinyConditioning"]["display_name"] == "Tiny Conditioning"
    prompt = artist.get(f"/aws/templates/{template}")["prompt"]
    prompt[pipeline.SAMPLER_ID]["inputs"]["seed"] = 88
    entry = artist.end(artist.queue(prompt, aws={"template": template}))
    assert entry["status"]["completed"] is True, entry["status"]
    assert entry["outputs"][pipeline.SAVE_ID]["images"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_input_of_a_template_is_shown(port: Port, template: str, prefix: str) -> None:
    """As ComfyUI shows its own: whole, as a preview, in parts; and nothing else is."""
    requests.get(f"{port.url}/aws/templates/{template}", timeout=60).raise_for_status()

    def view(headers: dict[str, str] | None = None, **query: str) -> requests.Response:
        return requests.get(f"{port.url}{prefix}/view", query, headers=headers or {}, timeout=60)

    name = pipeline.INPUT_IMAGE
    here = (pipeline.PIPELINE / "input" / name).read_bytes()
    whole = view(filename=name, type="input")
    assert (whole.content, whole.headers["Content-Type"]) == (here, "image/png")
    assert view(filename=f"{name} [input]").content == here
    preview = view(filename=name, type="input", preview="webp;90")
    assert preview.headers["Content-Type"] == "image/webp"
    part = view({"Range": "bytes=1-3"}, filename=name, type="input")
    assert (part.status_code, part.content) == (206, b"PNG")

    assert view(filename=name).status_code == 404, "a node that reads outputs means another file"
    assert view(filename=name, type="input", subfolder="deep").status_code == 404
    assert view(filename="nobody.png", type="input").status_code == 404
    assert view(filename=f"../{name}", type="input").status_code == 400


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_help_of_nodes_is_served_where_their_pack_would(
    port: Port, template: str, prefix: str
) -> None:
    """In a language and in none, with its picture; and nothing but help."""
    docs = pipeline.PIPELINE / "node_packs" / pipeline.NODE_PACK / "web" / "docs"

    def ask(path: str, method: str = "GET") -> requests.Response:
        url = f"{port.url}{prefix}/extensions/{path}"
        prepared = requests.Request(method, url).prepare()
        prepared.url = url  # as it stands, dots and all
        return requests.Session().send(prepared, timeout=60)

    name = f"{pipeline.NODE_PACK}/docs"
    for page, kind in (
        ("TinyConditioning.md", "text/markdown; charset=utf-8"),
        ("TinyConditioning/ja.md", "text/markdown; charset=utf-8"),
        ("pictures/way.png", "image/png"),
    ):
        answer = ask(f"{name}/{page}")
        assert answer.status_code == 200, answer.headers
        assert answer.content == (docs / page).read_bytes()
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"] == "attachment", "nothing is opened by itself"
    assert ask(f"{name}/TinyConditioning.md", "HEAD").status_code == 200

    for path in (
        f"{name}/TinyConditioning/fr.md",  # for which the page then asks without a language
        f"{name}/../styles.json",
        f"{name}/%2e%2e/__init__.py",
        f"{name}/..%2f..%2fembedding.py",
        f"{name}/pictures/../../../../../etc/passwd",
        "other_pack/docs/TinyConditioning.md",
    ):
        assert ask(path).status_code in (403, 404), path
    assert ask(f"{name}/TinyConditioning.md", "POST").status_code in (404, 405)


def test_a_prompt_without_a_mark_goes_to_aws_too(artist: Client) -> None:
    image = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    prompt = {"1": {"class_type": "EmptyImage", "inputs": image},
              "2": {"class_type": "SaveImage",
                    "inputs": {"images": ["1", 0], "filename_prefix": "unmarked"}}}  # fmt: skip
    job = artist.queue(prompt)
    entry = artist.end(job)
    assert entry["status"]["completed"] is True, entry["status"]
    assert artist.job(job)["state"] == "succeeded"


def test_a_program_runs_a_template_through_a_port(port: Port, template: str) -> None:
    body = {"parameters": {"KSampler.seed": 123, "7.steps": 2}, "wait": 150}
    path = f"{port.url}/aws/templates/{template}/run"
    answer = requests.post(path, json=body, timeout=180)
    assert answer.status_code == 200, answer.text
    job = answer.json()["job"]
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert requests.get(job["outputs"][0]["url"], timeout=60).content.startswith(b"\x89PNG")
    inner = {"webhook": {"url": "https://127.0.0.1/hook"}}
    refused = requests.post(path, json=inner, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_webhook")


def test_the_form_is_served_with_what_it_loads(port: Port, template: str) -> None:
    for path in ("/aws/form", "/api/aws/form"):
        page = requests.get(port.url + path, timeout=60)
        assert page.headers["Content-Type"].startswith("text/html")
        source = page.text.partition('src="')[2].partition('"')[0]
        module = requests.get(requests.compat.urljoin(port.url + path, source), timeout=60)
        assert "javascript" in module.headers["Content-Type"]
    extensions = requests.get(f"{port.url}/extensions", timeout=60).json()
    assert not [name for name in extensions if "/form/" in name], "ComfyUI's page would load it"


def test_parameters_of_a_template(designer: ComfyUIProcess, port: Port, template: str) -> None:
    path = f"/aws/templates/{template}"

    def read(url: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{url}{path}/parameters", timeout=60).json()[
            "parameters"
        ]
        return found

    roles = [(each["role"], each["name"]) for each in read(port.url)]
    assert roles == [
        ("prompt", "4.text"), ("negative_prompt", "5.text"), ("file", "3.image"),
        ("seed", "4.seed"), ("seed", "5.seed"), ("seed", "7.seed"), ("steps", "7.steps"),
        ("cfg", "7.cfg"), ("denoise", "7.denoise"),
    ]  # fmt: skip

    def choose(chosen: Any) -> requests.Response:
        return requests.patch(designer.url + path, json={"parameters": chosen}, timeout=60)

    answer = choose([{"node": "7", "input": "sampler_name", "label": "Way"}])
    assert answer.status_code == 200, answer.text
    (only,) = read(port.url)
    assert (only["label"], only["kind"], "euler" in only["choices"]) == ("Way", "choice", True)
    for wrong in ([{"node": "7"}], [{"node": "7", "input": "model"}], "all", [{"node": 7}]):
        refused = choose(wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_parameters")
    assert choose([]).status_code == 200
    assert len(read(port.url)) == len(roles)


def test_a_port_that_is_killed_comes_back_and_knows_its_jobs(port: Port, artist: Client) -> None:
    before = {job["id"] for job in artist.get("/aws/jobs")["jobs"]}
    assert before
    next(child for child in port.children() if "main.py" in " ".join(child.cmdline()[1:2])).kill()
    port.hear("ended")
    port.hear("ready")
    assert {job["id"] for job in artist.get("/aws/jobs")["jobs"]} == before
