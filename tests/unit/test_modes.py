"""Shadow and enforcement by tenant and agent: who is spared, and what falls with whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contracts import Case
from stream.core.judge import Judge
from stream.events import REVOCATIONS
from stream.outbound.act import plan
from stream.policy import ModeOf, Policy, load_policy, parse_policy, read_policy
from tests import builders as b

ROWS = [
    {"agent": "a", "mode": "enforce"},
    {"tenant": "acme", "mode": "enforce"},
    {"tenant": "acme", "agent": "a", "mode": "shadow"},
]
BAD = {"to": "desk@evil.example", "text": "zq"}


def policy(mode: str, *rows: dict[str, Any]) -> Policy:
    return Policy.model_validate({**b.shipped(mode).model_dump(), "modes": list(rows)})


def judge(mode: str, *rows: dict[str, Any]) -> Judge:
    certain = b.release(scorer=b.ConstantScorer(10_000))
    return b.judge(certain._replace(policy=policy(mode, *rows)))


def run(judge_: Judge, *values: dict[str, Any], batch: int = 512) -> b.Run:
    return b.Run(judge_).feed(b.log(values), batch)


def session(name: str, agent: str | None, **more: Any) -> dict[str, Any]:
    return b.declared(name, **({"agent": {"id": agent}} if agent else {}), **more)


def drift(name: str, seq: int = 1, **more: Any) -> dict[str, Any]:
    return b.called(name, seq, tool="wire_money", arguments=BAD, **more)


def revoked(made: b.Run) -> list[str]:
    """Sessions whose credentials act revokes, in order."""
    cases = [Case.model_validate(case) for case in made.cases]
    return [case.session_id for case in cases if any(s.topic == REVOCATIONS for s in plan(case))]


@pytest.mark.parametrize(
    ("tenant", "agent", "enforced"),
    [
        ("other", "a", True),
        ("other", "b", False),
        ("other", None, False),
        ("acme", "b", True),
        ("acme", None, True),
        ("acme", "a", False),
    ],
)
def test_the_narrowest_row_says_in_which_mode_an_agent_is_judged(
    tenant: str, agent: str | None, enforced: bool
) -> None:
    assert policy("shadow", *ROWS).enforces(tenant, agent) is enforced
    made = run(judge("shadow", *ROWS), session("s", agent, tenant=tenant), drift("s", tenant=tenant))
    assert [decision["enforced"] for decision in made.decisions] == [enforced]
    assert [case["enforced"] for case in made.cases] == [enforced]
    assert revoked(made) == (["s"] if enforced else [])


def names_somebody(row: dict[str, Any]) -> bool:
    return bool(row["tenant"] or row["agent"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "tenant": st.sampled_from([None, "acme", "other"]),
                "agent": st.sampled_from([None, "a", "b"]),
                "mode": st.sampled_from(["shadow", "enforce"]),
            }
        ).filter(names_somebody),
        unique_by=lambda row: (row["tenant"], row["agent"]),
    ),
    st.sampled_from(["acme", "other", "third"]),
    st.sampled_from(["a", "b", "c", None]),
)
def test_a_row_moves_nobody_whom_it_does_not_name(
    rows: list[dict[str, Any]], tenant: str, agent: str | None
) -> None:
    named = [row for row in rows if row["tenant"] in (None, tenant) and row["agent"] in (None, agent)]
    for mode in ("shadow", "enforce"):
        assert policy(mode, *rows).enforces(tenant, agent) is policy(mode, *named).enforces(tenant, agent)


def test_where_no_row_fits_the_outputs_are_those_of_a_policy_without_rows() -> None:
    values = [session("s", "c"), drift("s"), b.ended("s", 2)]
    plain, rows = run(judge("enforce"), *values), run(judge("enforce", *ROWS[:1]), *values)
    names = {case["policy"] for case in (*plain.cases, *rows.cases)}
    assert len(names) == 2
    for case in (*plain.cases, *rows.cases):
        del case["policy"]
    assert revoked(plain) == revoked(rows) == ["s"]
    assert [d["verdict"] for d in plain.decisions] == [d["verdict"] for d in rows.decisions]


def test_a_mode_given_on_the_command_line_is_everybody_s() -> None:
    text, name = read_policy()
    said = text.replace("modes: []", "modes: [{agent: a, mode: shadow}]")
    assert not parse_policy(said, name).enforces("t", "a")
    assert parse_policy(said, name, mode="enforce").enforces("t", "a")
    assert load_policy(mode="enforce").enforces("t", None)


@pytest.mark.parametrize("batch", [1, 512])
@pytest.mark.parametrize(
    ("parent", "child", "fall"),
    [("a", "a", ["p", "c"]), ("a", "x", ["p", "c"]), ("x", "a", []), ("x", "x", [])],
)
def test_a_sub_agent_falls_in_the_mode_of_the_session_above_it(
    parent: str, child: str, fall: list[str], batch: int
) -> None:
    values = [
        session("p", parent),
        session("c", child, root_session_id="p", parent_session_id="p"),
        drift("p"),
    ]
    made = run(judge("shadow", {"agent": "a", "mode": "enforce"}), *values, batch=batch)
    assert revoked(made) == fall


def test_a_credential_that_comes_to_light_after_the_fall_goes_too() -> None:
    late = session("c", "x", root_session_id="p", parent_session_id="p")
    made = run(judge("shadow", {"agent": "a", "mode": "enforce"}), session("p", "a"), drift("p"), late)
    assert revoked(made) == ["p", "c"]
    # A second sub-agent, and the first one again under it.
    deeper = session("d", "x", root_session_id="p", parent_session_id="c")
    made = run(
        judge("shadow", {"agent": "a", "mode": "enforce"}), session("p", "a"), drift("p"), late, deeper
    )
    assert revoked(made) == ["p", "c", "d"]


def test_what_shadow_alone_revoked_of_a_sub_agent_is_revoked_by_its_own_drift() -> None:
    rows = {"agent": "a", "mode": "enforce"}
    values = [
        session("p", "x"),
        session("c", "a", root_session_id="p", parent_session_id="p"),
        drift("p"),
        drift("c", root_session_id="p"),
    ]
    assert revoked(run(judge("shadow", rows), *values)) == ["c"]


@pytest.mark.parametrize("first", ["p", "d"])
def test_what_fell_in_shadow_falls_in_earnest_with_one_that_is_judged_so(first: str) -> None:
    values = [
        session("p", "x"),
        session("c", "a", root_session_id="p", parent_session_id="p"),
        session("d", "x", root_session_id="p", parent_session_id="c"),
        drift(first, root_session_id="p"),
        drift("c", root_session_id="p"),
    ]
    made = run(judge("shadow", {"agent": "a", "mode": "enforce"}), *values)
    assert revoked(made) == ["c", "d"]


def test_the_order_of_rows_names_no_other_policy() -> None:
    assert policy("shadow", *ROWS).digest == policy("shadow", *reversed(ROWS)).digest


def test_a_copy_of_a_policy_has_its_own_rows() -> None:
    enforcing = load_policy().model_copy(update={"modes": [ModeOf(tenant="acme", mode="enforce")]})
    assert enforcing.enforces("acme", None)
    assert not enforcing.model_copy(update={"modes": []}).enforces("acme", None)
    again = enforcing.model_copy(update={"modes": [ModeOf(tenant="other", mode="enforce")]})
    assert (again.enforces("acme", None), again.enforces("other", None)) == (False, True)


@pytest.mark.parametrize("overall", [None, 100])
def test_a_case_carries_the_overall_budget_only_where_the_policy_has_one(overall: int | None) -> None:
    release = b.release(scorer=b.ConstantScorer(9_999))
    budget = release.policy.revocations.model_copy(update={"overall": overall})
    of_policy = release.policy.model_copy(update={"revocations": budget})
    made = run(b.judge(release._replace(policy=of_policy)), session("s", "a"), drift("s"))
    (case,) = [each for each in made.cases if each["cause"] == "drift" and each["sets"]]
    assert case["budget"].get("overall") == overall
    assert ("overall" in case["budget"]) is (overall is not None)
