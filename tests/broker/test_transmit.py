"""The transmitter between a bus and receivers: what comes over TLS, what a kill repeats, and that nothing is lost."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from stream.events import REVOCATIONS, RISK
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker, free_port
from tests.transmit.conftest import tls  # noqa: F401
from tests.transmit.rig import (
    BEARER,
    DESK,
    IDP,
    ISSUER,
    STEPS,
    Endpoint,
    Signer,
    TransmitProcess,
    document,
    jti_of,
    written,
)

pytestmark = pytest.mark.broker
REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"


@pytest.fixture(scope="module")
def bus() -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        yield Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)


def publish(settings: Settings, *tokens: bytes, base: str = REVOCATIONS, key: str = "acme") -> None:
    producer = KafkaProducer(**settings.kafka(), acks="all")
    try:
        for future in [producer.send(settings.topic(base), token, key.encode()) for token in tokens]:
            future.get(30)
    finally:
        producer.close()


class Scene:
    """Topics under a prefix, a signer, and a configuration in which `desk` polls and `idp` is pushed to."""

    def __init__(self, bus: Settings, directory: Path, prefix: str, endpoint: str, **changes: Any) -> None:
        self.settings, self.directory = replace(bus, prefix=prefix), directory
        topics.create(self.settings)
        self.signer = Signer(directory)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        content = document(
            directory,
            url=self.url,
            listen={"port": self.port},
            limits={"long_poll_s": 5, "redeliver_after_s": 1, "min_verification_interval_s": 0},
        )
        pushed = {"method": "push", "endpoint_url": endpoint}
        content["receivers"]["idp"] = {"audiences": [IDP], "stream": {"delivery": pushed}}
        content["receivers"]["desk"]["stream"] = {"delivery": {"method": "poll"}}
        self.content = {**content, **changes}
        self.config = written(directory / "ssf.yaml", self.content)

    @contextmanager
    def transmitter(self, *options: str, kill_at: str | None = None) -> Iterator[TransmitProcess]:
        log = self.directory / "log"
        log.unlink(missing_ok=True)
        with TransmitProcess(
            self.settings, self.config, self.signer.path, log, "--dev", *options, kill_at=kill_at
        ) as running:
            yield running

    def call(
        self, path: str, body: Any = None, who: str = "desk", context: ssl.SSLContext | None = None
    ) -> Any:
        url = path if path.startswith("http") else self.url + path
        asked = urllib.request.Request(
            url,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {BEARER[who]}"},
        )
        with urllib.request.urlopen(asked, timeout=30, context=context) as answer:
            raw = answer.read()
            return json.loads(raw) if raw else None


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_receivers_one_pushed_to_and_one_that_polls_get_theirs_and_a_restart_repeats_nothing(
    bus: Settings, tmp_path: Path
) -> None:
    def slow(n: int, token: bytes) -> tuple[int, Mapping[str, str], bytes]:
        return (503, {"Retry-After": "1"}, b"") if n < 2 else (202, {}, b"")

    with Endpoint(slow) as endpoint:
        scene = Scene(bus, tmp_path, "both.", endpoint.url)
        s = scene.signer
        with scene.transmitter() as running:
            running.wait_said("ready: serves idp, desk")
            (desk,) = scene.call("/ssf/stream")
            sent = [s.revocation(f"s-{n}") for n in range(20)]
            publish(scene.settings, *sent, b"garbage", s.revocation("d-1", DESK), s.revocation("d-2", DESK))
            publish(scene.settings, s.risk("s-1"), base=RISK)
            # The one that polls does not wait for the one that is not there yet.
            polled = scene.call(desk["delivery"]["endpoint_url"], {"maxEvents": 1})
            assert (list(polled["sets"]), polled["moreAvailable"]) in (
                ([jti_of("d-1", DESK)], True), ([jti_of("d-1", DESK)], False),
            )  # fmt: skip
            until(lambda: len(endpoint.taken) >= 21)
            assert [token for token in endpoint.taken if token != s.risk("s-1")] == sent
            scene.call("/ssf/verify", {"stream_id": desk["stream_id"], "state": "kept"})
            assert running.stop() == 0
        said = running.said()
        assert "Traceback" not in said
        assert not any(token.decode() in said for token in sent)
        assert not any(secret in said for secret in BEARER.values())

        with scene.transmitter() as again:
            again.wait_said("ready: serves idp, desk")
            assert scene.call("/ssf/stream") == [desk]
            seen: list[str] = []
            while len(seen) < 3:
                answer = scene.call(desk["delivery"]["endpoint_url"], {"ack": seen})
                seen += [jti for jti in answer["sets"] if jti not in seen]
            assert seen[1:] == [jti_of("d-1", DESK), jti_of("d-2", DESK)]  # its verification came first
            scene.call(desk["delivery"]["endpoint_url"], {"ack": seen, "maxEvents": 0})
            publish(scene.settings, s.revocation("later"))
            until(lambda: endpoint.taken[-1] == s.revocation("later"))
            assert again.stop() == 0
        assert len(endpoint.taken) == 22

        with scene.transmitter() as third:
            third.wait_said("ready: serves idp, desk")
            assert scene.call(desk["delivery"]["endpoint_url"], {"returnImmediately": True})["sets"] == {}
            assert third.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_each_step_loses_nothing_and_keeps_the_order(
    bus: Settings, tmp_path: Path, step: str
) -> None:
    with Endpoint() as endpoint:
        scene = Scene(bus, tmp_path, step.replace(" ", "-") + ".", endpoint.url)
        sent = [scene.signer.revocation(f"s-{n}") for n in range(12)]
        nth = 4 if "push" in step else 5  # two places are written at the start; 3 to 5 lie amid the pushes
        with scene.transmitter(kill_at=f"{step}:{nth}") as killed:
            killed.wait_said("ready: serves")
            for token in sent:
                publish(scene.settings, token)
                time.sleep(0.3)
            assert killed.process.wait(60) == -9
        assert len(endpoint.taken) < 12
        with scene.transmitter() as again:
            again.wait_said("ready: serves")
            until(lambda: set(endpoint.taken) == set(sent))
            assert again.stop() == 0
        assert list(dict.fromkeys(endpoint.taken)) == sent
        repeated = len(endpoint.taken) - 12
        assert repeated <= 12
        if step == "after push":
            assert repeated >= 1  # taken, and killed before its place was written: it comes again
        with scene.transmitter() as third:
            third.wait_said("ready: serves")
            time.sleep(2)
            assert third.stop() == 0
        assert len(endpoint.taken) == 12 + repeated


@pytest.mark.slow
def test_a_second_transmitter_stands_by_and_takes_over_where_a_killed_one_stopped(
    bus: Settings, tmp_path: Path
) -> None:
    with Endpoint() as endpoint:
        scene = Scene(bus, tmp_path, "stand-by.", endpoint.url)
        (tmp_path / "second").mkdir()
        other_port = free_port()
        other = written(tmp_path / "second" / "ssf.yaml", {**scene.content, "listen": {"port": other_port}})
        sent = [scene.signer.revocation(f"s-{n}") for n in range(6)]
        with scene.transmitter() as first:
            first.wait_said("ready: serves")
            second = TransmitProcess(
                scene.settings, other, scene.signer.path, tmp_path / "second" / "log", "--dev"
            )
            with second:
                second.wait_said("stands by: another transmitter of the group stand-by.")
                publish(scene.settings, *sent[:3])
                until(lambda: len(endpoint.taken) >= 3)
                with pytest.raises(urllib.error.HTTPError) as away:
                    scene.call(f"http://127.0.0.1:{other_port}/ssf/stream")
                assert away.value.code == 503
                first.process.kill()
                first.process.wait()
                publish(scene.settings, *sent[3:])
                second.wait_said("takes over: the transmitter that served is gone")
                second.wait_said("ready: serves")
                assert second.said().count("stands by: ") == 1
                assert "stands by: " not in first.said()
                until(lambda: set(endpoint.taken) == set(sent))
                assert scene.call(f"http://127.0.0.1:{other_port}/ssf/stream")[0]["aud"] == DESK
                assert second.stop() == 0
        assert list(dict.fromkeys(endpoint.taken)) == sent


def test_a_receiver_that_shares_no_code_with_us_discovers_polls_verifies_and_acknowledges_over_tls(
    bus: Settings,
    tmp_path: Path,
    tls: tuple[Path, Path],  # noqa: F811
) -> None:
    """The receiver's side is urllib and PyJWT. No SSF receiver is to be had from PyPI, npm, Maven Central or the Go proxy."""
    jwt = pytest.importorskip("jwt", reason="NOT RUN: PyJWT is needed; `make setup` installs it")
    client = ssl.create_default_context(cafile=str(tls[0]))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*map(str, tls))
    with Endpoint(tls=server) as endpoint:
        scene = Scene(bus, tmp_path, "independent.", endpoint.url)
        url = f"https://127.0.0.1:{scene.port}"
        listen = {"port": scene.port, "certificate_file": str(tls[0]), "key_file": str(tls[1])}
        receivers = scene.content["receivers"]
        receivers["idp"] |= {"ca_file": str(tls[0])}
        del receivers["desk"]["stream"]
        scene.config = written(scene.config, {**scene.content, "url": url, "listen": listen})
        log = tmp_path / "log"
        with TransmitProcess(
            scene.settings, scene.config, scene.signer.path, log
        ) as running:  # without --dev
            running.wait_said("ready: serves")
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(
                    f"{url}/ssf/jwks.json", timeout=10
                )  # an authority that it does not know
            metadata = scene.call(f"{url}/.well-known/ssf-configuration/ssf", context=client)
            assert metadata["issuer"] == ISSUER
            keys = {
                key.key_id: key
                for key in jwt.PyJWKSet.from_dict(scene.call(metadata["jwks_uri"], context=client)).keys
            }

            def opened(token: str, audience: str) -> dict[str, Any]:
                header = jwt.get_unverified_header(token)
                assert (header["typ"], header["alg"]) == ("secevent+jwt", "RS256")
                claims = jwt.decode(
                    token, keys[header["kid"]], ["RS256"], audience=audience, issuer=metadata["issuer"],
                    options={"require": ["iss", "aud", "iat", "jti"]},
                )  # fmt: skip
                return dict(claims)

            made = scene.call(
                metadata["configuration_endpoint"],
                {"events_requested": [REVOKED], "delivery": {"method": "urn:ietf:rfc:8936"}},
                context=client,
            )
            poll = made["delivery"]["endpoint_url"]
            scene.call(
                metadata["verification_endpoint"],
                {"stream_id": made["stream_id"], "state": "s"},
                context=client,
            )
            publish(scene.settings, scene.signer.revocation("d-1", DESK), scene.signer.revocation("s-1"))
            got: dict[str, dict[str, Any]] = {}
            while len(got) < 2:
                answer = scene.call(poll, {"maxEvents": 10, "ack": list(got)}, context=client)
                got |= {jti: opened(token, DESK) for jti, token in answer["sets"].items()}
            assert all(jti == claims["jti"] and len(claims["events"]) == 1 for jti, claims in got.items())
            assert got[jti_of("d-1", DESK)]["sub_id"]["session"] == {"format": "opaque", "id": "d-1"}
            scene.call(poll, {"maxEvents": 0, "ack": list(got)}, context=client)
            until(lambda: len(endpoint.taken) == 1)
            assert opened(endpoint.taken[0].decode(), IDP)["events"][REVOKED]["reason_admin"]["en"]
            assert running.stop() == 0


