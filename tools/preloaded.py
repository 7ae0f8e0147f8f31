"""Lets the tests' many ComfyUIs and local stacks start in a fraction of their processor time.

A ComfyUI needs nine seconds, a local stack five, and nearly all of it is imports of packages that
are the same each time: torch, transformers, scipy, moto. A test run starts one process for each of
the two that has imported them (`serve`), with sockets in the folder that PYTHON_PRELOADED names.
Each `python … main.py …` that starts below, the designer's and a worker's runner alike, and each
`python -m comfy_aws.localstack …` hands its command line, environment, folder and output to it;
that process forks, and the fork runs the program. What has been started stays, as its stand-in: it
has the process id that its parent knows, passes signals on, ends as the fork ends, and the fork
ends when it does.

tools/bootstrap.py copies this file into the virtual environment, where a .pth file imports it at
every start, so it imports next to nothing. Without the variable it does nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing's, which costs a start ten milliseconds
if TYPE_CHECKING:
    import socket
    from types import FrameType
    from typing import Any

VARIABLE = "PYTHON_PRELOADED"
"""Names the folder of the sockets, which are called as the programs are."""

COMFYUI, LOCAL_STACK = "main.py", "comfy_aws.localstack"

PACKAGES = {
    COMFYUI: (
        "torch", "torchvision", "transformers", "transformers.models.clip.tokenization_clip",
        "spandrel", "kornia.filters", "kornia.color", "kornia.morphology", "scipy.stats",
        "scipy.ndimage", "sqlalchemy.orm", "alembic.command", "alembic.runtime.environment",
        "aiohttp.web", "av", "einops", "torchsde", "yaml", "psutil", "requests",
        "pydantic_settings", "safetensors.torch", "sentencepiece", "PIL.Image",
    ),
    LOCAL_STACK: (
        "aiohttp.web", "boto3", "moto.moto_server.werkzeug_app", "moto.sagemaker.responses",
        "moto.applicationautoscaling.responses", "moto.cloudformation.responses",
        "moto.cloudwatch.responses", "moto.codebuild.responses", "moto.ecr.models",
        "moto.logs.responses", "moto.s3.models", "moto.sns.responses", "moto.sqs.responses",
        "moto.sts.responses", "psutil", "requests",
    ),
}  # fmt: skip

PASSED_ON = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")


# -- the stand-in ------------------------------------------------------------------------------


def program(command: list[str]) -> str:
    """Which of PACKAGES an interpreter's command line runs, by itself or by a `-c`; or none."""
    if command[1:2] == ["-m"]:
        name = "".join(command[2:3])
    else:
        script = command[3:4] if command[1:2] == ["-c"] else command[1:2]
        name = "".join(script).rpartition("/")[2]
    return name if name in PACKAGES else ""


