"""Tells what a prompt needs, by the nodes of the ComfyUI in a folder: `comfy-aws deps`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from comfy_aws.callbacks import OnProgress
from comfy_aws.comfyui import hosted
from comfy_aws.models import Json


def needs_of(question: Json, progress: OnProgress) -> Json:
    """Answer ``{"prompt"}`` as `preflight.needs` does."""
    import folder_paths

    from comfy_aws import preflight
    from comfy_aws import prompt as graphs
    from comfy_aws.capture import Capturer
    from comfy_aws.comfyui.catalog import ComfyUICatalog
    from comfy_aws.hashcache import HashCache
    from comfy_aws.readlog import READS, ReadLog

    graph = graphs.check_prompt(question["prompt"])
    state = Path(folder_paths.get_user_directory(), "comfy-aws")
    cache, reads = HashCache(state / "hashes.sqlite"), ReadLog(state / READS)
    try:
        with tempfile.TemporaryDirectory(prefix="comfy-aws-deps-") as spool:
            catalog = ComfyUICatalog(reads)
            capturer = Capturer(catalog, cache, Path(spool))
            graph = catalog.renewed(graph)
            capture = capturer.capture(graph, is_present=lambda ref: False, progress=progress)
            return preflight.needs(capture)
    finally:
        cache.close()
        reads.close()


if __name__ == "__main__":
    hosted.answer(needs_of)
