"""The bridge between a bus and an OAuth server: what is revoked, told, refused, skipped and tried again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Response

from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.oauth_server import Around, EmbeddedOAuthServer, Issued
from tests.bridge.rig import AUDIENCE, BridgeProcess, Issuer, outcomes, publish

FIND = """
import json, sys
asked, held = json.loads(sys.stdin.readline()), json.load(open(sys.argv[1]))
print(json.dumps({"tokens": [{"token": held[asked["value"]]}]})) if asked["value"] in held else sys.exit(3)
"""

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def bus() -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        yield Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)


class World:
    """A bus under a prefix, an OAuth server with tokens, and a bridge's configuration."""

    def __init__(
        self, settings: Settings, directory: Path, server: EmbeddedOAuthServer, n_tokens: int
    ) -> None:
        self.settings, self.directory, self.server = settings, directory, server
        self.issuer = Issuer(directory)
        self.issued: dict[str, Issued] = {f"grant-{n}": server.issue("agent", "pay") for n in range(n_tokens)}
        held, secret = directory / "held.json", directory / "secret"
        held.write_text(
            json.dumps({name: each.access_token for name, each in self.issued.items()}), encoding="utf-8"
        )
        secret.write_text("agent-secret", encoding="utf-8")
        self.config = directory / "bridge.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "audiences": [AUDIENCE],
                    "brokers": {
                        "oauth": {
                            "provider": "rfc7009",
                            "url": server.url,
                            "introspect_path": "/introspect",
                            "client_id": "agent",
                            "client_secret_file": str(secret),
                            "token_command": [sys.executable, "-c", FIND, str(held)],
                            "kinds": ["grant"],
                        }
                    },
                }
            ),
            encoding="utf-8",
        )

    def bridge(self, *options: str) -> BridgeProcess:
        return BridgeProcess(self.settings, self.config, self.issuer.jwks, self.directory / "log", *options)

    def token(self, name: str, session: str | None = None) -> bytes:
        return self.issuer.revocation(
            session or f"s-{name}", [{"broker": "oauth", "kind": "grant", "value": name}]
        )

    def alive(self) -> set[str]:
        return {
            name for name, each in self.issued.items() if self.server.is_active("agent", each.access_token)
        }


@contextmanager
def world(
    bus: Settings, directory: Path, prefix: str, n_tokens: int, around: Around | None = None
) -> Iterator[World]:
    settings = replace(bus, prefix=prefix)
    topics.create(settings)
    with EmbeddedOAuthServer({"agent": "agent-secret"}, around=around) as server:
        yield World(settings, directory, server, n_tokens)


