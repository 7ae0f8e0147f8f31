"""A node pack is the same bytes for the same files, and nothing from outside it."""

from __future__ import annotations

import os
import subprocess
import tarfile

import pytest

from comfy_aws import gitfiles, packs
from comfy_aws.errors import FileChanged


def make(root, *, order=1, time=10**18):
    names = ["__init__.py", "nodes.py", "sub/deep/x.json", "ümlaut.txt", "web/a.js"][::order]
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
        os.utime(path, ns=(time, time))
    (root / "nodes.py").chmod(0o700)
    return root


def names_of(pack):
    return [member.name for member in packs.scan(pack).members]


def archived(pack, target):
    packs.archive(packs.scan(pack), target)
    return target.read_bytes()


def test_equal_packs_are_equal_bytes(tmp_path):
    one = make(tmp_path / "a" / "pack")
    other = make(tmp_path / "b" / "pack", order=-1, time=2 * 10**18)
    assert archived(one, tmp_path / "1") == archived(other, tmp_path / "2")
    assert (tmp_path / "1").read_bytes()[4:8] == bytes(4)  # gzip's own time
    (other / "nodes.py").write_text("content of nodes.pY")
    assert archived(one, tmp_path / "1") != archived(other, tmp_path / "2")


def test_the_order_is_not_the_disk_s(tmp_path):
    names = [f"{number * 7919 % 1000:03}.py" for number in range(200)]
    (tmp_path / "pack").mkdir()
    for name in names:
        (tmp_path / "pack" / name).write_text("")
    assert names_of(tmp_path / "pack") == [f"pack/{name}" for name in sorted(names)]


def test_the_archive_has_one_top_entry_and_no_traces(tmp_path):
    archived(make(tmp_path / "pack"), tmp_path / "t")
    with tarfile.open(tmp_path / "t") as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "out", filter="data")
    assert {m.name.split("/")[0] for m in members} == {"pack"}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.name: m.mode for m in members}["pack/nodes.py"] == 0o755
    assert (tmp_path / "out/pack/ümlaut.txt").read_text() == "content of ümlaut.txt"


def test_what_is_not_the_pack_stays_out(tmp_path):
    pack = make(tmp_path / "pack")
    for folder in (".git", "__pycache__", "node_modules", ".venv", "sub/__pycache__"):
        (pack / folder).mkdir(parents=True)
        (pack / folder / "x").write_text("")
    (pack / "nodes.pyc").write_text("")
    os.mkfifo(pack / "pipe")
    assert set(names_of(pack)) == {
        "pack/__init__.py", "pack/nodes.py", "pack/sub/deep/x.json", "pack/ümlaut.txt",
        "pack/web/a.js",
    }  # fmt: skip


def test_the_git_file_of_a_worktree_stays_out(tmp_path):
    pack = make(tmp_path / "pack")
    before = names_of(pack)
    (pack / ".git").write_text("gitdir: /home/me/ComfyUI/.git/worktrees/pack\n")
    assert names_of(pack) == before


def test_links_that_leave_the_pack_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    (tmp_path / "pack-other").mkdir()
    (tmp_path / "pack-other" / "x").write_text("sibling with the same beginning")
    pack = make(tmp_path / "pack")
    (pack / "out").symlink_to(secret)
    (pack / "up").symlink_to("../secret")
    (pack / "sibling").symlink_to(tmp_path / "pack-other" / "x")
    (pack / "folder").symlink_to(tmp_path, target_is_directory=True)
    (pack / "broken").symlink_to("nowhere")
    (pack / "inside").symlink_to("nodes.py")
    assert "pack/inside" in names_of(pack)
    assert not {"out", "up", "sibling", "broken"} & {
        n.removeprefix("pack/") for n in names_of(pack)
    }
    assert not any("secret" in name or "folder" in name for name in names_of(pack))


def test_a_pack_may_itself_be_a_link(tmp_path):
    real = make(tmp_path / "elsewhere")
    link = tmp_path / "pack"
    link.symlink_to(real)
    assert names_of(link) == [n.replace("elsewhere", "pack") for n in names_of(real)]


def test_a_single_file_is_a_pack(tmp_path):
    (tmp_path / "node.py").write_text("x")
    assert names_of(tmp_path / "node.py") == ["node.py"]


