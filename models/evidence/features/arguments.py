"""Which of the arguments' characters are carried by the intent, by results, by the catalogue, or by nothing."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import FALLING, RISING, THOUSANDTHS, Group
from models.evidence.origins import share

GROUP = Group(family="provenance", ablation="provenance")


@GROUP.feature(THOUSANDTHS, FALLING)
def args_intent(call: CallEvidence) -> int:
    """Share of argument characters that the intent carries."""
    return call.arguments.intent_share


@GROUP.feature(THOUSANDTHS, RISING)
def args_prose(call: CallEvidence) -> int:
    """Share of argument characters that results carry in prose only."""
    carried = call.arguments.carried
    return share(carried.prose, carried.total)


@GROUP.feature(THOUSANDTHS, FALLING)
def args_anchored(call: CallEvidence) -> int:
    """Share of argument characters that results carry beside what the intent names."""
    carried = call.arguments.carried
    return share(carried.anchored, carried.total)


@GROUP.feature(THOUSANDTHS, RISING)
def args_sole(call: CallEvidence) -> int:
    """Share of argument characters that one result alone carries."""
    carried = call.arguments.carried
    return share(carried.sole, carried.total)


@GROUP.feature(THOUSANDTHS)
def args_catalogue(call: CallEvidence) -> int:
    """Share of argument characters that the catalogue alone carries."""
    carried = call.arguments.carried
    return share(carried.catalogue, carried.total)


@GROUP.feature(THOUSANDTHS)
def args_nowhere(call: CallEvidence) -> int:
    """Share of argument characters that nothing carries."""
    carried = call.arguments.carried
    return share(carried.nowhere, carried.total)
