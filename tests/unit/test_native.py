"""The native client: taken where it reaches AWS as boto3 would, and trusting whom boto3 trusts."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from comfy_aws.aws import ObjectStore, Session, native
from comfy_aws.config import AwsAccess

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
BODY = b"an object"


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in (*PROXIES, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def session(**access):
    keys = {"access_key_id": "AKIAX", "secret_access_key": "x"}
    return Session(AwsAccess(bucket="bucket", region="us-east-1", **keys, **access))


def test_usable_where_it_is_installed(monkeypatch):
    assert native.usable(session())
    monkeypatch.setenv("no_proxy", "localhost")
    assert native.usable(session())


def test_not_usable_with_a_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://10.0.0.1:3128")
    assert not native.usable(session())


def test_ranges_without_tls():
    assert not native.usable(session(s3_endpoint_url="http://127.0.0.1:9000"))


class OneObject(BaseHTTPRequestHandler):
    """S3 with one object, which has a single part."""

    def do_GET(self):
        self.send_response(206)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("Content-Range", f"bytes 0-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        """Nothing: the test tells."""


@pytest.fixture
def company(tmp_path):
    """(address, certificate) of an S3 behind TLS with a certificate of the company's own."""
    key, certificate = tmp_path / "key.pem", tmp_path / "company.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), OneObject)
    server.handle_error = lambda *_: None  # a client that does not trust it hangs up
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_trusts_whom_boto3_is_told_to_trust(company, tmp_path, monkeypatch):
    url, certificate = company
    path = tmp_path / "object"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    there = session(s3_endpoint_url=url)
    assert native.usable(there)
    ObjectStore(there, part_size=4, natively=True).download("key", path, len(BODY))
    assert path.read_bytes() == BODY
