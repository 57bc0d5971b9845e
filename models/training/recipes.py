"""How a model is fitted: its trees, the directions that evidence may push a score, and what parts of it do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.errors import DatasetError
from models.evidence.features.registry import BY_NAME, GATES
from models.evidence.features.spec import HALVES, Half
from models.forest import allowances, trees
from models.forest.allowances import Shifts
from models.training import families


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted; part of the manifest.

    Attributes
    ----------
    trees : in as many equal parts as `without` has; the first ones have one more where that cannot be
    folds : parts of the user tasks; each is calibrated on by a model that was fitted on the others
    first_trees, first_rate : of the fit that finds the hardest honest sessions, see `emphasised`
    hardest, emphasis : their share of a domain's, and how much more each of them weighs
    directions : for each feature 1 where it may only raise a score, -1 only lower it, 0 either; () = all 0
    without : for each part of the trees the features, by place, that it does without; the log odds are the parts' mean
    apart : for each part of the trees a feature's place, and from which whole number on that part's trees are others, as many
        more, learnt from such rows alone; None for a part that has none. None of them splits by that feature but at its root
    shifts : what scores give up for each unit of a feature, by its place; see `allowances.allowance`
    estimator, parameters : what grows the trees, and what it is told beyond what a recipe says; see `models.training.families`
    """

    trees: int = 240
    leaves: int = 31
    learning_rate: float = 0.03
    min_samples_leaf: int = 60
    l2: float = 5.0
    max_features: float = 0.2
    folds: int = 3
    first_trees: int = 54
    first_rate: float = 0.09
    hardest: float = 0.05
    emphasis: float = 8.0
    seed: int = 20260101
    directions: tuple[int, ...] = ()
    without: tuple[tuple[int, ...], ...] = ((),)
    apart: tuple[tuple[int, int] | None, ...] = ()
    shifts: Shifts = ()
    estimator: str = families.BOOSTING
    parameters: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.without) <= self.trees:
            raise DatasetError(f"{self.trees} trees in {len(self.without)} parts: each wants one at least")
        if len(self.apart) > len(self.without) or not all(
            gate is None or (isinstance(gate, tuple) and len(gate) == 2) for gate in self.apart
        ):
            raise DatasetError(
                f"apart = {self.apart}: for each of {len(self.without)} parts a feature's place and a value, or None"
            )
        if self.leaves + any(self.apart) > trees.LEAVES_MAX:
            raise DatasetError(
                f"{self.leaves} leaves and a root that asks first: {trees.LEAVES_MAX} are read at most"
            )

    @property
    def own_estimator(self) -> bool:
        """Whether its estimator is another than the bundled model's, or is told something by itself."""
        return self.estimator != families.BOOSTING or bool(self.parameters)

    def as_manifest(self) -> dict[str, Any]:
        """Plain values, for JSON; without the estimator where that is the bundled model's."""
        told = asdict(self)
        if not self.own_estimator:
            del told["estimator"], told["parameters"]
        return told


def recipe_for(features: Sequence[str], **changes: Any) -> Recipe:
    """The recipe with what these features say of themselves: directions, what half of the trees do without, own trees, shifts.

    That half does without what sets rows apart for the other, too: such a figure is the most of several, each with a
    direction of its own that a split by it would not keep. What moves a call across such a value may move its score either
    way, whatever direction it has by itself.
    """
    specs = [BY_NAME.get(name) for name in features]
    meaning = {place for place, spec in enumerate(specs) if spec is not None and spec.means_intent}
    gates = {place for place, spec in enumerate(specs) if spec is not None and spec.gate is not None}
    halved = 0 < len(meaning) < len(features)
    given = {
        "directions": tuple(spec.direction if spec is not None else 0 for spec in specs),
        "without": ((), tuple(sorted(meaning | gates))) if halved else ((),),
        "apart": tuple(_gate_of(half, features) for half in HALVES) if halved else (),
        "shifts": allowances.shifts_of(features),
    }
    return Recipe(**{**given, **changes})


def _gate_of(half: Half, features: Sequence[str]) -> tuple[int, int] | None:
    """The place and value from which on other trees of a half judge a row; None where none of these features says so."""
    for name, gate in GATES.items():
        if gate.half == half and name in features:
            return features.index(name), gate.least
    return None
