"""A job's files on this machine, and a job in words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfy_aws import outputfiles
from comfy_aws.callbacks import ByteCounter, OnProgress
from comfy_aws.cli.common import moment, size_text, table
from comfy_aws.models import Json
from comfy_aws.naming import Place

if TYPE_CHECKING:
    from comfy_aws.services import Cloud

FETCHED_AT_ONCE: Final = 4


def bring(cloud: Cloud, report: Json, folder: Path, progress: OnProgress) -> None:
    """Write a job's files below a folder, and their paths into its report.

    Raises:
        ComfyAwsError: one cannot be had or written; those before it are there.
    """
    if not report["outputs"]:
        return
    files = cloud.job_reports.files(report["id"])
    counter = ByteCounter("fetch", "", sum(file.size for file in files), progress)
    counter.add(0)

    wishes = [outputfiles.below(folder, Place(f.filename, f.subfolder, f.type)) for f in files]
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        parts = [
            pool.submit(outputfiles.fetch, cloud.store, file, wish, counter.add)
            for file, wish in zip(files, wishes, strict=True)
        ]
        try:
            # In the worker's order: numbers are given one after the other.
            for output, wish, part in zip(report["outputs"], wishes, parts, strict=True):
                output["path"] = str(outputfiles.claim(part.result(), wish))
        finally:
            for part in parts:
                if not part.cancel() and part.exception() is None:
                    part.result().unlink(missing_ok=True)


def job_lines(report: Json) -> list[str]:
    """A job as a terminal shows it."""
    where = f" on {report['endpoint']}" if report["endpoint"] else ""
    busy = f", {report['seconds']:.1f} s" if report["seconds"] else ""
    of = f" ({report['template']})" if report["template"] else ""
    lines = [f"The job {report['id']}{of} is {report['state']}{where}{busy}."]
    error = report["error"]
    if error:
        node = f" at node {error['node_id']} ({error['node_type']})" if error["node_id"] else ""
        lines.append(f"  {error['message']}{node}")
        lines += [
            f"  node {node_id} ({node['class_type']}): {problem['message']} {problem['details']}"
            for node_id, node in error["node_errors"].items()
            for problem in node["errors"]
        ]
        if error["hint"]:
            lines.append(f"  {error['hint']}")
    rows = [
        (each["number"], each.get("path") or f"{each['subfolder']}/{each['filename']}".lstrip("/"),
         size_text(each["size"]), each["node_id"]) for each in report["outputs"]
    ]  # fmt: skip
    return [*lines, *table(("FILE", "NAME", "SIZE", "NODE"), rows)]


def job_times(report: Json) -> str:
    return f"  sent {moment(report['created'])}, last change {moment(report['updated'])}"
