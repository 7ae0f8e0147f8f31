"""The only way to the web: files are read from it, and messages sent; never at inner addresses.

A URL is somebody's input. Each address that a name stands for is looked at before it is
connected to, and the connection goes to that very address, at every redirect anew; so neither a
redirect nor a name that changes its mind leads to the machine's metadata service or to its
neighbours.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from comfy_aws import __version__
from comfy_aws.errors import DownloadBroken, DownloadFailed, InvalidName

REDIRECTS: Final = 10
LONGEST_URL: Final = 8192
TIMEOUT: Final = 30.0

_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_METADATA: Final = ipaddress.ip_network("fd00:ec2::/32")
"""EC2's own services by IPv6, in the range of private networks; by IPv4 they are link-local."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebFile:
    """An answer that is being read.

    `start` is the first byte that comes, `size` that of the whole file where it is known, and
    `validator` what tells this file from a later one under the same URL.
    """

    def __init__(self, answer: http.client.HTTPResponse, url: str) -> None:
        self._answer = answer
        self.url = url
        self.kind = str(answer.headers.get_content_type())
        self.start, self.size = _extent(answer)
        etag = answer.headers.get("ETag", "")
        weak = etag.startswith("W/")  # is no promise of the same bytes
        self.validator = ("" if weak else etag) or answer.headers.get("Last-Modified", "")
        self.name = _name(answer.headers, url)

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end. Raises DownloadBroken."""
        with _broken(self.url):
            return self._answer.read(count)


class Web:
    """Safe to share between threads.

    Args:
        private: loopback and private networks may be reached, too; link-local ones never.
        setting: the environment variable that allows it, for messages.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        setting: str = "COMFY_AWS_FETCH_PRIVATE",
        timeout: float = TIMEOUT,
    ) -> None:
        self.private = private
        self._setting = setting
        self._timeout = timeout

    @contextmanager
    def open(self, url: str, *, start: int = 0, validator: str = "") -> Iterator[WebFile]:
        """Read a file, from byte `start` on when the server still has the one of `validator`.

        Raises:
            InvalidName: the URL is not one that may be read.
            DownloadFailed: the server does not give the file.
            DownloadBroken: it cannot be reached now.
        """
        for _ in range(REDIRECTS):
            check_url(url)
            connection, answer = self._ask(url, start, validator)
            try:
                location = answer.headers.get("Location", "")
                if answer.status in _MOVED and location:
                    url = _redirected(url, location)
                    continue
                if answer.status == 416 and start:
                    start = 0  # it has become shorter
                    continue
                _check(answer, url)
                yield WebFile(answer, url)
                return
            finally:
                connection.close()
        raise DownloadFailed(f"{_host(url)} redirects more than {REDIRECTS} times.")

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a message and return the status of the answer; redirects are not followed.

        Raises:
            InvalidName, DownloadFailed: the URL is not one that may be reached.
            DownloadBroken: it cannot be reached now.
        """
        check_url(url)
        connection, answer = self._send("POST", url, body, headers)
        connection.close()
        return answer.status

    def check(self, url: str) -> None:
        """Look at a URL and its addresses without connecting. Raises as `post`."""
        check_url(url)
        parts = urlsplit(url)
        with _broken(url):
            self._addresses(parts.hostname or "", parts.port or 443)

    def _ask(
        self, url: str, start: int, validator: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        headers = {"Accept-Encoding": "identity"}
        if start and validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        return self._send("GET", url, None, headers)

    def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(url)
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
        named = {"User-Agent": f"prompt-on-aws/{__version__}", **headers}
        with _broken(url):
            connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
            try:
                connection.request(method, target, body, headers=named)
                return connection, connection.getresponse()
            except BaseException:
                connection.close()
                raise

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        secure = scheme == "https"
        port = port or (443 if secure else 80)
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        plain = self._connect(host, port)
        connection.sock = plain
        if secure:
            context = ssl.create_default_context()
            try:
                connection.sock = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise
            connection.default_port = 443  # the Host header names a port only if it is another
        return connection

    def _addresses(self, host: str, port: int) -> list[Any]:
        """What a name stands for, as `getaddrinfo` gives it; each may be connected to."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, where in found:
            check_address(str(where[0]), host, private=self.private, setting=self._setting)
        return found

    def _connect(self, host: str, port: int) -> socket.socket:
        found = self._addresses(host, port)
        failure: OSError = OSError("it has no address")
        for family, kind, protocol, _, where in found:
            made = socket.socket(family, kind, protocol)
            made.settimeout(self._timeout)
            try:
                made.connect(where)
            except OSError as exc:
                made.close()
                failure = exc
            else:
                return made
        raise failure


