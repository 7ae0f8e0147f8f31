"""How the stack says no: AWS's code, status and wording, in the protocol of the service asked.

boto3 reads the error code from a different place for each protocol, so a refusal is written in
four ways: XML for S3, XML for the query protocol, JSON 1.1, and JSON with a header for the
REST-JSON of sagemaker-runtime.
"""

from __future__ import annotations

import json
import uuid
from enum import Enum
from typing import Final
from xml.sax.saxutils import escape

from comfy_aws.errors import LocalStackError


class Protocol(Enum):
    """The wire formats in which a client expects an error."""

    S3 = "s3"
    QUERY = "query"
    JSON = "json"
    REST_JSON = "rest-json"


class Refused(LocalStackError):
    """Raised when a request is answered with an AWS error.

    Args:
        aws_code: the error code boto3 shows, such as ``ValidationException``.
        status: the HTTP status.
    """

    def __init__(self, aws_code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.aws_code = aws_code
        self.status = status


_UNKNOWN_KEY: Final = "The security token included in the request is invalid."
_BAD_SIGNATURE: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method."
)


def protocol_of(service: str, path: str, headers: dict[str, str]) -> Protocol:
    """The protocol of a request, from what it is addressed to and how it is written."""
    if service == "s3":
        return Protocol.S3
    if service == "sagemaker" and path.startswith("/endpoints/"):
        return Protocol.REST_JSON
    if "x-amz-target" in headers or "json" in headers.get("content-type", ""):
        return Protocol.JSON
    return Protocol.QUERY


def unknown_key(service: str, protocol: Protocol) -> Refused:
    """The access key is not the stack's."""
    if protocol is Protocol.S3:
        message = "The AWS Access Key Id you provided does not exist in our records."
        return Refused("InvalidAccessKeyId", message, 403)
    if protocol is Protocol.QUERY or service == "sqs":
        return Refused("InvalidClientTokenId", _UNKNOWN_KEY, 403)
    status = 403 if protocol is Protocol.REST_JSON else 400
    return Refused("UnrecognizedClientException", _UNKNOWN_KEY, status)


def bad_signature(service: str, protocol: Protocol, message: str = _BAD_SIGNATURE) -> Refused:
    """The signature, its date or its region is wrong."""
    if protocol in (Protocol.S3, Protocol.QUERY) or service == "sqs":
        return Refused("SignatureDoesNotMatch", message, 403)
    status = 403 if protocol is Protocol.REST_JSON else 400
    return Refused("InvalidSignatureException", message, status)


def denied(service: str, protocol: Protocol, action: str) -> Refused:
    """Nothing grants the action to whoever signed."""
    message = f"The execution role is not authorized to perform: {action}"
    if protocol is not Protocol.JSON or service == "sqs":
        return Refused("AccessDenied", message, 403)
    return Refused("AccessDeniedException", message, 400)


def render(refused: Refused, protocol: Protocol) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer."""
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-RequestId": request_id}
    code, message = refused.aws_code, refused.message
    if protocol in (Protocol.JSON, Protocol.REST_JSON):
        headers["Content-Type"] = "application/json"
        if protocol is Protocol.REST_JSON:
            headers["x-amzn-ErrorType"] = code
        text = json.dumps({"__type": code, "message": message, "Message": message})
        return refused.status, headers, text.encode()
    headers["Content-Type"] = "text/xml"
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if protocol is Protocol.S3:
        xml = f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
    else:
        xml = (
            f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return refused.status, headers, xml.encode()
