"""The stage `advise`: decisions in the grey band are shown to a model, and what it says comes back to the session as a signed event.

It reads events to know the words, and decisions to know what to ask about. A decision's offset is committed once its opinion was
confirmed by the broker: after a crash the same is asked again, and the judge takes the first opinion alone.
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
from stream.advice.heard import Heard, Place
from stream.advice.question import Answer, question
from stream.core.deployment import Opinion
from stream.events import DECISIONS, dumps, rfc3339
from stream.settings import Settings
from stream.shell.connection import refused

LOOK_BACK_S = 3600
"""How far back events are read again at the start, to know the words of sessions that go on."""
WAIT_S = 10.0
"""How long a decision may be ahead of its session's events."""
MAX_WAITING = 1000
"""Decisions that wait for these at most; the oldest are passed over."""
MAX_POLLED = 500

_log = logging.getLogger("driftline.advise")


class Asked(Protocol):
    """Answers questions, each in bounded time."""

    async def ask(self, questions: Sequence[str]) -> list[Answer | None]:
        """The answer to each; None where there is none."""
        ...


class Case(NamedTuple):
    """A decision to ask about, and when it was read, in seconds of a clock that only rises."""

    decision: Mapping[str, Any]
    read_s: float


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

    def event(self, place: Place, raw: bytes) -> None:
        """Remember what an event says."""
        self.heard.take(place, _document(raw))

    def decision(self, raw: bytes, now_s: float) -> None:
        """Note a decision to ask about, if it is one."""
        decision = _document(raw)
        if isinstance(decision, dict) and band_of(decision) in self._bands:
            self._waiting.append(Case(decision, now_s))

    async def answer(self, now_s: float, time_ms: int) -> list[Given]:
        """Ask about the decisions whose sessions are known by now; those that are not wait for a while.

        Parameters
        ----------
        now_s : of the clock that `decision` was given
        time_ms : of the day, that opinions are stamped with
        """
        self.counts["passed_over"] += max(0, len(self._waiting) - MAX_WAITING)
        questions: list[tuple[Mapping[str, Any], Place, str]] = []
        waiting: list[Case] = []
        for case in self._waiting[-MAX_WAITING:]:
            decision = case.decision
            words = self.heard.of(decision["tenant"], decision["session_id"])
            text = question(words, decision["call_id"], rests_on(decision)) if words is not None else None
            if words is None or text is None:
                waiting += [case] if now_s < case.read_s + WAIT_S else []
                self.counts["unknown"] += now_s >= case.read_s + WAIT_S
            elif not self._budget.take(len(text), now_s):
                self.counts["over_budget"] += 1
            else:
                questions.append((decision, words.place, text))
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

    @property
    def is_waiting(self) -> bool:
        """Whether a decision that was read is not yet dealt with."""
        return bool(self._waiting)

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
    """``alert`` where a score alone led to one, ``watch`` where it led to that; None for all that no opinion can change."""
    try:
        score, at = decision["score"], decision["thresholds"]
        if decision["verdict"] == "alert" and score >= at["alert"]:
            return "alert"
        return "watch" if decision["verdict"] == "allow" and at["watch"] <= score < at["alert"] else None
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

    decisions = settings.topic(DECISIONS)
    inputs = [settings.topic(base) for base in settings.input_topics]
    try:
        consumer = KafkaConsumer(
            **settings.kafka(),
            group_id=f"{settings.prefix}{settings.group}-advise",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            client_id="driftline-advise",
        )
        producer = KafkaProducer(**settings.kafka(), acks="all", client_id="driftline-advise")
    except (KafkaError, OSError) as error:
        raise refused(settings, error) from error
    try:
        consumer.subscribe([decisions, *inputs])
        told_s, held = time.monotonic(), set[Any]()
        while not stop():
            polled = consumer.poll(timeout_ms=500, max_records=MAX_POLLED)
            held, now_s = _look_back(consumer, inputs, held), time.monotonic()
            for place, items in polled.items():
                for item in items:
                    if place.topic != decisions:
                        adviser.event(Place(place.topic, place.partition), item.value or b"")
            for place, items in polled.items():
                for item in items:
                    if place.topic == decisions:
                        adviser.decision(item.value or b"", now_s)
            given = asyncio.run(adviser.answer(now_s, int(time.time() * 1000)))
            sent = [producer.send(g.place.topic, g.value, g.key, partition=g.place.partition) for g in given]
            for future in sent:
                future.get(timeout=30)
            if not adviser.is_waiting:
                consumer.commit()
            if now_s >= told_s + 60:
                told_s = now_s
                _log.info("second opinions: %s", dict(adviser.counts))
    except KafkaError as error:
        raise BrokerError(f"second opinions: {type(error).__name__}") from error
    finally:
        consumer.close(autocommit=False)
        producer.close(timeout=10)


def _look_back(consumer: Any, inputs: Collection[str], known: set[Any]) -> set[Any]:
    """Read the events of the last hour again where partitions were taken over; returns those that are held now."""
    held = set(consumer.assignment())
    fresh = [place for place in held - known if place.topic in inputs]
    since_ms = int((time.time() - LOOK_BACK_S) * 1000)
    if fresh:
        for place, found in consumer.offsets_for_times(dict.fromkeys(fresh, since_ms)).items():
            if found is not None:  # else nothing is that young
                consumer.seek(place, found.offset)
    return held
