"""Lets a CUDA build of torchvision be imported next to a CPU build of torch.

torchvision's Python code refers to the operators nms and qnms, which its compiled part
declares. That part cannot be loaded when CUDA's libraries are absent, and the import ends with
"operator torchvision::nms does not exist". This hook declares the two schemas just before
torchvision is imported, and only then; ComfyUI never calls the operators.

It also spares each start of a ComfyUI four seconds: torchvision takes one small function from
torch._dynamo, PyTorch's compiler, which is large and otherwise imported by whoever compiles; and
Python looks a hundred times for garbage among what is imported, and finds hardly any.

tools/bootstrap.py copies this file into the virtual environment, where a .pth file imports it
at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

COMPILER = "torch._dynamo"
ASKS_COMPILER = "torchvision.ops.roi_align"

_libraries: list[object] = []  # a torch.library.Library takes its schemas away when it dies


class _BeforeTorchvision(MetaPathFinder):
    """Acts when `torchvision` is looked for, and when its module that asks for the compiler is."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        if fullname == ASKS_COMPILER:
            sys.meta_path.remove(self)
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _WithoutCompiler(fullname, spec.loader.path)
            return spec
        if fullname == "torchvision":
            spec = PathFinder.find_spec("torchvision")
            if spec is not None and spec.origin is not None:
                _declare_missing(Path(spec.origin).parent)
        return None


class _WithoutCompiler(SourceFileLoader):
    """Loads a module with a stand-in for what it takes from the compiler."""

    def exec_module(self, module: ModuleType) -> None:
        names = [COMPILER, f"{COMPILER}.utils"]
        if any(name in sys.modules for name in names):
            super().exec_module(module)
            return
        for name in names:
            sys.modules[name] = ModuleType(name)
        setattr(sys.modules[names[1]], "is_compile_supported", _is_compile_supported)  # noqa: B010
        try:
            super().exec_module(module)
        finally:
            for name in names:
                del sys.modules[name]


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _declare_missing(package: Path) -> None:
    import torch  # here, since it is heavy and only wanted when torchvision is

    try:
        for compiled in package.glob("_C*.so"):
            torch.ops.load_library(compiled)
            return
    except OSError:  # the CUDA libraries that the compiled part links to are not here
        library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        _libraries.append(library)


sys.meta_path.insert(0, _BeforeTorchvision())
if sys.orig_argv[1:2] and sys.orig_argv[1].endswith("main.py"):
    gc.set_threshold(100_000, 50, 50)
