"""Templates and the model library on a real bucket."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from comfy_aws import layout
from comfy_aws.errors import (
    AwsDenied,
    Conflict,
    InvalidDocument,
    InvalidName,
    NotFound,
    PackBroken,
)
from comfy_aws.models import BlobRef, Manifest, ModelFile, NodePack, TemplateVersion
from comfy_aws.packfaults import PackFaults
from comfy_aws.templates import Templates


def draft(name: str, **more) -> TemplateVersion:
    return TemplateVersion(name, 0, 1.0, {"nodes": []}, {"1": {"class_type": "A"}}, Manifest(),
                           **more)  # fmt: skip


@pytest.fixture
def templates(parts):
    moments = iter(range(1, 1000))
    return Templates(parts.store, clock=lambda: float(next(moments)))


def test_the_one_changed_last_comes_first(templates):
    for name in ("one", "two", "three"):
        templates.create(draft(name))
    templates.add_version(draft("one"))
    assert [(t.name, t.version) for t in templates.list()] == [("one", 2), ("three", 1), ("two", 1)]


def test_versions_never_change(templates):
    templates.create(draft("T", author="first"), description="d")
    templates.add_version(draft("T", author="second"))
    assert templates.version("T", 1).author == "first"
    assert templates.version("T").author == "second"
    with pytest.raises(NotFound, match="T has no version 9"):
        templates.version("T", 9)


def test_more_than_nine_versions_are_counted_as_numbers(templates):
    templates.create(draft("T"))
    for _ in range(10):
        templates.add_version(draft("T"))
    assert list(templates.versions("T")) == list(range(1, 12))
    assert templates.get("T").version == 11


def test_change_is_tried_again_when_somebody_was_faster(templates):
    templates.create(draft("T"))
    first = iter([True])

    def edit(template):
        if next(first, False):
            templates.change("T", lambda t: replace(t, description="other"))
        return replace(template, endpoint="mine")

    changed = templates.change("T", edit)
    assert (changed.description, changed.endpoint) == ("other", "mine")
    assert templates.get("T") == changed

    def always_slower(template):
        templates.change("T", lambda t: replace(t, description=t.description + "x"))
        return template

    with pytest.raises(Conflict, match="being changed by somebody else"):
        templates.change("T", always_slower)


def test_changes_of_many_are_all_kept(templates):
    templates.create(draft("T"))
    failed = []

    def work(letter):
        for _ in range(20):
            try:
                templates.change("T", lambda t: replace(t, description=t.description + letter))
            except Conflict:
                continue
            return
        failed.append(letter)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(templates.get("T").description) == list("abcd")


def test_deleted_is_gone_and_the_name_is_free(templates, parts):
    templates.create(draft("T", author="old"))
    templates.add_version(draft("T"))
    templates.delete("T")
    assert parts.keys("templates/") == []
    for act in (templates.get, templates.version, templates.delete):
        with pytest.raises(NotFound, match="no template named T") as caught:
            act("T")
        assert caught.value.hint
    assert templates.create(draft("T", author="new")).version == 1


def test_one_damaged_template_does_not_hide_the_others(templates, parts):
    templates.create(draft("Good"))
    parts.store.put(layout.template_key("Bad"), b"{")
    parts.store.put("templates/not a name/template.json", b"{}")
    parts.store.put(layout.version_key("Unfinished", 1), b"{}")
    assert [template.name for template in templates.list()] == ["Good"]
    with pytest.raises(InvalidDocument, match=r"templates/Bad/template\.json is not JSON"):
        templates.get("Bad")
    with pytest.raises(Conflict):
        templates.create(draft("Bad"))


@pytest.mark.parametrize("name", ["", "../x", "a" * 21])
def test_no_key_is_made_of_a_bad_name(templates, parts, name):
    parts.wire.sent.clear()
    for act in (templates.get, templates.exists, templates.version, templates.delete):
        with pytest.raises(InvalidName):
            act(name)
    assert parts.wire.sent == []


def test_the_library(parts):
    small, large = (
        ModelFile(folder, "sub/ü (1).safetensors", BlobRef("ab" * 32, size))
        for folder, size in (("loras", 1), ("vae", 2))
    )
    parts.library.enter(Manifest(models=(small, large)))
    parts.library.enter(Manifest(models=(small, large)))
    assert len(parts.wire.puts("models/")) == 2
    assert set(parts.library.list()) == {small, large}
    assert set(parts.library.find("sub/ü (1).safetensors")) == {small, large}
    assert parts.library.find("sub/ü (1).safetensors", "vae") == [large]
    assert parts.library.find("ü (1).safetensors") == []
    assert parts.library.find("nothing") == []
    shards = [ModelFile("a/b", name, BlobRef("ef" * 32, 4)) for name in
              ("m-00001-of-00002.sft", "m-00002-of-00002.sft", "m.sft.index.json")]  # fmt: skip
    parts.library.enter(Manifest(models=(*shards, replace(shards[0], name="n.sft"))))
    assert parts.library.find("m-00001-of-00002.sft") == shards, "a model comes whole"
    newer = replace(small, blob=BlobRef("cd" * 32, 3))
    parts.library.enter(Manifest(models=(newer,)))
    assert newer in parts.library.list()


def test_a_renamed_template_keeps_everything(templates, parts):
    templates.create(draft("Old", author="one"), description="what it is", cover=b"the cover")
    templates.add_version(draft("Old", author="two"))
    templates.roll_back("Old", 1)
    before = templates.get("Old")
    renamed = templates.rename("Old", "New")
    assert renamed == templates.get("New")
    assert replace(renamed, name="Old", updated=before.updated) == before
    assert [(v.name, v.version, v.author) for v in templates.history("New")] == [
        ("New", 1, "one"),
        ("New", 2, "two"),
    ]
    assert parts.keys("templates/Old/") == []


def test_a_taken_name_is_refused_and_nothing_stays(templates, parts):
    for name in ("Old", "Taken"):
        templates.create(draft(name))
    before = parts.keys("templates/")
    with pytest.raises(Conflict, match="Taken exists already"):
        templates.rename("Old", "Taken")
    with pytest.raises(NotFound, match="no template named Gone"):
        templates.rename("Gone", "New")
    with pytest.raises(InvalidName):
        templates.rename("Old", "../New")
    assert parts.keys("templates/") == before


def test_a_name_that_is_taken_while_it_is_renamed(templates, parts):
    templates.create(draft("Old", author="old"))
    templates.add_version(draft("Old"))

    def publish(method, key):
        if (method, key) == ("PUT", layout.template_key("New")):
            parts.wire.before = lambda method, key: None
            templates.create(draft("New", author="faster"))

    parts.wire.before = publish
    with pytest.raises(Conflict, match="New exists already"):
        templates.rename("Old", "New")
    assert [v.author for v in templates.history("New")] == ["faster"]
    assert [v.author for v in templates.history("Old")] == ["old", ""]


def test_a_version_that_is_published_while_it_is_renamed_comes_along(templates, parts):
    templates.create(draft("Old"))

    def publish(method, key):
        if (method, key) == ("DELETE", layout.template_key("Old")):
            parts.wire.before = lambda method, key: None
            templates.add_version(draft("Old", author="late"))

    parts.wire.before = publish
    assert templates.rename("Old", "New").version == 2
    assert [v.author for v in templates.history("New")] == ["", "late"]
    assert parts.keys("templates/Old/") == []


@pytest.mark.parametrize("step", range(6))
def test_a_rename_that_dies_loses_nothing_and_can_be_done_again(templates, parts, step):
    templates.create(draft("Old", author="one"))
    templates.add_version(draft("Old", author="two"))
    writes = iter(range(100))

    def dies(method, key):
        return method in {"PUT", "DELETE", "POST"} and next(writes) >= step

    parts.wire.refuses = dies
    try:
        templates.rename("Old", "New")
        died = False
    except AwsDenied:
        died = True
    parts.wire.refuses = lambda method, key: False
    assert died == (step < 5), "two versions, a pointer, and two deletions are five steps"
    kept = [name for name in ("Old", "New") if templates.exists(name)]
    for name in kept:
        assert [v.author for v in templates.history(name)] == ["one", "two"]
    assert kept
    if kept == ["Old"]:
        assert templates.rename("Old", "New").version == 2


def test_only_what_changed_is_read_again_for_a_list(templates, parts):
    for number in range(30):
        templates.create(draft(f"T{number}"))
    assert len(templates.list()) == 30
    templates.change("T7", lambda t: replace(t, description="changed"))
    parts.wire.sent.clear()
    [first, *_] = templates.list()
    assert (first.name, first.description) == ("T7", "changed")
    assert [key for method, key in parts.wire.sent if key] == [layout.template_key("T7")]
    templates.delete("T7")
    assert "T7" not in {template.name for template in templates.list()}


def test_a_damaged_record_of_a_packs_fault_stops_nobody(parts):
    faults, packs = PackFaults(parts.store), (NodePack("broken", BlobRef("f" * 64, 1)),)
    faults.record(packs, PackBroken("It does not import.", hint="Take another version."))
    fault = faults.of(packs)
    assert fault is not None
    assert (fault.message, fault.hint) == ("It does not import.", "Take another version.")
    (record,) = parts.store.list(layout.FAULTS)
    parts.store.put(record.key, b'{"message": ')
    assert faults.of(packs) is None
    faults.clear(packs)
