"""Watches which model files a local run opens, for those that no widget names.

Face analysers, captioners and the like read fixed files below the models folders. Python tells
an audit hook of each file that it opens. Some libraries open theirs in native code; what of them
is loaded gets its opening function wrapped as a prompt starts. During a run this costs a comparison
of strings for each opened file; what was seen is looked at and written down by a thread of its own
afterwards.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import folder_paths

from comfy_aws import companions
from comfy_aws.models import Json
from comfy_aws.readlog import ReadLog
from comfy_aws.resolve import ModelPath

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 1.0
"""From the first file of a batch to its entry in the log."""

ROOTS_SECONDS: Final = 5.0
"""How long the list of models folders is used again; node packs add folders while they load."""

_NATIVE: Final = (
    ("safetensors", "safe_open"),
    ("safetensors.torch", "safe_open"),
    ("torch.jit", "load"),
    ("onnxruntime", "InferenceSession.__init__"),
)
"""Module and name of what opens a model's file in native code, its path as first argument."""

_MARK: Final = "_aws_notes_reads"
_CODE: Final = (".py", ".pyc", ".so", ".pyd", ".dll")

Read = tuple[str, str, str]
"""Prompt id, node id, path."""


class ModelReads:
    """The recorder of this ComfyUI, and what it has recorded.

    Args:
        choices_of: what a node's combo widgets are set to, by its class and inputs.
    """

    def __init__(self, reads: ReadLog, choices_of: Callable[[str, Json], Json]) -> None:
        self._log = reads
        self._choices_of = choices_of
        self._queue: Any = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._seen: dict[Read, tuple[str, Json]] = {}
        self._done: set[Read] = set()
        self._roots: tuple[float, tuple[str, ...]] = (-ROOTS_SECONDS, ())

    def install(self, queue: Any) -> None:
        """Watch from now on; a second call changes nothing.

        Args:
            queue: ComfyUI's PromptQueue, which holds the graph of the running prompt.
        """
        if self._queue is not None:
            return
        self._queue = queue
        sys.addaudithook(self._hear)

    def of(self, class_type: str, inputs: Json) -> list[ModelPath]:
        """The files that such a node has read on this machine, besides those that it names."""
        self._write_down()
        found = self._log.of(class_type, self._choices_of(class_type, inputs))
        return [ModelPath(*each) for each in found]

    # -- while a prompt runs -------------------------------------------------------------------

    def on_prompt(self, posted: Json) -> Json:
        """Libraries may have been loaded since the last prompt. The body comes back as it is."""
        try:
            self._wrap_native()
        except Exception:  # a watcher must not break what it watches
            log.exception("Prompt on AWS could not watch native code that reads models")
        return posted

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and type(args[0]) is str and not args[2] & (os.O_WRONLY | os.O_RDWR):
            self._note(args[0])

    def _wrap_native(self) -> None:
        """Wrap the functions of `_NATIVE` wherever a module has imported them by name."""
        for home, name in _NATIVE:
            owner, _, attribute = name.rpartition(".")
            holder: Any = sys.modules.get(home)
            if owner:
                holder = getattr(holder, owner, None)
            opened = getattr(holder, attribute, None) if holder is not None else None
            if opened is None or hasattr(opened, _MARK):
                continue
            wrapped = self._noting(opened, is_method=bool(owner))
            setattr(holder, attribute, wrapped)
            for module in [] if owner else list(sys.modules.values()):
                if isinstance(module, ModuleType):
                    bound = object.__getattribute__(module, "__dict__")  # loads no lazy module
                    if bound.get(attribute) is opened:
                        bound[attribute] = wrapped

    def _noting(self, opened: Any, *, is_method: bool) -> Any:
        @functools.wraps(opened, updated=())
        def noting(*args: Any, **kwargs: Any) -> Any:
            path = args[is_method] if len(args) > is_method else next(iter(kwargs.values()), None)
            if isinstance(path, (str, os.PathLike)):
                self._note(str(Path(path).absolute()))
            return opened(*args, **kwargs)

        setattr(noting, _MARK, True)
        return noting

    def _note(self, path: str) -> None:
        if not path.startswith(self._model_roots()) or path.endswith(_CODE):
            return
        try:
            where = _executing()
            if where is None:
                return
            read = (*where, path)
            if read not in self._done and read not in self._seen:
                self._keep(read)
        except Exception:  # a watcher must not break what it watches
            log.exception("Prompt on AWS could not note that %s was read", path)

    def _keep(self, read: Read) -> None:
        prompt_id, node_id, _ = read
        items = list(self._queue.currently_running.values())
        graph: Json = next((item[2] for item in items if item[1] == prompt_id), {})
        # Nodes that a node makes while it runs are named after it: 5.0.1 was made by 5.
        node = graph.get(node_id) or graph.get(node_id.partition(".")[0])
        if node is None:
            return
        with self._lock:
            first = not self._seen
            self._seen[read] = (node["class_type"], node.get("inputs", {}))
        if first:
            timer = threading.Timer(SETTLE_SECONDS, self._write_down)
            timer.daemon = True
            timer.start()

    def _model_roots(self) -> tuple[str, ...]:
        now = time.monotonic()
        at, roots = self._roots
        if now - at > ROOTS_SECONDS:
            places = {folder_paths.models_dir, *(str(place) for place, _ in _places())}
            roots = tuple({each.rstrip(os.sep) + os.sep for each in places})
            self._roots = (now, roots)
        return roots

    # -- afterwards ----------------------------------------------------------------------------

    def _write_down(self) -> None:
        with self._writing:  # whoever asks next waits for what another thread has in its hands
            self._write_seen()

    def _write_seen(self) -> None:
        with self._lock:
            seen, self._seen = self._seen, {}
            self._done |= seen.keys()
            if len(self._done) > 10_000:  # of prompts long gone
                self._done.clear()
        try:
            for (_, _, path), (class_type, inputs) in seen.items():
                models = [model for each in _read_with(Path(path)) if (model := named(each))]
                self._log.add(class_type, self._choices_of(class_type, inputs), models)
        except Exception:
            log.exception("Prompt on AWS could not write down which models were read")


