"""What of a manifest's requirements must be installed, and how that is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_aws.errors import PackBroken
from comfy_aws.models import BlobRef, InputFile, Manifest, ModelFile, NodePack
from comfy_aws.requirements import masked, parse
from comfy_aws.worker.environment import START
from comfy_aws.worker.installer import failure
from comfy_aws.worker.packages import Own, key_of, own_packages, plan
from comfy_aws.worker.phases import Fetch, size
from comfy_aws.worker.pipsettings import from_pip

OWN = {
    "numpy": Own("numpy", "2.3.0"),
    "torch": Own("torch", "2.8.0+cu128"),
    "requests": Own("requests", "2.32.0", ("socks",), ('PySocks>=1; extra == "socks"',)),
}


def pack(name: str, *requirements: str, pins: tuple[str, ...] = ()) -> NodePack:
    return NodePack(name, BlobRef("ab", 1), requirements=requirements, pins=pins)


def test_what_the_worker_has_is_left_out():
    chosen = plan([pack("p", "numpy==2.3.0  # numpy", "torch==2.8.0", "cowsay==6.1")], OWN)
    assert chosen.lines == (parse("cowsay==6.1"),)
    assert not chosen.warnings
    assert chosen.packs == ("p",)


def test_another_version_of_the_workers_own_is_used_and_told():
    chosen = plan([pack("p", "numpy==2.1.0  # numpy>=1.26")], OWN)
    assert not chosen.lines
    assert chosen.warnings == (
        "p was captured with numpy==2.1.0; the worker's own numpy 2.3.0 is used.",
    )


def test_a_package_by_address_does_not_replace_the_workers_own():
    chosen = plan([pack("p", "numpy @ https://example.org/n.whl")], OWN)
    assert not chosen.lines
    assert len(chosen.warnings) == 1


@pytest.mark.parametrize("line", ["numpy==1.26.4", "numpy==1.26.4  # numpy<2", "numpy>3"])
def test_a_version_that_will_not_do_breaks_the_pack(line):
    with pytest.raises(PackBroken, match=r"The node pack p needs numpy.* has numpy 2\.3\.0"):
        plan([pack("p", line)], OWN)


def test_what_is_optional_gives_way():
    lines = ["numpy<1  # (optional)", "zed==1  # (optional)", "cowsay  # (optional)", "--pre"]
    chosen = plan([pack("p", *lines), pack("q", "zed==2")], OWN)
    assert chosen.lines == (parse("cowsay  # (optional)"), parse("zed==2"))
    assert not chosen.warnings
    assert chosen.without(chosen.lines[:1]).attempts() == [(("zed==2",), ())]
    sure = plan([pack("p", "cowsay"), pack("q", "zed==2")], OWN)
    assert key_of(chosen, OWN) != key_of(sure, OWN)


@pytest.mark.parametrize(
    ("line", "words", "is_blamed"),
    [
        ("cow_say==1  # (optional)", "Because cow-say was not found in the registry", True),
        ("cow_say==1  # (optional)", "Failed to build `cow_say==1`", True),
        ("cow_say==1  # (optional)", "Because cow-say-more was not found", False),
        ("cow_say==1", "Because cow-say was not found in the registry", False),
        ("say  # (optional)", "Because essay was not found", False),
        (
            "git+https://e.org/x.git  # (optional)",
            "fatal: unable to access 'https://e.org/x'",
            True,
        ),
        (
            "git+https://e.org/x.git  # (optional)",
            "fatal: unable to access 'https://e.org/y'",
            False,
        ),
    ],
)
def test_what_an_installers_words_are_about(line, words, is_blamed):
    chosen = plan([pack("p", line)], OWN)
    assert chosen.optional_in(words) == (chosen.lines if is_blamed else ())


def test_an_extra_of_the_workers_own_asks_at_its_version():
    (line,) = plan([pack("p", "requests[socks]==2.0  # requests[socks]")], OWN).lines
    assert line.wanted == "requests[socks]==2.32.0"


def test_the_union_of_two_packs():
    option = "--extra-index-url https://example.org/s"
    chosen = plan([pack("b", "zed", "cowsay==6.1", option), pack("a", "cowsay==6.1")], OWN)
    assert [line.wanted for line in chosen.lines] == ["cowsay==6.1", "zed"]
    assert chosen.askers == {"cowsay": ("a", "b"), "zed": ("b",)}
    assert chosen.options == (option,)
    assert chosen == plan([pack("a", "cowsay==6.1"), pack("b", option, "cowsay==6.1", "zed")], OWN)


def test_an_index_alone_is_nothing_to_install():
    assert plan([pack("p", "--extra-index-url https://example.org/s")], OWN).options == ()


def test_what_the_packs_themselves_ask_is_the_second_attempt():
    pins = ("below==1", "numpy==1.9", "zed==3")  # neither the worker's own, nor what is asked for
    assert plan([pack("p", "cowsay==6.1  # cowsay>=5", "zed", pins=pins)], OWN).attempts() == [
        (("cowsay==6.1", "zed"), ("below==1",)),
        (("cowsay==6.1", "zed"), ()),
        (("cowsay>=5", "zed"), ()),
    ]
    assert plan([pack("p", "zed")], OWN).attempts() == [(("zed",), ())]


def test_packs_that_have_met_different_versions_leave_the_choice_to_the_installer():
    packs = [pack("a", "zed", pins=("x==1", "y==1")), pack("b", "zed", pins=("x==2", "y==1"))]
    chosen = plan(packs, OWN)
    assert chosen.pins == ("y==1",)
    assert key_of(chosen, OWN) != key_of(plan([pack("a", "zed")], OWN), OWN)


def test_the_key_names_packages_and_what_they_lie_beside():
    chosen = plan([pack("p", "cowsay==6.1")], OWN)
    same = plan([pack("another", "cowsay==6.1")], OWN)
    assert key_of(chosen, OWN) == key_of(same, dict(reversed(OWN.items())))
    assert key_of(chosen, OWN) != key_of(plan([pack("p", "cowsay==6.0")], OWN), OWN)
    assert key_of(chosen, OWN) != key_of(chosen, {**OWN, "numpy": Own("numpy", "2.3.1")})


def test_this_pythons_own_packages():
    own = own_packages()
    assert own["packaging"].version
    assert "socks" in own["requests"].extras
    assert all("extra" in need for need in own["requests"].extra_needs)


def test_pips_settings_become_uvs():
    listing = """
