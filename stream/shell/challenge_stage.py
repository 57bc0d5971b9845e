"""A challenger at work: it judges the same log as the champion under another release, and says what it would have decided.

It is the judge stage with a group, a state and a topic of its own. Of what judging leads to only the verdicts go out, to a topic that
nobody acts on; nothing is written to the input, ticks neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from models.contracts import WouldBe
from models.errors import InputError
from stream.core.partition import Partition
from stream.events import CHALLENGES, DECISIONS, Output, dumps
from stream.settings import Settings
from stream.shell import export, releases
from stream.shell.checkpoints import CHALLENGER_STATE_TOPIC, Shelf
from stream.shell.connection import refused
from stream.shell.judge_stage import JudgeStage, Judging
from stream.shell.stage import StageContext
from stream.shell.transport import Place

SHELF = Shelf(CHALLENGER_STATE_TOPIC)
NAMED = 10
"""Challengers that a refusal names."""
_TAKEN = [
    name for name in WouldBe.model_fields if name not in ("challenge_id", "challenger", "release_digest")
]


class Challenger(NamedTuple):
    """Who says what it would have decided: a name, and the digest of its release."""

    name: str
    digest: str

    def settings(self, settings: Settings) -> Settings:
        """`settings` with the consumer group of this challenger: another name is another group."""
        return replace(settings, group=f"{settings.group}-challenger-{self.name}")

    @property
    def shelf(self) -> Shelf:
        """Where its states lie: another release under the same name begins anew."""
        return SHELF._replace(mark=f"{self.name}@{self.digest[:16]}:".encode())


def would_be(challenger: Challenger, decision: bytes) -> dict[str, Any]:
    """What a decision of a challenger becomes: the members of `models.contracts.WouldBe`."""
    said = orjson.loads(decision)
    told = {name: said[name] for name in _TAKEN}
    return told | {
        "challenge_id": said["decision_id"],
        "challenger": challenger.name,
        "release_digest": challenger.digest,
    }


class ChallengeStage(JudgeStage):
    """Events in, would-be verdicts out."""

    def __init__(self, context: StageContext, judge: Judging, challenger: Challenger) -> None:
        super().__init__(context, judge)
        self.challenger, self.shelf = challenger, challenger.shelf
        release = judge.in_use(Partition.empty())
        registry = context.measures.registry
        names = ("challenger", "digest", "release", "policy")
        info = Gauge(
            "driftline_challenger_info", "1; who challenges, in its labels.", names, registry=registry
        )
        info.labels(challenger.name, challenger.digest, release.release, release.policy).set(1)
        self._verdicts = Counter(
            "driftline_challenger_verdicts",
            "Would-be verdicts handed to the producer, repeats after a crash included.",
            ("challenger", "verdict"),
            registry=registry,
        )

    async def publish(self, outputs: Sequence[Output], stamps_ms: Sequence[int]) -> asyncio.Task[None]:
        """Hand over what it would have decided, and nothing else that judging leads to."""
        told = []
        for output in outputs:
            if output.topic == DECISIONS:
                said = would_be(self.challenger, output.value)
                self._verdicts.labels(self.challenger.name, said["verdict"]).inc()
                told.append(Output(CHALLENGES, output.key, (), dumps(said)))
        return await super().publish(told, stamps_ms)

    async def tick(self, place: Place, due_ms: int | None) -> None:
        """Leave the input log alone: its owners tick."""

    def _identify(self) -> None:
        """Say nothing of what sessions begin under: they are the champion's."""


def runs(settings: Settings, name: str) -> bool | None:
    """Whether a process of the challenger of that name is a member of its consumer group; None where the bus does not tell.

    A process that was killed is a member until its session's time is out (``DRIFTLINE_SESSION_TIMEOUT_S``).

    Raises
    ------
    BrokerError
        No broker answers.
    """
    return asyncio.run(
        _runs(settings, f"{settings.prefix}{Challenger(name, '').settings(settings).group}-judge")
    )


async def _runs(settings: Settings, group: str) -> bool | None:
    # kafka-python's own `describe_groups` fails on the answers of the embedded broker.
    try:
        client = AIOKafkaAdminClient(**settings.aiokafka(), client_id="driftline-challengers")
        await client.start()
        try:
            (answer,) = await client.describe_consumer_groups([group])
        finally:
            await client.close()
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    (told,) = answer.to_object()["groups"]
    return told["state"] not in ("Empty", "Dead") if told["error_code"] == 0 else None


def forget(settings: Settings, name: str) -> int:
    """Take away the states of the challenger of that name, whatever its release; how many there were.

    Raises
    ------
    BrokerError
        No broker answers, or a topic is missing.
    InputError
        None of that name remembers anything; the text names those that do.
    """
    ours, gone, others = f"{name}@".encode(), 0, set[str]()
    with releases.writing(settings, "driftline-challengers") as producer:
        for base in settings.input_topics:
            topic = SHELF.topic(base)
            live: dict[tuple[int, bytes], bool] = {}
            for record, _ in export.records(settings, topic):
                if record.key is not None and record.key.startswith(ours):
                    live[record.partition, record.key] = record.value is not None
                elif record.key is not None and record.value is not None:
                    others.add(record.key.partition(b"@")[0].decode(errors="replace"))
            places = [place for place, stands in live.items() if stands]
            sent = [
                producer.send(settings.topic(topic), key=key, value=None, partition=number)
                for number, key in places
            ]
            for future in sent:
                releases.confirmed(future)
            gone += len(places)
    if not gone:
        known = ", ".join(sorted(others)[:NAMED]) or "no challenger at all"
        raise InputError(f"no challenger called {name} remembers anything; those that may: {known}")
    return gone
