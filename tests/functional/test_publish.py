"""Publishing on a real bucket: all or nothing, nothing twice, and one winner."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from comfy_aws import layout, stack
from comfy_aws.aws import PART
from comfy_aws.errors import (
    AwsDenied,
    AwsUnreachable,
    Cancelled,
    Conflict,
    FileChanged,
    InvalidParameters,
    InvalidTransition,
    NotFound,
    Unresolved,
)
from comfy_aws.models import ChosenInput
from comfy_aws.publications import Publications, PublishState
from tests.functional.parts import WORKFLOW, Parts, model_node
from tests.support.stack import running_stack

PHASES = ("capture", "hash", "packs", "upload", "store")


def pipeline(parts: Parts) -> dict:
    """A graph with two models, an input and a node pack, and the files behind it."""
    parts.catalog.model("a.safetensors", os.urandom(300_000))
    parts.catalog.model("sub/b.safetensors", os.urandom(200_000), "loras")
    parts.catalog.image("in.png", os.urandom(5_000))
    parts.catalog.pack(__init__="NODES = 1", nodes="x = 2")
    return {
        "1": model_node("a.safetensors"),
        "2": model_node("sub/b.safetensors", "LoadLora"),
        "3": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
        "4": {"class_type": "PackNode", "inputs": {"model": ["1", 0]}},
        "5": {"class_type": "Text", "inputs": {"text": "a cat. With a hat"}},
    }


def assert_no_template(parts: Parts, name: str) -> None:
    assert parts.templates.list() == []
    assert not parts.templates.exists(name)
    with pytest.raises(NotFound):
        parts.templates.version(name)


def test_a_template_names_all_it_needs(parts):
    prompt = pipeline(parts)
    steps = []
    template = parts.publish("First", prompt, progress=steps.append, author="me",
                             description="what it is")  # fmt: skip
    assert (template.name, template.version, template.author) == ("First", 1, "me")
    assert parts.templates.list() == [template]
    version = parts.templates.version("First")
    assert (version.workflow, version.prompt) == (WORKFLOW, prompt)
    assert set(version.object_info) == {node["class_type"] for node in prompt.values()}
    manifest = version.manifest
    assert {(m.folder, m.name) for m in manifest.models} == {
        ("checkpoints", "a.safetensors"), ("loras", "sub/b.safetensors")}  # fmt: skip
    assert [i.name for i in manifest.inputs] == ["in.png"]
    assert [(p.name, p.classes, p.files) for p in manifest.packs] == [("pack", ("PackNode",), 2)]
    for ref in manifest.blobs().values():
        assert len(parts.blobs.read(ref)) == ref.size
    assert {each.phase for each in steps} == set(PHASES)
    assert list(parts.spool.iterdir()) == []


def test_help_of_nodes_travels_with_them(parts, monkeypatch):
    prompt = pipeline(parts)
    docs = parts.catalog.root / "custom_nodes/pack/web/docs"
    docs.mkdir(parents=True)
    (docs / "PackNode.md").write_text("# Help")
    parts.publish("Helped", prompt)
    [page] = parts.templates.version("Helped").help
    assert (page.pack, page.name) == ("pack", "docs/PackNode.md")
    assert parts.blobs.read(page.blob) == b"# Help"
    assert page.blob.digest not in parts.templates.version("Helped").manifest.blobs()
    assert parts.publish("Helped", prompt, new_version=True).version == 1, "nothing has changed"

    # A machine without the pack keeps what the template has.
    stored = parts.templates.version("Helped").object_info["PackNode"]
    assert stored["python_module"] == "custom_nodes.pack"
    knows = parts.catalog.knows
    monkeypatch.setattr(parts.catalog, "knows", lambda name: name != "PackNode" and knows(name))
    monkeypatch.setattr(parts.catalog, "pack_of", lambda name: None)
    monkeypatch.setattr(parts.catalog, "web_folder", lambda name: None)
    prompt["5"]["inputs"]["text"] = "a dog"
    assert parts.publish("Helped", prompt, new_version=True).version == 2
    assert parts.templates.version("Helped").help == (page,)


def test_what_the_form_shows_is_chosen_with_the_publish(parts):
    lost = []

    def publish(*texts, **wishes):
        prompt = {str(n): {"class_type": "Text", "inputs": {"text": t}} for n, t in texts}
        saved = {f"text{n}": [str(n), 0] for n, _ in texts}
        prompt["9"] = {"class_type": "Save", "inputs": saved}
        return parts.publish("Form", prompt, dropped=lost.append, **wishes)

    words, more = ChosenInput("1", "text", "Words"), ChosenInput("2", "text")
    with pytest.raises(InvalidParameters, match="no such widget"):
        publish((1, "a"), parameters=(more,))
    assert not parts.templates.exists("Form")
    assert publish((1, "a"), (2, "b"), parameters=(more, words)).parameters == (more, words)
    wishes = {"new_version": True}
    assert publish((1, "c"), (2, "b"), **wishes).parameters == (more, words), "they are kept"
    assert lost == []
    assert publish((1, "c"), **wishes).parameters == (words,)
    assert lost == [(more,)]
    assert publish((3, "c"), **wishes).parameters == (), "the rules find them again"
    assert lost == [(more,), (words,)]
    before = parts.templates.get("Form").version
    told = publish((3, "c"), parameters=(ChosenInput("3", "text"),), **wishes)
    assert (told.version, told.parameters) == (before, (ChosenInput("3", "text"),))
    assert publish((3, "d"), parameters=(), **wishes).parameters == ()
    assert len(lost) == 2


def test_what_a_designer_on_windows_publishes_has_posix_names(parts):
    prompt = pipeline(parts)
    parts.publish("Posix", prompt)
    stored = parts.templates.version("Posix")
    prompt["2"]["inputs"]["name"] = "sub\\b.safetensors"
    prompt["6"] = {"class_type": "Text", "inputs": {"text": r"sub\n"}}
    parts.publish("Windows", prompt)
    windows = parts.templates.version("Windows")
    assert windows.manifest == stored.manifest
    assert windows.prompt["2"]["inputs"]["name"] == "sub/b.safetensors"
    assert windows.prompt["6"] == prompt["6"], "texts stay as they are"
    assert prompt["2"]["inputs"]["name"] == "sub\\b.safetensors"


def test_progress_reaches_its_total_and_never_goes_back(parts):
    prompt = pipeline(parts)
    for name in ("One", "Two"):  # the second time all is known
        steps = []
        parts.publish(name, prompt, progress=steps.append)
        for phase in ("hash", "upload"):
            found = [(each.done, each.total) for each in steps if each.phase == phase]
            assert found == sorted(found)
            assert all(total == found[0][1] for _, total in found)
            assert not found or found[-1][0] == found[-1][1]
        assert "hash" in {each.phase for each in steps}
    assert "upload" not in {each.phase for each in steps}


def test_a_publish_tells_its_speed_and_the_time_left(parts):
    parts.catalog.model("a.safetensors", b"a" * 100_000)
    parts.catalog.model("b.safetensors", b"b" * 300_000, folder="loras")
    prompt = {"1": model_node("a.safetensors"), "2": model_node("b.safetensors", "LoadLora")}
    told = []
    # A speed needs a while to be told.
    parts.wire.before = lambda method, key: time.sleep(1.7 * (method == "PUT"))
    publications = Publications(parts.publisher)
    publications.start("Speed", WORKFLOW, prompt, changed=told.append)
    while publications.list()[0].state is PublishState.RUNNING:
        time.sleep(0.01)
    assert publications.list()[0].state is PublishState.DONE
    sending = [each for each in told if each.phase == "upload" and each.done]
    assert sending
    for each in sending:
        assert each.rate
        assert each.seconds_left == pytest.approx((each.total - each.done) / each.rate)
    assert all(each.rate is None for each in told if each.phase in {"capture", "store"})


def test_texts_do_not_search_the_bucket(parts):
    parts.publish("First", pipeline(parts))
    listings = [key for method, key in parts.wire.sent if method == "GET" and key == ""]
    assert len(listings) == 1  # the template's versions


def test_what_is_there_is_not_sent_again(parts, tmp_path):
    prompt = pipeline(parts)
    parts.publish("First", prompt)
    assert len(parts.wire.puts("blobs/")) == 4
    parts.wire.sent.clear()
    parts.publish("Second", prompt)
    assert parts.wire.puts("blobs/") == []
    shutil.copytree(parts.catalog.root, tmp_path / "other")
    (tmp_path / "other/hashes.sqlite").unlink()  # a machine that knows no digest
    other = Parts(parts.state, tmp_path / "other")
    other.publish("Third", prompt)
    other.close()
    assert other.wire.puts("blobs/") == []
    assert len(parts.keys("blobs/")) == 4


def test_a_name_is_taken_once(parts):
    prompt = {"1": {"class_type": "Text", "inputs": {}}}
    parts.publish("Name", prompt)
    with pytest.raises(Conflict, match="A template named Name exists already") as caught:
        parts.publish("Name", prompt)
    assert "new version" in caught.value.hint
    assert parts.publish("name", prompt).name == "name"
    assert parts.templates.get("Name").version == 1


def test_a_new_version_is_an_explicit_act(parts):
    prompt = pipeline(parts)
    with pytest.raises(NotFound, match="no template named Name"):
        parts.publish("Name", prompt, new_version=True)
    first = parts.publish("Name", prompt, description="old")
    parts.catalog.model("a.safetensors", b"another model")
    second = parts.publish("Name", prompt, new_version=True)
    assert (second.version, second.created, second.description) == (2, first.created, "old")
    assert list(parts.templates.versions("Name")) == [1, 2]
    old, new = (parts.templates.version("Name", number).manifest for number in (1, 2))
    assert old.models[0].blob != new.models[0].blob
    assert parts.templates.version("Name").version == 2


def test_of_16_publishers_one_wins(shared_stack, parts, tmp_path):
    """All have seen that the name is free when the first of them writes."""
    gate = threading.Barrier(16, timeout=60)
    outcomes: dict[str, object] = {}

    def race(number: int) -> None:
        mine = Parts(shared_stack, tmp_path / str(number))
        mine.catalog.model("m.safetensors", f"model of {number}".encode())

        def progress(step) -> None:
            if step.phase == "store":
                gate.wait()

        try:
            outcomes[str(number)] = mine.publish(
                "Race", {"1": model_node("m.safetensors")}, progress=progress, author=str(number)
            )
        except Exception as exc:  # noqa: BLE001 – looked at below
            outcomes[str(number)] = exc
        finally:
            mine.close()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = [each for each in outcomes.values() if isinstance(each, Exception)]
    assert {type(each) for each in lost} == {Conflict}
    assert {each.message for each in lost} == {"A template named Race exists already."}
    [winner] = [name for name, each in outcomes.items() if not isinstance(each, Exception)]
    pointer, version = parts.templates.get("Race"), parts.templates.version("Race")
    assert pointer.author == version.author == winner
    assert parts.blobs.read(version.manifest.models[0].blob) == f"model of {winner}".encode()
    assert list(parts.templates.versions("Race")) == [pointer.version]


def test_racing_versions_all_stay(shared_stack, parts, tmp_path):
    prompt = {"1": {"class_type": "Text", "inputs": {}}}
    parts.publish("Race", prompt)

    def publish(number: int) -> None:
        mine = Parts(shared_stack, tmp_path / str(number))
        changed = {"1": {"class_type": "Text", "inputs": {"number": number}}}
        mine.publish("Race", changed, new_version=True, author=str(number))
        mine.close()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = list(parts.templates.versions("Race"))
    assert numbers == [1, 2, 3, 4, 5]
    authors = {parts.templates.version("Race", number).author for number in numbers[1:]}
    assert authors == {"0", "1", "2", "3"}


def test_what_has_not_changed_is_no_new_version(parts, shared_stack, tmp_path):
    prompt = pipeline(parts)
    first = parts.publish("Name", prompt)
    again = Parts(shared_stack, parts.catalog.root)
    assert again.publish("Name", prompt, new_version=True, author="another") == first
    assert again.wire.puts() == []
    told = again.publish("Name", prompt, new_version=True, description="told")
    assert (told.version, told.description) == (1, "told")
    again.close()
    parts.catalog.image("in.png", b"another")
    assert parts.publish("Name", prompt, new_version=True).version == 2


def test_one_changed_file_sends_its_pack_alone(parts):
    prompt = pipeline(parts)
    parts.publish("Name", prompt)
    parts.catalog.pack(nodes="x = 3")
    del parts.wire.sent[:]
    parts.publish("Name", prompt, new_version=True)
    [pack] = parts.templates.version("Name").manifest.packs
    assert parts.wire.puts("blobs/") == [layout.blob_key(pack.blob.digest)]


@pytest.mark.parametrize("phase", PHASES)
def test_cancelled_in_any_phase_leaves_no_template(parts, phase):
    prompt = pipeline(parts)
    stop = threading.Event()

    def progress(step) -> None:
        if step.phase == phase:
            stop.set()

    with pytest.raises(Cancelled):
        parts.publish("Name", prompt, progress=progress, cancelled=stop.is_set)
    assert_no_template(parts, "Name")
    parts.publish("Name", prompt)
    sent = parts.wire.puts("blobs/")
    assert len(sent) == len(set(sent)) == 4
    assert parts.templates.version("Name").manifest.blobs().keys() == {
        key.rpartition("/")[2] for key in parts.keys("blobs/")
    }


REFUSED = {
    "the name": lambda method, key: key == "templates/Name/template.json" and method == "HEAD",
    "a look for a blob": lambda method, key: key.startswith("blobs/") and method == "HEAD",
    "the library": lambda method, key: key.startswith("models/"),
    "the list of versions": lambda method, key: key == "" and method == "GET",
    "the version": lambda method, key: key.startswith("templates/Name/versions/"),
    "the pointer": lambda method, key: key == "templates/Name/template.json" and method == "PUT",
}


@pytest.mark.parametrize("refuses", REFUSED.values(), ids=REFUSED)
def test_refused_anywhere_leaves_no_template(parts, refuses):
    prompt = pipeline(parts)
    parts.wire.refuses = refuses
    with pytest.raises(AwsDenied, match=r"AccessDenied|403"):
        parts.publish("Name", prompt)
    parts.wire.refuses = lambda method, key: False
    assert_no_template(parts, "Name")
    parts.publish("Name", prompt)
    sent = parts.wire.puts("blobs/")
    assert len(sent) == len(set(sent)) == 4
    assert list(parts.templates.versions("Name")) == [parts.templates.get("Name").version]


@pytest.mark.parametrize("number", range(4))
def test_a_refused_blob_does_not_cost_the_others(parts, number):
    prompt = pipeline(parts)
    tried: list[str] = []

    def refuses(method: str, key: str) -> bool:
        if method == "PUT" and key.startswith("blobs/"):
            tried.append(key)
            return len(tried) == number + 1
        return False

    parts.wire.refuses = refuses
    with pytest.raises(AwsDenied):
        parts.publish("Name", prompt)
    assert_no_template(parts, "Name")
    parts.publish("Name", prompt)
    sent = parts.wire.puts("blobs/")
    assert len(sent) == len(set(sent)) == 4


def test_a_pointer_whose_answer_was_lost_is_ours(parts):
    """The client sends a write again when its answer does not come, and then finds its own."""
    again = threading.Event()

    def before(method: str, key: str) -> None:
        if method == "PUT" and key == "templates/Name/template.json" and not again.is_set():
            again.set()
            body = twin.store.get("templates/Name/versions/1.json")
            assert b'"version":1' in body
            twin.store.put(key, _pointer(twin, body))

    twin = Parts(parts.state, parts.catalog.root / "twin")
    parts.wire.before = before
    template = parts.publish("Name", {"1": {"class_type": "Text", "inputs": {}}})
    twin.close()
    assert again.is_set()
    assert parts.templates.get("Name").version == template.version == 1
    assert parts.templates.version("Name").version == 1


def _pointer(parts: Parts, version: bytes) -> bytes:
    from comfy_aws.models import Template, TemplateVersion, from_json, to_json

    draft = from_json(TemplateVersion, version)
    return to_json(Template(draft.name, draft.version, 1.0, 1.0)).encode()


def test_the_stack_stops_in_the_middle(tmp_path):
    home = tmp_path / "stack"
    with running_stack(home) as state:
        parts = Parts(state, tmp_path / "designer")
        prompt = pipeline(parts)
        for number in range(6):
            parts.catalog.model(f"{number}.safetensors", os.urandom(50_000))
            prompt[f"m{number}"] = model_node(f"{number}.safetensors")
        once = iter([True])

        def progress(step) -> None:
            if step.phase == "upload" and step.done and next(once, False):
                stack.down(home)

        # A request that was under way as the object store went down may still be answered: no.
        with pytest.raises(AwsUnreachable, match=r"cannot be reached|internal error") as caught:
            parts.publish("Name", prompt, progress=progress)
        assert "local stack" in caught.value.hint
        parts.close()
        first = parts.wire.puts("blobs/")

    with running_stack(home) as state:
        parts = Parts(state, tmp_path / "designer")
        assert_no_template(parts, "Name")
        there = set(parts.keys("blobs/"))
        assert there
        assert there <= set(first)
        parts.publish("Name", prompt)
        assert set(parts.wire.puts("blobs/")) == set(parts.keys("blobs/")) - there
        assert len(parts.templates.version("Name").manifest.blobs()) == 10
        parts.close()


def test_another_name_for_what_only_the_bucket_has(parts):
    """A model that this machine lost is taken from the version before, or from the library."""
    prompt = pipeline(parts)
    parts.publish("Name", prompt)
    Path(parts.catalog.root / "models/checkpoints/a.safetensors").unlink()
    again = parts.publish("Name", prompt, new_version=True)
    assert again.version == 2
    elsewhere = parts.publish("Other", prompt)
    one, two = (parts.templates.version(t.name, t.version).manifest for t in (again, elsewhere))
    assert one.blobs() == two.blobs()


def test_what_nobody_has_is_said_by_node(parts):
    prompt = {
        "1": model_node("gone.safetensors"),
        "2": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
        "3": {"class_type": "Unknown", "inputs": {}},
    }
    with pytest.raises(Unresolved) as caught:
        parts.publish("Name", prompt)
    errors = caught.value.node_errors
    assert set(errors) == {"1", "2", "3"}
    assert "gone.safetensors is neither on this machine nor in the bucket" in str(errors["1"])
    assert "Unknown is not installed here" in str(errors["3"])
    assert_no_template(parts, "Name")


def test_a_class_that_the_version_before_lacks_too_is_said_before_anything_is_sent(parts):
    prompt = {"1": {"class_type": "Text", "inputs": {"text": "one"}}}
    parts.publish("Name", prompt)
    parts.catalog.model("new.safetensors", b"new")
    prompt |= {
        "2": model_node("new.safetensors"),
        "3": {"class_type": "Unknown", "inputs": {}},
    }
    sent = len(parts.wire.puts())
    with pytest.raises(Unresolved) as caught:
        parts.publish("Name", prompt, new_version=True)
    assert set(caught.value.node_errors) == {"3"}
    assert len(parts.wire.puts()) == sent
    assert parts.templates.get("Name").version == 1


def test_a_blob_deleted_from_the_bucket_is_sent_again(parts):
    """As the message about a damaged blob tells the user to do, without a restart."""
    prompt = pipeline(parts)
    parts.publish("Name", prompt)
    lost = parts.templates.version("Name").manifest.models[0].blob
    parts.store.delete(layout.blob_key(lost.digest))
    parts.publish("Name", prompt, new_version=True)
    assert len(parts.blobs.read(lost)) == lost.size


def test_many_at_once_send_a_new_blob_once(parts):
    prompt = pipeline(parts)
    failures: list[BaseException] = []
    gate = threading.Barrier(8, timeout=60)

    def publish(number: int) -> None:
        def progress(step) -> None:
            if step.phase == "upload" and not step.item:
                gate.wait()

        try:
            parts.publish(f"N{number}", prompt, progress=progress)
        except BaseException as exc:  # noqa: BLE001 – looked at below
            failures.append(exc)
            gate.abort()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    sent = parts.wire.puts("blobs/")
    assert len(sent) == len(set(sent)) == 4


# -- files that change meanwhile ---------------------------------------------------------------


def vanish(path: Path) -> None:
    path.unlink()


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def rewrite(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[0] ^= 1
    path.write_bytes(body)
    os.utime(path, ns=(1, 1))


def disguise(path: Path) -> None:
    """Other bytes, with the size and the time of before: only reading tells."""
    stat = path.stat()
    body = bytearray(path.read_bytes())
    body[0] ^= 1
    path.write_bytes(body)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


SMALL, IN_PARTS = 300_000, PART + 1


@pytest.mark.parametrize("change", [vanish, grow, rewrite], ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    ("size", "phase", "begun"),
    [(SMALL, "hash", 1), (SMALL, "upload", 0), (IN_PARTS, "upload", 0), (IN_PARTS, "upload", 1)],
    ids=["hashed", "uploaded", "uploaded in parts", "between the parts"],
)
def test_a_model_that_changes_while_it_is_read(parts, change, size, phase, begun):
    path = parts.catalog.model("a.safetensors", os.urandom(1024) * (size // 1024 + 1))
    prompt = {"1": model_node("a.safetensors")}
    once = iter([True])

    def progress(step) -> None:
        if step.phase == phase and step.done >= begun and next(once, False):
            change(path)

    with pytest.raises(FileChanged, match=str(path)) as caught:
        parts.publish("Name", prompt, progress=progress)
    assert caught.value.hint
    assert_no_template(parts, "Name")
    assert parts.keys("blobs/") == []
    uploads = parts.session.client("s3").list_multipart_uploads(Bucket=parts.access.bucket)
    assert "Uploads" not in uploads
    path.write_bytes(b"whole again")
    parts.publish("Name", prompt)
    assert parts.blobs.read(parts.templates.version("Name").manifest.models[0].blob) == (
        b"whole again"
    )


def test_small_files_are_checked_by_their_bytes(parts):
    path = parts.catalog.model("a.safetensors", os.urandom(10_000))
    once = iter([True])

    def progress(step) -> None:
        if step.phase == "upload" and next(once, False):
            disguise(path)

    with pytest.raises(FileChanged, match="changed while it was uploaded"):
        parts.publish("Name", {"1": model_node("a.safetensors")}, progress=progress)
    assert parts.keys("blobs/") == []


def test_a_file_of_a_node_pack_vanishes(parts):
    prompt = pipeline(parts)

    def progress(step) -> None:
        if step.phase == "hash":
            (parts.catalog.root / "custom_nodes/pack/nodes.py").unlink(missing_ok=True)

    parts.publish("Name", prompt, progress=progress)
    assert parts.templates.version("Name").manifest.packs[0].files == 1


# -- publishes as the page sees them -----------------------------------------------------------


def follow(publications: Publications, name: str, prompt: dict, **wishes) -> list:
    over = threading.Event()
    seen = []

    def changed(publication) -> None:
        seen.append(publication)
        if publication.state is not PublishState.RUNNING:
            over.set()

    publications.start(name, WORKFLOW, prompt, changed=changed, **wishes)
    assert over.wait(60)
    return seen


def test_publications_end_once_and_are_listed(parts):
    publications = Publications(parts.publisher)
    seen = follow(publications, "Name", pipeline(parts), author="me", client_id="c")
    assert [each.state for each in seen[-2:]] == [PublishState.RUNNING, PublishState.DONE]
    assert (seen[-1].version, seen[-1].client_id) == (1, "c")
    failed = follow(publications, "Name", pipeline(parts))[-1]
    assert failed.state is PublishState.FAILED
    assert failed.error["code"] == "conflict"
    assert publications.list() == (seen[-1], failed)
    assert publications.get(failed.id) == failed
    assert publications.cancel(failed.id).state is PublishState.FAILED
    publications.close()


def test_one_publish_of_a_name_at_a_time_and_none_after_the_close(parts):
    publications = Publications(parts.publisher)
    refused, over = [], threading.Event()

    def changed(publication) -> None:
        if publication.state is not PublishState.RUNNING:
            over.set()
        elif publication.phase == "store":
            with pytest.raises(Conflict, match="being published already") as caught:
                publications.start("Name", WORKFLOW, prompt, changed=changed)
            refused.append(caught.value)
            publications.close()

    prompt = pipeline(parts)
    started = publications.start("Name", WORKFLOW, prompt, changed=changed)
    assert over.wait(60)
    assert len(refused) == 1
    assert publications.get(started.id).state is PublishState.CANCELLED
    assert_no_template(parts, "Name")


@pytest.mark.parametrize("source", PublishState)
@pytest.mark.parametrize("target", PublishState)
def test_every_step_of_a_publish(source, target):
    if source is PublishState.RUNNING and target is not PublishState.RUNNING:
        assert source.to(target) is target
    else:
        with pytest.raises(InvalidTransition):
            source.to(target)
