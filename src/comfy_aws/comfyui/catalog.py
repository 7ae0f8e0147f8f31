"""What the ComfyUI around us knows of its nodes, models and files.

Uses `nodes.NODE_CLASS_MAPPINGS`, the node classes' own INPUT_TYPES and `folder_paths`, all of
which node packs rely on.
"""

from __future__ import annotations

import copy
import inspect
import os
import platform
import re
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import folder_paths

import nodes
from comfy_aws import inputspecs, joblog, meshes
from comfy_aws import prompt as graphs
from comfy_aws.comfyui import localpaths, modelfiles
from comfy_aws.comfyui.model_reads import ModelReads
from comfy_aws.helppages import WebFolder, pack_of
from comfy_aws.inputspecs import Spec
from comfy_aws.models import Environment, InputPlace, Json
from comfy_aws.prompt import Literal
from comfy_aws.readlog import ReadLog
from comfy_aws.references import looks_like_file
from comfy_aws.resolve import InputPath, Meant, ModelPath, named_in

log = joblog.logger(__name__)

OWN_PACK = Path(__file__).resolve().parents[3]
"""This extension; its nodes never travel."""


KEPT: Final = 0.25
"""Seconds that a node's choices are used again: as long as one look at a prompt, not longer."""

_TOLD: Final = {
    "is_input_list": "INPUT_IS_LIST",
    "has_intermediate_output": "HAS_INTERMEDIATE_OUTPUT",
    "deprecated": "DEPRECATED",
    "experimental": "EXPERIMENTAL",
    "dev_only": "DEV_ONLY",
    "api_node": "API_NODE",
    "search_aliases": "SEARCH_ALIASES",
    "essentials_category": "ESSENTIALS_CATEGORY",
}
"""What a definition tells of a node only where its class has it: key → attribute."""

SIGN_IN: Final = frozenset({"AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG"})
"""Hidden inputs through which ComfyUI hands a node the user's sign-in."""

_UNKNOWN: Final[Spec] = (None, {})
"""Of an input that the node does not declare."""


