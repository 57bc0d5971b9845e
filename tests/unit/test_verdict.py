"""What holds of a verdict, whatever the evidence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FAMILIES
from stream.core.verdict import Ruling, decide
from stream.policy import Levels, load_policy
from stream.signals.registry import BY_ID

FIXED = settings(max_examples=400, derandomize=True, deadline=None, database=None)
POLICY = load_policy(mode="enforce")
LEVEL = Levels(2000, 5000, 8000)
RANK = {"abstain": 0, "allow": 0, "alert": 1, "deny": 2, "revoke": 3}
FAMILY_SETS = st.lists(st.sampled_from(FAMILIES), unique=True)
SIGNAL_SETS = st.lists(st.sampled_from(list(BY_ID)), unique=True)


@FIXED
@given(st.integers(0, 10_000), st.integers(0, 10_000), FAMILY_SETS, SIGNAL_SETS, st.booleans())
def test_a_higher_score_alone_never_lowers_the_verdict(
    one: int, other: int, families: list[str], signals: list[str], declared: bool
) -> None:
    low, high = sorted((one, other))
    before = decide(POLICY, LEVEL, low, families, signals, declared)  # type: ignore[arg-type]
    after = decide(POLICY, LEVEL, high, families, signals, declared)  # type: ignore[arg-type]
    assert RANK[after.verdict] >= RANK[before.verdict]
    assert after.watch >= before.watch


@FIXED
@given(st.integers(0, 10_000), st.booleans())
def test_content_alone_never_raises_more_than_watch(score: int, declared: bool) -> None:
    ruling = decide(POLICY, LEVEL, score, ["content"], ["content.talks_to_agent"], declared)
    assert ruling.verdict == ("allow" if declared else "abstain")


@FIXED
@given(st.integers(0, 10_000), FAMILY_SETS, SIGNAL_SETS)
def test_a_revocation_needs_two_families_beside_content_and_an_alert_by_score_one(
    score: int, families: list[str], signals: list[str]
) -> None:
    ruling = decide(POLICY, LEVEL, score, families, signals, True)  # type: ignore[arg-type]
    speaking = set(families) - {"content"}
    if ruling.verdict == "revoke":
        assert len(speaking) >= 2
        assert score >= LEVEL.revoke or ruling.by == "signal"
    if ruling.verdict == "alert" and ruling.by == "score":
        assert speaking


@FIXED
@given(st.integers(0, 10_000), FAMILY_SETS)
def test_without_an_intent_no_score_is_acted_on(score: int, families: list[str]) -> None:
    assert decide(POLICY, LEVEL, score, families, [], False).verdict == "abstain"  # type: ignore[arg-type]


ABOVE, ALERT, DENY, WATCH = (
    "tempo.budget_overrun",
    "identity.after_end",
    "scope.action_not_allowed",
    "tempo.loop",
)
TWO, THREE = ["intent", "scope"], ["intent", "scope", "tempo"]
QUIET, WATCHED = Ruling("allow", False, "nothing", None), Ruling("allow", True, "score", None)
BY_SCORE, REVOKED = Ruling("alert", True, "score", None), Ruling("revoke", True, "score", None)


@pytest.mark.parametrize(
    ("score", "families", "signals", "ruling"),
    [
        (1999, [], [], QUIET),
        (2000, [], [], WATCHED),
        (4999, ["intent"], [], WATCHED),
        (5000, ["intent"], [], BY_SCORE),
        (5000, [], [], WATCHED),
        (5000, ["content"], [], WATCHED),
        (7999, TWO, [], BY_SCORE),
        (8000, TWO, [], REVOKED),
        (8000, ["intent"], [], BY_SCORE),
        (8000, ["intent", "content"], [], BY_SCORE),
        (0, ["tempo"], [WATCH], Ruling("allow", True, "signal", WATCH)),
        (2000, ["tempo"], [WATCH], Ruling("allow", True, "signal", WATCH)),
        (0, ["tempo"], [ABOVE], Ruling("alert", True, "signal", ABOVE)),
        (5000, ["tempo"], [ABOVE], BY_SCORE),
        (0, ["scope"], [DENY], Ruling("deny", True, "signal", DENY)),
        (5000, ["scope"], [DENY], Ruling("deny", True, "signal", DENY)),
        (8000, TWO, [DENY], REVOKED),
        (0, TWO, [DENY], Ruling("deny", True, "signal", DENY)),
        (0, THREE, [DENY], Ruling("revoke", True, "signal", DENY)),
        (0, THREE, [ABOVE], Ruling("revoke", True, "signal", ABOVE)),
        (0, THREE, [WATCH], Ruling("allow", True, "signal", WATCH)),
        (0, [*TWO, "content"], [DENY], Ruling("deny", True, "signal", DENY)),
        (0, THREE, [], QUIET),
        (0, TWO, [WATCH, DENY, ABOVE], Ruling("deny", True, "signal", DENY)),
        # Of two that lead to the same the one whose name comes last.
        (0, TWO, [ABOVE, ALERT], Ruling("alert", True, "signal", ABOVE)),
        (0, ["intent"], ["intent.not_asked"], QUIET),
        (
            0,
            ["content"],
            ["content.talks_to_agent"],
            Ruling("allow", True, "signal", "content.talks_to_agent"),
        ),
    ],
)
def test_each_threshold_and_each_consequence_leads_to_its_verdict(
    score: int, families: list[str], signals: list[str], ruling: Ruling
) -> None:
    assert decide(POLICY, LEVEL, score, families, signals, True) == ruling  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signals", "ruling"),
    [
        ([], Ruling("abstain", False, "nothing", None)),
        ([WATCH], Ruling("abstain", True, "signal", WATCH)),
        ([ABOVE], Ruling("alert", True, "signal", ABOVE)),
        ([DENY], Ruling("deny", True, "signal", DENY)),
    ],
)
def test_without_an_intent_signals_alone_are_acted_on_and_none_revokes(
    signals: list[str], ruling: Ruling
) -> None:
    assert decide(POLICY, LEVEL, 10_000, THREE, signals, False) == ruling  # type: ignore[arg-type]


def test_content_that_a_policy_object_lets_deny_leads_to_watch_at_most() -> None:
    """A policy file that says so is refused; what is made in another way is held to it too."""
    loud = POLICY.model_copy(update={"signals": {"content.talks_to_agent": "deny"}})
    ruling = decide(loud, LEVEL, 0, ["content"], ["content.talks_to_agent"], True)
    assert ruling == Ruling("allow", True, "signal", "content.talks_to_agent")
    for mute in ({"content.talks_to_agent": "none"}, {}):
        silent = POLICY.model_copy(update={"signals": mute})
        assert decide(silent, LEVEL, 0, ["content"], ["content.talks_to_agent"], True) == QUIET


def test_a_policy_may_ask_for_more_families_or_let_no_signal_revoke() -> None:
    strict = POLICY.model_copy(
        update={
            "families": POLICY.families.model_copy(update={"alert": 2, "revoke": 3, "revoke_by_signal": None})
        }
    )
    for families, verdict in ((["intent"], "allow"), (TWO, "alert"), (THREE, "revoke")):
        assert decide(strict, LEVEL, 8000, families, [], True).verdict == verdict  # type: ignore[arg-type]
    everything = [*THREE, "identity", "provenance", "sequence"]
    assert decide(strict, LEVEL, 0, everything, [DENY], True).verdict == "deny"  # type: ignore[arg-type]


def test_a_level_to_revoke_below_that_to_alert_alerts_too() -> None:
    assert decide(POLICY, Levels(0, 9000, 6000), 6000, ["intent"], [], True) == BY_SCORE