:env:.cert='/env.pem'
global.cert='/global.pem'
global.index-url='https://one.example/simple'
global.extra-index-url='\\nhttps://two.example/simple\\nhttps://three.example/simple'
global.find-links='/a /b'
install.find-links='/c'
global.timeout='3'
global.proxy=not python
"""
    assert from_pip(listing) == {
        "SSL_CERT_FILE": "/env.pem",
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_FIND_LINKS": "/c",
    }
    assert from_pip("") == {}


def test_an_indexs_credentials_are_not_shown():
    assert masked("at https://me:secret@example.org/s") == "at https://***@example.org/s"
    assert masked("p @ git+https://example.org/x@v1") == "p @ git+https://example.org/x@v1"


# -- how an overlay joins the path -------------------------------------------------------------


def python(code: str, *path: Path) -> str:
    joined = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": joined},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A `start` folder whose packages are one that is new and one that the worker has, too."""
    start, packages = tmp_path / "start", tmp_path / "packages"
    for folder in (start, packages):
        folder.mkdir()
    (packages / "only_in_overlay.py").write_text("")
    (packages / "packaging").mkdir()
    (packages / "packaging" / "__init__.py").write_text("raise RuntimeError('shadowed')")
    text = START.format(start=str(start), packages=str(packages))
    (start / "sitecustomize.py").write_text(text)
    return start


def test_an_overlay_comes_last_and_shadows_nothing(overlay):
    code = "import sys, packaging, only_in_overlay; print(sys.path)"
    path = python(code, overlay)
    assert path.endswith(f"{str(overlay.with_name('packages'))!r}]")
    assert repr(str(overlay)) not in path


def test_the_environments_own_sitecustomize_still_runs(overlay, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins\nbuiltins.own = 'own'")
    code = "import only_in_overlay, sitecustomize; print(own, sitecustomize.__file__)"
    assert python(code, overlay, own) == f"own {own / 'sitecustomize.py'}"


def test_a_child_of_a_child_has_the_overlay_too(overlay):
    inner = "import only_in_overlay; print('there')"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    assert python(outer, overlay) == "there"


# -- what a fetch tells ------------------------------------------------------------------------


def test_a_fetch_is_told_by_kind():
    manifest = Manifest(
        models=(ModelFile("loras", "m", BlobRef("m", 3_000_000_000)),),
        inputs=(InputFile("i", BlobRef("i", 10)),),
        packs=(NodePack("p", BlobRef("p", 2000)),),
    )
    times = iter([0.0, 2.0, 5.0, 6.0])
    told = []
    fetch = Fetch(
        manifest,
        lambda part: sum(ref.size for digest, ref in part.blobs().items() if digest != "i"),
        lambda *step, seconds=None: told.append((*step, seconds)),
        clock=lambda: next(times),
    )
    fetch.begin()
    fetch.came("p", 2000)
    fetch.came("m", 3_000_000_000)
    fetch.end()
    total = 3_000_002_000
    assert told == [
        ("restore", "Fetching models 3.0 GB, node packs 2.0 kB", 0, total, None),
        ("restore", "Fetching node packs, 2.0 kB of 2.0 kB", 2000, total, None),
        ("restore", "Fetching models, 3.0 GB of 3.0 GB", total, total, None),
        ("restore", "Fetched node packs 2.0 kB in 2.0 s, models 3.0 GB in 5.0 s",
         total, total, 6.0),
    ]  # fmt: skip
    assert fetch.seconds == {"packs": 2.0, "models": 5.0}


def test_a_fetch_of_nothing_is_not_told():
    told = []
    fetch = Fetch(Manifest(), lambda part: 0, lambda *step, seconds=None: told.append(step))
    fetch.begin()
    fetch.end()
    assert not told
    assert not fetch.seconds


def test_sizes_are_for_people():
    assert [size(count) for count in (0, 999, 1000, 2_500_000)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.5 MB",
    ]  # fmt: skip


def test_a_full_disk_is_no_fault_of_a_pack():
    chosen = plan([pack("p", "six==1.17.0")], OWN)
    said = [
        "Resolved 1 package in 468ms",
        "error: Failed to install: six-1.17.0-py2.py3-none-any.whl (six==1.17.0)",
        "  cause: Failed to copy to `/opt/x/six.py`",
        "  cause: failed to copy file to /opt/x/.tmphigmow: No space left on device (os error 28)",
    ]
    full = failure(chosen, said)
    assert not isinstance(full, PackBroken)
    assert "disk is full" in str(full)
    assert said[-1] in str(full)
    assert "more disk" in full.hint
    other = failure(chosen, said[:2])
    assert isinstance(other, PackBroken)
    assert "node pack p " in str(other)
