"""All features, in the order of a row's columns, and a call's row.

Nothing here looks ahead, reads a score, or counts how a text is worded: bait is evidence of its own
(family content) and no feature of the model, since a detector that learns bait fails as soon as it is
reworded.

What results merely carry is no feature by itself: honest look-ups and drift alike are made of that, and models that could
use it transferred worse (measured, ADR 14). What the catalogue or nothing carries is one: since tasks over many catalogues
are learnt from, it helps on others (ADR 17).

How far a session has come, how often it wrote or failed, is no feature either: in recordings that tells which
set a session is from, not what a call is (measured: models learnt from such counts transfer worse). Budgets
and loops have signals of their own (`stream.signals.tempo`).

All features are integers. A feature about something absent is 0, except where said.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.evidence.call import CallEvidence
from models.evidence.features import (
    addresses,
    arguments,
    delegation,
    destinations,
    meaning,
    scope,
    source,
    tool,
    visibility,
)
from models.evidence.features.spec import Feature, Gate

FEATURES_VERSION = 20
"""Raised where a column of the same name comes to mean something else; another list of names is another one by itself."""

SPECS: tuple[Feature, ...] = tuple(
    feature
    for subject in (
        tool,
        meaning,
        arguments,
        destinations,
        source,
        delegation,
        addresses,
        visibility,
        scope,
    )
    for feature in subject.GROUP.features
)
"""Every feature, by column."""

FEATURES: tuple[str, ...] = tuple(feature.name for feature in SPECS)
"""Names of the columns, as a model's manifest lists them."""

BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in SPECS}

GATES: Mapping[str, Gate] = {feature.name: feature.gate for feature in SPECS if feature.gate is not None}
"""By name those that decide that other trees judge a row."""

_COLUMNS = tuple(feature.of for feature in SPECS)


def row_of(call: CallEvidence) -> list[int]:
    """The row of a call: the value of each feature, by column."""
    return [value(call) for value in _COLUMNS]
