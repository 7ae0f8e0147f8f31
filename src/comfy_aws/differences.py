"""What changed between two versions of a template. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_aws.models import Manifest, TemplateVersion


@dataclass(frozen=True)
class Change:
    """One difference; `before` is None for what came, `after` for what went.

    `kind` is ``model``, ``input``, ``pack``, ``node`` or ``parameter``; `name` is a model's
    ``folder/name``, a node's id, or a parameter's ``node id.input``. Values are digests of files,
    classes of nodes, and the values (or links) of parameters.
    """

    kind: str
    name: str
    before: Any = None
    after: Any = None


def changes(before: TemplateVersion, after: TemplateVersion) -> tuple[Change, ...]:
    """All differences, files first, in the order of their names."""
    old, new = _contents(before.manifest), _contents(after.manifest)
    nodes = [{key: node["class_type"] for key, node in each.prompt.items()}
             for each in (before, after)]  # fmt: skip
    kept = nodes[0].keys() & nodes[1].keys()
    parameters = [
        {
            f"{key}.{name}": value
            for key, node in each.prompt.items()
            if key in kept
            for name, value in node.get("inputs", {}).items()
        }
        for each in (before, after)
    ]
    return (
        *(change for kind in old for change in _compare(kind, old[kind], new[kind])),
        *_compare("node", *nodes),
        *_compare("parameter", *parameters),
    )


def _contents(manifest: Manifest) -> dict[str, dict[str, str]]:
    return {
        "model": {f"{m.folder}/{m.name}": m.blob.digest for m in manifest.models},
        "input": {f"{i.place.value}/{i.name}": i.blob.digest for i in manifest.inputs},
        "pack": {p.name: p.blob.digest for p in manifest.packs},
    }


def _compare(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    return [
        Change(kind, name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) or (name in old) != (name in new)
    ]
