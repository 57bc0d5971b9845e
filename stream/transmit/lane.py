"""One stream at work: what came for its receiver, handed out in order, and what the receiver made of it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from stream.bridge.lane import FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S
from stream.bridge.order import MAX_TOKEN, addressee
from stream.events import Record
from stream.outbound.tokens import TokenError, verify_token
from stream.transmit.configuration import Limits, Receiver
from stream.transmit.push import MAX_TOLD, Answer, Refused, Taken, plain
from stream.transmit.stream import MOST_OWN, MOST_REFUSED, Own, Problem, Refusal, StreamRecord
from stream.transmit.window import Pending, Place, Window

MOST_POLLS = 8
"""Polls of one stream that may wait at the same time."""
MOST_ACKS = 1000
"""Ids that one poll may acknowledge or refuse."""

_log = logging.getLogger("driftline.transmit")


class Measured(Protocol):
    """Hears what becomes of tokens."""

    def delivered(self, receiver: str, event: str, seconds: float) -> None:
        """One was taken, so long after it came."""
        ...

    def refused(self, receiver: str, err: str) -> None:
        """One was refused for good."""
        ...

    def lost(self, receiver: str, count: int) -> None:
        """So many were gone from the bus before they were read."""
        ...

    def foreign(self, receiver: str, reason: str) -> None:
        """One on the bus is not ours to pass on."""
        ...


class Issuer(NamedTuple):
    """Whose tokens are passed on: ``iss``, and the JWK set as it is now."""

    name: str
    keys: Callable[[], Mapping[str, Any]]


class Lane:
    """A stream with what waits for it.

    Parameters
    ----------
    record : StreamRecord
        As it was kept.
    receiver : Receiver
        Whose it is.
    issuer : Issuer
        Whose tokens are passed on.
    limits : Limits
        How long things may take.
    measures : Measured
        Hears what becomes of tokens.
    now_ms : callable
        The time of day, in ms since 1970.
    draw : callable
        Uniform in [0, 1): the jitter of pauses.

    Attributes
    ----------
    record : StreamRecord
        The stream as it is now; its positions are those of `kept`.
    down_why : str
        Why its receiver is left alone at the moment; empty while it is not.
    changed : bool
        Whether something is not on the bus yet.
    """

    def __init__(
        self,
        record: StreamRecord,
        receiver: Receiver,
        issuer: Issuer,
        limits: Limits,
        measures: Measured,
        now_ms: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        self.record, self.receiver, self.down_why, self.changed = record, receiver, "", True
        self.window = Window(record.places())
        self._issuer, self._limits, self._measures = issuer, limits, measures
        self._now_ms, self._draw = now_ms, draw
        self._stirred, self._polls, self._ended = asyncio.Event(), 0, False
        self._own_lent_until_s: dict[str, float] = {}

    def kept(self) -> StreamRecord:
        """The stream as it goes onto the bus."""
        return self.record.at(self.window.positions())

    def end(self) -> None:
        """Hand out nothing any more: another transmitter may serve this stream."""
        self._ended = True
        self._stir()

    # What comes from the bus.

    def read(self, place: Place, record: Record) -> None:
        """Take in a record of the bus; what is for others, or is not ours, is passed by."""
        lost = self.window.read(place, record.offset, self._pending(place, record))
        if lost:
            self._measures.lost(self.record.receiver, lost)
            _log.error(
                "%s: %d records of %s[%d] were gone from the bus before this receiver was served; it should look through what it missed",
                self.record.receiver,
                lost,
                *place,
            )
        self._stir()

    def again(self, place: Place, record: Record) -> None:
        """Hand out once more what the receiver had refused; it stands among the refused until it is taken."""
        if (pending := self._pending(place, record)) is not None:
            self.window.again(pending)
            self._stir()

    async def has_room(self) -> int:
        """Wait until more may be read; gives how much."""
        while (room := self.window.room()) <= 0 or self.record.status == "disabled":
            await self._stirred.wait()
        return room

    def _pending(self, place: Place, record: Record) -> Pending | None:
        token, name = record.value or b"", self.record.receiver
        try:
            if len(token) > MAX_TOKEN:
                raise TokenError("size", f"{len(token)} bytes; at most {MAX_TOKEN} are read")
            audience = addressee(token)
            if audience not in self.receiver.audiences:
                return None
            claims = verify_token(token, self._issuer.keys(), self._issuer.name, audience)
        except TokenError as error:
            self._measures.foreign(name, error.reason)
            _log.error("not passed on to %s: %s[%d]@%d: %s", name, place[0], place[1], record.offset, error)
            return None
        event = next(iter(claims["events"]))
        if event not in self.record.delivered():
            return None
        return Pending(claims["jti"], event, token, record.timestamp_ms, place, record.offset)

    # What its receiver, and the operator, make of the stream.

    def change(self, record: StreamRecord, positions: Mapping[Place, int] | None = None) -> None:
        """Go on as `record` says; with `positions`, from there on."""
        if record.status == "disabled":
            self.window = Window(self.window.read_to())
        if positions is not None:
            self.window = Window(positions)
        self.record, self.changed = record, True
        for pending in self.window.waiting():
            if pending.event not in record.delivered():
                self.window.done(pending.jti)
        self._stir()

    def add(self, own: Own) -> None:
        """Put an event of the stream itself in line; a disabled stream holds none but what tells its status."""
        if self.record.status == "disabled" and not own.through:
            return
        waiting = (*self.record.own, own)[-MOST_OWN:]
        self.record, self.changed = self.record.model_copy(update={"own": waiting}), True
        self._stir()

    # What becomes of tokens.

    def taken(self, jti: str) -> None:
        """The receiver has a token; one that does not wait is no news."""
        if (done := self._done(jti)) is not None:
            event, stamped_ms, _ = done
            if any(each.jti == jti for each in self.record.refused):
                refused = tuple(each for each in self.record.refused if each.jti != jti)
                self.record = self.record.model_copy(update={"refused": refused})
            self._measures.delivered(self.record.receiver, event, max(0, self._now_ms() - stamped_ms) / 1000)

    def refuse(self, jti: str, err: str, description: str) -> None:
        """The receiver will not take a token: it is noted, told, and does not hold up the next."""
        if (done := self._done(jti)) is None:
            return
        event, _, pending = done
        where: dict[str, Any] = {}
        if pending is not None:
            (topic, partition), offset = pending.place, pending.offset
            where = {"topic": topic, "partition": partition, "offset": offset}
        told = Refusal(jti=jti, event=event, err=err, description=description, at_ms=self._now_ms(), **where)
        others = tuple(each for each in self.record.refused if each.jti != jti)
        self.record = self.record.model_copy(
            update={
                "refused": (*others, told)[-MOST_REFUSED:],
                "n_refused": self.record.n_refused + 1,
            }
        )
        self._measures.refused(self.record.receiver, err)
        _log.error(
            "%s refuses %s (%s): %s %s; it is not sent again",
            self.record.receiver,
            jti,
            event,
            err,
            description,
        )

    def _done(self, jti: str) -> tuple[str, int, Pending | None] | None:
        pending = self.window.done(jti)
        if pending is not None:
            self.changed = True
            self._stir()
            return pending.event, pending.stamped_ms, pending
        for own in self.record.own:
            if own.jti == jti:
                rest = tuple(each for each in self.record.own if each is not own)
                self.record, self.changed = self.record.model_copy(update={"own": rest}), True
                self._own_lent_until_s.pop(jti, None)
                return own.event, own.made_ms, None
        return None

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """What may be handed out now, as (jti, token): the stream's own events first, then tokens in the bus's order."""
        if self._ended:
            return []
        enabled = self.record.status == "enabled"
        own = [
            (each.jti, each.token.encode())
            for each in self.record.own
            if (enabled or each.through) and self._own_lent_until_s.get(each.jti, now_s) <= now_s
        ]
        return [*own, *((each.jti, each.token) for each in self.window.due(now_s))] if enabled else own

    # RFC 8936.

    async def poll(self, body: Mapping[str, Any], gone: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Answer a poll: what it acknowledges or refuses is done, and what waits is handed out.

        Parameters
        ----------
        body : mapping
            The request.
        gone : callable
            Whether whoever asked has gone meanwhile: it is given nothing, and the next one all.

        Raises
        ------
        Problem
            The request has another shape.
        """
        most, at_once = body.get("maxEvents", math.inf), body.get("returnImmediately", False)
        acks, errors = body.get("ack", []), body.get("setErrs", {})
        if most is not math.inf and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise Problem(400, "maxEvents is a number of tokens")
        if not isinstance(at_once, bool):
            raise Problem(400, "returnImmediately is true or false")
        if not isinstance(acks, list) or not all(isinstance(each, str) for each in acks):
            raise Problem(400, "ack is a list of jti")
        if not isinstance(errors, dict) or not all(
            isinstance(each, dict) and isinstance(each.get("err"), str) for each in errors.values()
        ):
            raise Problem(400, "setErrs gives an err for each jti")
        if len(acks) + len(errors) > MOST_ACKS:
            raise Problem(400, f"at most {MOST_ACKS} tokens are acknowledged at once")
        for jti in acks:
            self.taken(jti)
        for jti, said in errors.items():
            self.refuse(jti, plain(said["err"], 64), plain(said.get("description"), MAX_TOLD))
        if most < 1:
            return {"sets": {}, "moreAvailable": bool(self.due(asyncio.get_running_loop().time()))}
        if not at_once:
            await self._something_due()
        now_s = asyncio.get_running_loop().time()
        due = [] if gone() else self.due(now_s)
        given = due if most == math.inf else due[: int(most)]
        until_s = now_s + self._limits.redeliver_after_s
        for jti, _ in given:
            self.window.lend(jti, until_s)
            if any(each.jti == jti for each in self.record.own):
                self._own_lent_until_s[jti] = until_s
        return {
            "sets": {jti: token.decode("ascii") for jti, token in given},
            "moreAvailable": len(given) < len(due),
        }

    async def _something_due(self) -> None:
        """Wait until something may be handed out, or as long as a poll waits."""
        if self._polls >= MOST_POLLS:
            raise Problem(429, f"{MOST_POLLS} polls of this stream wait already", 1)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._limits.long_poll_s
        self._polls += 1
        try:
            while not self.due(now_s := loop.time()) and now_s < ends_s and not self._ended:
                back_s = [each for each in self._own_lent_until_s.values() if each > now_s]
                if (lent_s := self.window.next_due_s()) is not None and lent_s > now_s:
                    back_s.append(lent_s)
                stirred = self._stirred
                try:
                    async with asyncio.timeout_at(min([ends_s, *back_s])):
                        await stirred.wait()
                except TimeoutError:
                    continue
        finally:
            self._polls -= 1

    # RFC 8935.

    async def push(self, send: Callable[[bytes], Awaitable[Answer]]) -> None:
        """Push for ever, one token after the other; a receiver that does not take one is left alone for a while.

        Notes
        -----
        The pause has full jitter and at least what `Retry-After` says, as in `stream.bridge.lane`. A receiver that does not answer is
        waited for without end, since the bus keeps its tokens. One that answers and fails on one token only, for as long as the
        limits say, is told to have refused it.
        """
        loop = asyncio.get_running_loop()
        failures, failing, failing_s = 0, "", 0.0
        while True:
            jti, token = await self._next()
            answer = await send(token)
            if isinstance(answer, Taken | Refused):
                failures, self.down_why, failing = 0, "", ""
                if isinstance(answer, Taken):
                    self.taken(jti)
                else:
                    self.refuse(jti, answer.err, answer.description)
                continue
            if not answer.about_token:
                failing = ""
            elif failing != jti:
                failing, failing_s = jti, loop.time()
            elif loop.time() - failing_s >= self._limits.give_up_minutes * 60:
                self.refuse(jti, "gave_up", answer.why)
                continue
            if not self.down_why:
                _log.warning(
                    "%s does not take tokens, and is left alone: %s", self.record.receiver, answer.why
                )
            self.down_why = answer.why
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 16))
            asked_s = min(answer.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
            failures += 1
            await asyncio.sleep(max(self._draw() * longest, asked_s))

    async def _next(self) -> tuple[str, bytes]:
        while not (due := self.due(math.inf)):
            await self._stirred.wait()
        return due[0]

    def _stir(self) -> None:
        """Wake whoever waits for a change of this stream."""
        self._stirred.set()
        self._stirred = asyncio.Event()
