"""Partitions that come and go while the bridge is at work: nothing of one that went is done, committed or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import generate_latest

from models.contracts import CredentialRef, Outcome
from models.errors import BrokerError
from stream.bridge.configuration import Configuration
from stream.bridge.delivery import Delivery
from stream.bridge.order import Order, Trust
from stream.events import Record
from stream.settings import Settings
from stream.shell.bridge import Bridge
from stream.shell.bridge_metrics import BridgeMeasures

PLACE = TopicPartition("agent.revocations.v1", 0)


def record(offset: int) -> Record:
    return Record(PLACE.topic, PLACE.partition, offset, 0, "append", b"acme", (), b"token")


class Bus:
    """A consumer whose partitions and commits the test holds in its hands."""

    def __init__(self, *fetches: list[int]) -> None:
        self.fetches, self.held = list(fetches), {PLACE}
        self.committed: list[dict[TopicPartition, int]] = []
        self.when_committing: Callable[[], Any] | None = None

    def assignment(self) -> set[TopicPartition]:
        return set(self.held)

    def pause(self, *_: TopicPartition) -> None:
        pass

    resume = pause

    async def getmany(self, **_: Any) -> Mapping[TopicPartition, list[Record]]:
        await asyncio.sleep(0.01)
        return {PLACE: [record(each) for each in self.fetches.pop(0)]} if self.fetches else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed.append(dict(offsets))
        if self.when_committing is not None:
            await self.when_committing()


class Made(Bridge):
    """A bridge that takes every record for an order; what it learns of others, and when, is the test's."""

    def __init__(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("s", encoding="utf-8")
        broker = {"provider": "okta", "url": "https://okta.test", "token_file": secret}
        configuration = Configuration.model_validate({"audiences": ["us"], "brokers": {"okta": broker}})
        super().__init__(Settings(), configuration, Trust(dict, "", ()), BridgeMeasures([]))
        self.learns: Callable[[], Any] | None = None
        self.told: list[str] = []
        self.refuses = False
        self.delivery = Delivery({}, {}, self.ledger, self.report, lambda: 0)

    async def report(self, tenant: str, outcome: Any) -> None:
        if self.refuses:
            raise BrokerError("an outcome was not confirmed")
        self.told.append(outcome.jti)

    def _order(self, record: Record) -> Order | None:
        gone = CredentialRef(broker="gone", kind="sid", value="x")  # no such broker: told as failed at once
        return Order(f"j{record.offset}", "case", "acme", "s", "drift", 0, (gone,))

    async def _learn(self) -> None:
        if self.learns is not None:
            await self.learns()

    async def reads(self, bus: Bus, for_s: float = 0.2) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(for_s, stop.set)
        await self._read(bus, self.delivery, {}, stop)


def test_records_of_a_partition_that_went_while_the_ledger_was_read_are_left_to_who_has_it_now(
    tmp_path: Path,
) -> None:
    """The client still names it as ours until the group has met again."""

    async def main() -> None:
        bridge, bus = Made(tmp_path), Bus([7, 8])

        async def taken_away() -> None:
            await bridge.revoked(bus, [PLACE])

        bridge.learns = taken_away
        await bridge.reads(bus)
        assert bridge.told == []
        await bridge._commit(bus)
        assert bus.committed == []

    asyncio.run(main())


def test_an_outcome_that_failed_as_its_partition_went_stops_the_bridge_and_is_not_committed(
    tmp_path: Path,
) -> None:
    """The client swallows what its listener raises."""

    async def main() -> None:
        bridge, bus = Made(tmp_path), Bus([7])
        await bridge.reads(bus, 0.05)
        bridge.refuses = True
        bus.fetches = [[8, 9]]

        async def swallow() -> None:
            await asyncio.sleep(0.05)
            with suppress(Exception):
                await bridge.revoked(bus, [PLACE])

        going = asyncio.create_task(swallow())
        with pytest.raises(BrokerError):
            await bridge.reads(bus, 1.0)
        await going
        assert all(each[PLACE] <= 8 for each in bus.committed)

    asyncio.run(main())


def test_a_partition_that_goes_during_its_own_commit_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        bridge, bus = Made(tmp_path), Bus([7])
        await bridge.reads(bus, 0.05)

        async def taken_away() -> None:
            bus.when_committing = None
            await bridge.revoked(bus, [PLACE])

        bus.when_committing = taken_away
        await bridge._commit(bus)
        assert {PLACE: 8} in bus.committed

    asyncio.run(main())


def test_names_of_brokers_that_nobody_configured_make_no_series_of_their_own() -> None:
    """Hosts choose them, one for each session if they like."""
    measures = BridgeMeasures(["okta"])
    for name in ("okta", "x1", "x2"):
        measures.told(
            Outcome.model_validate(
                {
                    "jti": "j",
                    "case_id": "c",
                    "broker": name,
                    "status": "failed",
                    "time": "2026-01-01T00:00:00Z",
                }
            )
        )
    text = generate_latest(measures.registry).decode()
    assert 'driftline_bridge_outcomes_total{broker="okta",status="failed"} 1.0' in text
    assert 'driftline_bridge_outcomes_total{broker="(not configured)",status="failed"} 2.0' in text
    assert "x1" not in text
