"""A proxy before the local stack that plays AWS with a fault: it speaks the real protocols.

Requests pass through as they come, signatures and all. A fault answers in AWS's place; `shift`
sets AWS's clock off. What the local stack lacks and AWS has (rules of buckets, prices, IAM's
simulator) is answered as AWS answers it, so that nothing but the fault is wrong.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Asked:
    """A request: `service` as it was signed for, `operation` where the protocol names it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def service(self) -> str:
        return self._scope[3] if len(self._scope) == 5 else ""

    @property
    def region(self) -> str:
        return self._scope[2] if len(self._scope) == 5 else ""

    @property
    def _scope(self) -> list[str]:
        found = re.search(r"Credential=([^,]+)", self.headers.get("authorization", ""))
        return found[1].rsplit("/", 4) if found else []

    @property
    def operation(self) -> str:
        """Such as `CreateModel`; of S3 such as `GET object`, `HEAD bucket` or `GET policy`."""
        target = self.headers.get("x-amz-target", "")
        if target:
            return target.rpartition(".")[2]
        if self.service == "s3":
            path, query = urlsplit(self.target)[2:4]
            what = next((part for part in re.split(r"[&=]", query) if part in SUBRESOURCES), "")
            inside = path.strip("/").count("/")
            return f"{self.method} {what or ('object' if inside else 'bucket')}"
        action = self.headers.get("x-amzn-query-action") or parse_qs(self.body.decode()).get(
            "Action"
        )
        return action[0] if isinstance(action, list) else str(action or self.target)


SUBRESOURCES = ("publicAccessBlock", "encryption", "policy", "lifecycle", "uploads", "uploadId",
                "delete", "list-type")  # fmt: skip
Fault = Callable[[Asked], Answer | None]


@dataclass
class Aws:
    """What stands at the proxy's URL. `faults` are asked first, in order."""

    stack: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    shift: float = 0.0
    heard: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer | None:
        self.heard.append(asked)
        if self.shift and abs(self.shift) > 300:  # what AWS does with a request from another time
            message = "Signature expired: it is not within 5 minutes of the present."
            return denied(asked, "SignatureDoesNotMatch", message)
        for fault in (*self.faults, sound):
            found = fault(asked)
            if found is not None:
                return found
        return None


# -- answers -----------------------------------------------------------------------------------


def xml(text: str, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "text/xml", **headers}, text.encode()


def as_json(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(value).encode()


def denied(asked: Asked, code: str = "", message: str = "") -> Answer:
    """AWS's no to a request, in the words of its service."""
    action = f"{PREFIXES.get(asked.service, asked.service)}:{asked.operation}"
    text = message or (
        "User: arn:aws:iam::123456789012:user/painter is not authorized to perform: "
        f"{action} because no identity-based policy allows the {action} action"
    )
    if asked.service == "s3":
        error = f"<Code>{code or 'AccessDenied'}</Code><Message>Access Denied</Message>"
        return xml(f"<Error>{error}</Error>", 403)
    if "x-amz-target" in asked.headers:
        return as_json({"__type": code or "AccessDeniedException", "message": text}, 400)
    error = f"<Type>Sender</Type><Code>{code or 'AccessDenied'}</Code><Message>{text}</Message>"
    return xml(f"<ErrorResponse><Error>{error}</Error></ErrorResponse>", 403)


PREFIXES = {"monitoring": "cloudwatch"}
TLS_ONLY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
                   "Condition": {"Bool": {"aws:SecureTransport": "false"}}}],
}  # fmt: skip
BLOCKED = "".join(
    f"<{name}>true</{name}>"
    for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy",
                 "RestrictPublicBuckets")
)  # fmt: skip
ENCRYPTED = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
    "<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
    "</ServerSideEncryptionConfiguration>"
)


def lifecycle(jobs: str = "jobs/", uploads: str = "", days: int = 32) -> str:
    """Rules by which jobs expire after some days, and unfinished uploads below a prefix."""
    return (
        "<LifecycleConfiguration>"
        f"<Rule><Prefix>{jobs}</Prefix><Status>Enabled</Status>"
        f"<Expiration><Days>{days}</Days></Expiration></Rule>"
        f"<Rule><Filter><Prefix>{uploads}</Prefix></Filter><Status>Enabled</Status>"
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>"
        "</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>"
    )


PRICE = {
    "product": {"attributes": {"instanceName": "ml.g5.xlarge"}},
    "terms": {"OnDemand": {"t": {"priceDimensions": {"d": {"pricePerUnit": {"USD": "1.408"}}}}}},
}


def sound(asked: Asked) -> Answer | None:
    """What AWS says where the local stack has nothing to say; None for all that it has."""
    rules = {
        "GET publicAccessBlock": xml(
            f"<PublicAccessBlockConfiguration>{BLOCKED}</PublicAccessBlockConfiguration>"
        ),
        "GET encryption": xml(ENCRYPTED),
        "GET policy": as_json(TLS_ONLY),
        "GET lifecycle": xml(lifecycle()),
        "GetProducts": as_json({"FormatVersion": "aws_v1", "PriceList": [json.dumps(PRICE)]}),
    }
    if asked.operation == "SimulatePrincipalPolicy":
        return simulated(asked, frozenset())
    return rules.get(asked.operation)


def simulated(asked: Asked, forbidden: frozenset[str]) -> Answer:
    """IAM's simulator: a result for every action and resource."""
    form = parse_qs(asked.body.decode())
    actions = [form[key][0] for key in form if key.startswith("ActionNames.")]
    resources = [form[key][0] for key in form if key.startswith("ResourceArns.")]
    members = "".join(
        f"<member><EvalActionName>{action}</EvalActionName>"
        f"<EvalResourceName>{resource}</EvalResourceName>"
        f"<EvalDecision>{'implicitDeny' if action in forbidden else 'allowed'}</EvalDecision>"
        "</member>"
        for action in actions
        for resource in resources
    )
    result = f"<EvaluationResults>{members}</EvaluationResults><IsTruncated>false</IsTruncated>"
    name = "SimulatePrincipalPolicy"
    return xml(f"<{name}Response><{name}Result>{result}</{name}Result></{name}Response>")


# -- the proxy ---------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    aws: Aws


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        aws = self.server.aws
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        found = aws.answer(asked)
        status, answer, content = found or self._pass_on(aws, asked)
        self.send_response_only(status)
        for name, value in answer.items():
            if name.lower() not in ("date", "content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Date", formatdate(time.time() + aws.shift, usegmt=True))
        length = answer.get("Content-Length") if found or self.command == "HEAD" else None
        self.close_connection = bool(length)  # a fault that told a longer body has broken it off
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _pass_on(self, aws: Aws, asked: Asked) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(aws.stack).netloc, timeout=60)
        try:
            connection.putrequest(asked.method, asked.target, skip_host=True,
                                  skip_accept_encoding=True)  # fmt: skip
            for name, value in asked.headers.items():
                if name not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(asked.body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        """The tests ask `Aws.heard`."""


@contextmanager
def aws_before(stack: str) -> Iterator[Aws]:
    """AWS at a URL of its own, played by the stack at `stack`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.aws = Aws(stack, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
