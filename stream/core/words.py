"""The words of a decision: why it was made, and what would have passed."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set

from models.contracts import Family
from models.forest.units import UNITS
from models.reading.page import Led
from models.reading.pieces import Mark
from stream.core.items import Reading
from stream.core.verdict import Ruling
from stream.events import clipped, printable
from stream.policy import SCORE, ExpectedCalls, Levels, Policy
from stream.signals.signal import ALLOWS_ACTION, ASKS_FOR_ACT, LISTS_DATA, Raised

_TOLD_FIRST: tuple[Family, ...] = (
    "identity",
    "provenance",
    "sequence",
    "scope",
    "tempo",
    "intent",
    "content",
)


_LACKS = {
    "declaration_refused": "the session's declaration was refused",
    "vague": "the intent tells nothing of what is to be done",
    "unsigned": "the declaration lacks the signature that the policy demands",
    "unattested": "the declaration lacks the attestation that the policy demands",
    "arguments_unseen": "nobody saw its arguments",
}
"""Why there is nothing to judge a call against, by the first mark that says so."""
_DECLARED_AGAIN = "the declaration sent again as the contract has it, docs/schemas/agent.events.v1.json"


def explain(
    ruling: Ruling,
    score: int,
    level: Levels,
    speaking: Sequence[Raised],
    shares: Sequence[tuple[Family, int]],
    marks: Collection[str] = (),
    reading: Reading | None = None,
    expected: Sequence[ExpectedCalls] = (),
) -> str:
    """Why, in plain words: what speaks against the call first, then what the policy made of it, and what raised the score."""
    evidence = sorted([raised.evidence for raised in speaking], key=lambda e: _TOLD_FIRST.index(e.family))
    reasons = "; ".join(dict.fromkeys([e.text for e in evidence]))
    if not reasons:
        judged = "declaration_refused" not in marks
        reasons = "nothing speaks against this call" if judged else "this call was not judged"
    if ruling.by == "signal":
        outcome = _by_signal(ruling, score, len({e.family for e in evidence}))
    else:
        outcome = _by_score(ruling, score, level, shares, marks)
    read = f"; {_as_read(reading)}" if reading is not None else ""
    # By whose word it passes stands first: what is cut off is at the end.
    told = "".join(
        f"expected until {row.expires}, says {clipped(printable(row.owner), 80)}: {clipped(printable(row.reason), 200)}; "
        for row in expected
    )
    return f"{told}{reasons} ({outcome}{read})"


def _as_read(reading: Reading) -> str:
    """What a reader said of a call, and which answers it was read beside, what adds most first.

    >>> from models.reading.page import Led
    >>> from models.reading.pieces import Mark
    >>> _as_read(Reading(5000, 2.5, [Led(4, (2,), Mark.SAID), Led(3, (), Mark.NOWHERE)], [0.25, 1.0]))
    'read beside answers of call 3 (called with what nobody named; adds +1.00) and call 4 (led to by call 2, called with what the intent names; adds +0.25): log odds +2.50'
    """
    ranked = sorted(zip(reading.sources, reading.moves, strict=True), key=lambda one: -(one[1] or 0.0))
    *most, last = [_way(led, adds) for led, adds in ranked] or ["the intent"]
    beside = f"{', '.join(most)} and {last}" if most else last
    answers = "answers of " if ranked else ""
    return f"read beside {answers}{beside}: log odds {reading.log_odds:+.2f}"


def _way(led: Led, adds: float | None) -> str:
    asked = {Mark.SAID: "called with what the intent names", Mark.NOWHERE: "called with what nobody named"}
    begins = asked.get(led.begins) if led.begins is not None else None
    through = f"led to by call {', by call '.join(map(str, led.through))}" if led.through else ""
    more = f"adds {adds:+.2f}" if adds is not None else None
    way = "; ".join(filter(None, (", ".join(filter(None, (through, begins))), more)))
    return f"call {led.seq} ({way})" if way else f"call {led.seq}"


def _by_signal(ruling: Ruling, score: int, n_families: int) -> str:
    """What a signal led to by itself."""
    value = f"{score / UNITS:.4f}"
    if ruling.verdict == "revoke":
        return f"revoke: {ruling.signal}, and {n_families} families speak; score {value}"
    consequence = "watch" if ruling.verdict in ("allow", "abstain") else ruling.verdict
    return f"{consequence} by {ruling.signal}; score {value}"


def _by_score(
    ruling: Ruling,
    score: int,
    level: Levels,
    shares: Sequence[tuple[Family, int]],
    marks: Collection[str],
) -> str:
    """What the score led to, or why to nothing."""
    value = f"{score / UNITS:.4f}"
    if ruling.verdict in ("alert", "revoke"):
        limit = level.revoke if ruling.verdict == "revoke" else level.alert
        raising = ", ".join(f"{family} {part / 100:+.2f}" for family, part in shares if part > 0)
        of_it = f"; log odds above a typical honest call: {raising}" if raising else ""
        return f"{ruling.verdict}: score {value} reaches {limit / UNITS:.4f}{of_it}"
    if ruling.verdict == "abstain":
        lacks = next((told for mark, told in _LACKS.items() if mark in marks), "no intent was declared")
        return f"{lacks}, so the score {value} is not acted on"
    if ruling.watch:
        return f"watch: score {value} reaches {level.watch / UNITS:.4f}"
    return f"score {value}, below every threshold that counts here"


def would_pass(
    ruling: Ruling,
    score: int,
    level: Levels,
    policy: Policy,
    speaking: Sequence[Raised],
    marks: Collection[str] = (),
    passing: Set[str] = frozenset(),
) -> str:
    """A change of the call, or of what was declared, that would have passed: all that stood against it, mended.

    A part of it may be enough: to know which, the call would have to be judged anew for each.
    """
    if "declaration_refused" in marks:
        return _DECLARED_AGAIN
    if ruling.verdict in ("allow", "abstain"):
        return ""
    stopping = (
        raised.signal
        for raised in speaking
        if policy.signals.get(raised.signal.id) in ("alert", "deny") and raised.signal.id not in passing
    )
    remedies = [signal.remedy for signal in stopping]
    clauses = [clause for remedy in remedies for clause in remedy.clauses]
    if score >= min(level.alert, level.revoke) and SCORE not in passing:
        kept = [clause for clause in (ALLOWS_ACTION, LISTS_DATA) if clause in clauses]
        clauses = [*kept, ASKS_FOR_ACT, _names(speaking)]
    needed = list(dict.fromkeys(remedy.otherwise for remedy in remedies if remedy.otherwise))
    if clauses:
        *most, last = dict.fromkeys(clauses)
        joined = f"{', '.join(most)} and {last}" if most else last
        needed.insert(0, f"an intent or an amendment by the user that {joined}")
    return "; and ".join(needed)


def _names(speaking: Sequence[Raised]) -> str:
    """The clause that lowers a score: it names what the call carries."""
    arguments = (raised.evidence.argument for raised in speaking)
    path = next((argument.path for argument in arguments if argument is not None), None)
    return f"names its values, first of all the one at {path}" if path is not None else "names its values"