class ComfyUICatalog:
    """The `resolve.Catalog` of this process's ComfyUI."""

    def __init__(self, reads: ReadLog) -> None:
        self._types: dict[str, tuple[float, dict[str, Spec]]] = {}
        self.reads = ModelReads(reads, self.choices_of, partial(named_in, self))

    def knows(self, class_type: str) -> bool:
        return class_type in nodes.NODE_CLASS_MAPPINGS

    def is_output(self, class_type: str) -> bool:
        """Whether a class that this ComfyUI has is one of output nodes."""
        return getattr(nodes.NODE_CLASS_MAPPINGS[class_type], "OUTPUT_NODE", False) is True

    def signs_in(self, class_type: str) -> bool:
        node = nodes.NODE_CLASS_MAPPINGS[class_type]
        if not getattr(node, "API_NODE", False):
            return False
        hidden = node.INPUT_TYPES().get("hidden") or {}
        asked = {each[0] if isinstance(each, (list, tuple)) else each for each in hidden.values()}
        return not asked.isdisjoint(SIGN_IN)

    def renewed(self, prompt: Json) -> Json:
        """As newer ComfyUIs do it with a prompt that is posted, by what packs have told them."""
        from server import PromptServer

        replacements = getattr(PromptServer.instance, "node_replace_manager", None)
        apply = getattr(replacements, "apply_replacements", None)
        if apply is None or all(map(self.knows, graphs.classes(prompt))):
            return prompt
        graph = copy.deepcopy(prompt)
        try:
            apply(graph)
        except Exception as exc:  # noqa: BLE001 – it expects more of a node than a graph must have
            log.warning("ComfyUI could not replace node classes that it has given up: %r", exc)
            return prompt
        return graph

    def pack_of(self, class_type: str) -> Path | None:
        module = getattr(nodes.NODE_CLASS_MAPPINGS[class_type], "RELATIVE_PYTHON_MODULE", "nodes")
        parent, _, name = module.partition(".")
        if parent != "custom_nodes" or not name:
            return None
        for root in reversed(folder_paths.get_folder_paths("custom_nodes")):  # the last one wins
            for candidate in (Path(root, name), Path(root, f"{name}.py")):
                if candidate.exists():
                    return None if candidate.resolve() == OWN_PACK else candidate
        log.warning("The node pack of %s (%s) is not in a custom_nodes folder", class_type, module)
        return None

    def source_of(self, class_type: str) -> Path | None:
        with suppress(TypeError, OSError):  # made of no file
            file = inspect.getsourcefile(nodes.NODE_CLASS_MAPPINGS[class_type])
            return Path(file) if file else None
        return None

    def is_added(self, literal: Literal) -> bool:
        samplers = sys.modules.get("comfy.samplers")  # which ComfyUI's own nodes import
        lists = getattr(samplers, "KSampler", None)
        offered = (*getattr(lists, "SAMPLERS", ()), *getattr(lists, "SCHEDULERS", ()))
        if literal.value not in offered or literal.value not in (self.options(literal) or ()):
            return False
        return literal.value not in _own_choices(str(getattr(samplers, "__file__", "")))

    def siblings(self, pack: Path | None) -> list[Path]:
        found = []
        for root in map(Path, folder_paths.get_folder_paths("custom_nodes")):
            for path in sorted(root.iterdir()) if root.is_dir() else ():
                is_pack = path.suffix == ".py" if path.is_file() else path.is_dir()
                # As ComfyUI takes them; folders of tools have no code that a pack could mean.
                is_off = path.name.startswith(".") or path.name.endswith(".disabled")
                is_off |= path.name == "__pycache__"
                if is_pack and not is_off and path != pack and path.resolve() != OWN_PACK:
                    found.append(path)
        return found

    def models_of(self, literal: Literal) -> list[ModelPath]:
        options = self.options(literal)
        if options is not None:
            return modelfiles.of_choice(literal.value, options)
        return modelfiles.of_text(literal.value) if looks_like_file(literal.value) else []

    def models_named(self, folder: str, name: str) -> list[ModelPath]:
        return modelfiles.meant(folder, name)

    def models_read_by(self, class_type: str, inputs: Json) -> list[ModelPath]:
        return self.reads.of(class_type, inputs) if self.knows(class_type) else []

    def choices_of(self, class_type: str, inputs: Json) -> Json:
        """What a node's combo widgets are set to."""
        found = (Literal("", class_type, name, value) for name, value in inputs.items())
        return {each.name: each.value for each in found if self.options(each) is not None}

    def inputs_of(self, literal: Literal) -> list[InputPath]:
        found = self.input_of(literal)
        if found is None:
            return self._input_folder(literal)
        root = found.path.parents[len(Path(found.name).parts) - 1]
        return [found, *(_input(root, path) for path in meshes.referred(found.path))]

    def input_of(self, literal: Literal) -> InputPath | None:
        """The input file that a widget value names."""
        if not (self._uploads(literal) or looks_like_file(literal.value)):
            return None
        return self.input_named(literal.value)

    def input_named(self, name: str) -> InputPath | None:
        """The input file of this name, whatever node reads it."""
        root, path = _place(name)
        # Asked of os: what is too long or has a NUL in it is no file there, and no error.
        there = root in path.parents and os.path.isfile(path)  # noqa: PTH113
        return _input(root, path) if there else None

    def _input_folder(self, literal: Literal) -> list[InputPath]:
        """The files behind a choice among the folders of the input folder."""
        options = self.options(literal)
        if not options or literal.value not in options:
            return []
        root, folder = _place(literal.value)
        if not all(isinstance(each, str) and os.path.isdir(root / each) for each in options):  # noqa: PTH112
            return []
        if root not in folder.parents:
            return []
        return [_input(root, path) for path in localpaths.files_below(folder)]

    def path_of(self, literal: Literal) -> Meant | None:
        is_choice = literal.value in (self.options(literal) or ())
        return None if is_choice else localpaths.meant(literal.value)

    def wanted_file(self, literal: Literal) -> bool:
        if self._uploads(literal):
            offered = literal.value in (self.options(literal) or ())
            return not offered or looks_like_file(literal.value)
        if not looks_like_file(literal.value):
            return False
        # A link that leads nowhere is offered, too, but cannot be read.
        return not self.offers(literal) or modelfiles.is_broken_link(literal.value)

    def offers(self, literal: Literal) -> bool:
        options = self.options(literal)
        if options is None or literal.value in options:
            return True
        # The choices of a remote combo are fetched by the page; they are not known here.
        remote = inputspecs.details(self._spec(literal)).get("remote")
        return bool(remote) or self._judges(literal)

    @staticmethod
    def _judges(literal: Literal) -> bool:
        """Whether the node validates this input itself, in place of ComfyUI."""
        node = nodes.NODE_CLASS_MAPPINGS[literal.class_type]
        # A node that is written by ComfyUI's newer schema overrides a method of its base.
        check = getattr(node, "VALIDATE_INPUTS", None) or _overridden(node, "validate_inputs")
        try:
            taken = inspect.signature(check).parameters if check is not None else {}
        except (TypeError, ValueError):
            return True
        return literal.name in taken or any(
            each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()
        )

    def object_info(self, class_types: Iterable[str]) -> Json:
        known = (name for name in class_types if self.knows(name))
        return {name: node_info(name) for name in known}

    def web_folder(self, class_type: str) -> WebFolder | None:
        """As the page finds it: by the name of the pack's module."""
        pack = self.pack_of(class_type) if self.knows(class_type) else None
        if pack is None:
            return None
        name = pack_of(nodes.NODE_CLASS_MAPPINGS[class_type].RELATIVE_PYTHON_MODULE)
        folder = nodes.EXTENSION_WEB_DIRS.get(name)
        return WebFolder(name, Path(folder)) if folder else None

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
        return inputspecs.choices(self._spec(literal))

    def _uploads(self, literal: Literal) -> bool:
        return any(inputspecs.uploads(self._spec(literal)))

    def _spec(self, literal: Literal) -> Spec:
        node = nodes.NODE_CLASS_MAPPINGS.get(literal.class_type)
        if node is None:
            return _UNKNOWN
        return self._declared(literal.class_type, node).get(literal.name, _UNKNOWN)

    def _declared(self, class_type: str, node: Any) -> dict[str, Spec]:
        """The node's INPUT_TYPES, which list folders, asked once for all inputs of a prompt."""
        now = time.monotonic()
        at, declared = self._types.get(class_type, (-KEPT, {}))
        if now - at >= KEPT:
            declared = inputspecs.every(node.INPUT_TYPES())
            self._types[class_type] = now, declared
        return declared


