"""Sums of money: which numbers a schema says are sums, and what they do to an alert's severity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.tools.amounts import largest, unit_of
from stream import bootstrap
from stream.offline.files import read_records
from stream.outbound.findings import finding
from stream.outbound.ocsf import problems
from stream.outbound.severity import CRITICAL, LOW, severity_of
from stream.policy import Amounts, load_policy, parse_policy
from stream.settings import Settings
from tests.builders import Run
from tests.unit.test_findings import a_deed, an_evidence, some_change

SAMPLES = Path(__file__).parents[2] / "stream" / "samples"
SAMPLE, PAID = "34-finance-poisoned-tool", 480.0
"""A payment of so much that nobody asked for: its first alert."""
NUMBER: dict[str, Any] = {"type": "number"}


@pytest.mark.parametrize(
    ("name", "spec", "unit"),
    [
        # What catalogues of the sets in DRIFTLINE_DATA declare.
        ("amount", {**NUMBER, "description": "Amount of the transaction"}, 1.0),
        (
            "amount",
            {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "Amount (optional)"},
            1.0,
        ),
        ("amount", {**NUMBER, "description": "Amount to withdraw from the account. "}, 1.0),
        ("annual_amount", NUMBER, 1.0),
        ("budget_limit", {**NUMBER, "description": "The budget limit to set in USD"}, 1.0),
        ("price", {**NUMBER, "description": "Price at which to place the order."}, 1.0),
        ("amount", {"type": "integer", "description": "Number of shares to trade. "}, None),
        ("fuelAmount", {**NUMBER, "description": "The amount of fuel to fill in gallons"}, None),
        ("gallon", {**NUMBER, "description": "The amount of gallon to convert."}, None),
        ("max_price", {**NUMBER, "description": "Maximum stock price. "}, None),
        # And others.
        ("amount_in_cents", {"type": "integer"}, 0.01),
        ("amount", {"type": ["integer", "null"], "description": "In the currency's minor unit"}, 0.01),
        ("value", {**NUMBER, "description": "How much, in euros"}, 1.0),
        ("amount", {"type": "string"}, None),
        ("amount", {"type": "boolean"}, None),
        ("amount", {}, None),
        ("quantity", {"type": "integer"}, None),
        ("", NUMBER, None),
        ("amount", {"type": 7, "anyOf": "x", "description": ["USD"]}, None),
    ],
)
def test_a_schema_says_that_a_number_is_a_sum_by_its_name_or_a_currency(
    name: str, spec: Any, unit: float | None
) -> None:
    assert unit_of(name, spec) == unit


NESTED = {
    "properties": {
        "amount": NUMBER,
        "note": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": NUMBER}}},
        "payment": {"properties": {"amount_cents": {"type": "integer"}}},
    }
}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"amount": 12}, 12.0),
        ({"amount": "9750.00"}, 9750.0),
        ({"amount": -3.5}, 3.5),
        ({"items": [{"price": 4}, {"price": 90}, {"price": None}]}, 90.0),
        ({"payment": {"amount_cents": 12_345}, "amount": 1}, 123.45),
        ({"amount": 10**400}, float("inf")),
        ({"amount": float("nan")}, None),
        ({"amount": True}, None),
        ({"amount": "9,750"}, None),
        ({"amount": "1e400"}, None),
        ({"amount": "9" * 10_000}, None),
        ({"amount": [5]}, None),
        ({"note": "500"}, None),
        ({"other": 500}, None),
        ("amount", None),
        (None, None),
    ],
)
def test_the_largest_sum_counts_and_what_is_no_number_does_not(arguments: Any, found: float | None) -> None:
    assert largest(arguments, NESTED) == (pytest.approx(found) if found is not None else None)
    assert largest(arguments, None) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "amount", "type", "items", "number", "anyOf", "description"]),
            each,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(ANYTHING, ANYTHING)
def test_no_schema_and_no_argument_stops_it(arguments: Any, schema: Any) -> None:
    found = largest(arguments, schema if isinstance(schema, dict) else None)
    assert found is None or found >= 0


# ------------------------------------------------------------------ severity


@pytest.mark.parametrize(
    ("action", "signal", "score", "amount", "severity"),
    [
        ("write", "scope.action_not_allowed", 0.6, 0, "Medium"),
        ("write", "scope.action_not_allowed", 0.6, 1, "High"),
        ("write", "scope.action_not_allowed", 0.6, -1, "Low"),
        ("write", "provenance.foreign_destination", 0.9, 0, "Critical"),
        ("write", "provenance.foreign_destination", 0.9, 1, "Critical"),
        ("write", "provenance.foreign_destination", 0.9, -1, "High"),
        ("execute", "provenance.private_data_leaves", 0.9, -1, "Critical"),
        ("read", "tempo.loop", 0.6, 1, "Low"),
    ],
)
def test_a_sum_moves_severity_by_one_step(
    action: Any, signal: str, score: float, amount: Any, severity: str
) -> None:
    family, name = signal.split(".")
    evidence = [an_evidence(family=family, name=name)]
    told = finding(some_change(evidence=evidence, score=score, deed=a_deed(action=action, amount=amount)))
    assert told["severity"] == severity
    assert problems(told) == []


@given(
    st.sampled_from(["read", "write", "execute"]),
    st.lists(
        st.sampled_from(["provenance.foreign_destination", "sequence.trifecta", "tempo.loop"]), max_size=3
    ),
    st.integers(0, 100),
    st.integers(0, 5),
)
def test_more_money_is_never_less_severe_and_no_step_is_wider_than_one(
    action: Any, signals: list[str], percent: int, before: int
) -> None:
    evidence = [an_evidence(family=each.split(".")[0], name=each.split(".")[1]) for each in signals]
    less, same, more = (
        severity_of(
            some_change(
                evidence=evidence,
                score=percent / 100,
                severity=before,
                deed=a_deed(action=action, amount=step),
            )
        )
        for step in (-1, 0, 1)
    )
    assert max(LOW, same - 1) <= less <= same <= more <= min(CRITICAL, same + 1)
    assert less >= before


def played(sample: str, amounts: Amounts) -> list[dict[str, Any]]:
    release = bootstrap.release(Settings(), mode="enforce")
    judge = bootstrap.judge_with(
        Settings(), release._replace(policy=release.policy.model_copy(update={"amounts": amounts}))
    )
    run = Run(judge).feed([record for record, _ in read_records(SAMPLES / f"{sample}.jsonl")])
    return [case["finding"] for case in run.cases if case["finding"] is not None]


def test_a_policy_that_weighs_sums_moves_an_alert_and_says_why() -> None:
    told = {
        name: played(SAMPLE, amounts)[0]
        for name, amounts in {
            "none": Amounts(),
            "large": Amounts(large=PAID),
            "between": Amounts(large=PAID + 1, trivial=PAID),
            "trivial": Amounts(trivial=PAID + 1),
        }.items()
    }
    assert told["between"]["severity_id"] == told["none"]["severity_id"]
    assert told["large"]["severity_id"] == min(CRITICAL, told["none"]["severity_id"] + 1)
    assert told["trivial"]["severity_id"] == told["none"]["severity_id"] - 1
    said = {name: alert["unmapped"].get("amount") for name, alert in told.items()}
    assert said == {"none": None, "large": "large", "between": None, "trivial": "trivial"}


# ------------------------------------------------------------------ policy


def test_a_policy_that_weighs_no_sums_is_the_one_that_it_was() -> None:
    shipped = load_policy()
    assert shipped.amounts == Amounts()
    assert shipped.model_copy(update={"amounts": Amounts(large=5.0)}).digest != shipped.digest


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("amounts: {large: 5, trivial: 5}", "trivial must be less than large"),
        ("amounts: {large: 0}", "amounts.large"),
        ("amounts: {large: .nan}", "amounts.large"),
        ("amounts: {huge: 5}", "amounts.huge"),
        ("amounts: {large: ten}", "amounts.large"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused_with_its_name(line: str, says: str) -> None:
    text = (Path(__file__).parents[2] / "stream" / "policy.yaml").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        parse_policy(f"{text}\n{line}\n", "policy.yaml")
