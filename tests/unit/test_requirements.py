"""What a node pack asks for, at the versions installed here."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from comfy_aws import distributions, packimports, packs, requirements
from comfy_aws.models import Manifest, from_json, to_json
from comfy_aws.requirements import Installed, Line, allows, of_pack, parse

HERE = {
    "numpy": Installed("2.1.0"),
    "torch": Installed("2.5.1+cu124"),
    "old": Installed("1.0"),
    "clip": Installed("1.0", "git+https://example.org/clip.git@abc123"),
    "wheel-by-url": Installed("3", "https://example.org/w.whl"),
    "mine": Installed("0.1", "."),
    "pre": Installed("2.0rc1"),
}


def lines(tmp_path: Path, text: str = "", pyproject: str = "", **more: str) -> tuple[str, ...]:
    pack = tmp_path / "pack"
    pack.mkdir(exist_ok=True)
    if text:
        (pack / "requirements.txt").write_text(text)
    if pyproject:
        (pack / "pyproject.toml").write_text(pyproject)
    for name, body in more.items():
        (pack / f"{name}.txt").write_text(body)
    return of_pack(pack, HERE.get)


def wanted(found: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(parse(line).wanted for line in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("numpy", "numpy==2.1.0  # numpy"),
        ("NumPy>=1.26", "NumPy==2.1.0  # NumPy>=1.26"),
        ("numpy==2.1.0", "numpy==2.1.0"),
        ("numpy[a, b]>=2", "numpy[a,b]==2.1.0  # numpy[a,b]>=2"),
        ("numpy<2", "numpy==2.1.0  # numpy"),  # it runs here, so its words are too strict
        ("torch", "torch==2.5.1  # torch"),  # the build is the machine's own
        ("pre>=1", "pre==2.0rc1  # pre>=1"),
        ("absent>=6,<7", "absent<7,>=6  # (optional)"),
        ("absent", "absent  # (optional)"),
        ("mine>=0.1", "mine>=0.1"),
        ("clip>=1", "clip @ git+https://example.org/clip.git@abc123  # clip>=1"),
        ("wheel_by_url", "wheel_by_url @ https://example.org/w.whl  # wheel_by_url"),
        ("numpy @ file:///croot/numpy", "numpy==2.1.0  # numpy"),  # as conda's Python freezes
        ("mine @ file:///croot/mine", "mine==0.1  # mine"),
        ("absent @ file:///croot/absent", "absent  # (optional)"),
        ("absent @ https://example.org/a.whl", "absent @ https://example.org/a.whl  # (optional)"),
        ("numpy @ https://example.org/n.whl", "numpy @ https://example.org/n.whl"),
        ("git+https://example.org/x.git@v1", "git+https://example.org/x.git@v1  # (optional)"),
        (
            "-e git+https://example.org/x.git#egg=x",
            "x @ git+https://example.org/x.git#egg=x  # (optional)",
        ),
        ("--extra-index-url https://example.org/s", "--extra-index-url https://example.org/s"),
        ("-i https://example.org/s", "--extra-index-url https://example.org/s"),
        ("-f https://example.org/f", "--find-links https://example.org/f"),
        ("absent==1 --hash=sha256:00", "absent==1  # (optional)"),
        ("absent \\\n  >=2 # why", "absent>=2  # (optional)"),
        ('absent; sys_platform == "linux"', "absent  # (optional)"),
        ('absent; python_version >= "3"', "absent  # (optional)"),
    ],
)
def test_a_line(tmp_path, text, expected):
    assert lines(tmp_path, text) == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "# nothing", 'absent; sys_platform == "win32"', 'absent; python_version < "3"',
        'absent; platform_machine == "arm64"', 'absent; extra == "dev"',
        "./local.whl", "local-1.0-py3-none-any.whl", "-e .", "file:///a/b.whl",
        "--no-binary :all:", "--pre", "what is this", "-r ../outside.txt", "-r nowhere.txt",
    ],
)  # fmt: skip
def test_a_line_that_asks_for_nothing(tmp_path, text):
    (tmp_path / "outside.txt").write_text("absent")
    assert lines(tmp_path, text) == ()


def test_files_include_files_of_the_pack(tmp_path):
    found = lines(tmp_path, "-r more.txt\nzed", more="--requirement=deep.txt\nalpha", deep="beta")
    assert wanted(found) == ("alpha", "beta", "zed")


def test_files_that_include_each_other(tmp_path):
    found = lines(tmp_path, "-r more.txt", more="-r requirements.txt\nalpha")
    assert wanted(found) == ("alpha",)


def test_a_link_to_a_file_outside_is_no_file_of_the_pack(tmp_path):
    (tmp_path / "outside.txt").write_text("absent")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "requirements.txt").symlink_to(tmp_path / "outside.txt")
    assert of_pack(tmp_path / "pack", HERE.get) == ()


def test_both_files_are_one_list(tmp_path):
    pyproject = '[project]\nname = "p"\ndependencies = ["absent<9", "numpy>=2", "zed"]\n'
    found = lines(tmp_path, "absent>=6\nAbsent[x]", pyproject)
    assert wanted(found) == ("absent[x]<9,>=6", "numpy==2.1.0", "zed")


@pytest.mark.parametrize("text", ["[project", "project = 1", "[project]\ndependencies = 3\n"])
def test_a_damaged_pyproject_does_not_matter(tmp_path, text):
    assert wanted(lines(tmp_path, "absent", text)) == ("absent",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_written_on_windows(tmp_path, encoding):
    (tmp_path / "requirements.txt").write_bytes("absent>=1\r\nzed\r\n".encode(encoding))
    assert wanted(of_pack(tmp_path, HERE.get)) == ("absent>=1", "zed")


def test_a_pack_of_one_file_asks_for_nothing(tmp_path):
    (tmp_path / "node.py").write_text("")
    assert of_pack(tmp_path / "node.py") == ()


def test_what_is_imported_without_being_asked_for_is_optional(tmp_path):
    (tmp_path / "node.py").write_text("")
    imports = frozenset({"pytest", "numpy", "os", "comfy", "utils", "not_installed", "websocket"})
    found = of_pack(tmp_path / "node.py", imports=imports)
    assert found == (
        f"pytest=={version('pytest')}  # (optional)",
        f"websocket-client=={version('websocket-client')}  # (optional)",
    )
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "requirements.txt").write_text("PyTest-GPU\nwebsocket_client")
    found = of_pack(tmp_path / "pack", imports=imports)
    here = (f"pytest=={version('pytest')}", f"websocket_client=={version('websocket-client')}")
    assert wanted(found) == here, "the variant that is here stands for the one asked for"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Installs distributions, each with a module, from an address where one is told."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(name, module="", **told):
        place = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (place / "top_level.txt").write_text(module or name.lower())
        if told:
            (place / "direct_url.json").write_text(json.dumps(told))
        forget()

    def forget():
        distributions.forget()
        requirements.installed.cache_clear()

    yield install
    forget()


def test_what_was_installed_from_an_address_is_known_by_it(tmp_path, site):
    site("Deep_Thing", url="https://example.org/me/Deep.git",
         vcs_info={"vcs": "git", "commit_id": "c0ffee"})  # fmt: skip
    (tmp_path / "requirements.txt").write_text("git+https://example.org/me/deep@main\n")
    found = of_pack(tmp_path)
    assert found == ("deep-thing @ git+https://example.org/me/Deep.git@c0ffee",)


WHEEL = "https://example.org/deep-1.0-cp312-cp312-"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"url": f"{WHEEL}linux_x86_64.whl"},
         f"deep @ {WHEEL}linux_x86_64.whl  # deep==1.0  # (optional)"),
        ({"url": f"{WHEEL}manylinux_2_28_x86_64.whl"},
         f"deep @ {WHEEL}manylinux_2_28_x86_64.whl  # deep==1.0  # (optional)"),
        ({"url": f"{WHEEL}win_amd64.whl"}, "deep==1.0  # (optional)"),
        ({"url": "https://example.org/deep.git", "vcs_info": {"vcs": "git", "commit_id": "c0"}},
         "deep @ git+https://example.org/deep.git@c0  # deep==1.0  # (optional)"),
        ({"url": "file:///home/me/deep-1.0-py3-none-any.whl", "archive_info": {}},
         "deep==1.0  # (optional)"),
    ],
)  # fmt: skip
def test_an_index_may_have_another_package_of_that_name(tmp_path, site, told, line):
    site("deep", **told)
    (tmp_path / "node.py").write_text("import deep")
    assert of_pack(tmp_path / "node.py", imports=frozenset({"deep"})) == (line,)


def test_the_variant_that_is_here_stands_for_the_one_that_is_asked_for(tmp_path, site):
    site("onnxfast-gpu", module="onnxfast")
    site("vision-contrib-python", module="vision")
    site("sound-directml", module="sound")
    lines = ("onnxfast>=0.5", "onnxfast-gpu", "vision-python-headless", "sound")
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    assert wanted(of_pack(tmp_path)) == (
        "onnxfast-gpu==1.0", "sound", "vision-contrib-python==1.0",
    )  # fmt: skip


def test_what_a_pack_imports(tmp_path):
    write = {
        "pack/__init__.py": "import os, numpy.linalg as la, PIL\nfrom .own import x\n",
        "pack/own.py": "try:\n    from deep.er import y\nexcept ImportError:\n    pass\n",
        "pack/vendor/odd/z.py": "import odd\nfrom lazy import (\n    a,\n)\n",
        "pack/tests/test_x.py": "import pytest",
        "pack/note.txt": "import nothing",
    }
    for name, text in write.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    scanned = packs.scan(tmp_path / "pack")
    assert packimports.modules(scanned) == {"os", "numpy", "PIL", "deep", "lazy"}


def test_what_is_installed_here(tmp_path):
    (tmp_path / "requirements.txt").write_text("Packaging")
    assert of_pack(tmp_path) == (f"Packaging=={version('packaging')}  # Packaging",)
    assert requirements.installed("no-such-package") is None
    editable = requirements.installed("prompt-on-aws")
    assert editable is None or editable.source in {".", ""}


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ({"url": "https://e.org/a.whl", "archive_info": {}}, "https://e.org/a.whl"),
        ({"url": "file:///a", "dir_info": {"editable": True}}, "."),
        ({"url": "file:///a.whl", "archive_info": {}}, "."),
        ({"url": "https://e.org/a", "vcs_info": {"vcs": "git", "commit_id": "f00"}},
         "git+https://e.org/a@f00"),
        ({}, ""),
    ],
)  # fmt: skip
def test_where_a_distribution_came_from(told, source):
    assert requirements._source(json.dumps(told)) == source


def test_a_line_taken_apart():
    assert parse("Foo_Bar[x]==1  # Foo_Bar[x]>=0.5") == Line(
        "foo-bar", "Foo_Bar[x]==1", "Foo_Bar[x]>=0.5"
    )
    assert parse("foo==1") == Line("foo", "foo==1", "foo==1")
    assert parse("git+https://e.org/x.git#egg=x").name == ""
    assert parse("x @ git+https://e.org/x.git#egg=x").name == "x"
    assert parse("--extra-index-url https://e.org").is_option


@pytest.mark.parametrize(
    ("line", "found", "answer"),
    [
        ("numpy==2.1.0  # numpy>=1.26", "2.3", True),
        ("numpy==2.1.0  # numpy>=1.26", "1.25", False),
        ("numpy==2.1.0  # numpy", "1.25", True),
        ("numpy==2.1.0", "2.1.0+local", True),
        ("numpy==2.1.0", "2.1.1", False),
        ("numpy @ https://e.org/n.whl", "1", True),
        ("clip @ git+https://e.org/c@f  # clip>=2", "1", False),
        ("numpy<2", "not a version", False),
        ("git+https://e.org/c", "1", False),
    ],
)
def test_whether_a_version_will_do(line, found, answer):
    assert allows(parse(line), found) is answer


def test_manifests_of_before_have_no_requirements():
    raw = '{"packs":[{"name":"p","blob":{"digest":"ab","size":1}}]}'
    manifest = from_json(Manifest, raw)
    assert manifest.packs[0].requirements == ()
    assert from_json(Manifest, to_json(manifest)) == manifest


def test_what_the_packages_need_in_turn_is_pinned_as_it_is_here():
    needs = {
        "clip": ["numpy>=1", "Old", "win-only; sys_platform == 'win32'", "absent", "not valid ("],
        "old": ["clip", "pre>=1", "torch; extra == 'gpu'", "mine"],
    }
    found = requirements.below(
        ["clip==1.0  # clip", "absent>=6", "--extra-index-url https://example.org/s"],
        HERE.get,
        lambda name: needs.get(name, ()),
    )
    assert found == ("numpy==2.1.0", "old==1.0", "pre==2.0rc1")


def test_the_running_pythons_own_packages_are_walked():
    pins = dict(pin.split("==") for pin in requirements.below(["boto3"]))
    assert pins["botocore"] == version("botocore")
    assert "boto3" not in pins
