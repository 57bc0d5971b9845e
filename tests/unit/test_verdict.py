"""What holds of a verdict, whatever the evidence."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FAMILIES
from stream.core.verdict import decide
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