@cache
def _own_choices(file: str) -> frozenset[str]:
    """What ComfyUI's own source of samplers and schedulers names: packs add theirs to the lists."""
    source = Path(file).read_text(encoding="utf-8")
    return frozenset(re.findall(r"""["']([^"'\n]+)["']""", source))


def _overridden(node: Any, name: str) -> Any:
    """A node's own method where it replaces that of ComfyUI's base class; else None."""
    for base in inspect.getmro(node) if inspect.isclass(node) else ():
        if name in vars(base):
            return None if base.__module__.startswith("comfy_api.") else getattr(node, name)
    return None


def node_info(class_type: str) -> Json:
    """A node's definition in the form of GET /object_info, which has no function of its own."""
    node = nodes.NODE_CLASS_MAPPINGS[class_type]
    if hasattr(node, "GET_NODE_INFO_V1"):
        info: Json = node.GET_NODE_INFO_V1()
        return info
    inputs = node.INPUT_TYPES()
    returns = list(node.RETURN_TYPES)
    told = {key: getattr(node, name) for key, name in _TOLD.items() if hasattr(node, name)}
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
        **told,
    }


def _place(value: str) -> tuple[Path, Path]:
    """(folder that it lies in, path) of an input's name, which may end in ``[output]``."""
    name, folder = folder_paths.annotated_filepath(value)
    root = _path(folder or folder_paths.get_input_directory())
    return root, _path(root / name)


def _input(root: Path, path: Path) -> InputPath:
    place = next((p for p in InputPlace if _directory(p) == root), InputPlace.INPUT)
    return InputPath(place, path.relative_to(root).as_posix(), path)


def _directory(place: InputPlace) -> Path:
    return _path(folder_paths.get_directory_by_type(place.value))


def _path(path: str | Path) -> Path:
    """Without .. in it, but through links: what lies in the input folder may be kept elsewhere."""
    return Path(os.path.normpath(path))