def _wait_said(running: BridgeProcess, text: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while text not in running.said():
        assert time.monotonic() < deadline, running.said()
        time.sleep(0.1)


def _finals(n: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda seen: sum(each["status"] != "requested" for each in seen) >= n


def test_credentials_die_outcomes_tell_it_and_what_is_foreign_forged_or_unknown_is_said(
    bus: Settings, tmp_path: Path
) -> None:
    with world(bus, tmp_path, "one.", 3) as w:
        (tmp_path / "forger").mkdir()
        forger = Issuer(tmp_path / "forger")
        assert w.alive() == {"grant-0", "grant-1", "grant-2"}
        publish(
            w.settings,
            [
                w.token("grant-0"),
                forger.revocation("s-forged", [{"broker": "oauth", "kind": "grant", "value": "grant-2"}]),
                w.issuer.revocation(
                    "s-foreign",
                    [{"broker": "oauth", "kind": "grant", "value": "grant-2"}],
                    audience="https://other.test",
                ),
                w.issuer.revocation("s-unknown", [{"broker": "okta", "kind": "sid", "value": "x"}]),
                w.token("grant-1"),
                w.token("grant-9"),
                w.token("grant-0"),
            ],
        )
        with w.bridge() as running:
            told = outcomes(w.settings, _finals(4))
            assert running.stop() == 0
        assert w.alive() == {"grant-2"}
        statuses = sorted((each["broker"], each.get("provider"), each["status"]) for each in told)
        by_us = [("oauth", "rfc7009", status) for status in ("done", "done", "failed")]
        assert statuses == [*by_us, ("okta", None, "failed")]
        assert all("grant-" not in json.dumps(each) for each in told)  # no reference, no token
        said = running.said()
        assert "1 refused" in said
        assert "1 for others" in said
        assert not any(each.access_token in said for each in w.issued.values())

        # A second bridge, and everything read once more: nothing is called again.
        publish(w.settings, [w.token("grant-0"), w.token("grant-1")])
        with w.bridge() as again:
            time.sleep(8)
            assert again.stop() == 0
        assert len(outcomes(w.settings, lambda _: False, 3)) == 4


def test_a_dry_run_and_a_retry_of_what_failed(bus: Settings, tmp_path: Path) -> None:
    broken = {"now": True}

    def around(request: Any, real: Callable[[], Response]) -> Response:
        if broken["now"] and request.path == "/revoke":
            return Response('{"error": "unsupported_token_type"}', status=400, mimetype="application/json")
        return real()

    with world(bus, tmp_path, "two.", 2, around) as w:
        publish(w.settings, [w.token("grant-0"), w.token("grant-1")])
        with w.bridge("--dry-run") as dry:
            assert dry.ended(60) == 0
        assert dry.said().count("revoke at rfc7009") == 2
        assert w.alive() == {"grant-0", "grant-1"}
        assert outcomes(w.settings, lambda _: False, 2) == []

        with w.bridge() as running:
            told = outcomes(w.settings, _finals(2))
            assert running.stop() == 0
        assert [each["status"] for each in told] == ["failed", "failed"]
        assert "unsupported_token_type" in told[0]["detail"]
        assert w.alive() == {"grant-0", "grant-1"}

        broken["now"] = False
        with w.bridge("--retry-failed") as retry:
            assert retry.ended(60) == 0
        assert "oauth done 2" in retry.said()
        assert w.alive() == set()
        with w.bridge("--retry-failed") as nothing:
            assert nothing.ended(60) == 0
        assert "nothing had failed" in nothing.said()


def test_what_was_skipped_or_refused_is_carried_out_once_audiences_and_keys_are_mended(
    bus: Settings, tmp_path: Path
) -> None:
    """Their offsets are committed, and no outcome tells of them: a key set that lags behind a rotation, a slip in an audience."""
    with world(bus, tmp_path, "mended.", 3) as w:
        right = w.config.read_text(encoding="utf-8")
        assert w.alive() == {"grant-0", "grant-1", "grant-2"}
        w.config.write_text(right.replace(AUDIENCE, "https://sso.acme.test/sat"), encoding="utf-8")
        publish(w.settings, [w.token("grant-0")])
        with w.bridge() as skips:
            _wait_said(skips, f"{AUDIENCE!r}, who this bridge is not")
            assert skips.stop() == 0
        assert w.alive() == {"grant-0", "grant-1", "grant-2"}

        w.config.write_text(right, encoding="utf-8")
        keys = w.issuer.jwks.read_text(encoding="utf-8")
        (tmp_path / "older").mkdir()
        w.issuer.jwks.write_text(
            Issuer(tmp_path / "older").jwks.read_text(encoding="utf-8"), encoding="utf-8"
        )
        publish(w.settings, [w.token("grant-1")])
        with w.bridge() as refuses:
            _wait_said(refuses, "no key of the set has this kid")
            assert refuses.stop() == 0
        assert "1 refused" in refuses.said()
        assert w.alive() == {"grant-0", "grant-1", "grant-2"}

        w.issuer.jwks.write_text(keys, encoding="utf-8")
        publish(w.settings, [w.token("grant-2")])  # not dealt with yet: left to the bridge
        with w.bridge("--retry-failed") as retry:
            assert retry.ended(60) == 0
        assert "oauth done 2" in retry.said()
        assert w.alive() == {"grant-2"}
        with w.bridge("--retry-failed") as nothing:
            assert nothing.ended(60) == 0
        assert "nothing had failed" in nothing.said()


def test_a_provider_that_is_down_delays_and_loses_nothing(bus: Settings, tmp_path: Path) -> None:
    back_at = 0.0
    refused: list[float] = []

    def around(request: Any, real: Callable[[], Response]) -> Response:
        if time.monotonic() < back_at and request.path != "/introspect":
            refused.append(time.monotonic())
            return Response(status=503)
        return real()

    with world(bus, tmp_path, "three.", 40, around) as w:
        back_at = time.monotonic() + 20
        publish(w.settings, [w.token(name) for name in w.issued])
        assert len(w.alive()) == 40
        with w.bridge() as running:
            told = outcomes(w.settings, _finals(40), 90)
            assert running.stop() == 0
        assert w.alive() == set()
        assert sum(each["status"] == "done" for each in told) == 40
        assert {each["status"] for each in told} == {"requested", "done"}
        assert len(refused) < 25  # forty that tried by themselves would ask hundreds of times


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_a_bus_that_goes_away_is_waited_for_told_of_and_never_keeps_the_bridge_from_ending(
    tmp_path: Path, told: bool
) -> None:
    with EmbeddedBroker() as broker:
        bus = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)
        with world(bus, tmp_path, "away.", 1) as w:
            publish(w.settings, [w.token("grant-0")])
            with w.bridge() as running:
                assert outcomes(w.settings, _finals(1))
                broker.stop()
                if told:
                    time.sleep(3)
                    assert running.stop() == 0
                else:
                    assert running.ended(100) == 4
                    assert "no broker answers at" in running.said()
            assert "Traceback" not in running.said()
            assert "Unclosed" not in running.said()


@pytest.mark.slow
def test_two_bridges_share_come_go_and_die_and_each_credential_dies_once(
    bus: Settings, tmp_path: Path
) -> None:
    asked: list[float] = []

    def around(request: Any, real: Callable[[], Response]) -> Response:
        if request.path == "/revoke":
            asked.append(time.monotonic())
            time.sleep(0.2)
        return real()

    with world(bus, tmp_path, "two-bridges.", 120, around) as w:
        assert len(w.alive()) == 120
        publish(w.settings, [w.token(name) for name in w.issued])
        with w.bridge() as first:
            assert outcomes(w.settings, _finals(15))
            with w.bridge() as second:
                assert outcomes(w.settings, _finals(60), 90)  # the second has joined meanwhile
                first.process.kill()
                assert first.ended(10) == -9
                with w.bridge() as third:
                    told = outcomes(w.settings, _finals(120), 120)
                    assert second.stop() == 0
                    assert third.stop() == 0
        assert w.alive() == set()
        final = [each for each in told if each["status"] != "requested"]
        assert len({each["jti"] for each in final}) == 120
        assert {each["status"] for each in final} <= {"done", "already_gone"}
        # Again at most what was under way at a rebalance or the kill: four calls, at three bridges.
        assert len(asked) - 120 <= 4 * 5
        assert "Traceback" not in first.said()
