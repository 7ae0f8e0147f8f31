"""Run a command as a container would: when its first process or its starter dies, all of it dies.

Started by path (`python -I -S guard.py COMMAND…`) as leader of a session of its own, with its
standard input as a pipe that the starter holds. The pipe closes when that ends in any way,
kill -9 included, and then every process below is killed. SIGTERM goes to the command alone, as
`docker stop` does; what the command leaves behind is killed when it ends. On Linux the guard
adopts orphans (PR_SET_CHILD_SUBREAPER), so that descendants in sessions of their own are found,
and the command dies with the guard (PR_SET_PDEATHSIG).

Imports nothing of this package, nor pathlib: it must start in milliseconds.
"""
# ruff: noqa: PTH123, PTH208

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _start(command: list[str]) -> int:
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)
    except OSError as exc:
        os.write(2, f"cannot run {command[0]}: {exc}\n".encode())
        os._exit(127)


def _descendants(root: int) -> list[int]:
    """Every process below `root`, from /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    try:
        entries = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for entry in entries:
        try:
            with open(f"/proc/{entry}/stat", "rb") as stream:
                parent = int(stream.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _kill_all() -> None:
    """Kill and reap until no process is left below the guard, for ten seconds at most."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for pid in _descendants(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.005)
    if sys.platform != "linux":
        os.killpg(os.getpid(), signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run the command; the exit status is its own, 128 + n when signal n ended it."""
    wake_in, wake_out = os.pipe()
    os.set_blocking(wake_in, False)
    os.set_blocking(wake_out, False)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = 0

    def forward(number: int, _frame: object) -> None:
        if child:
            with suppress(OSError):
                os.kill(child, number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    child = _start(command)
    status = None
    while status is None:
        readable, _, _ = select.select([0, wake_in], [], [])
        if 0 in readable and not os.read(0, 4096):
            status = 128 + signal.SIGKILL
            break
        if wake_in in readable:
            with suppress(BlockingIOError):
                os.read(wake_in, 4096)
        while status is None:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(raw)
                status = code if code >= 0 else 128 - code
    with suppress(OSError):
        os.kill(child, signal.SIGKILL)
    _kill_all()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
