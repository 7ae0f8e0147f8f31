"""Templates as files: what went out comes in, and what is damaged or foreign does not."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import time
import zipfile

import PIL.Image
import pytest

from comfy_aws import layout
from comfy_aws.errors import Conflict, InvalidFile, InvalidName, Unresolved
from comfy_aws.garbage import DAY, GRACE, Collector
from comfy_aws.modellibrary import ModelLibrary
from comfy_aws.models import TemplateVersion, from_json
from comfy_aws.scratch import PREFIX
from comfy_aws.template_files import TemplateFiles
from tests.functional.parts import model_node

MODEL = b"the model's bytes" * 1000


def picture(size=(900, 300), kind="PNG") -> bytes:
    made = io.BytesIO()
    PIL.Image.new("RGB", size, (200, 40, 40)).save(made, kind)
    return made.getvalue()


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def files(parts, scratch):
    return TemplateFiles(parts.templates, parts.blobs, ModelLibrary(parts.store), scratch)


@pytest.fixture
def published(parts):
    parts.catalog.model("sub/a.safetensors", MODEL)
    parts.catalog.image("in.png", b"pixels")
    prompt = {
        "1": model_node("sub/a.safetensors"),
        "2": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
    }
    return parts.publish("First", prompt, author="Mira", description="d", cover=picture())


def empty_bucket(parts):
    parts.store.delete(*parts.keys())
    parts.blobs.forget()


def rewritten(path, changes):
    """The file with some entries replaced, added, or left out (None)."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries.update(changes)
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in entries.items():
            if body is not None:
                archive.writestr(name, body)
    return path


def changed_version(path, change):
    with zipfile.ZipFile(path) as archive:
        version = json.loads(archive.read("version.json"))
    change(version)
    return rewritten(path, {"version.json": json.dumps(version)})


def manifest_in(path):
    with zipfile.ZipFile(path) as archive:
        return from_json(TemplateVersion, archive.read("version.json")).manifest


def test_with_its_files_it_goes_into_any_bucket(parts, files, published, tmp_path):
    steps = []
    before = parts.templates.version("First")
    exported = files.export("First", tmp_path / "t.zip", with_blobs=True, progress=steps.append)
    assert exported == before
    assert steps[-1].done == steps[-1].total > len(MODEL)
    empty_bucket(parts)

    made = files.take_in(tmp_path / "t.zip", name="Second", author="other")
    assert (made.name, made.version, made.description, made.author) == ("Second", 1, "d", "Mira")
    assert made.size == published.size == len(MODEL) + len(b"pixels")
    after = parts.templates.version("Second")
    assert (after.prompt, after.manifest) == (before.prompt, before.manifest)
    for ref in after.manifest.blobs().values():
        parts.blobs.read(ref)
    assert parts.library.find("sub/a.safetensors")
    assert made.cover
    with PIL.Image.open(io.BytesIO(parts.blobs.read(made.cover))) as cover:
        assert (cover.format, cover.size) == ("WEBP", (512, 171))


def test_nothing_large_passes_the_systems_own_folder_for_temporary_files(
    files, published, scratch, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    left = tmp_path / f"{PREFIX}killed"
    left.mkdir()
    os.utime(left, (0, 0))
    path = tmp_path / "t.zip"
    files.export("First", path, with_blobs=True)
    assert not left.exists(), "what a killed export has left goes with the next one"
    empty = {each for each in tmp_path.iterdir() if each.name.startswith(PREFIX)}
    assert empty == set()
    files.take_in(path, name="Second")
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
    scratch.write_text("in the way")
    with pytest.raises(InvalidFile, match=f"cannot be unpacked in {re.escape(str(scratch))}"):
        files.take_in(path, name="Third")


def test_without_its_files_it_needs_the_bucket(parts, files, published, tmp_path):
    path = tmp_path / "t.zip"
    files.export("First", path)
    assert path.stat().st_size < len(MODEL)
    assert files.take_in(path, name="Again").size == published.size
    empty_bucket(parts)
    with pytest.raises(Unresolved, match=r"the model checkpoints/sub/a\.safetensors, the input"):
        files.take_in(path, name="Third")
    assert parts.keys() == []


def test_a_name_that_cannot_be(parts, files, published, tmp_path):
    path = tmp_path / "t.zip"
    files.export("First", path, with_blobs=True)
    with pytest.raises(Conflict, match="First exists already"):
        files.take_in(path)
    with pytest.raises(InvalidName):
        files.take_in(path, name="../x")


def test_damaged_bytes_are_refused(parts, files, published, tmp_path):
    path = tmp_path / "t.zip"
    files.export("First", path, with_blobs=True)
    empty_bucket(parts)
    [model] = [m.blob for m in manifest_in(path).models]
    entry = f"blobs/{model.digest}"
    for body in (MODEL[:-1] + b"!", MODEL[:-1], MODEL + b"more"):
        with pytest.raises(InvalidFile, match=f"{entry} in the template file are damaged"):
            files.take_in(rewritten(path, {entry: body}), name="Bad")
    assert parts.keys("templates/") == []
    assert layout.blob_key(model.digest) not in parts.keys("blobs/")


@pytest.mark.parametrize("cut", [0, 10, 2000, -30])
def test_what_is_no_template_file(parts, files, published, tmp_path, cut):
    path = tmp_path / "t.zip"
    files.export("First", path, with_blobs=True)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InvalidFile, match="no template file, or it is damaged"):
        files.take_in(path, name="Bad")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "blobs/../evil", "notes.txt"])
