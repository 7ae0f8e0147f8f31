"""Lets a CUDA build of torchvision be imported next to a CPU build of torch.

torchvision's Python code refers to the operators nms and qnms, which its compiled part
declares. That part cannot be loaded when CUDA's libraries are absent, and the import ends with
"operator torchvision::nms does not exist". This hook declares the two schemas just before
torchvision is imported, and only then; ComfyUI never calls the operators.

tools/bootstrap.py copies this file into the virtual environment, where a .pth file imports it
at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_libraries: list[object] = []  # a torch.library.Library takes its schemas away when it dies


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing itself; acts once when `torchvision` is looked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = PathFinder.find_spec("torchvision")
            if spec is not None and spec.origin is not None:
                _declare_missing(Path(spec.origin).parent)
        return None


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
