"""What keeps the node packs of a manifest from working on workers, as the last worker met it.

A worker whose packs do not install or import writes the reason into the bucket, under a name made
of the packs alone; when the same packs work, it takes it back. So a template tells of it before
the next job fails, and a version with other packs is not blamed for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from comfy_aws import layout
from comfy_aws.aws import ObjectStore
from comfy_aws.errors import AwsDenied, AwsNotFound, ComfyAwsError, InvalidDocument
from comfy_aws.models import NodePack, PackFault, from_json, to_json


class PackFaults:
    """Safe to share between threads."""

    def __init__(self, store: ObjectStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def of(self, packs: Sequence[NodePack]) -> PackFault | None:
        """What was wrong with these packs; None when nothing is known.

        Raises AwsError, but not for a record that is damaged or that a role from before there
        were any may not read: nobody's publish ends for want of a warning.
        """
        if not packs:
            return None
        key = _key(packs)
        try:
            fault = from_json(PackFault, self._store.get(key), where=key)
        except (AwsNotFound, AwsDenied, InvalidDocument):
            return None
        return fault if fault.message else None

    def record(self, packs: Sequence[NodePack], error: ComfyAwsError) -> None:
        """Keep why these packs do not work. Raises AwsError."""
        self._put(packs, PackFault(error.message, error.hint, self._clock()))

    def clear(self, packs: Sequence[NodePack]) -> None:
        """These packs work. Raises AwsError."""
        # Workers may not delete, so that a fault is taken back by an empty one.
        if self.of(packs) is not None:
            self._put(packs, PackFault("", "", self._clock()))

    def _put(self, packs: Sequence[NodePack], fault: PackFault) -> None:
        self._store.put(_key(packs), to_json(fault).encode(), content_type="application/json")


def _key(packs: Sequence[NodePack]) -> str:
    lines = sorted(
        "\0".join((pack.name, pack.blob.digest, *pack.requirements, *pack.pins)) for pack in packs
    )
    return layout.fault_key(hashlib.sha256("\n".join(lines).encode()).hexdigest())
