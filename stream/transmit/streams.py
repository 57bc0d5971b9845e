"""All streams of a transmitter: begun as they were kept, changed as their receivers ask, and kept again before a change is told.

No broker is known here: `Bus` is what it must do.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

from stream.bridge.provider import Unavailable
from stream.bridge.providers.settings import secret
from stream.events import Record
from stream.outbound.keys import SigningKeys
from stream.transmit import claims, stream
from stream.transmit.configuration import PUSH, Configuration, Push, Receiver
from stream.transmit.lane import Issuer, Lane, Measured
from stream.transmit.push import Answer, Held, Pusher, Refused
from stream.transmit.sealing import Seal
from stream.transmit.stream import Own, Problem, StreamRecord, Terms
from stream.transmit.window import Place

_log = logging.getLogger("driftline.transmit")


class Bus(Protocol):
    """Where tokens come from, and where streams are kept."""

    async def keep(self, stream_id: str, value: bytes | None) -> None:
        """Write a stream down, or delete it; returns once that is confirmed."""
        ...

    async def ends(self) -> dict[Place, int]:
        """Where the tokens end now."""
        ...

    async def at(self, place: Place, offset: int) -> Record | None:
        """One record; None where it is gone."""
        ...

    async def read(self, lane: Lane) -> None:
        """Give `lane` every record from where its window begins, as far as it has room, for ever."""
        ...


class _Serving(NamedTuple):
    """One stream at work, and the tasks that read for it and push to it."""

    lane: Lane
    tasks: list[asyncio.Task[None]]


class Streams:
    """The streams of a configuration's receivers, one for each.

    Parameters
    ----------
    configuration : Configuration
        Receivers and limits.
    issuer : str
        ``iss`` of the tokens.
    keys : SigningKeys
        Those of act: they verify what is passed on, and sign the streams' own events.
    bus : Bus
        Where tokens come from, and where streams are kept.
    measures : Measured
        Hears what becomes of tokens.
    now_ms : callable
        The time of day, in ms since 1970.
    draw : callable
        Uniform in [0, 1): the jitter of pauses.

    Attributes
    ----------
    serves : bool
        Whether it is this transmitter's turn; streams can be changed only then.
    """

    def __init__(
        self,
        configuration: Configuration,
        issuer: str,
        keys: SigningKeys,
        bus: Bus,
        measures: Measured,
        now_ms: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        limits = configuration.limits
        self._configuration, self._keys, self._bus = configuration, keys, bus
        self._measures, self._now_ms, self._draw = measures, now_ms, draw
        self._seal = None if configuration.seal_key_file is None else Seal(configuration.seal_key_file)
        self.terms = Terms(
            issuer,
            configuration.url,
            limits.min_verification_interval_s,
            None if self._seal is None else self._seal.close,
        )
        self.serves = False
        self._serving: dict[str, _Serving] = {}
        self._pushers = {
            name: Pusher(each.ca_file, limits.timeout_s) for name, each in configuration.receivers.items()
        }
        self._turn, self._saves = asyncio.Lock(), asyncio.Lock()

    async def take_over(self, kept: Mapping[str, StreamRecord]) -> None:
        """Begin with the streams that are kept, by receiver, and with those that the configuration file describes."""
        async with self._turn:
            for name, receiver in self._configuration.receivers.items():
                record = await self._reconciled(name, receiver, kept.get(name))
                if record is not None:
                    self._begin(name, record)
            for name in kept.keys() - self._configuration.receivers.keys():
                _log.warning("a stream of %s is kept, but the configuration names no such receiver", name)
            self.serves = True
            await self.save()

    async def send_refused(self) -> int:
        """Hand out once more what receivers refused and the bus still has; gives how many."""
        found = 0
        for lane in self.lanes().values():
            for each in lane.record.refused:
                if each.topic is None or each.partition is None or each.offset is None:
                    continue  # an event of the stream itself: its receiver asks for another
                place = each.topic, each.partition
                if (record := await self._bus.at(place, each.offset)) is None:
                    _log.warning("%s of %s is gone from the bus", each.jti, lane.record.receiver)
                    continue
                lane.again(place, record)
                found += 1
        return found

    async def let_go(self) -> None:
        """Stop, and write down how far each receiver is."""
        async with self._turn:
            if not self.serves:
                return
            self.serves = False
            for each in self._serving.values():
                each.lane.end()
            try:
                await self._halt([*self._serving])
                await self.save()
            finally:
                self._serving.clear()

    async def close(self) -> None:
        """Stop whatever runs, and let go of connections; nothing is written."""
        await self._halt([*self._serving])
        for pusher in self._pushers.values():
            await pusher.close()

    def lanes(self) -> dict[str, Lane]:
        """Streams by receiver.

        Raises
        ------
        Exception
            What ended a stream's reader: nothing is read for it any longer.
        """
        for each in self._serving.values():
            for task in each.tasks:
                if task.done() and not task.cancelled():
                    task.result()
        return {name: each.lane for name, each in self._serving.items()}

    async def _reconciled(
        self, name: str, receiver: Receiver, kept: StreamRecord | None
    ) -> StreamRecord | None:
        """A receiver's stream as the configuration file has it now; its place and status are those that were kept."""
        if receiver.stream is None:
            return kept
        wanted = stream.fixed(name, receiver, secrets.token_hex(16))
        if kept is None:
            ends = await self._bus.ends()
            return self._by_operator(wanted.at(ends), receiver)
        now = kept.model_copy(
            update={"delivery": wanted.delivery, "events_requested": wanted.events_requested}
        )
        if kept.by_operator == receiver.stream.status:
            return now
        changed = self._by_operator(now, receiver)
        return changed.at(await self._bus.ends()) if kept.status == "disabled" else changed

    def _by_operator(self, record: StreamRecord, receiver: Receiver) -> StreamRecord:
        """The stream with the status that the operator gives it, and the event that tells its receiver first (SSF 1.0, 8.1.5)."""
        assert receiver.stream is not None
        status, reason = receiver.stream.status, receiver.stream.reason
        changed = stream.with_status(record, status, reason).model_copy(update={"by_operator": status})
        if status == record.status:
            return changed
        jti = secrets.token_hex(16)
        told = claims.stream_updated(changed, receiver, self.terms, jti, self._now_ms() // 1000)
        own = self._own(claims.STREAM_UPDATED, told, through=True)
        return changed.model_copy(update={"own": (*changed.own, own)[-stream.MOST_OWN :]})

    def _own(self, event: str, said: Mapping[str, Any], *, through: bool = False) -> Own:
        token = self._keys.sign(said)
        return Own(jti=said["jti"], event=event, token=token, made_ms=self._now_ms(), through=through)

    def _begin(self, name: str, record: StreamRecord) -> Lane:
        receiver = self._configuration.receivers[name]
        issuer = Issuer(self.terms.issuer, self._keys.jwks)
        lane = Lane(
            record, receiver, issuer, self._configuration.limits, self._measures, self._now_ms, self._draw
        )
        self._serving[name] = _Serving(lane, [])
        self._start(name)
        return lane

    def _start(self, name: str) -> None:
        lane, tasks = self._serving[name]
        tasks.append(asyncio.create_task(self._bus.read(lane)))
        if lane.record.delivery.method == PUSH:
            tasks.append(asyncio.create_task(lane.push(lambda token: self._push(name, lane, token))))

    async def _halt(self, names: Collection[str]) -> None:
        tasks = [task for name in names for task in self._serving[name].tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            self._serving[name].tasks.clear()

    async def _push(self, name: str, lane: Lane, token: bytes) -> Answer:
        delivery, fixed = lane.record.delivery, lane.receiver.stream
        try:
            authorization = None
            if fixed is not None and isinstance(fixed.delivery, Push):
                if fixed.delivery.token_file is not None:
                    authorization = f"Bearer {secret(fixed.delivery.token_file)}"
            elif delivery.authorization is not None:
                if self._seal is None:
                    return Held("its Authorization is sealed; set seal_key_file again")
                authorization = self._seal.open(delivery.authorization)
        except Unavailable as error:
            return Held(error.why)
        answer = await self._pushers[name].send(delivery.endpoint_url or "", authorization, token)
        if isinstance(answer, Refused) and authorization is not None:
            # A receiver may quote what it was shown; that goes into no log and onto no bus.
            shown = authorization.rpartition(" ")[2]
            return answer._replace(description=answer.description.replace(shown, "(its token)"))
        return answer

    async def save(self) -> None:
        """Write down every stream of which something changed."""
        for each in [*self._serving.values()]:
            if each.lane.changed:
                await self._save(each.lane)

    async def _save(self, lane: Lane) -> None:
        """Write a stream down, and wait until the broker has it."""
        async with self._saves:
            lane.changed, kept = False, lane.kept()
            try:
                await self._bus.keep(kept.stream_id, kept.dumped())
            except BaseException:
                lane.changed = True  # not confirmed: it is written again with the next
                raise

    # For receivers.

    def jwks(self) -> dict[str, Any]:
        """The public keys, as ``jwks_uri`` serves them."""
        return self._keys.jwks()

    def lane(self, receiver: str, stream_id: object) -> Lane:
        """A receiver's stream by its id.

        Raises
        ------
        Problem
            It has none of that id.
        """
        serving = self._serving.get(receiver)
        if not isinstance(stream_id, str) or not stream_id:
            raise Problem(400, "stream_id is missing")
        if serving is None or serving.lane.record.stream_id != stream_id:
            raise Problem(404, "this receiver has no such stream")
        return serving.lane

    def told(self, receiver: str) -> list[dict[str, Any]]:
        """The configurations of a receiver's streams: one, or none."""
        serving = self._serving.get(receiver)
        return (
            [] if serving is None else [stream.told(serving.lane.record, serving.lane.receiver, self.terms)]
        )

    async def create(self, receiver: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a receiver's stream; it gets what comes from now on."""
        async with self._turn:
            self.must_serve()
            if receiver in self._serving:
                raise Problem(409, "this receiver has a stream; read it, and change it with PATCH or PUT")
            made = stream.created(
                receiver,
                self._configuration.receivers[receiver],
                secrets.token_hex(16),
                body,
                self.terms,
            )
            made = made.at(await self._bus.ends())
            await self._bus.keep(made.stream_id, made.dumped())
            lane = self._begin(receiver, made)
            return stream.told(lane.record, lane.receiver, self.terms)

    async def change(
        self,
        receiver: str,
        body: Mapping[str, Any],
        how: Callable[[StreamRecord, Receiver, Mapping[str, Any], Terms], StreamRecord],
    ) -> dict[str, Any]:
        """Change a stream by `stream.updated` or `stream.replaced`."""
        async with self._turn:
            self.must_serve()
            lane = self.lane(receiver, body.get("stream_id"))
            record = how(lane.record, lane.receiver, body, self.terms)
            moved = record.delivery != lane.record.delivery
            if moved:
                await self._halt([receiver])
            lane.change(record)
            await self._save(lane)
            if moved:
                self._start(receiver)
            return stream.told(lane.record, lane.receiver, self.terms)

    async def delete(self, receiver: str, stream_id: object) -> None:
        """Delete a stream, and with it what waits in it."""
        async with self._turn:
            self.must_serve()
            lane = self.lane(receiver, stream_id)
            if lane.receiver.stream is not None:
                raise Problem(403, "this receiver's stream is made by the operator")
            await self._halt([receiver])
            async with self._saves:
                await self._bus.keep(lane.record.stream_id, None)
            lane.end()
            del self._serving[receiver]

    async def set_status(self, receiver: str, body: Mapping[str, Any]) -> dict[str, str]:
        """Enable, pause or disable a stream, as its receiver asks."""
        async with self._turn:
            self.must_serve()
            lane = self.lane(receiver, body.get("stream_id"))
            record = stream.changed_status(lane.record, body)
            starts_anew = lane.record.status == "disabled" and record.status != "disabled"
            positions = await self._bus.ends() if starts_anew else None
            if starts_anew:
                await self._halt([receiver])
            lane.change(record, positions)
            await self._save(lane)
            if starts_anew:
                self._start(receiver)
            return stream.status_told(lane.record)

    async def verify(self, receiver: str, body: Mapping[str, Any]) -> None:
        """Put a verification event in line."""
        async with self._turn:
            self.must_serve()
            lane = self.lane(receiver, body.get("stream_id"))
            now_ms = self._now_ms()
            state = stream.asked_state(lane.record, body, self.terms, now_ms)
            jti = secrets.token_hex(16)
            said = claims.verification(lane.record, lane.receiver, self.terms, jti, now_ms // 1000, state)
            lane.record = lane.record.model_copy(update={"verified_ms": now_ms})
            lane.add(self._own(claims.VERIFICATION, said))
            await self._save(lane)

    def must_serve(self) -> None:
        """`Problem` while it is another transmitter's turn."""
        if not self.serves:
            raise Problem(503, "another transmitter serves at the moment", 2)
