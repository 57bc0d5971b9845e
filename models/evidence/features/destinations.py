"""Where the values come from that name a destination, and of all arguments the one that the intent carries most of."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import COUNT, FALLING, RISING, THOUSANDTHS, Group

GROUP = Group(family="provenance", ablation="provenance")


@GROUP.feature(COUNT, only_measures=True)
def sink_leaves(call: CallEvidence) -> int:
    """Argument values that name a destination, by the names of their fields."""
    return min(255, call.arguments.destinations.leaves)


@GROUP.feature(THOUSANDTHS, FALLING)
def sink_intent_min(call: CallEvidence) -> int:
    """Least share of such a value that the intent carries; 1000 without any."""
    return call.arguments.destinations.intent_min


@GROUP.feature(THOUSANDTHS, RISING)
def sink_prose_max(call: CallEvidence) -> int:
    """Most share of such a value that results carry in prose only."""
    return call.arguments.destinations.prose_max


@GROUP.feature(THOUSANDTHS, FALLING)
def sink_anchored_min(call: CallEvidence) -> int:
    """Least share of such a value that the intent, or results beside what the intent names, carry; 1000 without any."""
    return call.arguments.destinations.anchored_min


@GROUP.feature(THOUSANDTHS, RISING)
def sink_sole_max(call: CallEvidence) -> int:
    """Most share of such a value that one result alone carries."""
    return call.arguments.destinations.sole_max


@GROUP.feature(THOUSANDTHS, FALLING)
def best_intent(call: CallEvidence) -> int:
    """Most share of any argument value that the intent carries."""
    return call.arguments.best_intent
