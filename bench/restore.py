"""How long a worker's restore takes: 2 GiB of models in 4 files, and a pack of 1,000 small files.

Ours is the worker's cache, with every digest checked while the bytes come, and the unpacking of
the node pack; s5cmd cp and job attachments write files and check nothing. The pages of the files
are in the page cache for all. See `transfers.py` for what is measured how.

With --tls the same objects come over TLS, as from S3 at AWS, where most of the work is in the
lines: then ours takes the native client, and is compared with s5cmd and with itself by threads.

    pip install -e '.[bench]'
    python bench/restore.py [--rounds 3] [--size MIB] [--tls] [--json]
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from publish import FOLDERS, attach, publish
from tls import tls_door
from transfers import (
    Figures,
    MiB,
    answer_as_child,
    child,
    fresh_store,
    make_files,
    s5cmd,
    show,
    table,
    workplace,
)

from comfy_aws.aws import ObjectStore, Session
from comfy_aws.blobs import Blobs
from comfy_aws.stack import StackState
from comfy_aws.templates import Templates
from comfy_aws.worker.cache import BlobCache
from comfy_aws.worker.restore import Restorer
from tests.functional.parts import access_to

TARGETS = {"models": 0.6}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048, help="MiB of models")
    parser.add_argument("--tls", action="store_true", help="models only, over TLS")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        actions = {"publish": publish, "attach": attach, "ours": restore, "job attachments": detach,
                   "by threads": restore_by_threads}  # fmt: skip
        answer_as_child(chosen.child, actions)
        return 0
    figures: Figures = {}
    with workplace() as folder, fresh_store(folder) as state:
        make_files(folder / "designer", chosen.size * MiB)
        fill(state, folder)
        if chosen.tls:
            with tls_door(state, folder / "stack") as door:
                for number in range(chosen.rounds):
                    measure(door, folder, number, figures, tls=True)
        else:
            for number in range(chosen.rounds):
                measure(state, folder, number, figures)
    show(table(figures, {} if chosen.tls else TARGETS), as_json=chosen.json)
    return 0


def fill(state: StackState, folder: Path) -> None:
    """Each program finds what it has itself uploaded; then the originals may go."""
    designer, home = folder / "designer", folder / "state"
    for what, place in FOLDERS.items():
        for action in ("publish", "attach"):
            child(__file__, state, action, str(designer), str(home), what)
        s5cmd(state, "sync", f"{designer / place}/", f"s3://{state.bucket}/s5/{what}/")
    shutil.rmtree(designer)


def measure(
    state: StackState, folder: Path, number: int, figures: Figures, *, tls: bool = False
) -> None:
    target = folder / "target"
    programs: dict[str, Callable[[str], object]] = {
        "s5cmd": lambda what: s5cmd(
            state, "cp", f"s3://{state.bucket}/s5/{what}/*", f"{target}/s5/"
        ),
        "job attachments": lambda what: child(
            __file__, state, "job attachments", str(target), str(folder / "state"), what
        ),
        "ours": lambda what: child(__file__, state, "ours", str(target), "", what),
    }
    if tls:
        del programs["job attachments"]
        programs["by threads"] = lambda what: child(
            __file__, state, "by threads", str(target), "", what
        )
    for what in ("models",) if tls else ("models", "pack"):
        for name in list(programs)[number % 3 :] + list(programs)[: number % 3]:
            target.mkdir()
            measured = programs[name](what)
            shutil.rmtree(target)
            figures.setdefault(what, {}).setdefault(name, []).append(measured)


def restore_by_threads(
    state: StackState, start: Callable[[], None], target: str, _: str, what: str
) -> int:
    return restore(state, start, target, _, what, natively=False)


def restore(
    state: StackState,
    start: Callable[[], None],
    target: str,
    _: str,
    what: str,
    *,
    natively: bool | None = None,
) -> int:
    """What the worker does before it starts its ComfyUI."""
    store = ObjectStore(Session(access_to(state)), natively=natively)
    manifest = Templates(store).version(f"{what}Template").manifest
    restorer = Restorer(Path(target), lambda root, evicted: BlobCache(root, Blobs(store)))
    start()
    restorer.fetch(manifest)
    restorer.lay_packs(manifest)
    restorer.lay(manifest)
    return sum(ref.size for ref in manifest.blobs().values())


def detach(state: StackState, start: Callable[[], None], target: str, home: str, what: str) -> int:
    from deadline.job_attachments._aws.aws_clients import get_boto3_session, get_s3_client
    from deadline.job_attachments.asset_manifests.decode import decode_manifest
    from deadline.job_attachments.download import download_files_from_manifests

    session = get_boto3_session()
    get_s3_client(session).list_buckets()
    suffix = {"models": "m0.safetensors", "pack": "module0.py"}[what]
    for path in Path(home).rglob("*"):
        if path.is_file() and path.read_bytes()[:1] == b"{" and suffix in path.read_text():
            with_files = path
    manifest = decode_manifest(with_files.read_text())
    start()
    download_files_from_manifests(
        state.bucket, {target: manifest}, "attachments/Data", session=session
    )
    return int(manifest.totalSize)


if __name__ == "__main__":
    raise SystemExit(main())
