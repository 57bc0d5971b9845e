"""The bridge between Apache Kafka and Keycloak: sessions die, siblings live, and SIGKILL at each step loses and repeats nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stream.settings import Settings
from tests.bridge.rig import AUDIENCE, STEPS, BridgeProcess, Issuer, outcomes, publish
from tests.keycloak.server import REALM, Keycloak, Tokens, secret

pytestmark = [pytest.mark.kafka, pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(900)]


class Bank:
    """Users' sessions, the tokens of tasks in them, and a bridge that may end them."""

    def __init__(self, keycloak: Keycloak, settings: Settings, directory: Path) -> None:
        self.keycloak, self.settings, self.directory = keycloak, settings, directory
        self.issuer = Issuer(directory)
        own = directory / "secret"
        own.write_text(secret("driftline-bridge"), encoding="utf-8")
        self.config = directory / "bridge.yaml"
        sso = {
            "provider": "keycloak",
            "url": keycloak.url,
            "realm": REALM,
            "client_secret_file": str(own),
            "access_token_minutes": 15,
        }
        self.config.write_text(
            json.dumps({"audiences": [AUDIENCE], "brokers": {"sso": sso}}), encoding="utf-8"
        )

    def tasks(self, n: int) -> list[Tokens]:
        """Tokens of `n` tasks, each in a session of its own, all seen to stand."""
        made = [self.keycloak.exchange(self.keycloak.login("alice")) for _ in range(n)]
        assert all(self.keycloak.active(each) for each in made)
        return made

    def revoke(self, tasks: Sequence[Tokens]) -> None:
        publish(
            self.settings,
            [
                self.issuer.revocation(
                    f"s-{each.session}", [{"broker": "sso", "kind": "sid", "value": each.session}]
                )
                for each in tasks
            ],
        )

    def bridge(self, *options: str, kill_at: str | None = None) -> BridgeProcess:
        log = self.directory / "log"
        return BridgeProcess(self.settings, self.config, self.issuer.jwks, log, *options, kill_at=kill_at)


@pytest.fixture
def bank(keycloak: Keycloak, on_kafka: Settings, tmp_path: Path) -> Bank:
    return Bank(keycloak, on_kafka, tmp_path)


def finals(n: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether so many tokens have an outcome that is final."""
    return lambda seen: len({each["jti"] for each in seen if each["status"] != "requested"}) >= n


def test_sessions_die_at_keycloak_and_their_siblings_live(bank: Bank) -> None:
    doomed, spared = bank.tasks(5), bank.tasks(5)
    online, offline = bank.keycloak.browser("bob")  # one session, both halves
    assert bank.keycloak.active(online, "agent")
    assert bank.keycloak.refresh(offline).status == 200
    with bank.bridge() as running:
        bank.revoke([*doomed, online])
        told = outcomes(bank.settings, finals(6))
        assert running.stop() == 0
    assert [each["status"] for each in told] == ["done"] * 6
    assert all("introspect" in each["survives"] and each["survives_until"] for each in told)
    for each in doomed:
        assert not bank.keycloak.active(each)
    assert not bank.keycloak.active(online, "agent")
    assert bank.keycloak.refresh(offline).status == 400
    assert all(bank.keycloak.active(each) for each in spared)


def test_a_session_whose_token_is_introspected_meanwhile_stays_dead(bank: Bank) -> None:
    """One deletion, answered with 204, leaves most such sessions alive (`benchmarks.keycloak_ghosts`)."""
    doomed = bank.tasks(10)
    stop = threading.Event()

    def ask(task: Tokens) -> None:
        while not stop.is_set():
            bank.keycloak.active(task)

    with bank.bridge() as running, ThreadPoolExecutor(3) as asking:
        for task in doomed[:3]:
            asking.submit(ask, task)
        try:
            bank.revoke(doomed)
            told = outcomes(bank.settings, finals(10))
            assert running.stop() == 0
        finally:
            stop.set()
    assert [each["status"] for each in told] == ["done"] * 10
    assert not any(bank.keycloak.active(each) for each in doomed)


def test_killed_at_each_step_every_session_dies_once_and_every_outcome_is_told(bank: Bank) -> None:
    doomed, spared = bank.tasks(60), bank.tasks(3)
    bank.revoke(doomed)
    for number, step in enumerate(STEPS):
        with bank.bridge(kill_at=f"{step}:{1 if 'commit' in step else 3 + number}") as running:
            assert running.ended(90) == -9, running.said()[-2000:]
    with bank.bridge() as last:
        told = outcomes(bank.settings, finals(60), 90)
        assert last.stop() == 0
    final = [each for each in told if each["status"] != "requested"]
    assert len({each["jti"] for each in final}) == 60
    assert {each["status"] for each in final} <= {"done", "already_gone"}
    # Found gone, or told twice, at most what was under way at a kill: four calls at once.
    assert sum(each["status"] == "already_gone" for each in final) <= 4 * len(STEPS)
    assert len(final) - 60 <= 4 * len(STEPS)
    assert not any(bank.keycloak.active(each) for each in doomed)
    assert all(bank.keycloak.active(each) for each in spared)


def test_read_twice_nothing_is_asked_of_keycloak_again(bank: Bank) -> None:
    doomed = bank.tasks(30)
    bank.revoke(doomed)
    bank.revoke(doomed)
    with bank.bridge() as running:
        told = outcomes(bank.settings, finals(30))
        assert running.stop() == 0
    bank.revoke(doomed)
    with bank.bridge() as running:
        told = outcomes(bank.settings, lambda _: False, 12)
        assert running.stop() == 0
    assert [each["status"] for each in told] == ["done"] * 30


def test_keycloak_paused_and_restarted_delays_and_loses_nothing(bank: Bank) -> None:
    doomed, spared = bank.tasks(12), bank.tasks(2)
    bank.keycloak.pause()
    try:
        with bank.bridge() as running:
            bank.revoke(doomed)
            waiting = outcomes(bank.settings, lambda seen: bool(seen), 60)
            assert {each["status"] for each in waiting} == {"requested"}
            bank.keycloak.stop()
            bank.keycloak.start()
            told = outcomes(bank.settings, finals(12), 120)
            assert running.stop() == 0
    finally:
        if not bank.keycloak.running():
            bank.keycloak.start()
        bank.keycloak.resume()
    final = [each for each in told if each["status"] != "requested"]
    assert len({each["jti"] for each in final}) == 12
    assert "failed" not in {each["status"] for each in final}
    assert not any(bank.keycloak.active(each) for each in doomed)
    # Sessions of users outlive a restart at Keycloak from 26 on; these were nobody's to revoke.
    assert all(bank.keycloak.active(each) for each in spared)


def test_a_bridge_without_the_right_says_so_and_goes_on_once_it_is_granted(bank: Bank) -> None:
    doomed = bank.tasks(2)
    (bank.directory / "secret").write_text("wrong", encoding="utf-8")
    with bank.bridge("--check") as check:
        assert check.ended(60) == 1
    assert "mend its secret" in check.said()
    with bank.bridge() as running:
        bank.revoke(doomed)
        waiting = outcomes(bank.settings, lambda seen: bool(seen), 60)
        assert "refused: mend its secret" in waiting[0]["detail"]
        assert all(bank.keycloak.active(each) for each in doomed)
        (bank.directory / "secret").write_text(secret("driftline-bridge"), encoding="utf-8")
        told = outcomes(bank.settings, finals(2), 90)
        assert running.stop() == 0
    assert [each["status"] for each in told if each["status"] != "requested"] == ["done", "done"]
    assert not any(bank.keycloak.active(each) for each in doomed)
