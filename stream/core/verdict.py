"""From evidence to verdict: what a policy makes of a call's score and signals, a total function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from models.contracts import Family, Verdict
from stream.policy import Levels, Policy
from stream.signals.signal import Consequence

_RANK: dict[Consequence, int] = {"none": 0, "watch": 1, "alert": 2, "deny": 3}


class Ruling(NamedTuple):
    """A verdict, the standing it asks for, and what it rests on."""

    verdict: Verdict
    watch: bool
    by: Literal["score", "signal", "nothing"]
    signal: str | None


def corroborating(families: Iterable[Family]) -> set[Family]:
    """Of the families that speak, those that count: what a text looks like is no evidence of what the agent does."""
    return {family for family in families if family != "content"}


def decide(
    policy: Policy,
    level: Levels,
    score: int,
    families: Sequence[Family],
    signals: Sequence[str],
    declared: bool,
) -> Ruling:
    """What the policy makes of a call.

    A higher score never lowers the verdict. Without a declared intent the score is not acted on: the verdict
    is ``abstain`` unless a signal speaks by itself.

    Parameters
    ----------
    level : Levels
        The policy's thresholds with the model that scored.
    score : int
        In units of 0.0001.
    families, signals : sequence of str
        Those that speak against the call.
    declared : bool
        Whether there is an intent that says something.
    """
    n_families = len(corroborating(families))
    signal, consequence = _strongest(policy, signals)
    by_score = _by_score(policy, level, score, n_families) if declared else "allow"
    if by_score == "revoke":
        return Ruling("revoke", True, "score", None)
    enough = policy.families.revoke_by_signal
    if declared and consequence in ("alert", "deny") and enough is not None and n_families >= enough:
        return Ruling("revoke", True, "signal", signal)
    if consequence == "deny":
        return Ruling("deny", True, "signal", signal)
    if by_score == "alert":
        return Ruling("alert", True, "score", None)
    if consequence == "alert":
        return Ruling("alert", True, "signal", signal)
    passed: Verdict = "allow" if declared else "abstain"
    if consequence == "watch":
        return Ruling(passed, True, "signal", signal)
    watch = declared and score >= level.watch
    return Ruling(passed, watch, "score" if watch else "nothing", None)


def _strongest(policy: Policy, signals: Sequence[str]) -> tuple[str | None, Consequence]:
    """Of the signals the one that leads to most by itself, and to what; content leads to watch at most."""
    strongest = max(signals, key=lambda s: (_RANK[policy.signals.get(s, "none")], s), default=None)
    if strongest is None:
        return None, "none"
    consequence = policy.signals.get(strongest, "none")
    if strongest.startswith("content.") and consequence != "none":
        consequence = "watch"
    return strongest, consequence


def _by_score(policy: Policy, level: Levels, score: int, n_families: int) -> Verdict:
    """What the score leads to with so many families that corroborate it."""
    if score >= level.revoke and n_families >= policy.families.revoke:
        return "revoke"
    if score >= min(level.alert, level.revoke) and n_families >= policy.families.alert:
        return "alert"
    return "allow"
