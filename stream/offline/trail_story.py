"""What matters of a session's story: what was asked, what was done instead, what became of credentials, and what to do."""

from __future__ import annotations

import re
from collections import defaultdict

from stream.events import (
    ALERTS,
    CASES,
    DECISIONS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    REVOCATIONS,
    clipped,
    counted,
)
from stream.offline.trail import TOKENS, Trail
from stream.offline.trail_entries import Entry, number_of, text_of


def notable(trail: Trail) -> list[Entry]:
    """The entries that an analyst reads first: the declaration, calls that were flagged and those that their evidence cites,
    what became of the case, the end, and what is missing."""
    flagged = [each for each in trail.of("decided") if _is_flagged(each)]
    calls = {call for each in flagged for call in (each.data["call_seq"], *each.data["cites"])}
    return [
        each
        for each in trail.entries
        if each.kind not in ("called", "returned", "risk", "alert")
        and (each.kind != "decided" or _is_flagged(each) or each.data["call_seq"] in calls)
    ]


def _is_flagged(decided: Entry) -> bool:
    return decided.data["verdict"] not in ("allow", "abstain") or "refused" in decided.data["marks"]


def asked_for(trail: Trail) -> list[str]:
    """What was asked, as it was declared and amended; or why nothing tells."""
    told = [each.text for each in trail.of("declared", "amended")]
    if told:
        return told
    unread = [base for base in trail.unread if base not in _OURS]
    if unread:
        return [f"not known here: {', '.join(unread)} may not be read, or is missing"]
    return ["nobody declared it, or the declaration has aged out"]


_OURS = frozenset((DECISIONS, CASES, HELD, ALERTS, QUARANTINE, *TOKENS, OUTCOMES, FEEDBACK))


def brief(entry: Entry) -> str:
    """An entry as an analyst reads it: of a decision what speaks against the call, without the figures behind it."""
    if entry.kind != "decided":
        return clipped(entry.text, MAX_BRIEF)
    head = entry.text.removesuffix(entry.data["why"])
    against = "; ".join(text_of(each["text"]) for each in entry.data["evidence"] if each["supports"])
    return head + (against or "nothing speaks against it" if _judged(entry) else entry.data["why"])


MAX_BRIEF = 240
"""Characters of an entry that is no decision, where it is told in brief."""


def _judged(decided: Entry) -> bool:
    return "refused" not in decided.data["marks"] and decided.data["verdict"] != "abstain"


def did_instead(trail: Trail) -> list[str]:
    """The gravest call, why, and what would have passed."""
    flagged = [each for each in trail.of("decided") if _is_flagged(each)]
    worst = gravest(trail)
    if worst is None:
        return [_unflagged(trail)]
    lines = [brief(worst)]
    if worst.data["would_pass"]:
        lines.append(f"would have passed: {worst.data['would_pass']}")
    ran = [each.text for each in trail.of("gap") if each.data["gap"] == "ran"]
    others = [f"{counted(len(flagged) - 1, 'other call')} flagged"] if len(flagged) > 1 else []
    return [*lines, *others, *ran[:MAX_SAID]]


def _unflagged(trail: Trail) -> str:
    """Why no call is told as drift: only where calls were judged does it mean anything."""
    if trail.of("decided"):
        return "nothing was flagged"
    if why := trail.unread.get(DECISIONS):
        return f"not known, since no decision was read: {why}"
    return "not known: no decision on a call of it is there"


def gravest(trail: Trail) -> Entry | None:
    """The decision on the gravest call, by its verdict and its score; None where nothing was flagged."""
    grave = {"revoke": 3, "deny": 2, "alert": 1}
    return max(
        (each for each in trail.of("decided") if _is_flagged(each)),
        key=lambda each: (grave.get(str(each.data["verdict"]), 0), number_of(each.data["score"])),
        default=None,
    )


def fate(trail: Trail) -> list[str]:
    """What became of the session's credentials."""
    outcomes: defaultdict[str, list[Entry]] = defaultdict(list)
    for each in trail.of("outcome"):
        outcomes[each.data["jti"]].append(each)
    lines = [f"{each.text}" for each in trail.of("held", "ruling")]
    for each in trail.of("revocation"):
        said = "; ".join(one.text for one in outcomes[each.data["jti"]][-MAX_SAID:])
        refs = ", ".join(each.data["credentials"]) or "no credential"
        lines.append(
            f"{refs}: revocation sent {each.time} ({each.data['cause']}); {said or 'no outcome was told'}"
        )
    cases = trail.of("case")
    lines += [
        f"{one['reference']}: left alone by the session's end ({one['why']})"
        for each in cases[-1:]
        for one in each.data["released"]
    ]
    if not trail.of("revocation") and any(
        each.data["revokes"] and not each.data["enforced"] for each in cases
    ):
        lines.append(
            "shadow: a revocation was decided, and none was sent; the credentials live until they expire"
        )
    if not lines and REVOCATIONS in trail.unread:
        return ["revocations were not read: what was asked for is not known"]
    return lines or ["no revocation was asked for"]


MAX_SAID = 5
"""Outcomes of one revocation, or calls that ran all the same, that are told in brief."""


def steps(trail: Trail) -> list[str]:
    """What to do: as the latest alert that called somebody says it."""
    alerts = [each for each in trail.of("alert") if each.data["steps"]]
    # That a session is over is news, and what to do about its case stands in what called somebody.
    told = [each.data["steps"] for each in ([one for one in alerts if one.data["is_alert"]] or alerts)]
    if told:
        # Numbered, or sentence by sentence.
        between = r"\s+(?=\d+\. )" if told[-1].startswith("1. ") else r"(?<=[.!?])\s+(?=[A-Z])"
        return re.split(between, told[-1])
    if trail.chain.faults:
        return ["see why the chain does not hold"]
    if (why := trail.unread.get(ALERTS)) and (gravest(trail) or not trail.of("decided")):
        return [f"not known, since no alert was read: {why}"]
    return ["nothing: no alert was raised"]
