"""The act stage: cases in, alerts and signed revocations out.

What the circuit breaker knows is read back from the log of cases, and from what stands as held, when a partition is taken over. A
person's ruling on what is held comes on the topic of feedback, and counts once it stands among the tenant's cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from pydantic import ValidationError

from models.contracts import HeldResolved
from stream.events import CASES, FEEDBACK, HELD, Output, Record, dumps
from stream.shell.act_past import read_cases, read_held
from stream.shell.stage import Stage, StageContext
from stream.shell.transport import Assignment, Place


class Acting(Protocol):
    """What the act stage needs of `stream.outbound.act.Actor`."""

    def act(self, records: Sequence[Record], held: Iterable[Record] = ()) -> list[Output]:
        """The outputs for cases; `held` is what the topic of what is held has, where a ruling on that is among them."""

    def rules(self, records: Iterable[Record]) -> bool:
        """Whether a ruling that holds is among records."""

    def forget(self) -> None:
        """Forget what is known of all tenants."""

    def recall(self, records: Iterable[Record]) -> None:
        """Note cases that were acted on before."""

    def recall_held(self, records: Iterable[Record]) -> None:
        """Note what stands as held."""


class ActStage(Stage):
    """Cases in, alerts and signed revocations out."""

    name = "act"

    def __init__(self, context: StageContext, actor: Acting) -> None:
        super().__init__(context, [CASES, FEEDBACK])
        self.actor = actor
        self._known: set[Place] = set()  # partitions of cases whose past was read back

    async def take_over(self, assignment: Assignment) -> Mapping[Place, int | None]:
        """See `stream.shell.transport.Receiving`."""
        # What another worker did meanwhile is not known here.
        self._known.clear()
        self.actor.forget()
        return await super().take_over(assignment)

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Act on cases, then acknowledge them: nothing but the outputs needs to be durable."""
        outputs: list[Output] = []
        for place, records in batches.items():
            if place[0] == self.settings.topic(FEEDBACK):
                outputs += forwarded(records)
                continue
            await self._read_back(place, records[0])
            held = await read_held(self.settings, place[1]) if self.actor.rules(records) else ()
            outputs += self.actor.act(records, held)
        stamps_ms = [record.timestamp_ms for records in batches.values() for record in records]
        # That held revocations were sent is told once they are: a crash between sends them again, and never loses one.
        await (await self.publish([output for output in outputs if output.topic != HELD], stamps_ms))
        if (last := [output for output in outputs if output.topic == HELD]) and not self.broken:
            await (await self.publish(last, ()))
        if not self.broken:
            for place, records in batches.items():
                self.app.consumer.acknowledge(place, records[-1].offset)
            self.at("act.acknowledged")

    async def _read_back(self, place: Place, first: Record) -> None:
        """Let the breaker know what came before the first record of a partition that was taken over."""
        if place in self._known:
            return
        if first.offset:
            self.actor.recall(await read_cases(self.settings, place, first))
            self.actor.recall_held(await read_held(self.settings, place[1]))
        self._known.add(place)


def forwarded(records: Sequence[Record]) -> list[Output]:
    """Rulings on what is held among records of feedback, as records for the log of cases of their tenants."""
    outputs = []
    for record in records:
        with suppress(ValidationError):
            ruling = HeldResolved.model_validate_json(record.value or b"")
            # Whether it is signed is found out where it counts: in the log that all workers read alike.
            outputs.append(Output(CASES, ruling.tenant.encode(), (), dumps(ruling.model_dump(mode="json"))))
    return outputs
