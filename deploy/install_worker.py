"""Installs a worker into the Python that runs this: PyTorch, ComfyUI and Prompt on AWS.

    python install_worker.py                  all steps
    python install_worker.py comfyui worker   some of them

deploy/Dockerfile runs each step in a layer of its own, so that a new version of Prompt on AWS
leaves the large layers as they are; deploy/install_designer.py takes the same steps. Standard
library only, as it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

COMFYUI_URL = "https://github.com/comfyanonymous/ComfyUI/archive/refs/tags/v{version}.tar.gz"
DOWNLOAD_SECONDS = 120

# CUDA 12.8 runs on GPUs from the T4 on, with the driver of src/comfy_aws/drivers.py's AMI.
TORCH = ("torch==2.8.0", "torchvision==0.23.0", "torchaudio==2.8.0")
TORCH_INDEX = "https://download.pytorch.org/whl/cu128"

EXTENSION = Path(__file__).resolve().parents[1]
BUILT_FROM = ("pyproject.toml", "LICENSE", "README.md", "src")
"""What of the extension's folder the worker's package is built from."""

STEPS = ("torch", "comfyui", "worker")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    steps = options.steps or STEPS
    if "torch" in steps:
        install_torch(sys.executable)
    if "comfyui" in steps:
        if options.comfyui_source:
            copy_comfyui(options.comfyui_source, options.target)
        else:
            fetch_comfyui(options.comfyui_version, options.target)
        install_requirements(
            sys.executable, options.requirements or options.target / "requirements.txt"
        )
    if "worker" in steps:
        install_extension(sys.executable, options.extension, "worker")
        run([sys.executable, "-c", "import torch, comfy_aws.worker.server"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Install a worker of Prompt on AWS.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--comfyui-version", default="0.3.75", help="release (%(default)s)")
    parser.add_argument("--comfyui-source", type=Path, help="a folder in place of a release")
    parser.add_argument("--target", type=Path, default=Path("/opt/comfyui"), help="of ComfyUI")
    parser.add_argument("--requirements", type=Path, help="in place of ComfyUI's own")
    parser.add_argument("--extension", type=Path, default=EXTENSION, help="its folder")
    return parser


def install_torch(python: str) -> None:
    pip(python, "--index-url", TORCH_INDEX, *TORCH)


def install_requirements(python: str, requirements: Path) -> None:
    """Packages that are there and new enough, PyTorch above all, stay as they are."""
    pip(python, "--requirement", str(requirements))


def copy_comfyui(source: Path, target: Path) -> None:
    """Copy a ComfyUI without what its user has put into it."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        users = {"input", "models", "output", "temp", "user"} if Path(folder) == source else set()
        return ({".git", "__pycache__"} | users) & set(names)

    shutil.copytree(source, target, ignore=ignored)


def fetch_comfyui(version: str, target: Path) -> None:
    """Put a release of ComfyUI into `target`, which must not exist."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "comfyui.tar.gz")
        url = COMFYUI_URL.format(version=version)
        print(f"Fetching {url}", flush=True)
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer,  # noqa: S310 – https
            archive.open("wb") as sink,
        ):
            shutil.copyfileobj(answer, sink)
        unpack(archive, target)


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive with one folder at its top as `target`."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (top,) = Path(folder).iterdir()
        top.rename(target)


def install_extension(python: str, folder: Path, extra: str) -> None:
    """Install the extension's library; from a copy, as a build leaves files beside its source."""
    with tempfile.TemporaryDirectory() as copy:
        for name in BUILT_FROM:
            source = folder / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, Path(copy, name), ignore=ignored)
            elif source.exists():
                shutil.copy(source, copy)
        pip(python, f"{copy}[{extra}]")  # from a folder, pip installs an equal version anew, too


def pip(python: str, *arguments: str) -> None:
    run([python, "-m", "pip", "--disable-pip-version-check", "install", *arguments])


def run(command: Sequence[str]) -> None:
    print(f"$ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
