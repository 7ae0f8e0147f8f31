"""Watches which model files a local run opens, for those that no widget names.

Face analysers, captioners and the like read fixed files below the models folders. Python tells
an audit hook of each file that it opens, of threads that a node starts (`node_threads`), and of
processes, whose arguments name what they read. Some libraries open theirs in native code; what of
them is loaded gets its opening function wrapped as a run begins. Models that a node pack has
downloaded into its own folder count as well. During a run this costs a comparison of strings for
each opened file; what is new is looked at and written down by a thread of its own afterwards.

Python cannot take an audit hook away, and much that ComfyUI tells its page takes longer with one:
before the first local run there is none.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import folder_paths

from comfy_aws import companions, formats
from comfy_aws.comfyui import node_threads
from comfy_aws.comfyui.modelplaces import registered
from comfy_aws.models import Json
from comfy_aws.prompt import MARK, needed
from comfy_aws.readlog import ReadLog
from comfy_aws.resolve import PACKS, ModelPath

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 1.0
"""From the first file of a batch to its entry in the log."""

ROOTS_SECONDS: Final = 5.0
"""How long the list of models folders is used without a look whether node packs added some."""

LINKS_SECONDS: Final = 60.0
"""How long the targets of links among them are trusted."""

LOOKED_BACK: Final = 200
"""Prompts of ComfyUI's history that are looked through."""

KEPT: Final = 10_000
"""Reads that are remembered, so that a file which is read again costs nothing."""

_NATIVE: Final = (
    # ComfyUI's own: newer ones read safetensors natively where a card is NVIDIA's.
    ("comfy.utils", "load_torch_file", 0),
    ("comfy.utils", "load_safetensors", 0),
    ("safetensors", "safe_open", 0),
    ("safetensors.torch", "safe_open", 0),
    ("torch.jit", "load", 0),
    ("onnxruntime", "InferenceSession.__init__", 1),
    ("tokenizers", "Tokenizer.from_file", 0),
    ("sentencepiece", "SentencePieceProcessor.LoadFromFile", 1),
    ("llama_cpp", "Llama.__init__", 1),
)
"""Module and name of what opens a model's file in native code, and which argument is its path."""

_HOMES: Final = frozenset(home for home, _, _ in _NATIVE)

_MARK: Final = "_aws_notes_reads"
_MODELS: Final = tuple(formats.MODELS)
_CODE: Final = (".py", ".pyc", ".so", ".pyd", ".dll")

Read = tuple[str, str, str]
"""Prompt id, node id, path."""

Reader = tuple[str, str, str]
"""A node's class, its inputs as JSON, path."""


