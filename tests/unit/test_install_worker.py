"""deploy/install_worker.py: what is unpacked and copied. All of it runs in tests/functional."""

from __future__ import annotations

import io
import tarfile

import pytest

from deploy import install_worker


def archive(path, *names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"ok"))
    return path


def test_a_release_is_unpacked_without_its_top_folder(tmp_path):
    made = archive(tmp_path / "a.tar.gz", "ComfyUI-0.3.75/main.py", "ComfyUI-0.3.75/comfy/sd.py")
    install_worker.unpack(made, tmp_path / "comfyui")
    assert (tmp_path / "comfyui/main.py").read_text() == "ok"
    assert (tmp_path / "comfyui/comfy/sd.py").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "comfyui"}


def test_nothing_is_unpacked_outside(tmp_path):
    made = archive(tmp_path / "a.tar.gz", "../../outside")
    with pytest.raises(tarfile.OutsideDestinationError):
        install_worker.unpack(made, tmp_path / "comfyui")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz"}


def test_what_a_user_has_put_into_comfyui_is_not_copied(tmp_path):
    source = tmp_path / "source"
    for name in ("models/a.safetensors", "comfy/ldm/models/m.py", "output/o.png", "main.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    install_worker.copy_comfyui(source, tmp_path / "copy")
    found = {str(p.relative_to(tmp_path / "copy")) for p in (tmp_path / "copy").rglob("*.*")}
    assert found == {"comfy/ldm/models/m.py", "main.py"}
