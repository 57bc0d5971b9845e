"""What became of a revocation, from a broker's outcome to the SOC's alert, through workers that are killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.events import ALERTS, CASES, EVENTS, OUTCOMES, QUARANTINE, REVOCATIONS, dumps, rfc3339
from stream.outbound.claims import credential_id, credentials_of
from stream.settings import Settings
from stream.shell import topics
from stream.shell.broker import EmbeddedBroker
from stream.shell.outputs import claims_of
from stream.shell.send import Message, Sender
from tests.broker.test_breaker import World, astray, sessions

LATE_S = 25

pytestmark = pytest.mark.broker


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with EmbeddedBroker() as broker:
        settings = Settings(bootstrap=broker.bootstrap, partitions=2, session_timeout_s=4.0)
        topics.create(settings)
        yield World(settings, tmp_path, tenant="null", agent="null", confirm_minutes=str(LATE_S / 60))


def send(world: World, *messages: tuple[str, bytes, Any]) -> None:
    with Sender(world.settings) as sender:
        for base, key, value in messages:
            sender.send(Message(base, key, (), dumps(value)))


def outcome(record: Any, status: str, **more: Any) -> tuple[str, bytes, dict[str, Any]]:
    """What a broker tells of the credential that a revocation names, a quarter of a second after it was published."""
    claims = claims_of(record.value)
    (ref,) = credentials_of(claims)
    told = {
        "jti": claims["jti"],
        "case_id": claims["txn"],
        "broker": ref.broker,
        "kind": ref.kind,
        "credential": credential_id("acme", ref),
        "status": status,
        "time": rfc3339(record.timestamp + 250),
        **more,
    }
    return OUTCOMES, b"acme", told


def said(world: World, n: int) -> dict[str, list[str]]:
    """What was said of containment, by session, once `n` things were; what a worker says again after a crash has the same uid."""

    def found(records: list[Any]) -> list[tuple[str, str]]:
        read = {(each := json.loads(record.value))["metadata"]["uid"]: each for record in records}
        return [
            (each["actor"]["session"]["uid"], each["unmapped"]["exposure"]["revocation"])
            for each in read.values()
            if each["finding_info"]["analytic"]["uid"] == "driftline.containment"
        ]

    by_session: dict[str, list[str]] = {}
    for session, what in found(world.read(ALERTS, lambda seen: len(found(seen)) >= n)):
        by_session.setdefault(session, []).append(what)
    return by_session


def test_a_death_a_failure_that_is_mended_and_a_silent_broker_reach_the_soc(world: World) -> None:
    worker = world.worker()
    try:
        events = [event for number in range(3) for event in astray(f"s-{number}")]
        send(world, *((EVENTS, event["session_id"].encode(), event) for event in events))
        revoked = world.read(REVOCATIONS, lambda seen: len(sessions(seen)) >= 3)
        by_session = {claims_of(each.value)["sub_id"]["session"]["id"]: each for each in revoked}
        send(
            world,
            outcome(by_session["s-0"], "done"),
            outcome(by_session["s-1"], "failed", detail="given up: 503"),
        )
        assert said(world, 2) == {"s-0": ["done"], "s-1": ["failed"]}
    finally:
        worker.kill()  # before the deadline of s-2: the next one reads back what it waited for
        worker.wait()
    worker = world.worker()
    try:
        # The partition is quiet: its owner lets time be read.
        assert said(world, 3) == {"s-0": ["done"], "s-1": ["failed"], "s-2": ["overdue"]}
        ticks = world.read(CASES, lambda seen: any(b"clock.tick" in each.value for each in seen))
        assert any(each.value == b'{"type":"clock.tick"}' for each in ticks)
        late = [outcome(by_session[name], "done") for name in ("s-1", "s-2")]
        send(world, *late, *late)  # a broker may say things twice
        wanted = {"s-0": ["done"], "s-1": ["failed", "done"], "s-2": ["overdue", "done"]}
        assert said(world, 5) == wanted
        send(world, (OUTCOMES, b"acme", {"status": "done"}))
        (refused,) = world.read(QUARANTINE, lambda seen: len(seen) >= 1)
        assert dict(refused.headers)["reason"] == b"schema"
        assert said(world, 5) == wanted
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
