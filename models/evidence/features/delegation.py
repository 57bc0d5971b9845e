"""What the intent hands over to a source: acts, or particulars of an act that it names. See `models.heads.handover`."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import FALLING, HANDED, Gate, Group
from models.heads.handover import ANSWERS

GROUP = Group(family="intent", ablation="delegation")


@GROUP.feature(HANDED, FALLING)
def clause_any(call: CallEvidence) -> int:
    """How far the clause that the call was made for hands anything over."""
    return call.delegation.by_clause.any


@GROUP.feature(HANDED, FALLING)
def intent_acts(call: CallEvidence) -> int:
    """How far that clause of the intent that does most hands acts over; 0 without an intent."""
    return max(call.context.session.handing[::ANSWERS], default=0)


@GROUP.feature(HANDED, FALLING)
def intent_left(call: CallEvidence) -> int:
    """How far the intent as a whole, or an amendment, hands acts over."""
    return call.delegation.by_intent.acts


@GROUP.feature(HANDED, FALLING)
def intent_any(call: CallEvidence) -> int:
    """How far the intent as a whole, or an amendment, hands anything over."""
    return call.delegation.by_intent.any


@GROUP.feature(HANDED, FALLING, ablation="intent meaning", means_intent=True)
def intent_effect(call: CallEvidence) -> int:
    """How far the intent as a whole, or an amendment, wants anything done."""
    return call.delegation.by_intent.effect


# Where an intent or a clause of it hands something over, an act from a result is honest or not by other figures than
# elsewhere. As the most of three figures, each with a direction of its own, it has none; and the half of the trees that
# does without what the intent means does without it too, since a split by it would not keep those directions.
@GROUP.feature(HANDED, gate=Gate("all features", least=136))
def handed(call: CallEvidence) -> int:
    """Whether anything is handed over at all: the most of `source_any`, `clause_any` and `intent_any`."""
    return call.delegation.handed
