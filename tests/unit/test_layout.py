"""Names and keys: what is let into the bucket."""

from __future__ import annotations

import string

import pytest

from comfy_aws import layout
from comfy_aws.errors import InvalidName

TOO_LONG = "a" * 21
BAD_TEMPLATE_NAMES = [
    "", TOO_LONG, "a" * 5000, "two words", " a", "a ", "Büro", "../x", "a/b", "a\\b", "a.b", "a_b",
    "a-b", "a\n", "\na", "a\x00", "१२३", "１２", "²", "名前", "é", "😀", None, 7, b"abc", ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_TEMPLATE_NAMES, ids=ascii)
def test_template_name_is_refused_with_rule_and_value(name):
    with pytest.raises(InvalidName) as caught:
        layout.check_template_name(name)
    assert "1 to 20 letters and digits" in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 200
    if name and len(str(name)) <= 40:
        assert repr(name) in caught.value.message


@pytest.mark.parametrize("name", ["a", "0", "A" * 20, "MixedCase123", string.digits])
def test_template_name_is_taken(name):
    assert layout.check_template_name(name) == name


def test_template_names_are_case_sensitive():
    assert layout.template_key("Abc") != layout.template_key("abc")


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a_b", "a" * 64, "a" + "-" * 80 + "b", "a b", "ä", "a\n", None, 3]
)
def test_endpoint_name_is_refused(name):
    with pytest.raises(InvalidName, match="1 to 63 letters, digits and hyphens"):
        layout.check_endpoint_name(name)


@pytest.mark.parametrize("name", ["a", "a-b", "a--b", "A1", "a" * 63, "a" + "-" * 61 + "b"])
def test_endpoint_name_is_taken(name):
    assert layout.check_endpoint_name(name) == name


def test_endpoint_names_of_templates_differ_without_case():
    names = {layout.endpoint_name_for(name).lower() for name in ("abc", "Abc", "aBC", "ABC")}
    assert len(names) == 4
    for name in ("a", "Z" * 20):
        layout.check_endpoint_name(layout.endpoint_name_for(name))


@pytest.mark.parametrize(
    "job_id", ["", "../x", "a..b", ".a", "a/b", "a" * 65, "a b", "a\n", "é", None, 5]
)
def test_job_id_is_refused(job_id):
    with pytest.raises(InvalidName, match="1 to 64"):
        layout.check_job_id(job_id)


@pytest.mark.parametrize("job_id", ["a", "0c1b-4.d_e", "a" * 64])
def test_job_id_is_taken(job_id):
    assert layout.check_job_id(job_id) == job_id


def test_keys_are_as_documented():
    digest = "ab" + "0" * 62
    assert layout.blob_key(digest) == f"blobs/sha256/ab/{digest}"
    assert layout.archive_key(digest) == f"archives/ab/{digest}"
    assert layout.model_key("loras", "sub/x.pt") == "models/loras/sub/x.pt.json"
    assert layout.template_key("t") == "templates/t/template.json"
    assert layout.version_key("t", 3) == "templates/t/versions/3.json"
    assert layout.version_key("t", 3).startswith(layout.version_prefix("t"))
    assert layout.output_key("j", 7, "a.png") == "jobs/j/outputs/0007/a.png"
    for key in (layout.request_key, layout.result_key, layout.events_key, layout.cancel_key):
        assert key("j").startswith(layout.job_prefix("j"))
