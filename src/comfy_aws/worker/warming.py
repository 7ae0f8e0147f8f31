"""Which part of a template's graph only loads models: what a worker runs before its first job.

ComfyUI keeps what the nodes of the last prompt gave. A job of the template finds its loaders done
and its models in memory. Only nodes that stand on nothing but other loaders are run: nothing that
samples, and nothing that writes a file.
"""

from __future__ import annotations

from typing import Final

from comfy_aws import prompt as graphs
from comfy_aws.models import Json, TemplateVersion

SINK: Final = "PreviewAny"
"""ComfyUI's own output node for a value of any kind; it keeps its text and writes nothing."""


def loaders(version: TemplateVersion) -> Json:
    """The graph that loads the template's models; empty when there is nothing to load. Pure."""
    prompt, models = version.prompt, version.manifest.models
    names = {model.name for model in models if not model.reader}
    readers = {model.reader for model in models if model.reader}
    chosen = {literal.node_id for literal in graphs.strings(prompt) if literal.value in names}
    chosen |= {node_id for node_id, node in prompt.items() if node["class_type"] in readers}
    while True:
        standing = {node_id for node_id in chosen if _links(prompt[node_id]) <= chosen}
        if standing == chosen:
            break
        chosen = standing
    graph = {node_id: prompt[node_id] for node_id in prompt if node_id in chosen}
    for node_id in list(graph):
        info = version.object_info.get(graph[node_id]["class_type"], {})
        if info.get("output"):
            inputs = {"source": [node_id, 0]}
            graph[f"warm-{node_id}"] = {"class_type": SINK, "inputs": inputs}
    return graph if len(graph) > len(chosen) else {}


def _links(node: Json) -> set[str]:
    return {value[0] for value in node.get("inputs", {}).values() if graphs.is_link(value)}
