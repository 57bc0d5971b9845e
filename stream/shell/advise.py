"""The stage `advise`: decisions in the grey band are shown to a model, and what it says comes back to the session as a signed event.

It reads events to know the words, and decisions to know what to ask about. Of decisions only those are committed before which none
waits and whose opinions the broker confirmed: after a crash the rest are asked about again, and the judge takes the first opinion alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from models.errors import BrokerError
from stream import opinions
from stream.advice.budget import Budget
from stream.advice.endpoint import tokens_of
from stream.advice.heard import Heard, Name, Place
from stream.advice.question import Answer, question
from stream.core.deployment import Opinion
from stream.events import DECISIONS, dumps, rfc3339
from stream.settings import Settings
from stream.shell.connection import refused

LOOK_BACK_S = 3600
"""How far back events are read again at the start, to know the words of sessions that go on."""
WAIT_S = 10.0
"""How long a decision waits for its session's events once all that there are were read."""
MAX_WAITING = 1000
"""Decisions that wait for these at most; the oldest are passed over."""
MAX_POLLED = 500
AT_ONCE = 8
"""Questions that are asked at the same time, before anything else is read."""
POLL_INTERVAL_MS = 900_000
"""Longest that a round of questions may take before the group takes the partitions away: several of the longest time-outs."""

_log = logging.getLogger("driftline.advise")


class Asked(Protocol):
    """Answers questions, each in bounded time."""

    async def ask(self, questions: Sequence[str]) -> list[Answer | None]:
        """The answer to each; None where there is none."""
        ...


class Case(NamedTuple):
    """A decision to ask about, where it lies, and since when its session's events are missing though all were read."""

    decision: Mapping[str, Any]
    partition: int
    offset: int
    missing_since_s: float | None = None


class Given(NamedTuple):
    """An opinion as it goes onto the bus."""

    place: Place
    key: bytes
    value: bytes


