"""A release fetched over https: from a server with a certificate that counts, whole, in time, and from no other place."""

from __future__ import annotations

import gzip
import io
import os
import random
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.errors import ArtefactError
from stream.bootstrap import release_digest
from stream.policy import load_policy
from stream.registrations import Place
from stream.settings import Settings
from stream.shell import direct_http, releases
from tests.builders import release_in
from tests.secured import Authority

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A TLS server that answers each path as it is told, and remembers who asked; without an authority a plain one."""

    def __init__(self, authority: Authority | None) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mine.asked.append(self.path)
                mine.answers[self.path](self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.issue("releases"))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def gives(self, path: str, answer: bytes | Answer) -> str:
        """Let `path` answer so; its address."""
        self.answers[path] = answer if callable(answer) else lambda handler: whole(handler, answer)
        return self.address + path

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    made = Server(authority)
    yield made
    made.stop()


def packed(folder: Path, mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname="ours")
    return sink.getvalue()


def some(tmp_path: Path) -> Path:
    """A folder with a file; what a digest says of it does not matter."""
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "model.skops").write_bytes(random.Random(1).randbytes(200_000))
    return tmp_path / "some"


def registered(monkeypatch: pytest.MonkeyPatch, digest: str, location: str) -> None:
    """Let the registry name this place for this digest."""
    known = releases.Registry({digest: Place(digest, location)}, {}, 0)
    monkeypatch.setattr(releases, "registry", lambda _: known)


FETCHES = """
import shutil, sys, time
from pathlib import Path
from stream.registrations import Place
from stream.settings import Settings
from stream.shell import releases

digest, location, state = sys.argv[1:]
releases.registry = lambda _: releases.Registry({digest: Place(digest, location)}, {}, 0)
copied, copy = [], shutil.copyfile

def slow(source, to):
    if copied:
        print("amid", flush=True)
        time.sleep(60)
    copied.append(copy(source, to))

shutil.copyfile = slow
releases.fetch(Settings(state_dir=Path(state)), digest)
"""
"""A fetch that comes to a halt behind the first file."""


def test_a_fetch_that_is_killed_leaves_no_half_release_and_what_it_left_goes_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, digest = release_in(tmp_path / "ours", 61)
    settings = Settings(state_dir=tmp_path / "state")
    with subprocess.Popen(
        [sys.executable, "-c", FETCHES, digest, str(folder), str(settings.state_dir)],
        stdout=subprocess.PIPE,
        text=True,
    ) as fetching:
        assert fetching.stdout is not None
        assert fetching.stdout.readline() == "amid\n"
        fetching.kill()
    (left,) = (settings.state_dir / "releases").iterdir()
    assert list((left / "release").iterdir())
    registered(monkeypatch, digest, str(folder))
    found = releases.fetch(settings, digest)
    assert found is not None
    assert release_digest(found, load_policy(found / "policy.yaml")) == digest
    assert left.exists()  # for all that this one knows, another process is at it
    long_ago = time.time() - 2 * releases.LEFT_S
    os.utime(left, (long_ago, long_ago))
    other, its = release_in(tmp_path / "other", 62)
    registered(monkeypatch, its, str(other))
    releases.fetch(settings, its)
    assert sorted(each.name for each in (settings.state_dir / "releases").iterdir()) == sorted([digest, its])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_right_bytes_are_fetched_once_and_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    folder, digest = release_in(tmp_path / "ours", 61)
    registered(monkeypatch, digest, server.gives("/ours.tar", packed(folder, mode)))
    settings = Settings(state_dir=tmp_path / "state")
    for _ in range(2):
        found = releases.fetch(settings, digest)
        assert found is not None
        assert release_digest(found, load_policy(found / "policy.yaml")) == digest
    assert server.asked == ["/ours.tar"]


def test_another_release_than_the_one_that_was_signed_is_refused_and_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, digest = release_in(tmp_path / "ours", 61)
    other, _ = release_in(tmp_path / "other", 62)
    registered(monkeypatch, digest, server.gives("/ours.tar", packed(other)))
    with pytest.raises(ArtefactError, match="is not the release"):
        releases.fetch(Settings(state_dir=tmp_path / "state"), digest)
    assert not [*(tmp_path / "state" / "releases").iterdir()]


def refused(location: str, tmp_path: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        releases.bring(location, tmp_path / "brought")
    return str(caught.value)


def test_what_is_too_large_is_refused_whether_the_server_says_its_size_or_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "MAX_BYTES", 3 << 20)
    large = server.gives("/large", bytes(4 << 20))
    assert "more than 3 MiB" in refused(large, tmp_path)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):  # until the client hangs up
            while True:
                handler.wfile.write(bytes(1 << 16))

    assert "more than 3 MiB" in refused(server.gives("/endless", endless), tmp_path)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "MAX_BYTES", 1 << 20)
    (tmp_path / "bomb").mkdir()
    (tmp_path / "bomb" / "model.skops").write_bytes(bytes(8 << 20))
    archive = packed(tmp_path / "bomb", "w:gz")
    assert len(archive) < 1 << 20
    assert "or 1 MiB" in refused(server.gives("/bomb", archive), tmp_path)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("secure", [False, True])
def test_a_redirect_is_followed_nowhere(
    server: Server, authority: Authority, tmp_path: Path, status: int, secure: bool
) -> None:
    elsewhere = Server(authority if secure else None)
    target = elsewhere.gives("/ours.tar", packed(some(tmp_path)))

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    try:
        assert "sends on to another place" in refused(server.gives("/moved", redirect), tmp_path)
        assert not elsewhere.asked
    finally:
        elsewhere.stop()


def test_a_server_that_is_silent_or_never_ends_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_http, "SILENT_S", 0.5)
    monkeypatch.setattr(releases, "FETCH_S", 1.5)
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b"x")

    def dripping_head(handler: BaseHTTPRequestHandler) -> None:
        while not over.wait(0.05):
            handler.wfile.write(b"H")

    for path, answer, why in (
        ("/silent", silent, "timed out"),
        ("/dripping", dripping, "not all of it came within"),
        ("/head", dripping_head, "not all of it came within"),
    ):
        began = time.monotonic()
        assert why in refused(server.gives(path, answer), tmp_path)
        assert time.monotonic() - began < 5
    over.set()


def cut(body: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])

    return answer


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/none of your business\r\n\r\n")


def missing(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


GARBAGE = gzip.compress(b"not a tar archive at all")
BROKEN = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 2000


@pytest.mark.parametrize(
    "answer",
    [cut(GARBAGE), GARBAGE, BROKEN, b"", nonsense, missing],
    ids=["cut short", "no archive", "a broken archive", "nothing", "nonsense", "missing"],
)
def test_whatever_else_a_server_says_is_told_as_a_release_that_cannot_be_had(
    server: Server, tmp_path: Path, answer: bytes | Answer
) -> None:
    address = server.gives("/odd", answer)
    assert refused(address, tmp_path).startswith(f"the release at {address} cannot be had")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_that_breaks_off_is_no_release(server: Server, tmp_path: Path, mode: str) -> None:
    body = packed(some(tmp_path), mode)
    refused(server.gives("/ours.tar", body[: len(body) // 2]), tmp_path)


def test_a_certificate_of_an_authority_that_nobody_trusts_here_does_not_count(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    made = Server(authority)
    try:
        address = made.gives("/ours.tar", packed(some(tmp_path)))
        assert "certificate" in refused(address, tmp_path).lower()
        assert not made.asked
    finally:
        made.stop()
