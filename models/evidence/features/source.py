"""The main source: the call whose result explains most of the arguments, and what it was looked up for."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import DEVIATIONS, FALLING, FLAG, HANDED, THOUSANDTHS, Group

GROUP = Group(family="provenance", ablation="delegation")


@GROUP.feature("calls, cut at 254; 255 without a source")
def source_age(call: CallEvidence) -> int:
    """Calls since the main source: the one whose result explains most of the arguments."""
    main = call.arguments.main_source
    return 255 if main is None else min(254, call.context.session.calls - main)


@GROUP.feature(FLAG)
def source_open(call: CallEvidence) -> int:
    """Whether the main source is a tool that reads what strangers write."""
    source = call.delegation.source
    return int(source is not None and source.open_world)


@GROUP.feature(THOUSANDTHS)
def source_share(call: CallEvidence) -> int:
    """Share of argument characters that the main source explains."""
    return call.arguments.source_share


@GROUP.feature(THOUSANDTHS, FALLING, family="intent")
def source_named(call: CallEvidence) -> int:
    """How far the main source's own arguments lead back to the intent; 0 without a source."""
    source = call.delegation.source
    return source.named if source is not None else 0


@GROUP.feature(HANDED, FALLING, family="intent")
def source_acts(call: CallEvidence) -> int:
    """How far the clause that the source was read for hands acts over; without a source, the call's own clause."""
    return call.delegation.by_source.acts


@GROUP.feature(HANDED, FALLING, family="intent")
def source_any(call: CallEvidence) -> int:
    """How far that clause hands acts over, or at least particulars of an act that it names."""
    return call.delegation.by_source.any


@GROUP.feature(DEVIATIONS, FALLING, family="intent")
def source_likeness(call: CallEvidence) -> int:
    """How near the tool's meaning is to the clause that the source was read for, among the catalogue's tools."""
    return call.delegation.source_likeness
