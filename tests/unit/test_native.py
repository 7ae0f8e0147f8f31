"""When the native client is taken: only where it reaches AWS as boto3 would."""

from __future__ import annotations

import pytest

from comfy_aws.aws import native

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in (*PROXIES, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def test_usable_where_it_is_installed(monkeypatch):
    assert native.usable()
    monkeypatch.setenv("no_proxy", "localhost")
    assert native.usable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("https_proxy", "http://10.0.0.1:3128"), ("AWS_CA_BUNDLE", "/etc/ssl/company.pem")],
)
def test_not_usable_with_what_it_does_not_take_over(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not native.usable()