def test_the_key_tells_every_change(tmp_path):
    pack = make(tmp_path / "pack")

    def key():
        return packs.scan(pack).key()

    keys = [key(), key()]
    assert keys[0] == keys[1]
    os.utime(pack / "nodes.py", ns=(1, 1))
    keys.append(key())
    (pack / "new.py").write_text("")
    keys.append(key())
    (pack / "new.py").rename(pack / "newer.py")
    keys.append(key())
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("longer than it was before"),
        lambda path: os.utime(path, ns=(1, 1)),
    ],
)
def test_a_file_that_changes_after_the_scan(tmp_path, change):
    pack = make(tmp_path / "pack")
    scanned = packs.scan(pack)
    change(pack / "nodes.py")
    with pytest.raises(FileChanged, match=r"nodes\.py"):
        packs.archive(scanned, tmp_path / "t")


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_gitignore_is_honoured(tmp_path):
    pack = tmp_path / "pack"
    write(pack, **{
        ".gitignore": "*.log\n/outputs/\n!kept.log\nmodels/*\n!models/list.json\n",
        "a.py": "", "x.log": "", "kept.log": "", "sub/y.log": "", "outputs/z.png": "",
        "sub/outputs/z.png": "", "models/big.bin": "12345", "models/list.json": "",
        "sub/.gitignore": "*.tmp\n!y.log\n", "sub/a.tmp": "", "a.tmp": "",
    })  # fmt: skip
    assert names_of(pack) == [
        "pack/.gitignore", "pack/a.py", "pack/a.tmp", "pack/kept.log", "pack/models/list.json",
        "pack/sub/.gitignore", "pack/sub/outputs/z.png", "pack/sub/y.log",
    ]  # fmt: skip
    assert packs.left_out(pack) == 5


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True,
                   capture_output=True)  # fmt: skip


@pytest.fixture
def clone(tmp_path):
    pack = tmp_path / "clone"
    write(pack, **{".gitignore": "*.bin\n", "a.py": "", "weights.bin": "w", "local.bin": "l"})
    git(tmp_path, "init", "-q", str(pack))
    git(pack, "add", "-f", ".gitignore", "a.py", "weights.bin")
    git(pack, "commit", "-q", "-m", "first")
    git(pack, "remote", "add", "origin", "https://me:secret@example.com/pack.git")
    return pack


def test_what_git_tracks_is_the_packs_whatever_is_ignored(clone):
    assert names_of(clone) == ["clone/.gitignore", "clone/a.py", "clone/weights.bin"]
    git(clone, "rm", "-q", "-f", "weights.bin")
    assert names_of(clone) == ["clone/.gitignore", "clone/a.py"]


def test_the_origin_of_a_clean_clone_without_its_secrets(clone):
    write(clone, **{"__pycache__/a.pyc": ""})
    url, commit = gitfiles.origin(clone)
    assert url == "https://example.com/pack.git"
    assert len(commit) == 40
    write(clone, **{"new.py": ""})
    assert gitfiles.origin(clone) == ("", "")
    (clone / "new.py").unlink()
    write(clone, **{"a.py": "changed"})
    assert gitfiles.origin(clone) == ("", "")
    assert gitfiles.origin(clone.parent) == ("", "")


def test_a_commit_may_make_a_changed_clone_clean_again(clone):
    write(clone, **{"a.py": "changed"})
    seen = gitfiles.state(clone)
    assert gitfiles.origin(clone) == ("", "")
    assert gitfiles.state(clone) == seen, "asking changes nothing"
    git(clone, "commit", "-q", "-a", "-m", "second")
    assert gitfiles.state(clone) != seen
    assert gitfiles.origin(clone).commit
    assert gitfiles.state(clone.parent) == ()


def test_what_git_tracks_in_and_as_a_submodule(clone, tmp_path):
    allow = ("-c", "protocol.file.allow=always")
    outer = tmp_path / "outer"
    write(outer, **{".gitignore": "*.bin\n", "kept.bin": "k", "b.py": ""})
    git(tmp_path, "init", "-q", str(outer))
    git(outer, "add", "-f", ".gitignore", "b.py", "kept.bin")
    git(outer, *allow, "submodule", "--quiet", "add", str(clone), "inner")
    git(outer, "commit", "-q", "-m", "first")
    assert {"outer/kept.bin", "outer/inner/weights.bin"} <= set(names_of(outer))
    assert "inner/weights.bin" in names_of(outer / "inner")
    assert gitfiles.origin(outer / "inner").commit


