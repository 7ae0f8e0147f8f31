"""A program that is forked, its imports done, sees and does what one that is started does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.comfy.test_comfyui_process import alive, wait_for
from tools import preloaded

pytestmark = pytest.mark.comfyui

# What a program can see of how it was started.
PROBE = """
import json, os, sys, threading, time
import __main__
seen = {
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(),
    "environ": dict(os.environ), "name": __name__, "file": globals().get("__file__"),
    "itself": __main__.__dict__ is globals(), "main": threading.current_thread().name,
    "streams": [[stream.encoding, stream.errors, stream.line_buffering, stream.seekable(),
                 getattr(stream, "write_through", None), type(stream.buffer).__name__, stream.name]
                for stream in (sys.stdin, sys.stdout, sys.stderr)],
    "input": sys.stdin.read(),
    "clock": time.localtime(0)[:5],
    "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
}
print("a warning", file=sys.stderr)
print(json.dumps(seen))
print(bool({"torch", "moto"} & {*sys.modules}), file=open(os.environ["PRELOADED"], "w"))
"""
AS_SCRIPT = ["{main}", "--port", "1"]
AS_MODULE = ["-m", preloaded.LOCAL_STACK, "--port", "1"]
AS_CODE = ["-c", "import sys, runpy; sys.argv = sys.argv[1:]; " + PROBE, "{main}", "--port", "1"]


def run(arguments: list[str], folder: Path, environ: dict[str, str]) -> tuple[Any, str, bool]:
    """What the program saw, its standard error, and whether it found packages imported."""
    main, package = folder / "main.py", folder.joinpath(*preloaded.LOCAL_STACK.split("."))
    package.mkdir(parents=True, exist_ok=True)
    for path in (main, package / "__main__.py"):
        path.write_text(PROBE)
    for path in (package, package.parent):
        (path / "__init__.py").touch()
    told = folder / "preloaded"
    done = subprocess.run(
        [sys.executable, *(part.replace("{main}", str(main)) for part in arguments)],
        cwd=folder, env={**environ, "PRELOADED": str(told), "PYTHONPATH": str(folder)},
        input="typed", capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout), done.stderr, told.read_text().strip() == "True"


@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize(
    "arguments", [AS_SCRIPT, AS_MODULE, AS_CODE], ids=["script", "module", "code"]
)
def test_it_sees_what_a_started_one_sees(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "TZ": "<+1245>-12:45"}
    forked = run(arguments, tmp_path, environ)
    address = environ.pop(preloaded.VARIABLE)
    started = run(arguments, tmp_path, environ)
    assert (forked[2], started[2]) == (True, False)
    assert forked[0]["environ"].pop(preloaded.VARIABLE) == address
    for what, value in started[0].items():
        assert (what, forked[0][what]) == (what, value)
    assert forked[1] == started[1]


ENDINGS = [
    "sys.exit(3)", "1 / 0", "os.kill(os.getpid(), 9)", "os.abort()",
    "threading.Thread(target=late).start()",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_its_stand_in_ends_as_it_does(ending: str, tmp_path: Path) -> None:
    source = (
        "import atexit, os, sys, threading, time\n"
        "atexit.register(print, 'at exit', flush=True)\n"
        f"def late():\n    time.sleep(0.2); print('late', flush=True)\n{ending}\n"
    )
    (tmp_path / "main.py").write_text(source)
    bare = {key: value for key, value in os.environ.items() if key != preloaded.VARIABLE}
    forked, started = (
        subprocess.run(
            [sys.executable, str(tmp_path / "main.py")],
            env=environ,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        for environ in (os.environ, bare)
    )
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert started.stderr.splitlines()[-1:] == forked.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_signals_reach_it(number: signal.Signals, tmp_path: Path) -> None:
    """SIGKILL, which no stand-in can pass on, ends it with all that it started."""
    source = (
        "import os, signal, subprocess, sys\n"
        "heard = lambda number, _: (os.write(1, b'heard %d\\n' % number), os._exit(5))\n"
        "for each in (signal.SIGTERM, signal.SIGUSR1): signal.signal(each, heard)\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "while True: signal.pause()\n"
    )
    (tmp_path / "main.py").write_text(source)
    command = [sys.executable, str(tmp_path / "main.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stand_in:
        assert stand_in.stdout is not None
        family = [int(word) for word in stand_in.stdout.readline().split()]
        assert stand_in.pid not in family
        stand_in.send_signal(number)
        if number is signal.SIGKILL:
            assert stand_in.wait(30) == -number
        else:
            assert stand_in.stdout.readline() == f"heard {number.value}\n"
            assert stand_in.wait(30) == 5
        wait_for(lambda: not any(alive(pid) for pid in family))


def test_it_starts_by_itself_where_python_is_changed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.changed = True")
    (tmp_path / "main.py").write_text("import sys; print(sys.changed, 'torch' in sys.modules)")
    command = [sys.executable, str(tmp_path / "main.py")]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.check_output(command, text=True, env=environ) == "True False\n"


def test_it_starts_by_itself_when_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(preloaded.VARIABLE, str(tmp_path / "nobody"))
    (tmp_path / "main.py").write_text("print('started')")
    command = [sys.executable, str(tmp_path / "main.py")]
    assert subprocess.check_output(command, text=True, timeout=120) == "started\n"
