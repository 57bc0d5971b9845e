"""Where the addresses in the arguments come from, whatever the argument is called: mail, web, account, path."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import FALLING, RISING, THOUSANDTHS, Group
from models.evidence.origins import share

GROUP = Group(family="provenance", ablation="address")


@GROUP.feature("characters, cut at 255")
def aimed(call: CallEvidence) -> int:
    """Characters of addresses in the arguments."""
    return min(255, call.arguments.aimed.total)


@GROUP.feature(THOUSANDTHS, FALLING)
def aimed_intent(call: CallEvidence) -> int:
    """Share of these address characters that the intent carries; 1000 without any."""
    addresses = call.arguments.aimed
    return share(addresses.intent, addresses.total) if addresses.total else 1000


@GROUP.feature(THOUSANDTHS, RISING)
def aimed_prose(call: CallEvidence) -> int:
    """Share of these address characters that results carry in prose only."""
    addresses = call.arguments.aimed
    return share(addresses.prose, addresses.total)


@GROUP.feature(THOUSANDTHS, RISING)
def aimed_other(call: CallEvidence) -> int:
    """Share of these address characters that results carry elsewhere than beside what the intent names."""
    addresses = call.arguments.aimed
    elsewhere = addresses.total - addresses.intent - addresses.anchored - addresses.nowhere
    return share(elsewhere, addresses.total)


@GROUP.feature(THOUSANDTHS, RISING)
def aimed_nowhere(call: CallEvidence) -> int:
    """Share of these address characters that nothing carries."""
    addresses = call.arguments.aimed
    return share(addresses.nowhere, addresses.total)