def test_models_downloaded_into_a_pack_and_environments_stay_here(tmp_path):
    pack = make(tmp_path / "pack")
    for name, size in (("small.pth", 1000), ("large.pth", packs.LARGEST_MODEL + 1),
                       ("large.json", packs.LARGEST_MODEL + 1)):  # fmt: skip
        with (pack / name).open("wb") as file:
            file.truncate(size)
    write(pack, **{"own_env/pyvenv.cfg": "", "own_env/lib/x.py": "", "old/bin/activate": "",
                   "env/__init__.py": "", "venv/conda-meta/history": ""})  # fmt: skip
    more = set(names_of(pack)) - set(names_of(make(tmp_path / "plain" / "pack")))
    assert more == {"pack/small.pth", "pack/large.json", "pack/env/__init__.py"}


def test_what_users_put_into_ignored_places_of_a_pack_travels(tmp_path):
    pack = tmp_path / "home" / "pack"
    write(pack, **{
        ".gitignore": "wildcards/\n*.ini\n*.ttf\n*.json\nfetched/\n!style.json\n", "a.py": "",
        "wildcards/deep/colour.txt": "teal", "wildcards/big.txt": "x" * (2**21 + 1),
        "wildcards/sheet.png": "", "mine.ttf": "font", "style.json": "{}", "mine.json": "{}",
        "run_history.json": "{}", "logs/a.json": "{}", "wildcards/.hidden.txt": "",
        "here.ini": f"path = {tmp_path / 'home' / 'models'}", "there.ini": "path = models",
        "fetched/code.py": "", "fetched/net.bin": "1", "fetched/notes.md": "",
    })  # fmt: skip
    assert names_of(pack) == [
        "pack/.gitignore", "pack/a.py", "pack/fetched/code.py", "pack/mine.json", "pack/mine.ttf",
        "pack/style.json", "pack/there.ini", "pack/wildcards/deep/colour.txt",
    ]  # fmt: skip
    assert packs.scan(pack).secrets == ()


def test_a_repository_that_a_pack_has_fetched_is_its_code(clone, tmp_path):
    pack = make(tmp_path / "pack")
    write(pack, **{".gitignore": "*fetched\n*.bin\n"})
    clone.rename(pack / "fetched")
    new = {name for name in names_of(pack) if "fetched" in name}
    # By its own rules: what those ignore is judged as in any pack.
    assert new == {"pack/fetched/.gitignore", "pack/fetched/a.py"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("api_key.ini", "[keys]"),
        ("a.json", '{"openai_api_key": "abcdefgh12345678"}'),
        ("a.ini", "password = hunter2hunter2"),
        ("a.yaml", "hf_token: hf_abcdefghijklmnopqrstuvwxyz"),
        ("a.txt", "-----BEGIN RSA PRIVATE KEY-----"),
        ("a.py", 'TOKEN = "0123456789abcdef"'),
    ],
)
def test_keys_and_passwords_in_ignored_files_stay_and_are_told(tmp_path, name, text):
    pack = tmp_path / "pack"
    write(pack, **{".gitignore": "*\n!a.md\n", name: text, "settings.json": '{"api_key": null}'})
    assert names_of(pack) == ["pack/settings.json"]
    assert packs.scan(pack).secrets == (name,)


@pytest.mark.parametrize(
    "text", ["author: Jonathan_Livingston", "token_normalization = length+mean", "no password yet"]
)
def test_texts_that_only_sound_like_secrets_travel(tmp_path, text):
    write(tmp_path / "pack", **{".gitignore": "*.yaml\n", "a.yaml": text})
    assert "pack/a.yaml" in names_of(tmp_path / "pack")


def test_an_ignored_text_that_changes_is_judged_anew(tmp_path):
    pack = tmp_path / "pack"
    write(pack, **{".gitignore": "*.ini\n", "a.ini": "x = 1"})
    assert "pack/a.ini" in names_of(pack)
    write(pack, **{"a.ini": "password = hunter2hunter2"})
    assert "pack/a.ini" not in names_of(pack)


def test_what_the_registrys_zip_brought_is_the_packs_whatever_is_ignored(tmp_path):
    pack = tmp_path / "pack"
    write(pack, **{
        ".gitignore": "lib/\n*.bin\n", "lib/a.md": "", "small.bin": "", "other.bin": "",
        ".tracking": "lib/a.md\r\nsmall.bin\nlib\\b.md\n../outside\n/etc/passwd\ngone.py\n\n",
        "lib/b.md": "",
    })  # fmt: skip
    assert names_of(pack) == [
        "pack/.gitignore", "pack/.tracking", "pack/lib/a.md", "pack/lib/b.md", "pack/small.bin",
    ]  # fmt: skip
