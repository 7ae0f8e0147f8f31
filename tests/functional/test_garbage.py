"""Collecting garbage on a real bucket: nothing that somebody names is ever deleted."""

from __future__ import annotations

import threading
import time

import pytest

from comfy_aws import layout
from comfy_aws.aws import ObjectStore, Session
from comfy_aws.blobs import Blobs
from comfy_aws.errors import ConfigError, Conflict, InvalidDocument
from comfy_aws.garbage import DAY, GRACE, LIMIT, Collector
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import (
    BlobRef,
    BuiltEnvironment,
    Collecting,
    HelpFile,
    JobRequest,
    Manifest,
    ModelFile,
    TemplateVersion,
    to_json,
)
from comfy_aws.templates import Templates


def manifest(*blobs: BlobRef) -> Manifest:
    return Manifest(models=tuple(ModelFile("loras", ref.digest[:8], ref) for ref in blobs))


@pytest.fixture
def later(parts):
    """A collector to which everything in the bucket is older than the grace period."""
    return Collector(parts.store, clock=lambda: time.time() + GRACE + DAY)


def test_only_what_nothing_names_goes(parts, later):
    named, dropped, young = (parts.blobs.put(body) for body in (b"named", b"dropped", b"young"))
    page = parts.blobs.put(b"# Help")
    templates = Templates(parts.store)
    graphs = {"nodes": []}, {"1": {"class_type": "A"}}
    helped = (HelpFile("pack", "docs/A.md", page),)
    templates.create(TemplateVersion("T", 0, 1.0, *graphs, manifest(named), help=helped))
    ModelLibrary(parts.store).enter(manifest(named, dropped, young))

    assert Collector(parts.store).plan().blobs == (), "nothing is older than the grace period"
    garbage = later.plan()
    keys = [blob.key for blob in garbage.blobs]
    assert layout.blob_key(dropped.digest) in keys
    assert layout.blob_key(young.digest) in keys
    assert layout.blob_key(named.digest) not in keys
    assert layout.blob_key(page.digest) not in keys
    assert parts.store.head(layout.blob_key(dropped.digest)), "a plan deletes nothing"

    # Somebody publishes with one of them before the deletion.
    templates.add_version(TemplateVersion("T", 0, 1.0, *graphs, manifest(young)))
    later.delete(garbage)
    assert parts.store.head(layout.blob_key(dropped.digest)) is None
    assert parts.store.head(layout.blob_key(young.digest))
    assert parts.store.head(layout.blob_key(named.digest))
    assert {model.blob for model in ModelLibrary(parts.store).list()} == {named, young}


def test_an_archive_stays_as_long_as_an_environment_names_it(parts, later):
    archives = Blobs(parts.store, key=layout.archive_key)
    named, dropped = archives.put(b"named"), archives.put(b"dropped")
    built = to_json(BuiltEnvironment(named)).encode()
    parts.store.put(layout.environment_key("k"), built)
    garbage = later.plan()
    assert [each.key for each in garbage.blobs] == [layout.archive_key(dropped.digest)]
    later.delete(garbage)
    assert parts.keys(layout.ARCHIVES) == [layout.archive_key(named.digest)]


