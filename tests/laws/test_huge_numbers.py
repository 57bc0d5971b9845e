"""Numbers beyond 53 and 64 bits at every place of every input: judged, acted on or put aside with a reason, and never a stop.

orjson reads a whole number beyond 64 bits as a fraction and writes none; pydantic reads it as it is. So what one of them lets in the other
may not be able to write, in a record that comes again with every restart.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey

from stream.core.partition import Partition
from stream.events import ALERTS, CASES, FEEDBACK, HELD, OUTCOMES, QUARANTINE, Output, Record, dumps
from stream.outbound.act import Actor
from stream.outbound.breaker import Resolution
from stream.outbound.keys import SigningKeys
from stream.resolutions import SignedResolutions, sign
from stream.shell.act_stage import forwarded
from tests import builders as b

HUGE = (
    2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400,
    -(2**53) - 1, -(2**63), -(2**63) - 1, -(10**30), 1e308, -1e308,
)  # fmt: skip
CREDENTIAL = {
    "broker": "vault", "kind": "lease", "value": "lease/1", "scope": "a b",
    "issued": "2026-01-01T08:00:00Z", "expires": "2026-01-01T10:00:00Z",
}  # fmt: skip
TOOL = {
    "name": "search_mail",
    "parameters": {"properties": {"q": {"maxLength": 5}}},
    "annotations": {"cost": 1},
}
EVENTS_IN: list[dict[str, Any]] = [
    b.declared(
        "s",
        tenant="acme",
        agent={"id": "a", "user": "u"},
        intent={"text": "pay 40 EUR", "budget": {"calls": 9, "writes": 2, "seconds": 100}},
        tools=[TOOL],
        credentials=[CREDENTIAL],
    ),
    b.event(
        "intent.amended",
        "s",
        1,
        tenant="acme",
        intent={"text": "read too", "budget": {"calls": 5, "writes": 2, "seconds": 4}},
    ),
    b.event("catalogue.changed", "s", 2, tenant="acme", tools=[{**TOOL, "name": "pay"}], left=["gone"]),
    b.called("s", 3, "search_mail", tenant="acme", arguments={"q": {"n": 1, "l": [1, 2]}}),
    b.returned("s", 4, "s:3", tenant="acme", result={"n": 1, "l": [1, {"amount": 40}]}),
    b.called("s", 5, "send_email", tenant="acme", arguments={"to": "x@y.z", "amount": 40}, schema_version=1),
    b.ended("s", 6, tenant="acme"),
]
ISSUER = "https://driftline.acme.test/ssf"
KEY = ECKey.generate_key("P-256", {"kid": "on-call"})
RULINGS = SignedResolutions({"keys": [KEY.as_dict(private=False)]}, ISSUER)
OUTCOME = {
    "jti": "j", "case_id": "c", "broker": "vault", "status": "done", "time": "2026-01-01T09:00:00Z",
    "latency_ms": 5, "survives": "a token", "survives_until": "2026-01-01T10:00:00Z", "schema_version": 1,
}  # fmt: skip
RULING = {
    "type": "held.resolved",
    "tenant": "acme",
    "token": sign(Resolution("acme", "none", "send", "ada"), ISSUER, KEY),
    "schema_version": 1,
}
VERDICT = {"type": "feedback.given", "tenant": "acme", "token": "x.y.z", "schema_version": 1}


def numbers(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all numbers in a document."""
    if isinstance(value, dict | list):
        steps: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in steps:
            yield from numbers(inner, (*at, step))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at


def with_number(document: dict[str, Any], at: tuple[str | int, ...], number: float) -> bytes:
    """The document as JSON, with another number at a place."""
    changed: Any = copy.deepcopy(document)
    inner = changed
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = number
    return json.dumps(changed).encode()


