"""The source bundle: the same files give the same bytes, wherever it is made and came from."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from comfy_aws import bundle, gitfiles, packs
from comfy_aws.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def packed() -> Bundle:
    return bundle.pack()


def test_the_registrys_zip_gives_the_bundle_of_a_clone(packed, tmp_path):
    left_out = gitfiles.Ignored()
    left_out.enter("", ROOT / ".comfyignore")
    for name, path, _ in packs.scan(ROOT).members:
        relative = name.partition("/")[2]
        if not left_out.has(relative):
            target = tmp_path / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    assert not (tmp_path / "web" / "types").exists()
    assert bundle.pack(tmp_path) == packed


def test_nothing_in_the_bundle_tells_where_it_was_made(packed):
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        entries = archive.infolist()
    assert len(entries) > 100
    said = {(each.create_system, each.compress_type, each.date_time) for each in entries}
    assert said == {(3, zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))}


def test_windows_line_ends_do_not_come_in(tmp_path):
    made, cloned = tmp_path / "made", tmp_path / "cloned"
    made.mkdir()
    for name in (".gitattributes", "requirements.txt", "docs/images/icon.png"):
        shutil.copy(ROOT / name, made)
    git("init", "--quiet", cwd=made)
    git("add", ".", cwd=made)
    git("commit", "--quiet", "--message", "All.", cwd=made)
    git("clone", "--quiet", "--config", "core.autocrlf=true", str(made), str(cloned), cwd=tmp_path)
    for name in ("requirements.txt", "icon.png"):
        assert (cloned / name).read_bytes() == (made / name).read_bytes()


def git(*arguments: str, cwd: Path) -> None:
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    subprocess.run(["git", *somebody, *arguments], cwd=cwd, check=True)