def named(path: Path) -> ModelPath | None:
    """A file below a models folder by ComfyUI's names; None when it is in none of them."""
    around = [place for place in _places() if place[0] in path.parents]
    if not around:
        return None
    root, folder = max(around, key=lambda place: len(place[0].parts))
    return ModelPath(folder, path.relative_to(root).as_posix(), path)


def _read_with(path: Path) -> list[Path]:
    """All of a model that is a folder, when its description is read; else the file itself."""
    folder = path.parent
    is_place = any(folder == place for place, _ in _places())  # several models side by side
    if path.name in companions.MARKS and not is_place and companions.is_model(folder):
        return companions.below(folder)
    return [path]


def _places() -> Iterator[tuple[Path, str]]:
    """Where models lie, and under which name ComfyUI knows it: with links and without."""
    for folder, (roots, _) in folder_paths.folder_names_and_paths.items():
        for root in map(Path, roots if folder != "custom_nodes" else ()):
            yield root, folder
            yield root.resolve(), folder
    with suppress(OSError):
        for child in Path(folder_paths.models_dir).iterdir():
            yield child, child.name
            yield child.resolve(), child.name


def _executing() -> tuple[str, str] | None:
    """(prompt id, node id) of the node that this thread executes."""
    try:
        from comfy_execution.utils import get_executing_context
    except ImportError:  # an older or newer ComfyUI than those we know: it tells its page
        from server import PromptServer

        server = PromptServer.instance
        prompt_id, node_id = server.last_prompt_id, server.last_node_id
        return (prompt_id, node_id) if prompt_id and node_id else None
    context = get_executing_context()
    return None if context is None else (context.prompt_id, context.node_id)