def real_cases() -> list[dict[str, Any]]:
    """What judge makes of a session that drifts: its change of standing, and its end; with a deadline for its broker."""
    drifts = b.release(scorer=b.ConstantScorer(9_999))
    made = b.play([EVENTS_IN[0], *EVENTS_IN[3:6], EVENTS_IN[6]], bundled=drifts).cases
    budget = {"window_minutes": 60.0, "agent": 20, "tenant": 50, "overall": 100, "confirm_minutes": 5.0}
    return [{**case, "budget": budget} for case in made if case["sets"]]


CASE_LOG = [
    *real_cases(),
    {"type": "outcome.told", "tenant": "acme", "outcome": OUTCOME, "schema_version": 1},
    RULING,
    {"type": "clock.tick", "schema_version": 1},
]


def test_the_documents_have_a_number_wherever_a_contract_has_one() -> None:
    assert [len(list(numbers(document))) for document in EVENTS_IN[:3]] == [6, 4, 3]
    assert {case["kind"] for case in CASE_LOG[:-3]} == {"standing", "ended"}
    assert ("budget", "confirm_minutes") in set(numbers(CASE_LOG[0]))


@pytest.mark.parametrize("place", range(len(EVENTS_IN)))
def test_an_event_with_a_huge_number_stops_nobody(place: int) -> None:
    judge = b.judge()
    for at in numbers(EVENTS_IN[place]):
        for number in HUGE:
            records = b.log(EVENTS_IN)
            records[place] = records[place]._replace(value=with_number(EVENTS_IN[place], at, number))
            run = b.Run(judge).feed(records)
            assert "internal" not in [reason for reason, _ in run.quarantined], (at, number)
            assert len(run.decisions) >= 1
            Partition.load(run.partition.states)
            judge.next_deadline(run.partition)
            assert all(orjson.loads(output.value) for output in run.outputs if output.topic != QUARANTINE)


def records_of(*values: bytes) -> list[Record]:
    """Values as records of a partition of cases, three minutes apart."""
    return [
        Record(CASES, 3, n, b.T0 + n * 180_000, "append", b"acme", (), value)
        for n, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return SigningKeys(state_dir=tmp_path_factory.mktemp("keys"))


def reasons(outputs: list[Output]) -> list[str]:
    return [dict(output.headers)["reason"].decode() for output in outputs if output.topic == QUARANTINE]


@pytest.mark.parametrize("place", range(len(CASE_LOG)))
def test_a_record_of_the_case_log_with_a_huge_number_stops_nobody(place: int, keys: SigningKeys) -> None:
    good = [dumps(document) for document in CASE_LOG]
    for at in numbers(CASE_LOG[place]):
        for number in HUGE:
            records = records_of(with_number(CASE_LOG[place], at, number), *good, good[-1])
            actor, next_owner = Actor(keys, RULINGS.read), Actor(keys, RULINGS.read)
            actor.rules(records)
            outputs = actor.act(records)
            assert "internal" not in reasons(outputs), (at, number)
            assert all(orjson.loads(each.value) for each in outputs if each.topic == ALERTS)
            held = [
                Record(HELD, 3, n, b.T0, "append", each.key, each.headers, each.value)
                for n, each in enumerate(outputs)
                if each.topic == HELD
            ]
            next_owner.recall(records, held)
            for either in (actor, next_owner):
                either.next_deadline(3)
                either.standing()
            assert "internal" not in reasons(next_owner.act(records_of(good[-1])))


@pytest.mark.parametrize(("document", "base"), [(OUTCOME, OUTCOMES), (RULING, FEEDBACK), (VERDICT, FEEDBACK)])
def test_an_outcome_a_ruling_or_a_verdict_with_a_huge_number_stops_nobody(
    document: dict[str, Any], base: str, keys: SigningKeys
) -> None:
    for at in numbers(document):
        for number in HUGE:
            (record,) = records_of(with_number(document, at, number))
            outputs = forwarded([record], base)
            assert {output.topic for output in outputs} <= {CASES, QUARANTINE}
            told = [output.value for output in outputs if output.topic == CASES]
            assert "internal" not in reasons(Actor(keys, RULINGS.read).act(records_of(*told)))
