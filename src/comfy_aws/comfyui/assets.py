"""A job's files in ComfyUI's own list of assets, where it keeps one (`--enable-assets`).

ComfyUI enters what a node saves while it executes the node, and gives the file's id in the node's
output, by which pages find it again. The functions for it are new and promised to nobody: without
them, or when they fail, an output stays as it is, and the files are found by the next scan.
"""

from __future__ import annotations

from collections.abc import Iterable

from comfy_aws import joblog
from comfy_aws.comfyui.outputs import path_of
from comfy_aws.naming import Place

log = joblog.logger(__name__)


def identified(output: object) -> object:
    """A node's output whose files have their ids as assets."""
    if not isinstance(output, dict):
        return output
    try:
        from comfy_execution.asset_enrichment import enrich_output_with_assets
    except ImportError:
        return output
    try:
        return enrich_output_with_assets(output)
    except Exception as exc:  # noqa: BLE001 – a list beside a job must not cost the job
        log.warning("ComfyUI could not enter a file into its assets: %r", exc)
        return output


def enter(job_id: str, places: Iterable[Place]) -> None:
    """Say of which job the files are, when it has ended."""
    try:
        from app.assets.seeder import asset_seeder
        from app.assets.services import register_output_files
    except ImportError:
        return
    try:
        if not asset_seeder.is_disabled():
            register_output_files([str(path_of(place)) for place in places], job_id=job_id)
    except Exception as exc:  # noqa: BLE001 – as above
        log.warning("ComfyUI could not enter the files of %s into its assets: %r", job_id, exc)