@pytest.mark.parametrize("again", [False, True], ids=["new", "next version"])
def test_a_template_waits_for_the_end_of_a_deletion(parts, later, again):
    """A blob that nothing names is published just after a collector has read the names."""
    kept, dropped = parts.blobs.put(b"kept"), parts.blobs.put(b"dropped")
    publisher = Templates(ObjectStore(Session(parts.access)))
    graphs = {"nodes": []}, {"1": {"class_type": "A"}}
    if again:
        publisher.create(TemplateVersion("T", 0, 1.0, *graphs, manifest(kept)))
    number = 2 if again else 1
    draft = TemplateVersion("T", 0, 1.0, *graphs, manifest(kept, dropped))
    failures, threads = [], []

    def publish():
        try:
            publisher.add_version(draft) if again else publisher.create(draft)
        except Conflict as exc:
            failures.append(exc)

    def before(method: str, key: str) -> None:
        if method in ("DELETE", "POST") and key != layout.COLLECTING and not threads:
            threads.append(threading.Thread(target=publish))
            threads[0].start()
            while parts.store.head(layout.version_key("T", number)) is None:
                time.sleep(0.02)

    garbage = later.plan()
    parts.wire.before = before
    later.delete(garbage)
    threads[0].join()
    parts.wire.before = lambda method, key: None
    assert "Publish it again" in failures[0].hint
    assert list(publisher.versions("T")) == ([1] if again else [])
    assert publisher.exists("T") == again
    assert parts.store.head(layout.COLLECTING) is None

    parts.blobs.forget()
    parts.blobs.put(b"kept"), parts.blobs.put(b"dropped")
    publish()
    assert len(failures) == 1
    assert publisher.get("T").version == number


def test_a_template_counts_on_no_blob_that_is_gone_by_then(parts, later):
    """A collector ran from beginning to end while the publisher sent its other blobs."""
    ref = parts.blobs.put(b"dropped")
    later.delete(later.plan())
    draft = TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, manifest(ref))
    with pytest.raises(Conflict, match="were deleted while"):
        Templates(parts.store).create(draft)
    assert not Templates(parts.store).exists("T")


@pytest.mark.parametrize("way", ["new", "next version", "told"])
def test_a_cover_survives_a_collector_that_has_read_the_templates(parts, later, way):
    """The picture was another template's; that is gone, and so nothing names it for a moment."""
    cover, publisher = b"a picture", Templates(parts.store)
    ref = parts.blobs.put(cover)
    draft = TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, manifest())
    garbage = later.plan()
    before = publisher.create(draft) if way != "new" else None
    collected = []

    def collect_first(method: str, key: str) -> None:
        if (method, key) == ("PUT", layout.template_key("T")) and not collected:
            collected.append(True)
            later.delete(garbage)

    parts.wire.before = collect_first
    if before is None:
        publisher.create(draft, cover=cover)
    elif way == "told":
        publisher.tell(before, description="", cover=cover)
    else:
        publisher.add_version(draft, cover=cover)
    assert collected
    assert publisher.get("T").cover == ref
    assert parts.store.get(layout.blob_key(ref.digest)) == cover


def test_a_template_does_not_wait_for_a_collector_that_was_killed(parts):
    ref = parts.blobs.put(b"there")
    parts.store.put(layout.COLLECTING, to_json(Collecting(time.time() - 1)).encode())
    draft = TemplateVersion("T", 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, manifest(ref))
    assert Templates(parts.store).create(draft).version == 1


def test_one_collector_at_a_time(parts, later):
    """Else the first to end would tell publishers that nobody deletes any more."""
    ref = parts.blobs.put(b"dropped")
    garbage, now = later.plan(), time.time() + GRACE + DAY
    parts.store.put(layout.COLLECTING, to_json(Collecting(now + LIMIT)).encode())
    with pytest.raises(Conflict, match="Somebody else is deleting"):
        later.delete(garbage)
    assert parts.store.head(layout.COLLECTING)
    assert parts.store.head(layout.blob_key(ref.digest))
    parts.store.put(layout.COLLECTING, to_json(Collecting(now - 1)).encode())
    later.delete(garbage)
    assert parts.store.head(layout.COLLECTING) is None
    assert parts.store.head(layout.blob_key(ref.digest)) is None


def test_a_deletion_ends_before_publishers_stop_waiting(parts, later):
    ref = parts.blobs.put(b"dropped")
    garbage, now = later.plan(), iter([0.0, 0.0, LIMIT])
    slow = Collector(parts.store, clock=lambda: next(now))
    with pytest.raises(Conflict, match="took too long"):
        slow.delete(garbage)
    assert parts.store.head(layout.blob_key(ref.digest))
    assert parts.store.head(layout.COLLECTING) is None


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
