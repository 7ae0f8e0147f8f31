"""Models from the web: resumed, checked, and never from or to where they must not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws.errors import (
    Cancelled,
    CaptureError,
    ComfyAwsError,
    Conflict,
    DownloadBroken,
    DownloadFailed,
    InvalidName,
)
from comfy_aws.fetches import ATTEMPTS, Fetcher
from comfy_aws.localmodels import FolderPlaces, LocalModels
from comfy_aws.web import Web, check_address
from tests.support.fileserver import Site, served

SIZE = 3_000_000
NAME = "model.safetensors"


def safetensors(size: int, fill: bytes = b"x") -> bytes:
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"t": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + fill * size


BODY = safetensors(SIZE)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with served(BODY) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> LocalModels:
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return LocalModels(FolderPlaces(tmp_path))


@pytest.fixture
def fetcher(models: LocalModels) -> Fetcher:
    return Fetcher(Web(private=True), models, sleep=lambda seconds: None)


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "models" / "loras").iterdir())


def test_a_file_comes_whole_under_its_servers_name(fetcher, site, tmp_path):
    site.filename = "Named by its server.safetensors"
    steps = []
    model = fetcher.fetch(site.url, "loras", sha256=SHA256.upper(), progress=steps.append)
    assert model.path.read_bytes() == BODY
    assert (model.folder, model.name, model.size) == ("loras", site.filename, len(BODY))
    assert left(tmp_path) == [site.filename]
    assert (steps[-1].done, steps[-1].total) == (len(BODY), len(BODY))


def test_a_break_is_resumed_by_range(fetcher, site, tmp_path):
    site.breaks = [1_000_000, 500_000]
    model = fetcher.fetch(site.url, "loras", NAME, sha256=SHA256)
    assert model.path.read_bytes() == BODY
    assert site.ranges == ["", "bytes=1000000-", "bytes=1500000-"]
    assert left(tmp_path) == [NAME]


def test_what_came_before_a_failure_is_used_by_the_next_fetch(fetcher, site, tmp_path):
    site.breaks = [1_000_000] + [0] * ATTEMPTS
    with pytest.raises(DownloadBroken, match="broke off after 1,000,000 of"):
        fetcher.fetch(site.url, "loras", NAME)
    assert left(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    site.ranges.clear()
    site.breaks.clear()
    fetcher.fetch(site.url, "loras", NAME, sha256=SHA256)
    assert site.ranges == ["bytes=1000000-"]
    assert left(tmp_path) == [NAME]


def test_a_file_that_changed_meanwhile_is_fetched_anew(fetcher, site):
    site.breaks = [1_000_000] + [0] * ATTEMPTS
    with pytest.raises(DownloadBroken):
        fetcher.fetch(site.url, "loras", NAME)
    site.breaks.clear()
    site.body, site.etag = safetensors(SIZE, b"y"), '"two"'
    assert fetcher.fetch(site.url, "loras", NAME).path.read_bytes() == site.body


def test_another_digest_is_refused_and_leaves_nothing(fetcher, site, tmp_path):
    with pytest.raises(DownloadFailed, match=f"has the sha256 {SHA256}, not {'0' * 64}"):
        fetcher.fetch(site.url, "loras", NAME, sha256="0" * 64)
    assert left(tmp_path) == []
    with pytest.raises(InvalidName, match="64 hexadecimal digits"):
        fetcher.fetch(site.url, "loras", NAME, sha256="abc")


def test_a_cancelled_fetch_leaves_nothing(fetcher, site, tmp_path):
    with pytest.raises(Cancelled):
        fetcher.fetch(site.url, "loras", NAME, cancelled=lambda: True)
    assert left(tmp_path) == []


def test_what_is_no_model_is_refused(fetcher, site, tmp_path):
    site.kind = "text/html"
    with pytest.raises(DownloadFailed, match="leads to a web page"):
        fetcher.fetch(site.url, "loras", NAME)
    site.kind, site.body = "application/octet-stream", b"<html>please log in</html>"
    with pytest.raises(CaptureError, match="no safetensors file"):
        fetcher.fetch(site.url, "loras", NAME)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "says", "kind"),
    [
        (404, "answered 404", DownloadFailed),
        (403, "only to those who have logged in", DownloadFailed),
        (503, "answered 503", DownloadBroken),
    ],
)
def test_a_server_that_refuses(fetcher, site, status, says, kind):
    site.status = status
    with pytest.raises(kind, match=says):
        fetcher.fetch(site.url, "loras", NAME)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "a\\x.safetensors",
     "C:x.safetensors", ".hidden.safetensors", "a/.git/x.safetensors", "", "a//x.safetensors",
     "nul.safetensors", "x.safetensors ", "x\n.safetensors", "x" * 300 + ".safetensors"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(models, tmp_path, name):
    with pytest.raises(InvalidName):
        models.destination("loras", name)
    with pytest.raises(InvalidName):
        models.receive("loras", name, lambda count: b"", None)
    assert left(tmp_path) == []


def test_other_folders_files_and_taken_names_are_refused(fetcher, models, site, tmp_path):
    for folder in ("custom_nodes", "../models", "nothing"):
        with pytest.raises(InvalidName, match="not one of ComfyUI's models folders"):
            fetcher.fetch(site.url, folder, NAME)
    for name in ("run.py", "model.sh", "model"):
        with pytest.raises(InvalidName, match="Files in loras end in"):
            fetcher.fetch(site.url, "loras", name)
    (tmp_path / "models" / "loras" / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidName, match="leads out of"):
        fetcher.fetch(site.url, "loras", f"link/{NAME}")
    fetcher.fetch(site.url, "loras", NAME)
    with pytest.raises(Conflict, match="There is a model"):
        fetcher.check(site.url, "loras", NAME)
    with models.arriving("loras", "b.pt") as part:
        part.write_bytes(b"b")
        with pytest.raises(Conflict, match="on its way"):
            models.receive("loras", "b.pt", lambda count: b"", None)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "s3://bucket/x", "http://", "text", "http://a b/",
     "http://user:word@host/x", "https://host:0/x", "http://[::1/x"],
)  # fmt: skip
def test_a_url_that_is_none_of_the_web(fetcher, url):
    with pytest.raises(InvalidName):
        fetcher.check(url, "loras", NAME)


INNER = ["169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254",
         "64:ff9b::a9fe:a9fe", "0.0.0.0", "224.0.0.1"]  # fmt: skip
PRIVATE = ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd12::1",
           "::ffff:127.0.0.1"]  # fmt: skip


def test_inner_addresses_are_refused():
    for private in (False, True):
        for address in INNER:
            with pytest.raises(DownloadFailed, match=r"surroundings|private network"):
                check_address(address, "host", private=private)
    for address in PRIVATE:
        with pytest.raises(DownloadFailed, match="COMFY_AWS_FETCH_PRIVATE"):
            check_address(address, "host", private=False)
        check_address(address, "host", private=True)
    for address in ("8.8.8.8", "2606:4700::1111"):
        check_address(address, "host", private=False)


def test_neither_a_url_nor_a_redirect_leads_inside(models, fetcher, site, tmp_path):
    public = Fetcher(Web(), models)
    with pytest.raises(DownloadFailed, match="private network"):
        public.fetch(site.url, "loras", NAME)
    assert site.ranges == [], "it was connected to"
    site.moved = "http://169.254.169.254/latest/meta-data/"
    with pytest.raises(DownloadFailed, match="surroundings"):
        fetcher.fetch(site.url, "loras", NAME)
    site.moved = "file:///etc/passwd"
    with pytest.raises(InvalidName):
        fetcher.fetch(site.url, "loras", NAME)
    site.moved = site.url
    with pytest.raises(DownloadFailed, match="redirects more than"):
        fetcher.fetch(site.url, "loras", NAME)
    assert left(tmp_path) == []


def test_an_upload_that_breaks_off_leaves_nothing(models, tmp_path):
    pieces = iter([BODY[:1000], b""])
    with pytest.raises(CaptureError, match=r"Only 1,000 of"):
        models.receive("loras", NAME, lambda count: next(pieces), len(BODY))
    assert left(tmp_path) == []

    def broken(count: int) -> bytes:
        raise ComfyAwsError("gone")

    with pytest.raises(ComfyAwsError, match="gone"):
        models.receive("loras", NAME, broken, len(BODY))
    assert left(tmp_path) == []
