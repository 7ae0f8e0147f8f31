"""What the ComfyUI around us knows of its nodes, models and files.

Uses `nodes.NODE_CLASS_MAPPINGS`, the node classes' own INPUT_TYPES and `folder_paths`, all of
which node packs rely on.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import folder_paths

import nodes
from comfy_aws.capture import InputPath, ModelPath
from comfy_aws.models import Environment, InputPlace, Json
from comfy_aws.prompt import Literal

log = logging.getLogger(__name__)

OWN_PACK = Path(__file__).resolve().parents[3]
"""This extension; its nodes never travel."""

TAE_FOLDER = "vae_approx"
"""Where the halves of a TAESD pair lie that VAELoader offers as one choice."""

_NO_MODELS = frozenset({"custom_nodes", "configs"})


class ComfyUICatalog:
    """The `capture.Catalog` of this process's ComfyUI."""

    def knows(self, class_type: str) -> bool:
        return class_type in nodes.NODE_CLASS_MAPPINGS

    def pack_of(self, class_type: str) -> Path | None:
        module = getattr(nodes.NODE_CLASS_MAPPINGS[class_type], "RELATIVE_PYTHON_MODULE", "nodes")
        parent, _, name = module.partition(".")
        if parent != "custom_nodes" or not name:
            return None
        for root in folder_paths.get_folder_paths("custom_nodes"):
            for candidate in (Path(root, name), Path(root, f"{name}.py")):
                if candidate.exists():
                    return None if candidate.resolve() == OWN_PACK else candidate
        log.warning("The node pack of %s (%s) is not in a custom_nodes folder", class_type, module)
        return None

    def models_of(self, literal: Literal) -> list[ModelPath]:
        options = self.options(literal)
        if options is None:
            return []
        if "." not in literal.value:
            return self._tae_pair(literal.value) if literal.value in options else []
        found: list[tuple[bool, ModelPath]] = []
        for folder in folder_paths.folder_names_and_paths:
            if folder in _NO_MODELS:
                continue
            listed = folder_paths.get_filename_list(folder)
            if literal.value not in listed:
                continue
            path = folder_paths.get_full_path(folder, literal.value)
            if path is not None:
                # The same name may lie in two folders; the node offers all of its own folder.
                offered = set(listed) <= set(options)
                found.append((offered, ModelPath(folder, literal.value, Path(path))))
        best = [model for offered, model in found if offered]
        return best or [model for _, model in found]

    def _tae_pair(self, choice: str) -> list[ModelPath]:
        halves = (f"{choice}_encoder.", f"{choice}_decoder.")
        listed = folder_paths.get_filename_list(TAE_FOLDER)
        pair = [name for name in listed if name.startswith(halves)]
        paths = [(name, folder_paths.get_full_path(TAE_FOLDER, name)) for name in pair]
        return [ModelPath(TAE_FOLDER, name, Path(path)) for name, path in paths if path]

    def input_of(self, literal: Literal) -> InputPath | None:
        options = self.options(literal)
        if options is None or not (self._uploads(literal) or "." in literal.value):
            return None
        name, folder = folder_paths.annotated_filepath(literal.value)
        root = Path(folder or folder_paths.get_input_directory()).resolve()
        path = (root / name).resolve()
        if root not in path.parents or not path.is_file():
            return None
        place = next((p for p in InputPlace if _directory(p) == root), InputPlace.INPUT)
        return InputPath(place, path.relative_to(root).as_posix(), path)

    def wanted_file(self, literal: Literal) -> bool:
        if self._uploads(literal):
            return True
        options = self.options(literal)
        if options is None or literal.value in options:
            return False
        suffix = Path(literal.value).suffix.lower()
        return suffix in folder_paths.supported_pt_extensions

    def object_info(self, class_types: Iterable[str]) -> Json:
        known = (name for name in class_types if self.knows(name))
        return {name: node_info(name) for name in known}

    def environment(self) -> Environment:
        import comfyui_version

        return Environment(
            comfyui=str(comfyui_version.__version__),
            python=platform.python_version(),
            torch=metadata.version("torch"),
            platform=sys.platform,
        )

    def options(self, literal: Literal) -> list[Any] | None:
        """The choices of a combo widget; None for every other input."""
        kind, extra = self._spec(literal)
        if isinstance(kind, list):
            return kind
        if kind == "COMBO":
            return list(extra.get("options") or [])
        return None

    def _uploads(self, literal: Literal) -> bool:
        _, extra = self._spec(literal)
        return any(key.endswith("_upload") and value for key, value in extra.items())

    @staticmethod
    def _spec(literal: Literal) -> tuple[Any, Json]:
        node = nodes.NODE_CLASS_MAPPINGS.get(literal.class_type)
        if node is None:
            return None, {}
        declared = node.INPUT_TYPES()
        for group in ("required", "optional"):
            spec = declared.get(group, {}).get(literal.name)
            if spec is not None:
                extra = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                return spec[0], extra
        return None, {}


def node_info(class_type: str) -> Json:
    """A node's definition in the form of GET /object_info, which has no function of its own."""
    node = nodes.NODE_CLASS_MAPPINGS[class_type]
    if hasattr(node, "GET_NODE_INFO_V1"):
        info: Json = node.GET_NODE_INFO_V1()
        return info
    inputs = node.INPUT_TYPES()
    returns = list(node.RETURN_TYPES)
    return {
        "input": inputs,
        "input_order": {group: list(names) for group, names in inputs.items()},
        "output": returns,
        "output_is_list": list(getattr(node, "OUTPUT_IS_LIST", [False] * len(returns))),
        "output_name": list(getattr(node, "RETURN_NAMES", returns)),
        "output_tooltips": list(getattr(node, "OUTPUT_TOOLTIPS", [])),
        "name": class_type,
        "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(class_type, class_type),
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node, "CATEGORY", "sd"),
        "output_node": bool(getattr(node, "OUTPUT_NODE", False)),
    }


def _directory(place: InputPlace) -> Path:
    return Path(folder_paths.get_directory_by_type(place.value)).resolve()