class Adviser:
    """What to ask about, and what becomes of the answers; no broker is known here.

    Parameters
    ----------
    heard : the words of sessions
    endpoint : whom to ask
    budget : what may be spent
    key : private, signs opinions
    by : who gives them, such as the model's name
    issuer : of this installation
    bands : ``watch``, ``alert`` or both: what is asked about

    Attributes
    ----------
    counts : what became of decisions, by name
    """

    def __init__(
        self,
        heard: Heard,
        endpoint: Asked,
        budget: Budget,
        key: Any,
        by: str,
        issuer: str,
        bands: Collection[str] = ("watch", "alert"),
    ) -> None:
        self.heard, self.counts = heard, Counter[str]()
        self._endpoint, self._budget, self._bands = endpoint, budget, bands
        self._key, self._by, self._issuer = key, by, issuer
        self._waiting: list[Case] = []

    def decision(self, raw: bytes, partition: int, offset: int) -> None:
        """Note a decision to ask about, if it is one."""
        decision = _document(raw)
        if isinstance(decision, dict) and band_of(decision) in self._bands:
            self._waiting.append(Case(decision, partition, offset))

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what waits of partitions that others have taken over."""
        self._waiting = [case for case in self._waiting if case.partition not in partitions]

    async def answer(self, now_s: float, time_ms: int, *, caught_up: bool) -> list[Given]:
        """Ask about some decisions whose sessions are known by now; the others wait.

        Parameters
        ----------
        now_s : of a clock that only rises
        time_ms : of the day, that opinions are stamped with
        caught_up : whether all events that there are were read
        """
        self.counts["passed_over"] += max(0, len(self._waiting) - MAX_WAITING)
        questions: list[tuple[Mapping[str, Any], Place, str]] = []
        waiting: list[Case] = []
        for case in self._waiting[-MAX_WAITING:]:
            if len(questions) == AT_ONCE:
                waiting.append(case)
                continue
            asked = self._question(case.decision)
            if asked is None:
                since = case.missing_since_s
                since = now_s if since is None and caught_up else since
                expired = since is not None and now_s >= since + WAIT_S
                waiting += [] if expired else [case._replace(missing_since_s=since)]
                self.counts["unknown"] += expired
            elif not self._budget.take(tokens_of(asked[1]), now_s):
                self.counts["over_budget"] += 1
            else:
                questions.append((case.decision, *asked))
        self._waiting = waiting
        if not questions:
            return []
        answers = await self._endpoint.ask([text for _, _, text in questions])
        told = zip(questions, answers, strict=True)
        return [
            given
            for (decision, place, _), said in told
            if (given := self._given(decision, place, said, time_ms)) is not None
        ]

    def waits_at(self) -> dict[int, int]:
        """By partition, where the first decision lies that was read and is not yet dealt with."""
        first: dict[int, int] = {}
        for case in self._waiting:
            first[case.partition] = min(case.offset, first.get(case.partition, case.offset))
        return first

    def _question(self, decision: Mapping[str, Any]) -> tuple[Place, str] | None:
        """Where an opinion on a decision belongs, and what to ask; None where its session is not known well enough."""
        name = Name(decision["tenant"], decision["root_session_id"], decision["session_id"])
        words = self.heard.of(name)
        above = self.heard.of(name._replace(session=name.root)) if name.session != name.root else None
        if words is None or (name.session != name.root and above is None):
            return None
        text = question(words, decision["call_id"], rests_on(decision), above)
        return None if text is None else (words.place, text)

    def _given(
        self, decision: Mapping[str, Any], place: Place, said: Answer | None, time_ms: int
    ) -> Given | None:
        self.counts[said or "no_answer"] += 1
        if said not in ("serves", "drifts"):
            return None
        names = {name: decision[name] for name in ("tenant", "root_session_id", "session_id")}
        told = Opinion(**names, decision_id=decision["decision_id"], opinion=said, by=self._by)
        event = {
            **names,
            "type": "opinion.given",
            "id": f"opinion/{told.decision_id}/{self._by}",
            "time": rfc3339(time_ms),
            "token": opinions.sign(told, self._issuer, self._key),
        }
        return Given(place, told.root_session_id.encode(), dumps(event))


def band_of(decision: Mapping[str, Any]) -> str | None:
    """``alert`` where a score led to one, ``watch`` where it led to that; None for all that no opinion can change.

    An allowed call may score above the alert's threshold: too few families spoke.
    """
    try:
        score, at = decision["score"], decision["thresholds"]
        if decision["verdict"] == "alert" and score >= at["alert"]:
            return "alert"
        return "watch" if decision["verdict"] == "allow" and score >= at["watch"] else None
    except (KeyError, TypeError):
        return None


def rests_on(decision: Mapping[str, Any]) -> list[int]:
    """Numbers of the calls that a decision rests on: those that a reader read it beside, and those of its evidence."""
    read = decision.get("read") or {}
    heard = [source["call_seq"] for source in read.get("heard", ())]
    return [*heard, *(call for each in decision["evidence"] if each["supports"] for call in each["calls"])]


def _document(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def run(settings: Settings, adviser: Adviser, stop: Callable[[], bool]) -> None:
    """Read, ask and send until told to stop.

    Raises
    ------
    BrokerError
        No broker answers, a right is missing, or an opinion was not confirmed.
    """
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import KafkaError

    from stream.shell import wire

    wire.install()
    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=f"{settings.prefix}{settings.group}-advise",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_poll_interval_ms=POLL_INTERVAL_MS,
            client_id="driftline-advise",
        )
        producer = KafkaProducer(**settings.kafka(), acks="all", client_id="driftline-advise")
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        reading = _Reading(settings, consumer, adviser)
        told_s = time.monotonic()
        while not stop():
            caught_up = reading.poll()
            now_s = time.monotonic()
            given = asyncio.run(adviser.answer(now_s, int(time.time() * 1000), caught_up=caught_up))
            sent = [producer.send(g.place.topic, g.value, g.key, partition=g.place.partition) for g in given]
            for future in sent:
                future.get(timeout=30)
            reading.commit()
            if now_s >= told_s + 60:
                told_s = now_s
                _log.info("second opinions: %s", dict(adviser.counts))
    except KafkaError as error:
        raise BrokerError(f"second opinions: {type(error).__name__}") from error
    finally:
        consumer.close(autocommit=False)
        producer.close(timeout=10)


class _Reading:
    """Events and decisions as they come, and how far they are dealt with."""

    def __init__(self, settings: Settings, consumer: Any, adviser: Adviser) -> None:
        self._decisions = settings.topic(DECISIONS)
        self._inputs = [settings.topic(base) for base in settings.input_topics]
        self._consumer, self._adviser = consumer, adviser
        self._held: set[Any] = set()
        self._committed: dict[Any, Any] = {}
        # To subscribe would make what is missing on a broker that makes topics by itself, with its own number of partitions.
        if missing := {self._decisions, *self._inputs} - set(consumer.topics()):
            raise BrokerError(
                f"{', '.join(sorted(missing))}: no such topic here; run `driftline topics create`, or grant this principal its rights"
            )
        consumer.subscribe([self._decisions, *self._inputs])

    def poll(self) -> bool:
        """Take in what there is, events first; whether all events were read."""
        polled = self._consumer.poll(timeout_ms=500, max_records=MAX_POLLED)
        self._look_back()
        decisions = []
        for place, items in polled.items():
            if place.topic == self._decisions:
                decisions += items
                continue
            for item in items:
                self._adviser.heard.take(Place(place.topic, place.partition), item.value or b"")
        for item in decisions:
            self._adviser.decision(item.value or b"", item.partition, item.offset)
        return all(self._is_read(place) for place in self._held if place.topic in self._inputs)

    def commit(self) -> None:
        """Commit of each partition of decisions what lies before the first one that waits."""
        from kafka.errors import CommitFailedError, RebalanceInProgressError
        from kafka.structs import OffsetAndMetadata

        waits_at = self._adviser.waits_at()
        offsets = {
            place: OffsetAndMetadata(waits_at.get(place.partition, self._consumer.position(place)), "", -1)
            for place in self._held
            if place.topic == self._decisions
        }
        try:
            if offsets != self._committed:
                self._consumer.commit(offsets)
                self._committed = offsets
        except (CommitFailedError, RebalanceInProgressError):
            # Who has the partitions now asks again, and the judge takes the first opinion.
            _log.warning("partitions were taken over before a commit")

    def _look_back(self) -> None:
        """Read the events of the last hour again where partitions were taken over."""
        held = set(self._consumer.assignment())
        gone = {place.partition for place in self._held - held if place.topic == self._decisions}
        self._adviser.forget(gone)
        fresh = [place for place in held - self._held if place.topic in self._inputs]
        since_ms = int((time.time() - LOOK_BACK_S) * 1000)
        if held != self._held:
            _log.info(
                "ready: hears %d partitions of decisions", sum(p.topic == self._decisions for p in held)
            )
        if fresh:
            for place, found in self._consumer.offsets_for_times(dict.fromkeys(fresh, since_ms)).items():
                if found is not None:  # else nothing is that young
                    self._consumer.seek(place, found.offset)
        self._held = held

    def _is_read(self, place: Any) -> bool:
        end = self._consumer.highwater(place)
        return end is None or self._consumer.position(place) >= end
