"""Whose request is it: Signature Version 4, computed again with botocore and compared.

A front that took any signature would let a product with broken credentials pass its tests. The
algorithm is botocore's own, fed with exactly the headers the client says it signed. S3 requests
are not checked here: SeaweedFS has the same keys and checks them itself, streaming bodies too.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from comfy_aws.localstack import refusals
from comfy_aws.localstack.refusals import Protocol, Refused
from comfy_aws.localstack.state import Identity

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SKEW_SECONDS: Final = 900
"""AWS takes a request within 15 minutes of its date."""


@dataclass(frozen=True)
class Scope:
    """What the Authorization header says about a request."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...] = ()
    signature: str = ""


def scope_of(headers: Mapping[str, str], query: str) -> Scope | None:
    """Read the credential scope from the Authorization header or a presigned query.

    Args:
        headers: names in lower case.
        query: the raw query string.
    """
    authorization = headers.get("authorization", "")
    if authorization.startswith(_ALGORITHM):
        fields = authorization[len(_ALGORITHM) :].split(",")
        parts = dict(field.strip().partition("=")[::2] for field in fields)
        credential, signed = parts.get("Credential", ""), parts.get("SignedHeaders", "")
        signature = parts.get("Signature", "")
    else:
        parameters = parse_qs(query)
        credential = parameters.get("X-Amz-Credential", [""])[0]
        signed = signature = ""
    elements = credential.rsplit("/", 4)
    if len(elements) != 5:
        return None
    key, date, region, service, _ = elements
    return Scope(key, date, region, service, tuple(signed.split(";")), signature)


@dataclass(frozen=True)
class SignedRequest:
    """The parts of a request that its signature covers. `target` is the raw path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def verify(request: SignedRequest, scope: Scope, identity: Identity, protocol: Protocol) -> None:
    """Raises Refused unless the request was signed with keys of the stack, lately."""
    secret = identity.secret_of(scope.access_key)
    if secret is None:
        raise refusals.unknown_key(scope.service, protocol)
    if scope.region != identity.region:
        raise refusals.bad_signature(
            scope.service,
            protocol,
            f"Credential should be scoped to a valid region, not '{scope.region}'; "
            f"this endpoint is in '{identity.region}'.",
        )
    stamp = request.headers.get("x-amz-date", "")
    if not _fresh(stamp):
        raise _expired(scope, protocol, stamp)
    digest = request.headers.get("x-amz-content-sha256")
    if digest is not None and digest != hashlib.sha256(request.body).hexdigest():
        raise refusals.bad_signature(scope.service, protocol)
    expected = _signature(request, scope, secret, stamp)
    if not hmac.compare_digest(expected.encode(), scope.signature.encode()):
        raise refusals.bad_signature(scope.service, protocol)


def _fresh(stamp: str) -> bool:
    try:
        signed_at = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return False
    return abs(time.time() - signed_at) <= _SKEW_SECONDS


def _expired(scope: Scope, protocol: Protocol, stamp: str) -> Refused:
    message = f"Signature expired: '{stamp}' is not within 15 minutes of the present."
    return refusals.bad_signature(scope.service, protocol, message)


def _signature(request: SignedRequest, scope: Scope, secret: str, stamp: str) -> str:
    signer = SigV4Auth(Credentials(scope.access_key, secret), scope.service, scope.region)
    path, _, query = request.target.partition("?")
    host = request.headers.get("host", "")
    url = f"http://{host}{path}" + (f"?{query}" if query else "")
    aws_request = AWSRequest(method=request.method, url=url, data=request.body)
    for name in scope.signed_headers:
        if name in request.headers:
            aws_request.headers[name] = request.headers[name]
    aws_request.context["timestamp"] = stamp
    canonical = signer.canonical_request(aws_request)
    text = signer.string_to_sign(aws_request, canonical)
    return str(signer.signature(text, aws_request))


def is_presigned(target: str) -> bool:
    """Whether the signature travels in the query string."""
    return "X-Amz-Signature=" in urlsplit(target).query
