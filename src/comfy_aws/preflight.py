"""What a prompt needs and what a job or a publish of it would send, told before it is done.

Files are hashed (once, the cache remembers) and the bucket is asked; nothing is written there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from comfy_aws import packs
from comfy_aws import prompt as graphs
from comfy_aws.blobs import Blobs
from comfy_aws.capture import Capture
from comfy_aws.models import BlobRef, Json, to_dict
from comfy_aws.packfaults import PackFaults
from comfy_aws.parameters import every, parameters
from comfy_aws.publish import Uploader
from comfy_aws.rate import UploadRate
from comfy_aws.requirements import masked
from comfy_aws.residency import Residency
from comfy_aws.resolve import Catalog, Finding
from comfy_aws.routing import Router

OFFERED: Final = ("name", "node", "input", "title", "label", "role", "media", "place")
"""What is told of a parameter before it is published: what it is, but no value."""


class Preflight:
    """Safe to share between threads."""

    def __init__(
        self,
        blobs: Blobs,
        uploader: Uploader,
        router: Router,
        rate: UploadRate,
        residency: Residency,
        faults: PackFaults,
        catalog: Catalog,
    ) -> None:
        self._blobs = blobs
        self._uploader = uploader
        self._router = router
        self._rate = rate
        self._residency = residency
        self._faults = faults
        self._catalog = catalog

    def check(self, prompt: object, template: str = "", workflow: object = None) -> Json:
        """Look a prompt over.

        Args:
            template: whose manifest stands in for what this machine does not have.
            workflow: the prompt as the page has it, which knows its subgraphs.

        Returns:
            The answer of POST /aws/preflight, as docs/openapi.yaml describes it.

        Raises:
            InvalidWorkflow, InvalidName, NotFound, FileChanged, AwsError.
        """
        graph = self._catalog.renewed(graphs.check_prompt(prompt))
        capture = self._uploader.capture(graph, base=self._router.manifest(template))
        absent = self._blobs.missing(capture.manifest.blobs().values())
        size = sum(ref.size for ref in absent)
        told = needs(capture, lacking={ref.digest for ref in absent})
        fault = self._faults.of(capture.manifest.packs)
        if fault is not None:
            told["warnings"].append(_plain(Finding("", "", "", "", fault.message)))
        return {
            **told,
            "bytes_to_upload": size,
            "files": len(absent),
            "expected_seconds": self._rate.seconds_for(size),
            "node_errors": capture.node_errors(),
            "endpoint": self._residency.of(capture.manifest, template),
            "parameters": self._offered(graph, template, workflow),
        }

    def _offered(self, graph: Json, template: str, workflow: object) -> list[Json]:
        """What a form of this prompt can show, what the rules find first."""
        classes = graphs.classes(graph)
        stored = self._router.version(template).object_info if template else {}
        info = {**stored, **self._catalog.object_info(classes)}
        page = workflow if isinstance(workflow, dict) else {}
        found = parameters(graph, info, workflow=page)
        rest = [each for each in every(graph, info, page) if each not in found]
        return [{key: getattr(each, key) for key in OFFERED} for each in (*found, *rest)]


def needs(capture: Capture, lacking: Collection[str] | None = None) -> Json:
    """What a prompt needs, as plain values.

    Args:
        lacking: digests that the bucket does not have; None when no bucket was asked.
    """

    def blob(ref: BlobRef) -> Json:
        there = {} if lacking is None else {"in_bucket": ref.digest not in lacking}
        return {"digest": ref.digest, "size": ref.size, **there}

    manifest = capture.manifest
    left_out = {path.name: packs.left_out(path) for path in capture.pack_paths}
    return {
        "models": [{"folder": m.folder, "name": m.name, **blob(m.blob)} for m in manifest.models],
        "inputs": [
            {"name": i.name, "place": i.place.value, **blob(i.blob)} for i in manifest.inputs
        ],
        "packs": [
            {"name": p.name, **blob(p.blob), "files": p.files, "left_out": left_out.get(p.name, 0),
             "classes": list(p.classes),
             "requirements": [*map(masked, p.requirements)],
             "url": p.url, "commit": p.commit}
            for p in manifest.packs
        ],
        "environment": to_dict(manifest.environment),
        "unresolved": [_plain(finding) for finding in capture.missing],
        "warnings": [_plain(finding) for finding in capture.warnings],
    }  # fmt: skip


def _plain(finding: Finding) -> Json:
    return {
        "node_id": finding.node_id,
        "class_type": finding.class_type,
        "input": finding.input_name,
        "value": finding.value,
        "reason": finding.reason,
    }