def check_url(url: str) -> None:
    """Raises InvalidName, saying which rule the URL breaks."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidName(f"This is not a URL: {exc}.") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidName(
            f"A URL of the web is an http or https one; {url[:80]!r} is not one.",
            hint="Copy the whole address, beginning with https://.",
        )
    if parts.username or parts.password:
        raise InvalidName("The URL holds a user's name or password; leave it out.")
    if len(url) > LONGEST_URL or any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise InvalidName(
            f"A URL has no blanks or control characters, and at most {LONGEST_URL} characters."
        )


def check_address(
    text: str, host: str, *, private: bool, setting: str = "COMFY_AWS_FETCH_PRIVATE"
) -> None:
    """Raises DownloadFailed for an address that must not be connected to."""
    address = _real(ipaddress.ip_address(text.partition("%")[0]))
    inner = address.is_link_local or address in _METADATA or address.is_unspecified
    odd = address.is_multicast or (address.is_reserved and not address.is_loopback)
    if inner or odd:
        raise DownloadFailed(
            f"{_shown(host, address)} belongs to this machine's surroundings.",
            hint="Only addresses of the web are reached.",
        )
    if not address.is_global and not private:
        raise DownloadFailed(
            f"{_shown(host, address)} is one of a private network, which is refused.",
            hint=f"Set {setting}=1 if this ComfyUI serves nobody but you.",
        )


def _shown(host: str, address: Address) -> str:
    return f"The address {address}" if host == str(address) else f"{host}, {address},"


def _real(address: Address) -> Address:
    """The IPv4 address that is meant by an IPv6 one, where it is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise DownloadFailed(f"{_host(url)} redirects from https to http, which is not followed.")
    return target


def _check(answer: http.client.HTTPResponse, url: str) -> None:
    status, host = answer.status, _host(url)
    if status in (200, 206):
        return
    said = f"{host} answered {status} {answer.reason}".strip()
    if status in _BUSY:
        raise DownloadBroken(f"{said}.", hint="Try again in a moment.")
    if status in (401, 403):
        raise DownloadFailed(
            f"{said}: it gives this file only to those who have logged in.",
            hint="Download it in your browser, then drop it here.",
        )
    raise DownloadFailed(f"{said}.", hint="Check the URL; it must be that of the file itself.")


def _extent(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    if answer.status == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None:
            raise DownloadFailed("The server answers with a part, but not which.")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _name(headers: Message, url: str) -> str:
    """What the server calls the file, else the end of its URL; may be anything."""
    given = headers.get_filename() or unquote(urlsplit(url).path)
    return PurePosixPath(given.replace("\\", "/")).name


def _host(url: str) -> str:
    return urlsplit(url).hostname or "The server"


@contextmanager
def _broken(url: str) -> Iterator[None]:
    """Turn the network's errors into ours."""
    try:
        yield
    except (UnicodeError, http.client.InvalidURL) as exc:
        raise InvalidName(f"This is not a URL: {exc}.") from exc
    except ssl.SSLCertVerificationError as exc:
        raise DownloadFailed(f"{_host(url)} cannot prove who it is: {exc.verify_message}.") from exc
    except socket.gaierror as exc:
        raise DownloadBroken(
            f"There is no address for {_host(url)}: {exc.strerror}.", hint="Check the URL."
        ) from exc
    except (OSError, http.client.HTTPException) as exc:
        raise DownloadBroken(
            f"The connection to {_host(url)} broke: {str(exc) or type(exc).__name__}."
        ) from exc
