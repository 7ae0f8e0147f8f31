"""What the kill tests do in a process of its own: publish, or restore on a worker's disk."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from comfy_aws.aws import ObjectStore, Session
from comfy_aws.blobs import Blobs
from comfy_aws.models import Manifest
from comfy_aws.stack import StackState
from comfy_aws.worker.cache import BlobCache
from comfy_aws.worker.restore import Restorer
from tests.functional.parts import Parts, access_to, model_node

PART_SIZE = 5 * 1024 * 1024
"""The least that S3 takes."""

MODELS = [f"m{number}.safetensors" for number in range(3)]
PROMPT = {str(number): model_node(name) for number, name in enumerate(MODELS)}


def small_parts(state: StackState) -> ObjectStore:
    return ObjectStore(Session(access_to(state)), part_size=PART_SIZE)


def designer(state: StackState, root: Path) -> Parts:
    return Parts(state, root, part_size=PART_SIZE)


def publish(state: StackState, root: Path, begun: Connection) -> None:
    parts = designer(state, root)
    parts.store.head("warm")
    begun.send("begun")
    parts.publish("Name", PROMPT)
    begun.send("done")


def restorer(state: StackState, root: Path) -> Restorer:
    blobs = Blobs(small_parts(state))
    return Restorer(root, lambda at, evicted: BlobCache(at, blobs, evicted=evicted))


def lay_all(made: Restorer, manifest: Manifest) -> None:
    made.fetch(manifest)
    made.lay_packs(manifest)
    made.lay(manifest)


def restore(state: StackState, root: Path, begun: Connection, manifest: Manifest) -> None:
    made = restorer(state, root)
    small_parts(state).head("warm")
    begun.send("begun")
    lay_all(made, manifest)
    begun.send("done")
