"""Output files: found under any key, held below their folders, bounded on the disk."""

from __future__ import annotations

import pytest

from comfy_aws.errors import WorkerError
from comfy_aws.worker.outputs import Shelf, Uploads, Written, written_files
from comfy_aws.worker.paths import below, single


def entry(name, subfolder="", kind="output"):
    return {"filename": name, "subfolder": subfolder, "type": kind}


def test_files_are_found_under_any_key_and_each_once():
    output = {
        "images": [entry("a.png"), entry("a.png"), entry("b.png", "x", "temp")],
        "gifs": [{**entry("c.mp4"), "format": "video/h264-mp4"}],
        "deep": {"3d": [[entry("d.glb")]]},
        "animated": [True],
        "text": ["filename"],
        "source": [entry("theirs.png", kind="input")],
        "odd": [{"filename": 3, "type": "output"}, {"filename": "e", "type": "elsewhere"}],
    }
    assert written_files(output) == [
        Written("a.png", "", "output"),
        Written("b.png", "x", "temp"),
        Written("c.mp4", "", "output"),
        Written("d.glb", "", "output"),
    ]
    assert written_files(None) == []


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [("../secret", ""), ("secret", "../.."), ("/etc/passwd", ""), ("x", "/etc"), ("a\0b", "")],
)
def test_a_path_that_leads_out_is_refused(tmp_path, filename, subfolder):
    uploads = Uploads("job", tmp_path, None)
    with pytest.raises(WorkerError):
        uploads.path(Written(filename, subfolder, "output"))


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "out").symlink_to("/etc")
    with pytest.raises(WorkerError):
        below(tmp_path / "output", "out", "passwd")
    assert below(tmp_path / "output", "sub", "a.png") == tmp_path / "output" / "sub" / "a.png"


@pytest.mark.parametrize("part", ["..", "a/..", ".", ""])
def test_a_part_that_names_no_file_is_refused(tmp_path, part):
    with pytest.raises(WorkerError):
        below(tmp_path, part)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0"])
def test_a_name_of_more_than_one_step_is_refused(name):
    with pytest.raises(WorkerError):
        single(name)


def write(base, name, size=1):
    path = base / "output" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_files_of_old_jobs_go_and_shown_ones_stay(tmp_path):
    shelf = Shelf(tmp_path, jobs=3, size=1000)
    old, shown = write(tmp_path, "old"), write(tmp_path, "deep/shown")
    shelf.used({old, shown})
    for _ in range(3):
        shelf.used({shown})
    assert shelf.due
    shelf.sweep()
    assert not old.exists()
    assert shown.exists()
    assert not shelf.due


def test_the_oldest_go_when_there_are_too_many_bytes_but_never_the_last_jobs(tmp_path):
    shelf = Shelf(tmp_path, jobs=50, size=100)
    paths = [write(tmp_path, str(number), 60) for number in range(3)]
    for path in paths:
        shelf.used({path})
    big = write(tmp_path, "big", 200)
    shelf.used({big})
    shelf.sweep()
    assert [path.exists() for path in (*paths, big)] == [False, False, False, True]


def test_files_that_no_job_named_go_in_time(tmp_path):
    shelf = Shelf(tmp_path, jobs=2, size=1000)
    stray = write(tmp_path, "stray")
    shelf.sweep()
    assert stray.exists()
    for _ in range(3):
        shelf.used(set())
    shelf.sweep()
    assert not stray.exists()
