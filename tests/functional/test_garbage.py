"""Collecting garbage on a real bucket: nothing that somebody names is ever deleted."""

from __future__ import annotations

import time

import pytest

from comfy_aws import layout
from comfy_aws.errors import ConfigError, InvalidDocument
from comfy_aws.garbage import DAY, GRACE, Collector
from comfy_aws.models import BlobRef, JobRequest, Manifest, ModelFile, TemplateVersion, to_json
from comfy_aws.templates import ModelLibrary, Templates


def manifest(*blobs: BlobRef) -> Manifest:
    return Manifest(models=tuple(ModelFile("loras", ref.digest[:8], ref) for ref in blobs))


@pytest.fixture
def later(parts):
    """A collector to which everything in the bucket is older than the grace period."""
    return Collector(parts.store, clock=lambda: time.time() + GRACE + DAY)


def test_only_what_nothing_names_goes(parts, later):
    named, dropped, young = (parts.blobs.put(body) for body in (b"named", b"dropped", b"young"))
    templates = Templates(parts.store)
    draft = TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, manifest(named))
    templates.create(draft)
    ModelLibrary(parts.store).enter(manifest(named, dropped, young))

    assert Collector(parts.store).plan().blobs == (), "nothing is older than the grace period"
    garbage = later.plan()
    keys = [blob.key for blob in garbage.blobs]
    assert layout.blob_key(dropped.digest) in keys
    assert layout.blob_key(young.digest) in keys
    assert layout.blob_key(named.digest) not in keys
    assert parts.store.head(layout.blob_key(dropped.digest)), "a plan deletes nothing"

    # Somebody publishes with one of them before the deletion.
    templates.add_version(
        TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, manifest(young))
    )
    later.delete(garbage)
    assert parts.store.head(layout.blob_key(dropped.digest)) is None
    assert parts.store.head(layout.blob_key(young.digest))
    assert parts.store.head(layout.blob_key(named.digest))
    assert {model.blob for model in ModelLibrary(parts.store).list()} == {named, young}


def test_old_versions_keep_their_blobs(parts, later):
    first, second = parts.blobs.put(b"first"), parts.blobs.put(b"second")
    templates = Templates(parts.store)
    for ref in (first, second):
        draft = TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}},
                                manifest(ref))  # fmt: skip
        templates.add_version(draft) if templates.exists("T") else templates.create(draft)
    assert later.plan().blobs == ()
    templates.delete("T")
    assert {blob.size for blob in later.plan().blobs} == {len(b"first"), len(b"second")}


def test_a_recent_job_keeps_its_blobs(parts):
    ref = parts.blobs.put(b"of a job")
    request = JobRequest("j", {"1": {"class_type": "A"}}, (), manifest(ref))
    parts.store.put(layout.request_key("j"), to_json(request).encode())
    now = time.time()
    recent = Collector(parts.store, clock=lambda: now + GRACE - DAY)
    assert recent.plan(GRACE).blobs == ()
    assert ref.size in {b.size for b in Collector(parts.store, lambda: now + 9 * DAY).plan().blobs}


def test_a_version_that_cannot_be_read_stops_everything(parts, later):
    parts.blobs.put(b"lonely")
    parts.store.put(layout.version_key("Broken", 1), b"{")
    with pytest.raises(InvalidDocument, match="Broken"):
        later.plan()


def test_the_grace_period_cannot_be_nothing(parts):
    with pytest.raises(ConfigError, match="a day or more"):
        Collector(parts.store).plan(grace=0)
