"""Large transfers on a real bucket: taken up after a failure, and whole in spite of bad lines."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from comfy_aws import hashing, layout
from comfy_aws.aws import Begun, ObjectStore, Session
from comfy_aws.blobs import Blobs, LocalBlob
from comfy_aws.errors import AwsDenied, AwsError, AwsUnreachable, Cancelled, FileChanged
from comfy_aws.hashcache import HashCache
from tests.functional.parts import Wire, access_to

PART_SIZE = 5 * 1024 * 1024
COUNT = 4


class Person:
    """One who publishes: a store with small parts, and a memory of unfinished uploads."""

    def __init__(self, state, home) -> None:
        self.session = Session(access_to(state))
        self.wire = Wire(self.session)
        self.store = ObjectStore(self.session, part_size=PART_SIZE)
        self.cache = HashCache(home / "hashes.sqlite")
        self.blobs = Blobs(self.store, uploads=self.cache)


@pytest.fixture
def person(shared_stack, tmp_path):
    """Makes people who share this machine's memory, or not."""
    made: list[Person] = []

    def make(home="home"):
        made.append(Person(shared_stack, tmp_path / home))
        return made[-1]

    yield make
    one = make()
    left = unfinished(one)
    abort(one, left)
    one.store.delete(*(entry.key for entry in one.store.list("")))
    for each in made:
        each.cache.close()
    assert left == []


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(os.urandom((COUNT - 1) * PART_SIZE + 1000))
    return fresh(path)


def fresh(path) -> LocalBlob:
    ref, seen = hashing.of_file(path)
    return LocalBlob(ref, path, seen)


def unfinished(person: Person) -> list[tuple[str, str]]:
    """Key and upload id."""
    s3 = person.session.client("s3")
    listed = s3.list_multipart_uploads(Bucket=person.store.bucket)
    return [(upload["Key"], upload["UploadId"]) for upload in listed.get("Uploads", [])]


def abort(person: Person, uploads: list[tuple[str, str]]) -> None:
    s3 = person.session.client("s3")
    for key, upload_id in uploads:
        s3.abort_multipart_upload(Bucket=person.store.bucket, Key=key, UploadId=upload_id)


def stop_after(person: Person, count: int) -> None:
    """The bucket takes `count` parts and refuses the others."""
    lock, sent = threading.Lock(), []

    def refuses(method: str, key: str) -> bool:
        with lock:
            sent.append(key) if method == "PUT" else None
            return method == "PUT" and len(sent) > count

    person.wire.refuses = refuses


def half_sent(person: Person, blob: LocalBlob, count: int = 2) -> str:
    """Leave an upload of `count` parts, and return its id."""
    stop_after(person, count)
    with pytest.raises(AwsDenied):
        person.blobs.put_files([blob])
    ((_, upload_id),) = unfinished(person)
    return upload_id


def assert_stored(person: Person, blob: LocalBlob) -> None:
    assert person.blobs.read(blob.ref) == blob.path.read_bytes()


def test_an_upload_goes_on_where_it_stopped(person, blob):
    half_sent(person(), blob)
    again, counts = person(), []
    again.blobs.put_files([blob], progress=lambda _, count: counts.append(count))
    assert len(again.wire.puts()) == COUNT - 2
    assert sum(counts) == blob.ref.size
    assert_stored(again, blob)


def test_a_cancelled_upload_goes_on(person, blob):
    one, went = person(), []
    one.wire.before = lambda method, key: went.append(key) if method == "PUT" else None
    with pytest.raises(Cancelled, match="large"):
        one.blobs.put_files(
            [blob], progress=lambda _, count: went.append(count), cancelled=lambda: len(went) > 1
        )
    assert one.store.head(layout.blob_key(blob.ref.digest)) is None
    again = person()
    again.blobs.put_files([blob])
    assert len(again.wire.puts()) < COUNT
    assert_stored(again, blob)


def test_who_has_no_memory_leaves_no_parts(person, blob):
    one = person()
    one.blobs = Blobs(one.store)
    stop_after(one, 2)
    with pytest.raises(AwsDenied):
        one.blobs.put_files([blob])
    assert unfinished(one) == []


@pytest.mark.parametrize("how", ["aborted", "unknown"])
def test_an_upload_that_is_gone_begins_anew(person, blob, how):
    one = person()
    half_sent(one, blob)
    abort(one, unfinished(one))
    key = layout.blob_key(blob.ref.digest)
    if how == "unknown":
        source = f"{blob.path}|{tuple(blob.seen)}"
        one.cache.begin(one.store.url(key), source, Begun("nobody-knows", PART_SIZE, {}))
    again = person()
    again.blobs.put_files([blob])
    assert len(again.wire.puts()) == COUNT
    assert_stored(again, blob)


