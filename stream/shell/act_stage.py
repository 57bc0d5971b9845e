"""The act stage: cases in, alerts and signed revocations out.

What act knows of the past is read back from the log of cases, from what stands as held, and from its own alerts, when a partition is taken
over. A person's ruling on what is held, and an analyst's verdict, come on the topic of feedback, what became of a revocation on that of
outcomes; all count once they stand among the tenant's cases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from models.contracts import FeedbackGiven, HeldResolved, Outcome, OutcomeTold
from stream.events import CASES, FEEDBACK, HELD, OUTCOMES, Output, Record, dumps, refusal
from stream.shell.act_past import Recalling, read_back, read_held
from stream.shell.stage import Stage, StageContext
from stream.shell.transport import Assignment, Place


class Acting(Recalling, Protocol):
    """What the act stage needs of `stream.outbound.act.Actor`."""

    def act(self, records: Sequence[Record], held: Iterable[Record] = ()) -> list[Output]:
        """The outputs for cases; `held` is what the topic of what is held has, where a ruling on that is among them."""

    def rules(self, records: Iterable[Record]) -> bool:
        """Whether a ruling that holds is among records."""

    def forget(self) -> None:
        """Forget what is known of all tenants."""

    def next_deadline(self, partition: int) -> int | None:
        """When a stamp of a partition of cases would lead to something, in ms since 1970; None: nothing is waited for."""

    def standing(self) -> Mapping[str, int]:
        """How many cases wait for a person, or for a broker, by what they wait for."""


class ActStage(Stage):
    """Cases in, alerts and signed revocations out."""

    name = "act"

    def __init__(self, context: StageContext, actor: Acting) -> None:
        super().__init__(context, [CASES, FEEDBACK, OUTCOMES])
        self.actor = actor
        self._known: set[Place] = set()  # partitions of cases whose past was read back

    async def take_over(self, assignment: Assignment) -> Mapping[Place, int | None]:
        """See `stream.shell.transport.Receiving`."""
        async with self._batches:  # a past that is being read back is of the assignment before
            # What another worker did meanwhile is not known here.
            self._known.clear()
            self.actor.forget()
            return await super().take_over(assignment)

    async def batch(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        """Act on cases, then acknowledge them: nothing but the outputs needs to be durable."""
        await self._read_back()
        outputs: list[Output] = []
        for place, records in batches.items():
            if place[0] != self.settings.topic(CASES):
                outputs += forwarded(
                    records, OUTCOMES if place[0] == self.settings.topic(OUTCOMES) else FEEDBACK
                )
                continue
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

    async def remind_regularly(self) -> None:
        """Append ticks to quiet partitions where a broker is late, until the stage is closed."""
        while not self.closed:
            await asyncio.sleep(1.0)
            try:
                for place, before in tuple(self._next.items()):
                    # Records that wait will move the clock themselves.
                    if place[0] == self.settings.topic(CASES) and self.lag(place) == 0:
                        await self._remind(place, before)
            except Exception as error:
                if not self.closed:  # at the end the producer goes first, and a tick that is lost is appended by the next owner
                    self.failed(error)
                return

    async def _remind(self, place: Place, before: int) -> None:
        async with self._batches:
            if self.closed or self._next.get(place) != before:
                return
            await self._read_back()
        await self.tick(place, self.actor.next_deadline(place[1]))

    def observe(self) -> None:
        """Bring the gauges up to date."""
        super().observe()
        for standing, count in self.actor.standing().items():
            self.measures.revocations.labels(standing).set(count)

    async def _read_back(self) -> None:
        """Let the actor know what came before the records to come, in every partition of cases that was taken over."""
        cases = self.settings.topic(CASES)
        if new := {
            place: before
            for place, before in self._next.items()
            if place[0] == cases and place not in self._known
        }:
            await read_back(self.settings, {place[1]: before for place, before in new.items()}, self.actor)
            self._known.update(new)


def forwarded(records: Iterable[Record], base: str) -> list[Output]:
    """What counts once it stands among the cases of its tenant: outcomes, verdicts of analysts, and rulings on what is held."""
    outputs = []
    for record in records:
        told: HeldResolved | FeedbackGiven | OutcomeTold
        try:
            if base == FEEDBACK:
                # Whether it is signed by whom is found out where it counts: in the log that all workers read alike.
                told = _SIGNED.validate_json(record.value or b"")
            else:
                tenant = (record.key or b"").decode()
                outcome = Outcome.model_validate_json(record.value or b"")
                told = OutcomeTold(type="outcome.told", tenant=tenant, outcome=outcome)
            outputs.append(_case_record(told))
        except (ValidationError, UnicodeDecodeError, TypeError):
            wanted = _UNSIGNED if base == FEEDBACK else "not an outcome, keyed by its tenant"
            outputs.append(refusal(record, "schema", wanted))
    return outputs


_SIGNED: TypeAdapter[HeldResolved | FeedbackGiven] = TypeAdapter(
    Annotated[HeldResolved | FeedbackGiven, Field(discriminator="type")]
)
_UNSIGNED = (
    "neither feedback.given nor held.resolved, with tenant and a signed token: feedback counts only signed; `driftline feedback` "
    "writes it (docs/feedback.md)"
)


def _case_record(told: HeldResolved | FeedbackGiven | OutcomeTold) -> Output:
    return Output(CASES, told.tenant.encode(), (), dumps(told.model_dump(mode="json", exclude_none=True)))
