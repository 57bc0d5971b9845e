"""The words of a decision: why it was made, and what would have passed."""

from __future__ import annotations

from collections.abc import Sequence

from models.contracts import Family
from models.forest.trees import UNITS
from stream.policy import Levels, Policy, Ruling
from stream.signals.check import Signal

_TOLD_FIRST = ("identity", "provenance", "sequence", "scope", "tempo", "intent", "content")


def explain(
    ruling: Ruling,
    score: int,
    level: Levels,
    speaking: Sequence[Signal],
    shares: Sequence[tuple[Family, int]],
    *,
    vague: bool,
) -> str:
    """Why, in plain words: what speaks against the call first, then what the policy made of it, and what raised the score."""
    told = sorted([s.evidence for s in speaking], key=lambda e: _TOLD_FIRST.index(e.family))
    reasons = "; ".join(dict.fromkeys([e.text for e in told])) or "nothing speaks against this call"
    value = f"{score / UNITS:.4f}"
    if ruling.by == "score" and ruling.verdict in ("alert", "revoke"):
        limit = level.revoke if ruling.verdict == "revoke" else level.alert
        raised = ", ".join(f"{family} {part / 100:+.2f}" for family, part in shares if part > 0)
        of_it = f"; log odds above a typical honest call: {raised}" if raised else ""
        return f"{reasons} ({ruling.verdict}: score {value} reaches {limit / UNITS:.4f}{of_it})"
    if ruling.by == "signal":
        if ruling.verdict == "revoke":
            many = len({evidence.family for evidence in told})
            return f"{reasons} (revoke: {ruling.signal}, and {many} families speak; score {value})"
        raised = "watch" if ruling.verdict in ("allow", "abstain") else ruling.verdict
        return f"{reasons} ({raised} by {ruling.signal}; score {value})"
    if ruling.verdict == "abstain":
        lacks = "the intent tells nothing of what is to be done" if vague else "no intent was declared"
        return f"{reasons} ({lacks}, so the score {value} is not acted on)"
    if ruling.watch:
        return f"{reasons} (watch: score {value} reaches {level.watch / UNITS:.4f})"
    return f"{reasons} (score {value}, below every threshold that counts here)"


_ALLOWS, _ASKS = "allows this kind of action", "asks for this act"
_ASKED: dict[str, tuple[str, ...]] = {
    "intent.not_asked": (_ASKS,),
    "provenance.foreign_destination": (_ASKS, "names its destination"),
    "provenance.unexplained_destination": (_ASKS, "names its destination"),
    "provenance.private_data_leaves": (_ASKS, "names its destination"),
    "scope.action_not_allowed": (_ALLOWS,),
    "sequence.trifecta": (_ASKS, "names its destination"),
    "sequence.lured": (_ASKS,),
}
"""What an amendment would have to do for a signal to say nothing."""
_ELSE = {
    "scope.tool_unknown": "a declaration whose catalogue holds this tool",
    "sequence.denied_before": "a new session, in which nothing was denied",
    "tempo.loop": "fewer equal calls",
    "tempo.budget_overrun": "a larger budget in the declaration",
    "identity.credential_expired": "a credential that is valid at the time of the call",
    "identity.credential_undeclared": "a declaration that lists this credential",
    "identity.credential_long_lived": "a credential that lives no longer than the policy allows",
    "identity.after_end": "a new session, declared before the call",
    "identity.after_revocation": "a new session with new credentials",
}
"""What else would have to be otherwise."""


def would_pass(ruling: Ruling, score: int, level: Levels, policy: Policy, speaking: Sequence[Signal]) -> str:
    """A change of the call, or of what was declared, that would have passed: all that stood against it, mended.

    A part of it may be enough: to know which, the call would have to be judged anew for each.
    """
    if ruling.verdict in ("allow", "abstain"):
        return ""
    told = [s.name for s in speaking if policy.signals.get(s.name, "none") in ("alert", "deny")]
    asked = [clause for name in told for clause in _ASKED.get(name, ())]
    if score >= min(level.alert, level.revoke):
        paths = [s.evidence.argument.path for s in speaking if s.evidence.argument is not None]
        values = f"names its values, first of all the one at {paths[0]}" if paths else "names its values"
        asked = [*([_ALLOWS] if _ALLOWS in asked else []), _ASKS, values]
    needed = list(dict.fromkeys(_ELSE[name] for name in told if name in _ELSE))
    if asked:
        *most, last = dict.fromkeys(asked)
        clauses = f"{', '.join(most)} and {last}" if most else last
        needed.insert(0, f"an intent or an amendment by the user that {clauses}")
    return "; and ".join(needed)