def test_a_foreign_entry_is_refused(files, published, tmp_path, name):
    path = tmp_path / "t.zip"
    files.export("First", path)
    with pytest.raises(InvalidFile, match="does not belong there"):
        files.take_in(rewritten(path, {name: b"x"}), name="Bad")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a\\..\\b", "", "a/../../b"])
@pytest.mark.parametrize("part", ["models", "inputs"])
def test_a_name_that_leads_elsewhere_is_refused(files, parts, published, tmp_path, part, name):
    path = tmp_path / "t.zip"
    files.export("First", path, with_blobs=True)

    def lead_elsewhere(version):
        version["manifest"][part][0]["name"] = name

    with pytest.raises(InvalidFile, match="not a path below its folder"):
        files.take_in(changed_version(path, lead_elsewhere), name="Bad")
    assert not parts.templates.exists("Bad")


def test_documents_that_do_not_fit(files, published, tmp_path):
    path = tmp_path / "t.zip"
    files.export("First", path)
    with pytest.raises(InvalidFile, match=r"has no version\.json"):
        files.take_in(rewritten(path, {"version.json": None}), name="Bad")
    with pytest.raises(InvalidFile, match=r"version\.json is not JSON"):
        files.take_in(rewritten(path, {"version.json": b"{"}), name="Bad")
    files.export("First", path)

    def no_digest(version):
        version["manifest"]["models"][0]["blob"]["digest"] = "../x"

    with pytest.raises(InvalidFile, match="names no bytes"):
        files.take_in(changed_version(path, no_digest), name="Bad")


def test_a_cover_lives_as_long_as_its_template(parts, published):
    later = Collector(parts.store, lambda: time.time() + GRACE + DAY)
    assert published.cover
    key = layout.blob_key(published.cover.digest)
    later.delete(later.plan())
    assert parts.store.head(key)
    parts.templates.rename("First", "Other")
    later.delete(later.plan())
    assert parts.store.head(key)
    parts.templates.delete("Other")
    later.delete(later.plan())
    assert parts.store.head(key) is None


def test_a_new_version_keeps_the_cover_unless_it_has_one(parts, published):
    prompt = {"1": model_node("sub/a.safetensors")}
    kept = parts.publish("First", prompt, new_version=True)
    assert (kept.cover, kept.size) == (published.cover, len(MODEL))
    changed = parts.publish("First", prompt, new_version=True, cover=picture((64, 64), "JPEG"))
    assert changed.cover not in {None, published.cover}


def test_a_cover_that_is_none_stops_a_publish_before_anything_is_sent(parts):
    parts.catalog.model("b.safetensors", b"b")
    with pytest.raises(InvalidFile, match="not a PNG, JPEG or WebP picture"):
        parts.publish("Nope", {"1": model_node("b.safetensors")}, cover=b"GIF89a")
    assert parts.keys() == []


def test_help_of_nodes_goes_with_the_files_and_is_never_needed(parts, files, tmp_path):
    docs = parts.catalog.pack(__init__="NODES = 1") / "web" / "docs"
    docs.mkdir(parents=True)
    (docs / "PackNode.md").write_text("# Help")
    parts.publish("Helped", {"1": {"class_type": "PackNode", "inputs": {}}})
    [page] = parts.templates.version("Helped").help
    whole, bare = tmp_path / "whole.zip", tmp_path / "bare.zip"
    files.export("Helped", whole, with_blobs=True)
    files.export("Helped", bare)
    parts.store.delete(layout.blob_key(page.blob.digest))
    parts.blobs.forget()

    files.take_in(bare, name="Bare")
    assert parts.templates.version("Bare").help == ()
    files.take_in(whole, name="Whole")
    assert parts.templates.version("Whole").help == (page,)
    assert parts.blobs.read(page.blob) == b"# Help"

    for key, value in (("name", "docs/../../x.md"), ("name", "docs/x.html"), ("pack", "..")):
        forged = changed_version(
            whole, lambda version, key=key, value=value: version["help"][0].update({key: value})
        )
        with pytest.raises(InvalidFile, match="as help, which it cannot be"):
            files.take_in(forged, name="Forged")
