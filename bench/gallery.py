"""Whether the capture finds what the workflows of ComfyUI's own gallery need.

    python -m pip install comfyui-workflow-templates-json
    python bench/gallery.py [--only TEXT] [--json]

Its workflows tell, beside their nodes, which models are to be downloaded. Each of these is made
here as a small file, each workflow is opened in the real page, and the preflight of its graph is
to find the models that the graph names, and no others. The status is 1 where it does not.
Workflows that are of a newer ComfyUI, with classes that this one does not have or that its page
makes no graph of, are counted and passed over; with `COMFYUI_PATH` it is another one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import requests
from playwright.sync_api import Error as PageError
from playwright.sync_api import Page
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comfy_aws import config  # noqa: E402
from tests.comfy.comfyui_process import ComfyUIProcess  # noqa: E402
from tests.support.stack import running_stack  # noqa: E402
from tests.web.browser import VIEWPORT, ComfyPage, chromium  # noqa: E402

PACKAGE = "comfyui-workflow-templates-json"
TIMEOUT_S = 120
VIRTUAL = {"MarkdownNote", "Note", "PrimitiveNode", "Reroute"}
"""Nodes that are never in a prompt."""

GRAPH = """async (workflow) => {
  await window.app.loadGraphData(workflow, true, true, 'gallery')
  return window.app.graphToPrompt()
}"""

Model = tuple[str, str]
"""Folder and name."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="workflows with this in their names")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    workflows = {name: flow for name, flow in gallery().items() if chosen.only in name}
    if not workflows:
        parser.error(f"no workflow of the gallery has {chosen.only!r} in its name")
    found = look(workflows)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        for name, row in found["wrong"].items():
            print(f"{name}: {json.dumps(row)}")
        print("{looked_at} of {workflows} workflows, {models} models that their graphs name: "
              "{missed} missed, {extra} too many".format(**found))  # fmt: skip
    return 1 if found["wrong"] else 0


def gallery() -> dict[str, Any]:
    """The workflows of the installed gallery, by name."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"The gallery is not installed: python -m pip install {PACKAGE}")
    (folder,) = spec.submodule_search_locations
    read = {path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(Path(folder, "templates").glob("*.json"))}  # fmt: skip
    return {name: flow for name, flow in read.items() if isinstance(flow, dict) and "nodes" in flow}


def look(workflows: Mapping[str, Any]) -> dict[str, Any]:
    """What the preflight of each finds, in a real page on a real ComfyUI and the local stack."""
    looked_at, models, wrong = 0, 0, {}
    with tempfile.TemporaryDirectory(prefix="aws-gallery-") as place:
        home, base = Path(place, "home"), Path(place, "comfyui")
        for workflow in workflows.values():
            for model in told(workflow):
                make(base / "models" / model[0] / model[1])
        config.save(home, target="local")
        with (
            running_stack(config.load(home, {}).stack_home),
            ComfyUIProcess(
                base, with_extension=True, env={"COMFY_AWS_HOME": str(home)},
                disable_api_nodes=False,
            ) as comfyui,
            chromium() as browser,
        ):  # fmt: skip
            known = requests.get(f"{comfyui.url}/object_info", timeout=TIMEOUT_S).json().keys()
            page = ComfyPage(browser.new_context(viewport=VIEWPORT), comfyui.url).open()
            for name, workflow in workflows.items():
                graph = graph_of(page.tab, workflow) if classes(workflow) <= known else {}
                if not graph.get("prompt"):
                    continue
                answer = requests.post(
                    f"{comfyui.url}/aws/preflight", json=graph, timeout=TIMEOUT_S
                )
                assert answer.ok, f"{name}: {answer.text}"
                got = {(each["folder"], each["name"]) for each in answer.json()["models"]}
                text = json.dumps(graph["prompt"])
                named = {each for each in told(workflow) if json.dumps(each[1]) in text}
                looked_at, models = looked_at + 1, models + len(named)
                if missed := named - got:
                    wrong.setdefault(name, {})["missed"] = sorted(missed)
                if extra := got - set(told(workflow)):
                    wrong.setdefault(name, {})["extra"] = sorted(extra)
    return {
        "workflows": len(workflows), "looked_at": looked_at, "models": models,
        "missed": sum(len(row.get("missed", ())) for row in wrong.values()),
        "extra": sum(len(row.get("extra", ())) for row in wrong.values()),
        "wrong": wrong,
    }  # fmt: skip


def graph_of(tab: Page, workflow: Any) -> dict[str, Any]:
    """Prompt and workflow as the page has them; empty where it fails at the workflow."""
    try:
        made = tab.evaluate(GRAPH, workflow)
    except PageError:
        return {}
    return {"prompt": made["output"], "workflow": made["workflow"]}


def classes(workflow: Any) -> set[str]:
    """The node classes of a workflow, without what the page alone knows."""
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs") or []
    nodes = [node for graph in (workflow, *subgraphs) for node in graph["nodes"]]
    return {node["type"] for node in nodes} - VIRTUAL - {each["id"] for each in subgraphs}


def told(part: Any) -> Iterator[Model]:
    """The models that a workflow tells of, those of its subgraphs' nodes included."""
    if isinstance(part, dict):
        properties = part.get("properties")
        for model in (properties.get("models") if isinstance(properties, dict) else None) or ():
            yield model["directory"], model["name"]
    if isinstance(part, (dict, list)):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from told(inner)


def make(path: Path) -> None:
    """A small safetensors file that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(str(path).encode()).digest()
    save_file({"tensor": np.frombuffer(digest, dtype=np.uint8)}, path)


if __name__ == "__main__":
    sys.exit(main())
