"""The extension as users get it, the Registry's zip and a clone by ComfyUI-Manager: it loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from comfy_aws import packs
from tests.comfy.comfyui_process import REPO_ROOT, ComfyUIProcess, comfyui_path

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

CLI = Path(sys.executable).parent
MANAGER = REPO_ROOT / ".bootstrap" / "manager" / "bin" / "cm-cli"
URL = "https://github.com/prompt-on-aws/prompt-on-aws"

# What the extension needs later, and what only some of its parts need ever.
HEAVY = {
    "boto3", "botocore", "comfy_aws.cli", "comfy_aws.localstack", "comfy_aws.worker",
    "deadline", "flask", "moto", "s3transfer", "werkzeug",
}  # fmt: skip
EXTENSION = "/extensions/prompt-on-aws/"
PROBE = """
import sys
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}

@PromptServer.instance.routes.get("/probe")
async def probe(_request):
    return web.json_response(sorted(sys.modules))
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Runs a program without a terminal and without this machine's own settings."""
    home = {"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"}
    ended = subprocess.run(
        command, cwd=cwd, env={**os.environ, **home, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of the files as they are now."""
    folder = tmp_path_factory.mktemp("repository") / "prompt-on-aws"
    for name, path, _ in packs.scan(REPO_ROOT).members:
        target = folder / name.partition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    run(*git, "init", "--quiet", cwd=folder)
    run(*git, "add", "--all", cwd=folder)
    run(*git, "commit", "--quiet", "--message", "As it is", cwd=folder)
    return folder


@pytest.fixture
def probed(tmp_path: Path) -> Path:
    """A fresh base directory whose ComfyUI tells at /probe what has been imported."""
    base = tmp_path / "base"
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes" / "probe.py").write_text(PROBE)
    return base


def get(comfyui: ComfyUIProcess, path: str) -> Any:
    answer = requests.get(comfyui.url + path, timeout=60)
    answer.raise_for_status()
    return answer.json() if "json" in answer.headers["Content-Type"] else answer.text


def check_loaded(comfyui: ComfyUIProcess) -> None:
    """Routes, page and node are there, from this very folder, and nothing was said against it."""
    assert get(comfyui, "/aws/status")["configured"] is False
    assert get(comfyui, "/aws/openapi.json")["paths"]["/aws/status"]
    [node] = get(comfyui, "/object_info/AwsRemoteOutput").values()
    assert node["name"] == "AwsRemoteOutput"
    ours = [path for path in get(comfyui, "/extensions") if path.startswith(EXTENSION)]
    assert ours == [f"{EXTENSION}js/main.js"], "ComfyUI's page waits for every .js"
    assert "registerExtension" in get(comfyui, ours[0])
    for path in (f"{EXTENSION}js/page.mjs", f"{EXTENSION}form/main.mjs"):
        module = requests.get(comfyui.url + path, timeout=60)
        assert "javascript" in module.headers["Content-Type"]
        assert module.headers["Cache-Control"] == "no-cache", "an update must reach the browser"
    assert "(IMPORT FAILED)" not in comfyui.log
    assert "Prompt on AWS:" not in comfyui.log  # its warnings begin so


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str | None]:
    """An environment that configures nothing."""
    foreign = [name for name in os.environ if name.startswith(("AWS_", "COMFY_AWS_"))]
    return {**dict.fromkeys(foreign), "COMFY_AWS_HOME": str(tmp_path / "settings")}


def test_the_packed_zip_loads_and_imports_nothing_heavy(
    repository: Path, probed: Path, home: dict[str, str | None], tmp_path: Path
) -> None:
    run(CLI / "comfy", "--skip-prompt", "node", "pack", cwd=repository)
    folder = probed / "custom_nodes" / "prompt-on-aws"
    with zipfile.ZipFile(repository / "node.zip") as archive:
        names = archive.namelist()
        archive.extractall(folder)
    tops = {name.partition("/")[0] for name in names}
    assert tops <= {
        "CHANGELOG.md", "LICENSE", "README.md", "README.ja.md", "README.zh.md", "__init__.py",
        "deploy", "docs", "example_workflows", "locales", "nodes", "pyproject.toml",
        "requirements.txt", "server_routes.py", "src", "web",
    }  # fmt: skip
    # All that a deploy, the routes and the page read must be there.
    assert {"deploy/stack.yaml", "deploy/Dockerfile", "docs/openapi.yaml"} <= set(names)
    assert not [name for name in names if name.endswith((".d.ts", ".pyc"))]
    assert not [name for name in names if name.startswith(("docs/images/", "docs/adr/"))]

    with ComfyUIProcess(probed, env=home) as comfyui:
        check_loaded(comfyui)
        modules = set(get(comfyui, "/probe"))
    assert "comfy_aws.services" in modules
    assert HEAVY & modules == set()
    # A start leaves nothing behind in the folder, which Manager would take for a change.
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in left if not name.endswith(".pyc")} == set(names)


class _Closed(BaseHTTPRequestHandler):
    """A proxy that lets nobody through, and remembers where they wanted to go."""

    asked: set[str]

    def do_CONNECT(self) -> None:
        self.asked.add(self.path)
        self.send_error(503, "There is no web here")

    def log_message(self, *_: object) -> None:
        """`asked` tells it."""


@pytest.fixture
def no_web() -> Iterator[tuple[dict[str, str], set[str]]]:
    """Variables by which programs find the web closed at once, whatever network there is; and what
    they asked for.
    """
    handler = type("Closed", (_Closed,), {"asked": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    proxy = f"http://127.0.0.1:{server.server_port}"
    names = ("http_proxy", "https_proxy", "all_proxy")
    variables = {each: proxy for name in names for each in (name, name.upper())}
    yield {**variables, "no_proxy": "", "NO_PROXY": "", "PIP_NO_INDEX": "1"}, handler.asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_manager_installs_from_a_repository(
    repository: Path,
    probed: Path,
    home: dict[str, str | None],
    tmp_path: Path,
    no_web: tuple[dict[str, str], set[str]],
) -> None:
    """Without any package index: all that the extension asks for is met beside ComfyUI.

    Manager asks ComfyUI's Registry for its list before anything else, and goes on without it.
    """
    closed, asked = no_web
    comfyui_folder = tmp_path / "comfyui"
    ignored = shutil.ignore_patterns("custom_nodes", "user", "tests", "__pycache__")
    shutil.copytree(comfyui_path(), comfyui_folder, ignore=ignored)
    (comfyui_folder / "custom_nodes").mkdir()
    settings = comfyui_folder / "user" / "__manager" / "config.ini"
    settings.parent.mkdir(parents=True)
    # uv does not see packages that a .pth file brings in, which are those of `.venv`; pip does.
    settings.write_text("[default]\nuse_uv = False\n")
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
           "GIT_CONFIG_VALUE_0": URL}  # fmt: skip
    told = run(
        MANAGER, "install", URL, "--mode", "local", "--exit-on-fail", cwd=tmp_path,
        COMFYUI_PATH=str(comfyui_folder), **closed, **git,
    )  # fmt: skip
    assert asked == {"api.comfy.org:443"}
    assert f"[INSTALLED] {URL}" in told
    assert "Successfully installed" not in told
    folder = comfyui_folder / "custom_nodes" / "prompt-on-aws"
    assert run("git", "status", "--porcelain", cwd=folder) == ""
    head = run("git", "rev-parse", "HEAD", cwd=folder)
    assert head == run("git", "rev-parse", "HEAD", cwd=repository)

    folder.rename(probed / "custom_nodes" / "prompt-on-aws")
    with ComfyUIProcess(probed, env=home) as comfyui:
        check_loaded(comfyui)