def test_an_upload_that_goes_while_its_parts_are_sent(person, blob):
    one, other, counts = person(), person("other"), []
    once, lock = iter([True]), threading.Lock()

    def before(method: str, _: str) -> None:
        with lock:
            if method == "PUT" and next(once, False):
                abort(other, unfinished(other))

    one.wire.before = before
    one.blobs.put_files([blob], progress=lambda _, count: counts.append(count))
    assert sum(counts) == blob.ref.size
    assert_stored(one, blob)


def test_a_part_that_the_bucket_has_otherwise_is_sent_again(person, blob):
    one = person()
    upload_id = half_sent(one, blob)
    source = f"{blob.path}|{tuple(blob.seen)}"
    url = one.store.url(layout.blob_key(blob.ref.digest))
    number = min(one.cache.begun(url, source).etags)
    one.cache.sent(upload_id, number, '"00000000000000000000000000000000"')
    again = person()
    again.blobs.put_files([blob])
    assert len(again.wire.puts()) == COUNT - 1
    assert_stored(again, blob)


def test_parts_of_other_bytes_are_never_used(person, blob, tmp_path):
    half_sent(person(), blob)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(blob.path.read_bytes())
    other = fresh(elsewhere)
    assert other.ref == blob.ref
    one = person()
    old = unfinished(one)
    one.blobs.put_files([other])
    assert len(one.wire.puts()) == COUNT
    assert_stored(one, other)
    # Nobody here can take the other up again: the bucket's rule removes it.
    assert unfinished(one) == old
    abort(one, old)


def test_a_file_that_changed_takes_its_parts_with_it(person, blob):
    half_sent(person(), blob)
    with blob.path.open("r+b") as stream:
        stream.write(b"other bytes")
    one = person()
    with pytest.raises(FileChanged, match="changed while it was uploaded"):
        one.blobs.put_files([blob])
    assert unfinished(one) == []
    assert one.store.head(layout.blob_key(blob.ref.digest)) is None


@pytest.mark.parametrize("homes", [("home", "home"), ("home", "other")], ids=["one", "two"])
def test_two_publishers_send_a_blob_at_most_twice(person, blob, homes):
    """On one machine they share the memory of unfinished uploads, on two they do not."""
    if homes[0] == homes[1]:
        half_sent(person(), blob)
    people, gate, failures = [person(home) for home in homes], threading.Barrier(2), []

    def send(each: Person) -> None:
        try:
            gate.wait()
            each.blobs.put_files([blob])
        except AwsError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=send, args=(each,)) for each in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(len(each.wire.puts()) for each in people) <= 2 * COUNT
    assert_stored(people[0], blob)


class BadLine:
    """A port in front of the store that breaks the first connections in the middle of a body."""

    def __init__(self, url: str, cuts: int, after: int) -> None:
        parts = urlsplit(url)
        self._there = (parts.hostname, parts.port)
        self._cuts, self._after = cuts, after
        self._lock = threading.Lock()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def __enter__(self) -> BadLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def cuts_left(self) -> int:
        return self._cuts

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        line = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(line._there) as there:
                    asking = threading.Thread(target=pass_on, args=(self.request, there, None))
                    asking.start()
                    with line._lock:
                        cut = line._cuts > 0
                        line._cuts -= cut
                    pass_on(there, self.request, line._after if cut else None)
                    for end in (self.request, there):
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    asking.join()

        return Handler


def pass_on(source: socket.socket, target: socket.socket, most: int | None) -> None:
    count = 0
    with suppress(OSError):
        while (most is None or count < most) and (body := source.recv(65536)):
            target.sendall(body)
            count += len(body)


def reader(state, line: BadLine, *, natively: bool) -> Blobs:
    access = replace(access_to(state), s3_endpoint_url=line.url)
    return Blobs(ObjectStore(Session(access), part_size=PART_SIZE, natively=natively))


both_ways = pytest.mark.parametrize("natively", [True, False], ids=["natively", "in ranges"])


@both_ways
def test_a_range_goes_on_after_a_broken_connection(shared_stack, person, blob, tmp_path, natively):
    person().blobs.put_files([blob])
    counts: list[int] = []
    with BadLine(shared_stack.s3_endpoint_url, cuts=3, after=PART_SIZE // 2) as line:
        blobs = reader(shared_stack, line, natively=natively)
        blobs.download(blob.ref, tmp_path / "back", progress=counts.append)
        assert line.cuts_left == 0
    assert (tmp_path / "back").read_bytes() == blob.path.read_bytes()
    assert sum(counts) == blob.ref.size


@both_ways
def test_a_line_that_breaks_again_and_again(shared_stack, person, blob, tmp_path, natively):
    person().blobs.put_files([blob])
    with (
        BadLine(shared_stack.s3_endpoint_url, cuts=1000, after=100_000) as line,
        pytest.raises(AwsUnreachable),
    ):
        reader(shared_stack, line, natively=natively).download(blob.ref, tmp_path / "out/back")
    assert list((tmp_path / "out").iterdir()) == []
