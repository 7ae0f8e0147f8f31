"""What a model file's name and first bytes tell, before anything is uploaded."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from comfy_aws.hashing import Fingerprint, fingerprint

SAFETENSORS: Final = frozenset({".safetensors", ".sft"})
PICKLES: Final = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"})
MODELS: Final = SAFETENSORS | PICKLES | {".gguf", ".onnx", ".engine", ".npz", ".msgpack", ".h5"}

LONGEST_HEADER: Final = 100_000_000
"""Bytes; the limit of the safetensors library."""


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def is_pickle(name: str) -> bool:
    """Whether reading the file can run code that is in it."""
    return suffix_of(name) in PICKLES


def fault_of(path: Path, name: str = "") -> str:
    """Why the file cannot be the model its name says; empty when it can.

    Of other files only the size is looked at; a file that has not changed is not read again.

    Args:
        name: what the file will be called, when it is not called so yet.

    Raises:
        FileChanged: the file vanished.
    """
    suffix = suffix_of(name or path.name)
    if suffix in SAFETENSORS:
        return _fault(path, fingerprint(path))
    return "is empty" if suffix in MODELS and fingerprint(path).size == 0 else ""


@lru_cache(maxsize=4096)
def _fault(path: Path, seen: Fingerprint) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
            length = int.from_bytes(head, "little")
            if head.startswith(b"version "):
                return "is a Git LFS pointer, not the model itself"
            if len(head) < 8 or length > min(LONGEST_HEADER, seen.size - 8):
                return "is no safetensors file, or only the beginning of one"
            header = json.loads(stream.read(length))
            tensors = [value for key, value in header.items() if key != "__metadata__"]
            end = max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except OSError as exc:
        return f"cannot be read: {exc.strerror or exc}"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "has a broken safetensors header"
    expected = 8 + length + end
    if seen.size < expected:
        return f"is cut off: it has {seen.size} of {expected} bytes"
    return "" if seen.size == expected else "has bytes behind its last tensor"
