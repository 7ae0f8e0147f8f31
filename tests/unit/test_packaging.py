"""What pip, ComfyUI-Manager and the Comfy Registry read: pyproject.toml and requirements.txt."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import comfy_aws

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
# Edges that are only started where their extra is installed.
EXTRA_OF = {"worker": {"worker"}, "localstack": {"worker", "local"}}
# Used where it is installed, which it is with an extra.
WHERE_INSTALLED = {"aws/native.py": {"awscrt"}}
# Parts of a package's interface that are distributions of their own.
COMES_WITH = {
    "aiohttp": {"multidict", "yarl"},
    "boto3": {"botocore", "s3transfer"},
    "moto": {"flask", "werkzeug"},
}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def requirements_in(path: Path) -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return requirements([line for line in lines if line])


def lower_bound(requirement: Requirement) -> Version:
    bounds = [each.version for each in requirement.specifier if each.operator in (">=", "==")]
    return max(map(Version, bounds), default=Version("0"))


def test_requirements_txt_says_the_same_as_pyproject():
    stated = requirements_in(ROOT / "requirements.txt")
    assert stated == requirements(PROJECT["dependencies"])


def test_requirements_only_have_lower_bounds():
    """A pin or an upper bound could replace a package of ComfyUI's own by an older one."""
    for requirement in requirements_in(ROOT / "requirements.txt").values():
        operators = [each.operator for each in requirement.specifier]
        assert operators == [">="], requirement


def test_requirements_are_met_by_what_comfyui_asks_for():
    """Installing the extension must not replace a package that ComfyUI's requirements allow."""
    comfyui = requirements_in(ROOT / "tools" / "requirements-comfyui.txt")
    ours = requirements_in(ROOT / "requirements.txt")
    for name in ours.keys() & comfyui.keys():
        if comfyui[name].specifier:
            assert lower_bound(ours[name]) <= lower_bound(comfyui[name]), name


def test_version_is_stated_once_in_meaning():
    assert PROJECT["version"] == comfy_aws.__version__


def test_registry_entry_is_complete():
    entry = PYPROJECT["tool"]["comfy"]
    assert entry["PublisherId"]
    assert entry["DisplayName"] == "Prompt on AWS"
    assert entry["Icon"].startswith("https://")
    assert entry["requires-comfyui"] == ">=0.3.75"
    assert isinstance(entry["includes"], list)
    # WEB_DIRECTORY serves the scripts; with both, every script would be loaded twice.
    assert "web" not in entry


def test_project_name_suits_the_registry():
    name = PROJECT["name"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,99}", name)
    assert "comfyui" not in name


@pytest.mark.slow
def test_comfy_cli_accepts_the_node(tmp_path):
    comfy = Path(sys.executable).with_name("comfy")
    assert comfy.exists()
    result = subprocess.run(
        [str(comfy), "--skip-prompt", "node", "validate"],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "Warning" not in said
    assert "validation checks passed" in said


def test_license_is_complete():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_console_script_leads_to_a_function():
    module, _, function = PROJECT["scripts"]["comfy-aws"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_npm_lock_names_no_registry():
    """Each machine installs from its own registry; the hashes still hold."""
    lock = json.loads((ROOT / "package-lock.json").read_text())
    entries = [entry for name, entry in lock["packages"].items() if name]
    assert entries
    assert not [entry for entry in entries if "resolved" in entry]
    assert all("integrity" in entry for entry in entries)


def source_files() -> list[Path]:
    return sorted((ROOT / "src" / "comfy_aws").rglob("*.py"))


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imported_packages_are_declared(path):
    relative = path.relative_to(ROOT / "src" / "comfy_aws")
    declared = set(requirements(PROJECT["dependencies"]))
    for extra in EXTRA_OF.get(relative.parts[0], ()):
        declared |= set(requirements(PROJECT["optional-dependencies"][extra]))
    declared |= {part for name in declared for part in COMES_WITH.get(name, ())}
    declared |= WHERE_INSTALLED.get(relative.as_posix(), set())
    in_comfyui = relative.parts[0] in ("comfyui", "codecs.py")
    if in_comfyui:
        declared |= set(requirements_in(ROOT / "tools" / "requirements-comfyui.txt")) | {"torch"}

    for package in imported_packages(ast.parse(path.read_text())):
        names = owners().get(package, set())
        if not names:
            assert in_comfyui, f"{package} is not installed and belongs to no dependency"
            continue
        assert names & declared, f"{package} is not declared; found in {sorted(names)}"


@functools.cache
def owners() -> dict[str, set[str]]:
    """Distributions by the top names that they install; Python 3.10's own table lacks many."""
    found: dict[str, set[str]] = {}
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or ():
            found.setdefault(file.parts[0].partition(".")[0], set()).add(name)
    return found


def imported_packages(tree: ast.Module) -> set[str]:
    """Top names of what is imported at run time, from outside this library and Python's own."""
    found: set[str] = set()
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        nodes += ast.iter_child_nodes(node)
    return found - set(sys.stdlib_module_names) - {"comfy_aws"}


@pytest.mark.slow
def test_wheel_holds_the_library_and_nothing_else(tmp_path):
    """The worker's container installs it; built in a copy, so that nothing is left in the tree."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info", ".*"))
    command = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    built = subprocess.run(
        [sys.executable, "-c", command], cwd=copy, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    wheel = copy / built.stdout.split()[-1]
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tops = {line.split("/")[0] for line in listed.splitlines()[1:]}
    assert tops == {"comfy_aws", f"prompt_on_aws-{PROJECT['version']}.dist-info"}
