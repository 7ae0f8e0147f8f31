"""Puts a job's files into ComfyUI's own output folders, as `outputfiles` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import folder_paths

from comfy_aws import outputfiles
from comfy_aws.aws import ObjectStore
from comfy_aws.callbacks import ByteCounter, OnProgress, no_progress
from comfy_aws.errors import ComfyAwsError
from comfy_aws.models import OutputFile
from comfy_aws.naming import Place


class Outputs:
    """Safe to share between threads."""

    def __init__(self) -> None:
        # (the worker's place, digest) → where those bytes were put: a node that the worker did
        # not run again, because nothing changed, names the same file as it would here.
        self._saved: dict[tuple[Place, str], Place] = {}

    def save(
        self,
        store: ObjectStore,
        files: Sequence[OutputFile],
        cached: frozenset[str],
        progress: OnProgress = no_progress,
    ) -> Iterator[tuple[OutputFile, Place]]:
        """Download files; yields each with its place here as soon as it is there.

        Args:
            cached: nodes that the worker did not run again.
            progress: told of the phase `fetch`.

        Raises:
            BlobCorrupted: a file is not what the worker sent.
            AwsError, ComfyAwsError: it cannot be had or written.
        """
        counter = ByteCounter("fetch", "", sum(file.size for file in files), progress)
        for file in files:
            remote = place_of(file)
            known = self._saved.get((remote, file.digest)) if file.node_id in cached else None
            if known is not None and path_of(known).is_file():
                counter.add(file.size)
                yield file, known
                continue
            came = outputfiles.bring(store, file, path_of(remote), counter.add)
            local = remote._replace(filename=came.name)
            self._saved[remote, file.digest] = local
            yield file, local


def place_of(file: OutputFile) -> Place:
    """Where the worker has a file."""
    return Place(file.filename, file.subfolder, file.type)


def path_of(place: Place) -> Path:
    """Where a file lies here. Raises ComfyAwsError for a place outside ComfyUI's folders."""
    directory = folder_paths.get_directory_by_type(place.type)
    if directory is None:
        raise ComfyAwsError(f"{place.type!r} is not one of ComfyUI's folders.")
    return outputfiles.below(Path(directory), place)
