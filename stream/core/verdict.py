"""From evidence to verdict: what a policy makes of a call's score and signals, a total function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Literal, NamedTuple

from models.contracts import Family, Verdict
from stream.policy import SCORE, Levels, Policy
from stream.signals.registry import NO_GROUNDS
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
    passing: Set[str] = frozenset(),
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
    passing : set of str
        Signals, or `SCORE`, that lead to no more than watch: the call was expected (`stream.core.expected`).
    """
    n_families = len(corroborating(families))
    signal, consequence = _strongest(policy, signals, passing)
    by_score = _by_score(policy, level, score, n_families) if declared and SCORE not in passing else "allow"
    if by_score == "revoke":
        return Ruling("revoke", True, "score", None)
    enough = policy.families.revoke_by_signal
    if declared and consequence in ("alert", "deny") and enough is not None and n_families >= enough:
        ground, weight = _strongest(policy, [one for one in signals if one not in NO_GROUNDS], passing)
        if weight in ("alert", "deny"):
            return Ruling("revoke", True, "signal", ground)
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


def _strongest(policy: Policy, signals: Sequence[str], passing: Set[str]) -> tuple[str | None, Consequence]:
    """Of the signals the one that leads to most by itself, and to what; content, and what may pass, leads to watch at most."""

    def leads_to(signal: str) -> Consequence:
        consequence = policy.signals.get(signal, "none")
        quiet = signal in passing or signal.startswith("content.")
        return "watch" if quiet and consequence != "none" else consequence

    strongest = max(signals, key=lambda s: (_RANK[leads_to(s)], s), default=None)
    return (None, "none") if strongest is None else (strongest, leads_to(strongest))


def _by_score(policy: Policy, level: Levels, score: int, n_families: int) -> Verdict:
    """What the score leads to with so many families that corroborate it."""
    if score >= level.revoke and n_families >= policy.families.revoke:
        return "revoke"
    if score >= min(level.alert, level.revoke) and n_families >= policy.families.alert:
        return "alert"
    return "allow"
