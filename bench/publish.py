"""How long publishing takes: 2 GiB of models in 4 files, and a node pack of 1,000 small files.

Ours is the whole of it, hashing, template and model library included; s5cmd sync compares sizes
and times, job attachments hash (xxh128) and upload. See `transfers.py` for what is measured how.

    pip install -e '.[bench]'
    python bench/publish.py [--rounds 3] [--size MIB] [--json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

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

from comfy_aws.stack import StackState
from tests.functional.parts import Parts, model_node

TARGETS = {
    "models, first": 0.9,
    "models, unchanged": 1.0,
    "pack, first": 0.5,
    "pack, unchanged": 1.0,
}
FOLDERS = {"models": "models/checkpoints", "pack": "custom_nodes"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=2048, help="MiB of models")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        answer_as_child(chosen.child, {"ours": publish, "job attachments": attach})
        return 0
    figures: Figures = {}
    with workplace() as folder:
        make_files(folder / "designer", chosen.size * MiB)
        for number in range(chosen.rounds):
            with fresh_store(folder) as state:
                measure(state, folder, number, figures)
    show(table(figures, TARGETS), as_json=chosen.json)
    return 0


def measure(state: StackState, folder: Path, number: int, figures: Figures) -> None:
    designer, home = folder / "designer", folder / f"state-{number}"
    programs: dict[str, Callable[[str], object]] = {
        "s5cmd": lambda what: s5cmd(
            state, "sync", f"{designer / FOLDERS[what]}/", f"s3://{state.bucket}/s5/{what}/"
        ),
        "job attachments": lambda what: child(
            __file__, state, "job attachments", str(designer), str(home), what
        ),
        "ours": lambda what: child(__file__, state, "ours", str(designer), str(home), what),
    }
    order = list(programs)[number % 3 :] + list(programs)[: number % 3]
    for what in ("models", "pack"):
        for case in ("first", "unchanged"):
            for name in order:
                measured = programs[name](what)
                figures.setdefault(f"{what}, {case}", {}).setdefault(name, []).append(measured)
    changed = designer / "custom_nodes/pack/part7/module7.py"
    changed.write_text(f"changed = {number}", encoding="utf-8")
    for name in order:
        measured = programs[name]("pack")
        figures.setdefault("pack, one file changed", {}).setdefault(name, []).append(measured)


def publish(state: StackState, start: Callable[[], None], designer: str, _: str, what: str) -> int:
    """Publish as a designer does whose page has shown the templates before."""
    parts = Parts(state, Path(designer))
    name = f"{what}Template"
    graph = {
        "models": {str(n): model_node(f"m{n}.safetensors") for n in range(4)},
        "pack": {"1": {"class_type": "PackNode", "inputs": {}}},
    }[what]
    again = name in {template.name for template in parts.templates.list()}
    if again:
        parts.templates.version(name)
    sent = 0

    def count(step: object) -> None:
        nonlocal sent
        if getattr(step, "phase", "") == "upload":
            sent = getattr(step, "total", 0)

    start()
    parts.publish(name, graph, new_version=again, progress=count)
    return sent


def attach(
    state: StackState, start: Callable[[], None], designer: str, home: str, what: str
) -> int:
    """Job attachments' own hash cache and its cache of what the bucket has are kept, like ours."""
    from deadline.job_attachments._aws.aws_clients import get_boto3_session
    from deadline.job_attachments.models import JobAttachmentS3Settings
    from deadline.job_attachments.upload import S3AssetManager

    folder = Path(designer, FOLDERS[what])
    Path(home).mkdir(exist_ok=True)
    settings = JobAttachmentS3Settings(state.bucket, "attachments")
    session = get_boto3_session()
    assets = S3AssetManager("farm-1", "queue-1", settings, session=session)
    assets.asset_uploader._s3.list_buckets()  # noqa: SLF001 - connected, as ours is
    start()
    paths = [str(path) for path in folder.rglob("*") if path.is_file()]
    group = assets.prepare_paths_for_upload(paths, [], [])
    _, manifests = assets.hash_assets_and_create_manifest(
        group.asset_groups, group.total_input_files, group.total_input_bytes, hash_cache_dir=home
    )
    done, _ = assets.upload_assets(manifests, s3_check_cache_dir=home, manifest_write_dir=home)
    return int(done.processed_bytes)


if __name__ == "__main__":
    raise SystemExit(main())
