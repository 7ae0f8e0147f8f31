"""How the runner's ComfyUI is started: its command line, its environment and its clock."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from comfy_aws.worker.environment import Overlay
from comfy_aws.worker.process import without_secrets

START_LIMIT: Final = 900.0
"""Seconds; a cold container imports torch and many node packs from a slow disk."""

READY: Final = signal.SIGUSR1
"""Tells ComfyUI that it has started."""

CLOCK: Final = signal.SIGUSR2
"""Tells ComfyUI to read its time zone anew."""

DISABLE_METADATA: Final = "--disable-metadata"
_PREVIEWS: Final = "--preview-method"

# Runs main.py as Python itself would, but for two things.
#
# The garbage collector: looking for garbage is a sixth of the time that ComfyUI takes to start, for
# 4 MB of it. Later ComfyUI collects after a prompt, over all that was imported: up to a second in
# which it answers nobody. So the collector sleeps until the signal that ComfyUI is ready, and
# leaves out from then on what was there before. It wakes by itself where a node pack has taken the
# signal for something else.
#
# The clock: a container's is UTC, and ComfyUI writes the date into names of files (`%day%`).
_MAIN: Final = """
import gc, os, runpy, signal, sys, threading, time

def wake(*_):
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

def set_clock(*_):
    try:
        with open({zone!r}) as file:
            os.environ["TZ"] = file.read()
    except OSError:
        return
    time.tzset()

sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
gc.disable()
set_clock()
signal.signal(signal.{clock}, set_clock)
signal.signal(signal.{ready}, wake)
late = threading.Timer({limit}, wake)
late.daemon = True
late.start()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(
    comfyui: Path, base: Path, port: int, arguments: Sequence[str], *, disable_metadata: bool
) -> list[str]:
    """The command line of a ComfyUI that serves `base` on loopback."""
    main = _MAIN.format(
        zone=str(zone_file(base)), clock=CLOCK.name, ready=READY.name, limit=START_LIMIT
    )
    return [
        sys.executable, "-c", main, str(comfyui / "main.py"),
        "--listen", "127.0.0.1", "--port", str(port),
        "--base-directory", str(base),
        # ComfyUI's default lies in its source folder, which several workers may share.
        "--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}",
        "--disable-auto-launch", "--dont-print-server",
        *(() if _PREVIEWS in arguments else (_PREVIEWS, "auto")),
        *((DISABLE_METADATA,) if disable_metadata else ()),
        *arguments,
    ]  # fmt: skip


def zone_file(base: Path) -> Path:
    """Where ComfyUI reads its time zone, as POSIX writes one."""
    return base / "user" / "timezone"


def zone(offset: int) -> str:
    """A time zone by its seconds before UTC. POSIX counts the other way round."""
    hours, minutes = divmod(abs(offset) // 60, 60)
    east, west = ("+", "-") if offset >= 0 else ("-", "+")
    return f"<{east}{hours:02}{minutes:02}>{west}{hours:02}:{minutes:02}"


def environment(base: Path, overlay: Overlay | None) -> dict[str, str]:
    """Variables for ComfyUI, without credentials."""
    environ = without_secrets(PYTHONUNBUFFERED="1")
    # As in a ComfyUI without a base directory, where packs may `import custom_nodes.OTHER`.
    environ["PYTHONPATH"] = os.pathsep.join([*_paths(environ, "PYTHONPATH"), str(base)])
    if overlay is not None:
        first = str(overlay.start)
        environ["PYTHONPATH"] = os.pathsep.join([first, *_paths(environ, "PYTHONPATH")])
        last = str(overlay.packages / "bin")
        environ["PATH"] = os.pathsep.join([*_paths(environ, "PATH"), last])
    return environ


def _paths(environ: dict[str, str], name: str) -> list[str]:
    return [environ[name]] if environ.get(name) else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
