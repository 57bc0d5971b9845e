"""How the called tool stands in the session's catalogue, by the intent and by what results say."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import BYTE, DEVIATIONS, FALLING, FLAG, RISING, THOUSANDTHS, Group
from models.evidence.origins import share

GROUP = Group(family="intent", ablation="intent meaning")


@GROUP.feature(FLAG, means_intent=True)
def intent_declared(call: CallEvidence) -> int:
    """Whether the session declared an intent."""
    return int(call.context.session.declared)


@GROUP.feature(BYTE, FALLING, means_intent=True)
def tool_affinity(call: CallEvidence) -> int:
    """How much the intent speaks of this tool, by words; 255 is the tool that it speaks of most."""
    return call.standing.affinity


@GROUP.feature(THOUSANDTHS, RISING, means_intent=True)
def tool_affinity_rank(call: CallEvidence) -> int:
    """Share of the catalogue that the intent speaks of more."""
    affinity = call.context.session.affinity
    return share(sum(map(call.standing.affinity.__lt__, affinity)), len(affinity))


@GROUP.feature(BYTE, family="sequence", ablation="catalogue lure")
def tool_lure(call: CallEvidence) -> int:
    """How much the prose of results speaks of this tool, by words."""
    return call.standing.lure


@GROUP.feature("-255 to 255", RISING, family="sequence", ablation="catalogue lure")
def tool_lure_gain(call: CallEvidence) -> int:
    """How much more the prose of results speaks of this tool than the intent does: lure less affinity."""
    return call.standing.lure_gain


@GROUP.feature(DEVIATIONS, FALLING, means_intent=True)
def tool_likeness(call: CallEvidence) -> int:
    """How near the tool's meaning is to the nearest clause of the intent, among the catalogue's tools."""
    return call.standing.likeness


@GROUP.feature(THOUSANDTHS, RISING, means_intent=True)
def tool_likeness_rank(call: CallEvidence) -> int:
    """Share of the catalogue that the clauses of the intent are nearer to."""
    likeness = call.context.session.likeness
    return share(sum(map(call.standing.likeness.__lt__, likeness)), len(likeness))


@GROUP.feature(THOUSANDTHS, RISING, means_intent=True)
def tool_expected_rank(call: CallEvidence) -> int:
    """Share of the catalogue that the intent leads to sooner, see `models.heads.expectation`."""
    return call.meaning.expected_rank
