"""Presigned URLs for AWS: they name the bucket's region, whatever the bucket is called."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from comfy_aws.aws import ObjectStore, Session
from comfy_aws.config import AwsAccess


@pytest.mark.parametrize(
    ("bucket", "region", "host", "path"),
    [
        ("plain", "eu-west-1", "plain.s3.eu-west-1.amazonaws.com", "/j/a%20%C3%BC.png"),
        ("plain", "us-east-1", "plain.s3.amazonaws.com", "/j/a%20%C3%BC.png"),
        ("with.dots", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/with.dots/j/a%20%C3%BC.png"),
    ],
)  # fmt: skip
def test_a_url_names_the_region(monkeypatch, bucket, region, host, path):
    """A global name would redirect to the region, where the signature holds no more."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    access = AwsAccess(bucket, region, access_key_id="AKID", secret_access_key="secret")
    url = urlsplit(ObjectStore(Session(access)).presigned("j/a ü.png", 120))
    query = parse_qs(url.query)
    assert (url.scheme, url.hostname, url.path) == ("https", host, path)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["120"]
    assert f"/{region}/s3/aws4_request" in query["X-Amz-Credential"][0]
