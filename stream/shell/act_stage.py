"""The act stage: cases in, alerts and signed revocations out; it holds no state of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from stream.events import CASES, Output, Record
from stream.shell.stage import Stage, StageContext
from stream.shell.transport import Place


class Acting(Protocol):
    """What the act stage needs of `stream.outbound.act.Actor`."""

    def act(self, records: Sequence[Record]) -> list[Output]:
        """The outputs for cases."""


class ActStage(Stage):
    """Cases in, alerts and signed revocations out; holds no state of its own."""

    name = "act"

    def __init__(self, context: StageContext, actor: Acting) -> None:
        super().__init__(context, [CASES])
        self.actor = actor

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Act on cases, then acknowledge them: nothing but the outputs needs to be durable."""
        outputs = [output for records in batches.values() for output in self.actor.act(records)]
        stamps_ms = [record.timestamp_ms for records in batches.values() for record in records]
        await (await self.publish(outputs, stamps_ms))
        if not self.broken:
            for place, records in batches.items():
                self.app.consumer.acknowledge(place, records[-1].offset)
            self.at("act.acknowledged")