def changes_python() -> bool:
    """Whether the environment changes interpreters as they start, which a fork has behind it."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return any(os.path.isfile(f"{folder}/sitecustomize.py") for folder in folders if folder)


def hand_over(address: str) -> None:
    """Let the process at `address` run this one's command; does not return if it does."""
    import json
    import socket

    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:  # its test run has ended: start as usual
        return
    order = {"command": sys.orig_argv, "environ": dict(os.environ), "folder": os.getcwd()}
    body = json.dumps(order).encode()
    passing = _PassingOn()
    socket.send_fds(connection, [len(body).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(body)
    child = int.from_bytes(connection.recv(4), "big")
    if not child:
        os._exit(70)  # the process that forks has gone
    passing.to(child)
    _end_like_it(connection)


class _PassingOn:
    """Passes signals on; those that come before there is a fork wait for it."""

    def __init__(self) -> None:
        import signal

        self._child = 0
        self._early: list[int] = []
        for name in PASSED_ON:
            signal.signal(getattr(signal, name), self._pass_on)

    def to(self, child: int) -> None:
        self._child = child
        for number in self._early:
            self._pass_on(number, None)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if not self._child:
            self._early.append(number)
            return
        try:
            os.kill(self._child, number)
        except ProcessLookupError:
            return


def _end_like_it(connection: socket.socket) -> None:
    import signal

    ended = connection.recv(4)
    status = int.from_bytes(ended, "big") if len(ended) == 4 else signal.SIGKILL
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


# -- the process that forks --------------------------------------------------------------------


def serve(name: str, number: int) -> dict[str, Any]:
    """Fork for whoever connects to the listening socket of that number, until standard input ends.

    Returns in each fork, its order.
    """
    import gc
    import importlib
    import selectors
    import socket

    gc.disable()
    listener = socket.socket(fileno=number)  # who comes before the imports are done waits
    for package in PACKAGES[name]:
        try:
            importlib.import_module(package)
        except ImportError:  # another release may need less
            continue
    gc.freeze()
    gc.enable()
    events = selectors.DefaultSelector()
    events.register(sys.stdin, selectors.EVENT_READ)
    events.register(listener, selectors.EVENT_READ, _Fork)
    while True:
        for key, _ in events.select():
            if key.fileobj is sys.stdin:
                sys.exit()
            if key.data is _Fork:
                fork = _Fork(listener.accept()[0], events)
                if (order := fork.start()) is not None:
                    return order
            else:
                key.data()


class _Fork:
    """One program, and the connection of its stand-in."""

    def __init__(self, connection: socket.socket, events: Any) -> None:
        self._connection = connection
        self._events = events
        self._child = 0
        self._running = 0

    def start(self) -> dict[str, Any] | None:
        """Fork; the order in the fork, None in the process that forks."""
        import json
        import selectors
        import socket

        head, files, _, _ = socket.recv_fds(self._connection, 4, 3)
        if len(head) < 4 or len(files) != 3:
            self._connection.close()
            return None
        with self._connection.makefile("rb") as stream:
            body = stream.read(int.from_bytes(head, "big"))
        parent = os.getpid()
        self._child = os.fork()
        if not self._child:
            _become_child(parent, files)
            order: dict[str, Any] = json.loads(body)
            return order
        for number in files:
            os.close(number)
        self._running = os.pidfd_open(self._child)
        self._events.register(self._running, selectors.EVENT_READ, self._ended)
        self._events.register(self._connection, selectors.EVENT_READ, self._left)
        self._connection.sendall(self._child.to_bytes(4, "big"))
        return None

    def _ended(self) -> None:
        self._events.unregister(self._running)
        os.close(self._running)
        self._running = 0
        _, status = os.waitpid(self._child, 0)
        try:
            self._connection.sendall(status.to_bytes(4, "big"))
        except OSError:  # the stand-in was killed
            return

    def _left(self) -> None:
        """The stand-in has ended, and all that its program started ends with it."""
        import signal

        self._events.unregister(self._connection)
        self._connection.close()
        try:
            os.killpg(self._child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def _become_child(parent: int, files: list[int]) -> None:
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    for target, number in enumerate(files):
        os.dup2(number, target)
    os.closerange(3, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)


def become(order: dict[str, Any]) -> tuple[str, str]:
    """Make this fork what a new interpreter with that order is; its program's text and name."""
    import gc
    import importlib
    import time

    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    for name in ("stdin", "stdout", "stderr"):
        sys.__dict__[name] = sys.__dict__[f"__{name}__"] = _stream(sys.__dict__[name])
    _, *arguments = sys.orig_argv = order["command"]
    if arguments[0] == "-c":
        code, name, sys.argv, first = arguments[1], "<string>", ["-c", *arguments[2:]], ""
    elif arguments[0] == "-m":
        code = f"import runpy; runpy.run_module({arguments[1]!r}, None, '__main__', True)"
        name, sys.argv, first = "<string>", ["-m", *arguments[2:]], os.getcwd()
    else:
        name, sys.argv, first = arguments[0], arguments, os.path.dirname(arguments[0])
        with open(name, encoding="utf-8") as script:
            code = script.read()
        gc.set_threshold(100_000, 50, 50)  # as torchvision_schemas.py has it
    added = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [first, *(path for path in added if path not in sys.path)]
    importlib.invalidate_caches()
    return code, name


def _stream(inherited: Any) -> Any:
    """What a new interpreter opens in place of a stream that may have been of another kind."""
    import io

    number = inherited.fileno()
    through = bool(os.environ.get("PYTHONUNBUFFERED"))
    size = 0 if through and number else -1
    buffer: Any = open(number, "wb" if number else "rb", size, closefd=False)  # noqa: SIM115
    getattr(buffer, "raw", buffer).name = inherited.name
    by_line = not through and (number == 2 or buffer.isatty())
    return io.TextIOWrapper(
        buffer, inherited.encoding, inherited.errors, "\n" if number else None, by_line, through
    )


if __name__ == "__main__":
    _order = serve(sys.argv[1], int(sys.argv[2]))
    _code, _name = become(_order)
    _program = type(sys)("__main__")
    _program.__dict__["__builtins__"] = __builtins__
    if _name != "<string>":
        _program.__file__ = _name
    sys.modules["__main__"] = _program
    exec(compile(_code, _name, "exec"), _program.__dict__)
elif (
    (_folder := os.environ.get(VARIABLE))
    and (_name := program(sys.orig_argv))
    and not changes_python()
):
    hand_over(f"{_folder}/{_name}")
