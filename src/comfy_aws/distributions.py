"""The running Python's distributions by what is known of them: a module's name, or an address."""

from __future__ import annotations

import json
import re
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, distributions, requires
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

COMFYUIS: Final = (
    "aiohttp", "alembic", "av", "boto3", "comfyui-embedded-docs", "comfyui-frontend-package",
    "comfyui-workflow-templates", "einops", "kornia", "numpy", "pathspec", "pillow", "pip",
    "psutil", "pydantic", "pydantic-settings", "pyyaml", "requests", "safetensors", "scipy",
    "sentencepiece", "setuptools", "soundfile", "spandrel", "sqlalchemy", "tokenizers", "torch",
    "torchaudio", "torchsde", "torchvision", "tqdm", "transformers", "triton", "wheel", "yarl",
)  # fmt: skip
"""What ComfyUI and this extension bring, here as on the worker."""

UNTELLING: Final = frozenset(
    {
        "app", "build", "comfy", "data", "docs", "examples", "execution", "folder_paths", "google",
        "lib", "main", "models", "modules", "nodes", "nvidia", "scripts", "server", "src", "test",
        "tests", "tools", "utils",
    }
)  # fmt: skip
"""Modules that a distribution brings by mistake, that many share, or that are ComfyUI's."""

_VARIANT: Final = re.compile(r"-(?:gpu|cpu|headless|contrib|directml|cu\d+|windows)\b")
"""In names of distributions that bring the same modules and must not lie side by side."""

_OF_WINDOWS: Final = re.compile(r"-(?:directml|windows)\b")


def imported(modules: frozenset[str], declared: set[str]) -> tuple[tuple[str, str], ...]:
    """(canonical name, version) of the distributions behind modules, sorted.

    Left out are ComfyUI's own, and modules that one of the `declared` brings.
    """
    found: dict[str, str] = {}
    kinds = set(map(_kind, declared))
    for module in modules - UNTELLING - sys.stdlib_module_names:
        names = _by_module().get(module, ())
        if names and kinds.isdisjoint(map(_kind, names)) and names[0] not in _comfyuis():
            found[names[0]] = _version(names[0])
    return tuple(sorted((name, version) for name, version in found.items() if version))


def variants(name: str) -> tuple[str, ...]:
    """What brings the same modules here as a distribution of another name, sorted.

    The worker gets what this machine runs: `onnxruntime-gpu` where `onnxruntime` is asked for.
    Left out are ComfyUI's own, and those that only Windows has.
    """
    names = {each for names in _by_module().values() for each in names} - _comfyuis() - {name}
    alike = {each for each in names if _kind(each) == _kind(name)}
    return tuple(sorted(each for each in alike if not _OF_WINDOWS.search(each)))


def _kind(name: str) -> str:
    return _VARIANT.sub("", name)


def from_address(url: str) -> str:
    """The canonical name of what was installed from a repository or a file; empty for nothing."""
    return _by_address().get(_plain(url), "")


@lru_cache(maxsize=1)  # as all below: what is installed changes with a restart
def _by_module() -> dict[str, tuple[str, ...]]:
    """As importlib.metadata's packages_distributions, without reading what no RECORD needs."""
    found: dict[str, set[str]] = {}
    for each in distributions():
        try:
            name = canonicalize_name(each.metadata["Name"])
            listed = each.read_text("top_level.txt")
            modules = set(listed.split()) if listed else _recorded(each.read_text("RECORD") or "")
        except (TypeError, OSError, UnicodeDecodeError):
            continue
        for module in modules:
            found.setdefault(module, set()).add(name)
    return {module: tuple(sorted(names)) for module, names in found.items()}


def _recorded(record: str) -> set[str]:
    """The modules at the top of what a distribution has installed."""
    modules = set()
    for line in record.splitlines():
        path = line.partition(",")[0]
        top, slash, _ = path.partition("/")
        if slash:
            modules |= {top} if top.isidentifier() and path.endswith(".py") else set()
        elif top.endswith((".py", ".so", ".pyd")):
            modules.add(top.partition(".")[0])
    return modules


@lru_cache(maxsize=1)
def _comfyuis() -> frozenset[str]:
    """What ComfyUI brings, with what that needs."""
    waiting, seen = list(COMFYUIS), set(COMFYUIS)
    while waiting:
        try:
            needed = requires(waiting.pop()) or ()
        except PackageNotFoundError:
            continue
        for text in needed:
            try:
                requirement = Requirement(text)
                applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            except InvalidRequirement:
                continue
            name = canonicalize_name(requirement.name)
            if applies and name not in seen:
                seen.add(name)
                waiting.append(name)
    return frozenset(seen)


@lru_cache(maxsize=1)
def _by_address() -> dict[str, str]:
    found: dict[str, str] = {}
    for each in distributions():
        try:
            text = each.read_text("direct_url.json")
            if text:
                found[_plain(str(json.loads(text)["url"]))] = canonicalize_name(
                    each.metadata["Name"]
                )
        except (ValueError, KeyError, TypeError, OSError):
            continue
    return found


def _plain(url: str) -> str:
    """The same for all the ways to write where a repository lies."""
    address = url.partition("#")[0].removeprefix("git+")
    scheme, _, rest = address.partition("://")
    place, at, _ = rest.rpartition("@")
    rest = place if at and "/" in place else rest  # what follows is a branch or a commit
    return f"{scheme}://{rest}".lower().rstrip("/").removesuffix(".git")


def forget() -> None:
    """Look again at what is installed."""
    for kept in (_by_module, _comfyuis, _by_address):
        kept.cache_clear()


def _version(name: str) -> str:
    """Empty for what cannot be had by its version: it lies in a folder of this machine."""
    try:
        found = distribution(name)
        source = found.read_text("direct_url.json") or ""
        return "" if "dir_info" in source else str(Version(found.version))
    except (PackageNotFoundError, InvalidVersion, TypeError, OSError):
        return ""