def test_what_was_refused_is_printed_and_a_check_asks_each_endpoint(bus: Settings, tmp_path: Path) -> None:
    said = json.dumps({"err": "invalid_key", "description": "unknown kid"}).encode()
    mended = {"now": False}

    def answer(n: int, token: bytes) -> tuple[int, Mapping[str, str], bytes]:
        return (202, {}, b"") if mended["now"] else (400, {}, said)

    with Endpoint(answer) as endpoint:
        scene = Scene(bus, tmp_path, "refused.", endpoint.url)
        with scene.transmitter("--refused") as printed:
            assert printed.process.wait(30) == 0
        assert "nothing is refused: no stream was made yet under the prefix 'refused.'" in printed.said()
        with scene.transmitter() as running:
            running.wait_said("ready: serves")
            publish(scene.settings, scene.signer.revocation("s-1"))
            running.wait_said("refuses")
            assert running.stop() == 0
        with scene.transmitter("--refused") as printed:
            assert printed.process.wait(30) == 1
        told = json.loads(printed.said().strip().splitlines()[-1])
        assert (told["receiver"], told["err"], told["jti"]) == ("idp", "invalid_key", jti_of("s-1"))
        assert told["topic"] == REVOCATIONS
        mended["now"] = True
        with scene.transmitter("--send-refused") as again:
            again.wait_said("hands out 1 refused tokens once more")
            until(lambda: endpoint.taken == [scene.signer.revocation("s-1")])
            assert again.stop() == 0
        with scene.transmitter("--refused") as printed:
            assert printed.process.wait(30) == 0
        assert "nothing is refused: desk, idp" in printed.said()
        with scene.transmitter("--check") as asked:
            assert asked.process.wait(30) == 0
        assert "idp: https://idp.acme.test/set: ok, its endpoint answers" in asked.said()
    with scene.transmitter("--check") as asked:
        assert asked.process.wait(30) == 1
    assert "FAILS, no answer: nothing listens there" in asked.said()
    with TransmitProcess(scene.settings, scene.config, scene.signer.path, tmp_path / "plain") as refused:
        assert refused.process.wait(30) == 2
    assert "without TLS" in refused.said()
    with TransmitProcess(
        scene.settings, scene.config, scene.signer.path, tmp_path / "plain-check", "--check"
    ) as refused:
        assert refused.process.wait(30) == 2
    assert "try it on loopback with --dev" in refused.said()


@pytest.mark.slow
def test_a_bus_that_goes_away_for_good_ends_the_transmitter_and_receivers_are_told_meanwhile(
    tmp_path: Path,
) -> None:
    with Endpoint() as endpoint, EmbeddedBroker() as broker:
        bus = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)
        scene = Scene(bus, tmp_path, "away.", endpoint.url)
        with scene.transmitter() as running:
            running.wait_said("ready: serves")
            (desk,) = scene.call("/ssf/stream")
            broker.stop()
            assert scene.call("/.well-known/ssf-configuration/ssf")["issuer"] == ISSUER
            assert scene.call(desk["delivery"]["endpoint_url"], {"returnImmediately": True})["sets"] == {}
            assert running.process.wait(150) == 4
        assert "no broker answers at" in running.said() or "no Kafka broker answers at" in running.said()
        assert "Traceback" not in running.said()
