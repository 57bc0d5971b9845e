"""RFC 8935: what each answer means, how a receiver that does not take tokens is left alone, and that nobody else waits for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stream.transmit.configuration import PUSH, Limits
from stream.transmit.lane import Issuer, Lane
from stream.transmit.push import Answer, Held, Pusher, Refused, Taken, meaning
from stream.transmit.stream import Delivery, StreamRecord
from tests.bridge.virtual import run
from tests.transmit.rig import ISSUER, REVOKED_HERE, Endpoint, Signer, Told, configured, jti_of, record


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (202, b"", Taken()),
        (202, b"<html>", Taken()),
        (400, b'{"err": "invalid_audience", "description": "not me"}', Refused("invalid_audience", "not me")),
        (400, b'{"err": "invalid_request"}', Refused("invalid_request", "")),
        (400, b'{"err": "odd\\u0000' + b"x" * 300 + b'"}', Refused("odd " + "x" * 60, "")),
    ],
)
def test_202_is_taken_and_400_with_an_err_is_refused(status: int, body: bytes, expected: Answer) -> None:
    assert meaning(status, body, None) == expected


@pytest.mark.parametrize(
    "status", [200, 204, 301, 302, 307, 401, 403, 404, 408, 410, 425, 429, 502, 503, 504]
)
def test_what_says_nothing_of_the_token_is_held_for_the_receiver(status: int) -> None:
    answer = meaning(status, b"", 7.0)
    assert isinstance(answer, Held)
    assert (answer.retry_after_s, answer.about_token) == (7.0, False)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (413, b""), (415, b""), (400, b"no"), (400, b"[]"), (400, b'{"err": 7}')]
)
def test_what_may_be_this_token_s_fault_is_held_and_in_the_end_given_up(status: int, body: bytes) -> None:
    answer = meaning(status, body, None)
    assert isinstance(answer, Held)
    assert answer.about_token


class Scene:
    """A push lane in virtual time whose receiver answers as `answers` says."""

    def __init__(self, directory: Path, answers: Callable[[float, str], Answer]) -> None:
        self.signer, self.told = Signer(directory), Told()
        record = StreamRecord(
            stream_id="s",
            receiver="idp",
            delivery=Delivery(method=PUSH, endpoint_url="https://idp.acme.test/ssf"),
        )
        receiver = configured(directory).receivers["idp"]
        issuer = Issuer(ISSUER, self.signer.keys.jwks)
        self.lane = Lane(
            record, receiver, issuer, Limits(), self.told, lambda: 1_796_000_000_000, lambda: 0.5
        )
        self.attempts: list[tuple[float, str]] = []
        self.names = {self.signer.revocation(name): name for name in ("a", "b", "c")}
        self._answers = answers

    async def send(self, token: bytes) -> Answer:
        name = self.names[token]
        self.attempts.append((asyncio.get_running_loop().time(), name))
        return self._answers(*self.attempts[-1])

    async def play(
        self, until: Callable[[], bool], meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        pushing = asyncio.create_task(self.lane.push(self.send))
        for offset, token in enumerate(self.names):
            self.lane.read(REVOKED_HERE, record(REVOKED_HERE, offset, token))
        if meanwhile is not None:
            await meanwhile()
        while not until():
            await asyncio.sleep(1)
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)


def test_a_receiver_that_is_away_for_a_day_gets_everything_in_order_and_is_not_stormed(
    tmp_path: Path,
) -> None:
    day_s = 86_400.0
    scene = Scene(tmp_path, lambda at, name: Taken() if at > day_s else Held("HTTP 503"))
    run(scene.play(lambda: not len(scene.lane.window)))
    taken = [name for at, name in scene.attempts if at > day_s]
    assert taken == ["a", "b", "c"]
    assert {name for at, name in scene.attempts if at <= day_s} == {"a"}
    assert len(scene.attempts) < day_s / 15 + 50  # full jitter of 30 s, drawn at its middle
    assert [event[0] for event in scene.told.events] == ["delivered"] * 3
    assert scene.lane.down_why == ""


def test_retry_after_is_respected_and_bounded(tmp_path: Path) -> None:
    def answers(at: float, name: str) -> Answer:
        return Held("HTTP 429", 120.0) if at == 0 else Held("HTTP 429", 1e9) if at < 200 else Taken()

    scene = Scene(tmp_path, answers)
    run(scene.play(lambda: not len(scene.lane.window)))
    assert [at for at, _ in scene.attempts][:3] == [0.0, 120.0, 420.0]


def test_one_token_that_a_receiver_fails_on_is_given_up_and_told_and_the_next_ones_go_out(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, lambda at, name: Held("HTTP 500", None, True) if name == "a" else Taken())
    run(scene.play(lambda: not len(scene.lane.window)))
    (refusal,) = scene.lane.record.refused
    assert (refusal.jti, refusal.err, refusal.description) == (jti_of("a"), "gave_up", "HTTP 500")
    assert (refusal.topic, refusal.partition, refusal.offset) == (*REVOKED_HERE, 0)
    first_b = next(at for at, name in scene.attempts if name == "b")
    assert 1800 <= first_b < 1860
    assert [name for _, name in scene.attempts][-2:] == ["b", "c"]


def test_a_refused_token_is_told_once_and_holds_up_nobody(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda at, name: Refused("invalid_key", "?") if name == "a" else Taken())
    run(scene.play(lambda: not len(scene.lane.window)))
    assert [name for _, name in scene.attempts] == ["a", "b", "c"]
    assert scene.told.events[0] == ("refused", "idp", "invalid_key")
    assert scene.lane.record.n_refused == 1


def test_refusals_are_bounded_and_counted(tmp_path: Path) -> None:
    lane = Scene(tmp_path, lambda at, name: Taken()).lane
    signer = Signer(tmp_path)
    lane._issuer = Issuer(ISSUER, signer.keys.jwks)  # the second signer wrote another key
    for offset in range(150):
        lane.read(REVOKED_HERE, record(REVOKED_HERE, offset, signer.revocation(f"s-{offset}")))
        lane.refuse(jti_of(f"s-{offset}"), "invalid_request", "x" * 200)
    assert (len(lane.record.refused), lane.record.n_refused) == (100, 150)
    assert lane.record.refused[-1].offset == 149
    assert len(lane.kept().dumped()) < 64 * 1024


def test_a_paused_stream_pushes_nothing_until_it_is_enabled(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda at, name: Taken())

    async def pause() -> None:
        scene.lane.change(scene.lane.record.model_copy(update={"status": "paused"}))
        await asyncio.sleep(3600)
        assert scene.attempts == []
        scene.lane.change(scene.lane.record.model_copy(update={"status": "enabled"}))

    run(scene.play(lambda: not len(scene.lane.window), pause))
    assert [name for _, name in scene.attempts] == ["a", "b", "c"]


def test_what_on_the_bus_is_no_token_of_ours_is_not_passed_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda at, name: Taken())
    (tmp_path / "other").mkdir()
    forged = Signer(tmp_path / "other").revocation("a")
    odd = [
        b"",
        None,
        b"{}",
        b"a.b.c",
        forged,
        b"x" * 200_000,
        scene.signer.revocation("a")[:-8] + b"AAAAAAAA",
    ]
    for offset, token in enumerate(odd):
        scene.lane.read(REVOKED_HERE, record(REVOKED_HERE, offset, token))
    assert len(scene.lane.window) == 0
    assert [event[0] for event in scene.told.events] == ["foreign"] * len(odd)
    assert scene.lane.window.positions() == {REVOKED_HERE: len(odd)}


def test_redirects_are_not_followed_and_a_certificate_that_does_not_hold_ends_the_push(
    tmp_path: Path, tls: tuple[Path, Path]
) -> None:
    with Endpoint() as other, Endpoint(lambda n, t: (307, {"Location": other.url}, b"")) as moved:

        async def push(url: str, ca_file: Path | None = None) -> Answer:
            pusher = Pusher(ca_file, 5.0)
            try:
                return await pusher.send(url, "Bearer secret", b"token")
            finally:
                await pusher.close()

        answer = asyncio.run(push(moved.url))
        assert isinstance(answer, Held)
        assert other.requests == []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, tls))
        with Endpoint(tls=context) as secured:
            refused: Any = asyncio.run(push(secured.url))
            assert "certificate" in refused.why
            assert asyncio.run(push(secured.url, tls[0])) == Taken()
            assert len(secured.requests) == 1
    gone: Any = asyncio.run(push("http://127.0.0.1:1/ssf"))
    assert gone.why.startswith("no answer")
