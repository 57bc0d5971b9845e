"""What one tenant, agent or labeller may teach is bounded, whatever they send and however often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training import calibrate, influence
from models.training.dataset import LEFT_OUT, Calls, LabelledSession, join, of_record
from models.training.influence import Influence

OPEN = Influence(tenant=1, agent=1, labeller=1)


def session(name: str, **more: Any) -> LabelledSession:
    told: dict[str, Any] = {
        "session_id": name,
        "kind": "benign",
        "source": "tenant:acme",
        "suite": "helper",
        "domain": "tenant:acme",
        "task": f"tenant:acme/helper/{name}",
        "attack": None,
        "first_bad_seq": None,
        "exposed_seq": None,
        "n_calls": 1,
        "labeller": "ada",
        "shape": name,
    }
    return LabelledSession(**(told | more))


def vendor(n: int) -> list[LabelledSession]:
    return [
        session(
            f"v{kind}{i}",
            source="bank",
            suite="bank",
            domain="bank",
            kind=kind,
            labeller=None,
            first_bad_seq=None if kind == "benign" else 0,
        )
        for kind in ("benign", "hijacked")
        for i in range(n)
    ]


def calls_of(sessions: list[LabelledSession]) -> Calls:
    return join(sessions, [one.session_id for one in sessions], [0] * len(sessions))


def share(calls: Calls, target: int, mine: Any) -> float:
    rows = calls.target == target
    owner = np.array([mine(one) for one in calls.sessions])[calls.session]
    return float(calls.weight[rows & owner].sum() / calls.weight[rows].sum())


def test_recorded_sets_are_taken_as_they_are() -> None:
    calls = calls_of(vendor(20))
    assert influence.bounded(calls, Influence()) == (calls, [])


def test_a_flood_of_one_agent_teaches_no_more_than_its_share() -> None:
    sessions = vendor(30) + [session(f"s{n}", suite="mallory", labeller="eve") for n in range(2000)]
    calls = calls_of(sessions)
    after, cuts = influence.bounded(calls, Influence(tenant=0.5, agent=0.25, labeller=0.4))
    assert share(calls, 0, lambda one: one.suite == "mallory") > 0.5
    assert share(after, 0, lambda one: one.suite == "mallory") == pytest.approx(0.25, abs=1e-6)
    assert {cut.source for cut in cuts} == {"agent acme/mallory", "labeller eve", "tenant acme"}
    assert share(after, 1, lambda one: one.source == "bank") == 1.0


def test_copies_count_as_the_root_of_their_number() -> None:
    alone = [session("a"), session("b")]
    many = [*alone[:1], *(session(f"b{n}", shape="b") for n in range(100))]
    after, _ = influence.bounded(calls_of(many + vendor(5)), OPEN)
    of = {
        one.session_id: weight
        for one, weight in zip(after.sessions, np.bincount(after.session, after.weight), strict=True)
    }
    assert sum(weight for name, weight in of.items() if name.startswith("b")) == pytest.approx(10 * of["a"])


def test_nobody_else_teaches_a_kind_then_there_is_no_share_to_keep() -> None:
    calls = calls_of([session("a"), session("b", kind="hijacked", first_bad_seq=0)])
    after, cuts = influence.bounded(calls, Influence())
    assert np.isfinite(after.weight).all()
    assert after.weight.sum() == pytest.approx(calls.weight.sum())
    assert {cut.kind for cut in cuts} == {"no drift", "drift"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acme", "globex"]),
            st.sampled_from(["one", "two", "three"]),
            st.sampled_from(["ada", "eve"]),
            st.booleans(),
            st.sampled_from(["x", "y", "z"]),
        ),
        max_size=60,
    ),
    st.floats(0.3, 1.0),
    st.floats(0.1, 1.0),
)
def test_whatever_is_sent_every_source_keeps_its_share(
    sent: list[tuple[str, str, str, bool, str]], tenant: float, agent: float
) -> None:
    own = [
        session(
            f"s{n}",
            source=f"tenant:{whose}",
            domain=f"tenant:{whose}",
            suite=which,
            labeller=who,
            shape=shape,
            kind="hijacked" if bad else "benign",
            first_bad_seq=0 if bad else None,
        )
        for n, (whose, which, who, bad, shape) in enumerate(sent)
    ]
    limits = Influence(tenant=tenant, agent=agent, labeller=0.4)
    calls = calls_of(own + vendor(3))
    after, _ = influence.bounded(calls, limits)
    assert after.weight.sum() == pytest.approx(calls.weight.sum())
    assert (after.weight > 0).all()
    for target in (0, 1):
        for place, of in enumerate(own):
            if place > 5:
                break
            whose = share(after, target, lambda one, of=of: one.source == of.source)
            which = share(after, target, lambda one, of=of: (one.source, one.suite) == (of.source, of.suite))
            who = share(
                after,
                target,
                lambda one, of=of: one.source.startswith("tenant:") and one.labeller == of.labeller,
            )
            assert whose <= tenant + 1e-3
            assert which <= agent + 1e-3
            assert who <= 0.4 + 1e-3


def test_one_persons_word_does_not_make_a_flagged_session_honest() -> None:
    sessions = [
        session("calm"),
        session("loud"),
        session("agreed", words=2),
        session("caught", kind="hijacked", first_bad_seq=0),
        *vendor(1),
    ]
    calls = calls_of(sessions)
    scores = np.array([10, 9_000, 9_000, 9_000, 9_000, 9_000])
    doubts = influence.doubted(calls, scores, 7_000)
    assert [s.session_id for s, doubt in zip(calls.sessions, doubts.tolist(), strict=True) if doubt] == [
        "loud"
    ]
    after = influence.silenced(calls, doubts)
    assert after.target.tolist() == [0, LEFT_OUT, 0, 1, 0, 1]
    assert not after.sessions[1].sets_limits
    assert after.sessions[0] == calls.sessions[0]


def test_a_session_tells_whose_word_its_label_is_and_what_it_called() -> None:
    record = {
        "session_id": "s",
        "source": "tenant:acme",
        "suite": "helper",
        "label": "benign",
        "user_task_id": "t",
        "calls": [{"tool": "read"}, {"tool": "pay"}],
        "labelled_by": "ada",
        "words": 2,
    }
    one = of_record(record, {})
    assert (one.labeller, one.words) == ("ada", 2)
    assert one.shape == of_record({**record, "session_id": "t"}, {}).shape
    assert one.shape != of_record({**record, "calls": record["calls"][::-1]}, {}).shape  # type: ignore[index]
    assert replace(one, labeller=None) == of_record({**record, "labelled_by": None}, {})


def scored(own: list[int], domains: int = 1, **sent: list[int]) -> tuple[Any, Calls]:
    """Honest sessions of three recorded domains, scores from 0.10 to 0.30, and own ones with these, and of a second agent or labeller with those."""
    sessions, scores = [], []
    for number, name in enumerate(("bank", "shop", "desk")):
        for n in range(40):
            where = {"source": name, "suite": name, "domain": name, "task": f"{name}/{n}", "labeller": None}
            sessions.append(session(f"{name}{n}", **where))
            scores.append(1000 + 500 * number + 25 * n)
    for n, score in enumerate(own):
        sessions.append(session(f"own{n}", domain=f"tenant:acme/{n % domains}"))
        scores.append(score)
    for source, theirs in sent.items():
        for n, score in enumerate(theirs):
            sessions.append(session(f"{source}{n}", domain="tenant:acme/0", **{source: "mallory"}))
            scores.append(score)
    return np.array(scores), calls_of(sessions)


@given(own=st.lists(st.integers(0, 10_000), max_size=60), domains=st.integers(1, 6))
def test_what_own_traffic_scores_raises_thresholds_within_what_the_others_set(
    own: list[int], domains: int
) -> None:
    alone, _ = calibrate.thresholds(*scored([]))
    found, by_domain = calibrate.thresholds(*scored(own, domains))
    for budget, limit in found.items():
        stricter = calibrate.own_thresholds(*scored([]), float(budget) / 10)
        assert limit <= max(alone[budget], calibrate.transferable(stricter))
        for name, one in by_domain[budget].items():
            assert not name.startswith("tenant:") or one <= calibrate.transferable(stricter)


def test_own_traffic_that_scores_within_bounds_counts_as_it_is() -> None:
    _, by_domain = calibrate.thresholds(*scored([2300] * 200))
    assert by_domain["0.05"]["tenant:acme/0"] == 2301
    _, by_domain = calibrate.thresholds(*scored([9000] * 200))
    assert by_domain["0.05"]["tenant:acme/0"] == 2000 + 39 * 25 + 1


@pytest.mark.parametrize("source", ["suite", "labeller"])
@given(sent=st.lists(st.integers(0, 10_000), min_size=1, max_size=60))
def test_one_agent_or_labeller_of_two_lifts_no_threshold(source: str, sent: list[int]) -> None:
    alone, _ = calibrate.thresholds(*scored([1500, 1800, 2300] * 20))
    found, _ = calibrate.thresholds(*scored([1500, 1800, 2300] * 20, **{source: sent}))
    assert all(found[budget] <= limit for budget, limit in alone.items())
