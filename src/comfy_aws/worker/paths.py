"""Paths that come from outside, held below their root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from comfy_aws.errors import WorkerError


def below(root: Path, *parts: str) -> Path:
    """`root` joined with relative POSIX paths, none of which may lead out of it.

    Raises:
        WorkerError: a part is empty, absolute, has a ``..``, or passes a link that leads out.
    """
    path = root
    for part in parts:
        relative = PurePosixPath(part)
        broken = "\0" in part or "\\" in part or relative.is_absolute() or ".." in relative.parts
        if broken or not relative.parts:
            raise _leaves(root, parts)
        path /= relative
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise _leaves(root, parts)
    return path


def single(name: str) -> str:
    """A name that is one step of a path. Raises WorkerError."""
    if name in {"", ".", ".."} or any(sign in name for sign in "/\\\0"):
        raise WorkerError(
            f"{name!r} is not the name of one file or folder.", hint="Publish the template again."
        )
    return name


def _leaves(root: Path, parts: tuple[str, ...]) -> WorkerError:
    return WorkerError(
        f"{'/'.join(parts)!r} is not a path below {root.name}.", hint="Publish the template again."
    )
