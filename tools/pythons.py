"""Runs the unit tests on every Python that the extension supports and this machine has.

    .venv/bin/python tools/pythons.py [VERSION…]

Looks for `pythonX.Y` on PATH and below ~/.pyenv/versions. Each gets a virtual environment of its
own in `.pythons/`, with what the unit tests need and nothing else: no torch, no ComfyUI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".pythons"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
NEEDS = ("pyproject.toml", "tools/constraints.txt")


def python_of(version: str) -> Path | None:
    """An interpreter of this version, or None. One of pyenv's shims on PATH may lead nowhere."""
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for path in [Path(found)] if found else []:
        if _runs(path, version):
            return path
    patches = pyenv.glob(f"{version}.*/bin/python{version}")
    return next((path for path in sorted(patches, reverse=True) if _runs(path, version)), None)


def _runs(path: Path, version: str) -> bool:
    command = [str(path), "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() == version


def environment(version: str, python: Path) -> Path:
    """The environment's interpreter; made anew when what it needs has changed."""
    folder = HOME / version
    inside = folder / "bin" / "python"
    stamp = folder / "needs"
    needs = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in NEEDS)).hexdigest()
    if stamp.is_file() and stamp.read_text() == needs:
        return inside
    subprocess.run([str(python), "-m", "venv", "--clear", str(folder)], check=True)
    constraints = ["--constraint", str(ROOT / NEEDS[1])]
    pip = [str(inside), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *constraints, "--editable", f"{ROOT}[local,unit]"], check=True)
    stamp.write_text(needs)
    return inside


def main(wanted: Sequence[str]) -> int:
    ended: dict[str, str] = {}
    for version in wanted or SUPPORTED:
        python = python_of(version)
        if python is None:
            ended[version] = "not on this machine"
            continue
        print(f"\nPython {version}: {python}", flush=True)
        command = [str(environment(version, python)), "-m", "pytest", "-q", "tests/unit"]
        parallel = ["-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
        status = subprocess.run([*command, *parallel], cwd=ROOT, check=False).returncode
        ended[version] = "passed" if status == 0 else f"failed, exit status {status}"
    print()
    for version, result in ended.items():
        print(f"Python {version}: {result}")
    return 0 if all(result == "passed" for result in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