class ModelReads:
    """The recorder of this ComfyUI, and what it has recorded; `before_run` begins it.

    Args:
        choices_of: what a node's combo widgets are set to, by its class and inputs.
        named_in: folder and name of each model that the inputs of a graph name.
    """

    def __init__(
        self,
        reads: ReadLog,
        choices_of: Callable[[str, Json], Json],
        named_in: Callable[[Json], set[tuple[str, str]]],
    ) -> None:
        self._log = reads
        self._choices_of = choices_of
        self._named_in = named_in
        self._queue: Any = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._seen: dict[Read, tuple[str, Json, Json]] = {}
        self._held: dict[str, set[ModelPath]] = {}
        self._done: set[Read] = set()
        self._written: set[Reader] = set()
        self._roots: tuple[float, tuple[str, ...]] = (-ROOTS_SECONDS, ())
        self._loading: set[str] = set()

    def before_run(self, queue: Any) -> None:
        """Watch from now on, also by the libraries that were loaded since the last run.

        Args:
            queue: ComfyUI's PromptQueue, which holds the graph of the running prompt.
        """
        with self._lock:
            is_first, self._queue = self._queue is None, queue
        if is_first:
            self._watch()
        self._wrap_loaded()

    def _watch(self) -> None:
        node_threads.watch()
        listeners: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._on_open,
            "import": self._on_import,
            "glob.glob": self._on_look,
            "os.listdir": self._on_look,
            "os.scandir": self._on_look,
            "subprocess.Popen": self._on_process,
        }

        def hear(event: str, args: tuple[Any, ...]) -> None:
            # No method: for one, Python takes three times as long at each event, and id() is one.
            if event in listeners:
                listeners[event](args)

        sys.addaudithook(hear)

    def of(self, class_type: str, inputs: Json) -> list[ModelPath]:
        """The files that such a node has read on this machine, besides those that it names."""
        self._write_down()
        choices = self._choices_of(class_type, inputs)
        found = self._log.of(class_type, choices)
        held = self._held.get(class_type)
        if held and not found and self._has_run(class_type, choices):
            # It reads nothing again: its pack keeps in memory what it has read for other choices.
            self._log.add(class_type, choices, held)
            found = self._log.of(class_type, choices)
        return [ModelPath(*each) for each in found]

    def _has_run(self, class_type: str, choices: Json) -> bool:
        """Whether ComfyUI remembers a run here of such a node with these choices."""
        history = self._queue.get_history(max_items=LOOKED_BACK) if self._queue else {}
        return any(
            node["class_type"] == class_type
            and self._choices_of(class_type, node.get("inputs", {})) == choices
            for entry in history.values()
            if MARK not in entry["prompt"][3] and (entry["status"] or {}).get("completed")
            for node in entry["prompt"][2].values()
        )

    # -- while a prompt runs -------------------------------------------------------------------

    def _on_import(self, args: tuple[Any, ...]) -> None:
        if args[0] in _HOMES:
            self._loading.add(args[0])

    def _on_look(self, _args: tuple[Any, ...]) -> None:
        """A library that a node has loaded while it ran is there, and looks for its models."""
        if self._loading:
            self._wrap_loaded()

    def _wrap_loaded(self) -> None:
        try:
            self._wrap_native()
            for home in filter(_is_loaded, tuple(self._loading)):
                self._loading.discard(home)
        except Exception:  # a watcher must not break what it watches
            log.exception("Prompt on AWS could not watch native code that reads models")

    def _on_open(self, args: tuple[Any, ...]) -> None:
        if type(args[0]) is str and not args[2] & (os.O_WRONLY | os.O_RDWR):
            self._note(args[0])

    def _on_process(self, args: tuple[Any, ...]) -> None:
        """What a child process reads is unseen: what its arguments name counts as read by it."""
        try:
            if node_threads.node_of_this_thread() is not None:
                _, arguments, cwd, _ = args
                for path in _paths(arguments, os.fsdecode(cwd) if cwd else ""):
                    if path.startswith(self._model_roots()) and Path(path).exists():
                        self._note(path)
        except Exception:  # a watcher must not break what it watches
            log.exception("Prompt on AWS could not note which models a process reads")

    def _wrap_native(self) -> None:
        """Wrap the functions of `_NATIVE` wherever a module has imported them by name."""
        for home, name, position in _NATIVE:
            owner, _, attribute = name.rpartition(".")
            holder: Any = sys.modules.get(home)
            if owner:
                holder = getattr(holder, owner, None)
            opened = getattr(holder, attribute, None) if holder is not None else None
            if opened is None or hasattr(opened, _MARK):
                continue
            wrapped = self._noting(opened, position)
            setattr(holder, attribute, staticmethod(wrapped) if owner and not position else wrapped)
            for module in [] if owner else list(sys.modules.values()):
                if isinstance(module, ModuleType):
                    bound = object.__getattribute__(module, "__dict__")  # loads no lazy module
                    if bound.get(attribute) is opened:
                        bound[attribute] = wrapped

    def _noting(self, opened: Any, position: int) -> Any:
        @functools.wraps(opened, updated=())
        def noting(*args: Any, **kwargs: Any) -> Any:
            path = args[position] if len(args) > position else next(iter(kwargs.values()), None)
            if isinstance(path, (str, os.PathLike)):
                self._note(str(Path(path).absolute()))
            return opened(*args, **kwargs)

        setattr(noting, _MARK, True)
        return noting

    def _note(self, path: str) -> None:
        try:
            # Packs that look for models from where they lie themselves write ../../models.
            is_plain = os.pardir not in path and os.path.isabs(path)  # noqa: PTH117 – costs less
            if (is_plain and not self._is_watched(path)) or path.endswith(_CODE):
                return
            where = node_threads.node_of_this_thread()
            if where is None:
                return
            if not is_plain:
                path = os.path.realpath(path)
                if not self._is_watched(path):
                    return
            read = (*where, path)
            if read not in self._done and read not in self._seen:
                self._keep(read)
        except Exception:  # a watcher must not break what it watches
            log.exception("Prompt on AWS could not note that %s was read", path)

    def _keep(self, read: Read) -> None:
        prompt_id, node_id, path = read
        listed = getattr(self._queue, "get_current_queue_volatile", self._queue.get_current_queue)
        running, _ = listed()
        graph: Json = next((item[2] for item in running if item[1] == prompt_id), {})
        # Nodes that a node makes while it runs are named after it: 5.0.1 was made by 5.
        node = graph.get(node_id) or graph.get(node_id.partition(".")[0])
        if node is None:
            return
        class_type, inputs = node["class_type"], node.get("inputs", {})
        with self._lock:
            if _reader(class_type, inputs, path) in self._written:
                self._done.add(read)
                return
            first = not self._seen
            self._seen[read] = (class_type, inputs, needed(graph, (node_id.partition(".")[0],)))
        if first:
            timer = threading.Timer(SETTLE_SECONDS, self._write_down)
            timer.daemon = True
            timer.start()

    def _is_watched(self, path: str) -> bool:
        if path.startswith(self._model_roots()):
            return True
        return path.endswith(_MODELS) and path.startswith(_pack_roots())

    def _model_roots(self) -> tuple[str, ...]:
        now = time.monotonic()
        at, roots = self._roots
        if now - at > ROOTS_SECONDS:
            places = {folder_paths.models_dir, *(str(place) for place, _ in _places.all())}
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
            for kept in (self._done, self._written):
                if len(kept) > KEPT:  # of prompts long gone
                    kept.clear()
        try:
            for (_, _, path), (class_type, inputs, graph) in seen.items():
                models = {model for each in _read_with(Path(path)) if (model := named(each))}
                stated = self._named_in(graph) if models else set()
                models = {model for model in models if (model.folder, model.name) not in stated}
                self._log.add(class_type, self._choices_of(class_type, inputs), models)
                self._held.setdefault(class_type, set()).update(models)
                if not _is_folder(Path(path)):  # which can get more files
                    self._written.add(_reader(class_type, inputs, path))
        except Exception:
            log.exception("Prompt on AWS could not write down which models were read")


