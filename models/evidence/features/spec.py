"""What a feature is: a number of a call with its name, unit, family and meaning, and how the model may use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from models.contracts import Family
from models.evidence.call import CallEvidence

FLAG = "0 or 1"
BYTE = "0 to 255"
COUNT = "count, cut at 255"
THOUSANDTHS = "thousandths"
HUNDREDTHS = "hundredths of log odds"
DEVIATIONS = "0 to 255, 128 is the mean, 32 a standard deviation"
HANDED = "0 to 255, 128 is neutral, 16 one unit of log odds"

Direction = Literal[-1, 0, 1]
RISING: Direction = 1
"""Evidence that can only raise a score. What holds by meaning transfers to tools never seen; what the trees
would otherwise learn against it is a habit of the few suites at hand."""
FALLING: Direction = -1
"""Evidence that can only lower a score."""
EITHER: Direction = 0

Ablation = Literal[
    "intent meaning",
    "catalogue lure",
    "provenance",
    "delegation",
    "address",
    "scope",
    "sequence",
    "visibility",
]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
"""Groups of features that ``benchmarks/detection`` leaves out, one at a time, in the order of its table."""

Half = Literal["all features", "without what the intent means"]
HALVES: tuple[Half, ...] = get_args(Half)
"""The halves of the trees, by what they may split by, see `models.training.calibrate.Recipe.without`."""


class Gate(NamedTuple):
    """Rows that are judged by trees of their own: those in which the feature has a value of `least` or more.

    The `half` of the trees that are others there; the other half stays.
    """

    half: Half
    least: int


class Feature(NamedTuple):
    """One number of a call, as the model reads it.

    Attributes
    ----------
    name : column of the row, and entry of a model's manifest
    meaning : what it says, in one sentence or more
    unit : of its values, all of them whole numbers
    family : that it is evidence of
    ablation : group that is left out as one
    direction : 1 where it may only raise a score, -1 only lower it, 0 either
    means_intent : whether it says what the intent means, so that one half of the trees does without it. How near one
        suite's words lie to its tools is a habit of that suite.
    gate : where it decides that other trees judge a row
    allowance : log odds that a score gives up for each unit
    only_measures : whether it is a length or count that tells nothing of why a call is made
    of : its value for a call
    """

    name: str
    meaning: str
    unit: str
    family: Family
    ablation: Ablation
    direction: Direction
    means_intent: bool
    gate: Gate | None
    allowance: float
    only_measures: bool
    of: Callable[[CallEvidence], int]


class Group:
    """Features of one subject, in the order in which they stand in its file: that of their columns.

    Parameters
    ----------
    family, ablation : of each feature that does not say otherwise
    """

    def __init__(self, family: Family, ablation: Ablation) -> None:
        self.family, self.ablation = family, ablation
        self.features: list[Feature] = []

    def feature(
        self,
        unit: str,
        direction: Direction = EITHER,
        *,
        family: Family | None = None,
        ablation: Ablation | None = None,
        means_intent: bool = False,
        gate: Gate | None = None,
        allowance: float = 0.0,
        only_measures: bool = False,
    ) -> Callable[[Callable[[CallEvidence], int]], Feature]:
        """Make a function of a call the next feature: its name and docstring are the feature's name and meaning."""

        def made(of: Callable[[CallEvidence], int]) -> Feature:
            spec = Feature(
                name=of.__name__,
                meaning=" ".join((of.__doc__ or "").split()),
                unit=unit,
                family=family or self.family,
                ablation=ablation or self.ablation,
                direction=direction,
                means_intent=means_intent,
                gate=gate,
                allowance=allowance,
                only_measures=only_measures,
                of=of,
            )
            self.features.append(spec)
            return spec

        return made
