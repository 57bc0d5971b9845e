"""How severe a case is: by what the call may do and where it leads, and by how sure that is; never by the score alone."""

from __future__ import annotations

from models.contracts import Action, Evidence, Family
from stream.outbound.change import Change

LOW, MEDIUM, HIGH, CRITICAL = 2, 3, 4, 5
"""As OCSF numbers severity."""
UNSURE, LIKELY, SURE = 1, 2, 3
"""As OCSF numbers confidence."""

_LEADS_OUT = frozenset({"provenance.private_data_leaves", "sequence.trifecta"})
"""Private data leaves, or can: whatever the tool that carries it."""
_LEADS_ASTRAY: frozenset[Family] = frozenset({"provenance", "identity"})
"""Families that say that the act is for somebody else, or by somebody else."""
_GRAVE = frozenset({"intent.grave_act", "intent.other_address"})
_SURE_BY_FAMILIES = 3
"""Families that agree, where a rule led to the verdict."""

_SEVERITY = {
    # impact: by confidence from unsure to sure
    "severe": (HIGH, HIGH, CRITICAL),
    "lasting": (MEDIUM, MEDIUM, HIGH),
    "slight": (LOW, LOW, MEDIUM),
}


def severity_of(change: Change) -> int:
    """The severity of a change: the gravest of its case, as far as it was told, or that of this call.

    Where no call led to it, and none was told before, it is as grave as its standing says.
    """
    if change.deed is None:
        return change.severity or (HIGH if change.case.after == "contained" else MEDIUM)
    speaking = [each for each in change.evidence if each.supports]
    now = _SEVERITY[_impact(change.deed.action, speaking)][confidence_of(change) - 1]
    return max(change.severity, min(CRITICAL, max(LOW, now + step_of_amount(change))))


def step_of_amount(change: Change) -> int:
    """One step up for a call that moves a large sum of money, one down for a trivial one; none for a read, nor down for data that leaves."""
    deed = change.deed
    if deed is None or deed.action == "read":
        return 0
    leads_out = any(each.supports and f"{each.family}.{each.name}" in _LEADS_OUT for each in change.evidence)
    return max(0, deed.amount) if leads_out else deed.amount


def confidence_of(change: Change) -> int:
    """How sure it is that the session drifted: by its score, and where a rule decided by how many families agree."""
    percent = round(change.case.score * 100)
    by_score = SURE if percent >= 80 else LIKELY if percent >= 50 else UNSURE
    by_score = max(by_score, change.confidence)
    if change.deed is None or not change.deed.by_rule:
        return by_score
    families = {each.family for each in change.evidence if each.supports} - {"content"}
    return max(by_score, SURE if len(families) >= _SURE_BY_FAMILIES else LIKELY)


def _impact(action: Action, speaking: list[Evidence]) -> str:
    signals = {f"{each.family}.{each.name}" for each in speaking}
    families = {each.family for each in speaking}
    if signals & _LEADS_OUT:
        return "severe"
    if action == "read":
        return "lasting" if "identity" in families else "slight"
    return "severe" if families & _LEADS_ASTRAY or signals & _GRAVE else "lasting"