def named(path: Path) -> ModelPath | None:
    """A file below a models folder by ComfyUI's names; None when it is in none of them."""
    parents = set(path.parents)
    around = [place for place in _places.all() if place[0] in parents]
    if not around:
        return _in_pack(path)
    root, folder = max(around, key=lambda place: len(place[0].parts))
    return ModelPath(folder, path.relative_to(root).as_posix(), path)


def _in_pack(path: Path) -> ModelPath | None:
    for root in _pack_roots():
        if str(path).startswith(root) and path.name.endswith(_MODELS):
            return ModelPath(PACKS, path.relative_to(root).as_posix(), path)
    return None


def _pack_roots() -> tuple[str, ...]:
    return tuple(str(each).rstrip(os.sep) + os.sep for each in folder_paths.get_folder_paths(PACKS))


def _is_loaded(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _read_with(path: Path) -> list[Path]:
    """All of a model that is a folder, when it or its description is read; else the file itself."""
    folder = path if path.is_dir() else path.parent
    is_place = any(folder == place for place, _ in _places.all())  # several models side by side
    if _is_folder(path) and not is_place and (folder == path or companions.is_model(folder)):
        return companions.below(folder)
    return [] if folder == path else [path]


def _is_folder(path: Path) -> bool:
    return path.name in companions.MARKS or path.is_dir()


def _paths(arguments: Any, cwd: str) -> Iterator[str]:
    """What can be a path among the arguments of a process: whole, behind =, in a shell's line."""
    given: Iterable[Any] = arguments if isinstance(arguments, (list, tuple)) else [arguments]
    for each in given:
        text = os.fsdecode(each)
        words = [text]
        if " " in text:
            with suppress(ValueError):  # no line of a shell
                words += shlex.split(text)
        for word in words:
            for path in filter(None, (word, word.partition("=")[2])):
                yield os.path.normpath(os.path.join(cwd, path))  # noqa: PTH118 – any text


def _reader(class_type: str, inputs: Json, path: str) -> Reader:
    return class_type, json.dumps(inputs, sort_keys=True, default=str), path


class _Places:
    """Where models lie, and under which name ComfyUI knows it: with links and without.

    Following links takes milliseconds, so that is done again only when ComfyUI's list or the
    models folder has changed, and once in a while for links that point elsewhere now.
    """

    def __init__(self) -> None:
        self._known: tuple[object, tuple[tuple[Path, str], ...]] = (None, ())

    def all(self) -> tuple[tuple[Path, str], ...]:
        state = self._state()
        if self._known[0] != state:
            self._known = (state, tuple(self._look()))
        return self._known[1]

    @staticmethod
    def _state() -> object:
        models, changed = folder_paths.models_dir, 0
        with suppress(OSError):
            changed = Path(models).stat().st_mtime_ns
        return models, changed, time.monotonic() // LINKS_SECONDS, registered()

    @staticmethod
    def _look() -> Iterator[tuple[Path, str]]:
        for folder, roots, _ in registered():
            for root in map(Path, roots if folder != PACKS else ()):
                yield root, folder
                yield root.resolve(), folder
        with suppress(OSError):
            for child in Path(folder_paths.models_dir).iterdir():
                yield child, child.name
                yield child.resolve(), child.name


_places = _Places()
