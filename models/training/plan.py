"""A plan of a training, as a data scientist writes it: one small YAML file, every part of it optional."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from models.errors import ConfigError
from models.training import families
from models.training.calibrate import BUDGETS
from models.training.influence import Influence
from models.training.recipes import Recipe, recipe_for

MAX_BYTES = 64 << 10
Value = bool | int | float | str | None
_TREES = ("max_iter", "n_estimators")
_LEAVES = "max_leaf_nodes"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimator(_Part):
    """What grows the trees, by its name in scikit-learn, and what it is told."""

    name: str = families.BOOSTING
    parameters: dict[str, Value] = {}


class Splits(_Part):
    """What a model is measured on that learnt nothing of it, and in how many parts user tasks are calibrated."""

    leave_out: Literal["domain", "agent"] = "domain"
    folds: Annotated[int, Field(ge=2, le=10)] = 3


class Calibration(_Part):
    """Session-level false-positive rates that the manifest gets thresholds for."""

    budgets: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = BUDGETS

    @field_validator("budgets")
    @classmethod
    def _with_the_policy_s(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({*budgets, *BUDGETS}))  # what policies name stays


class Budget(_Part):
    """How much is spent: the share of bundled recordings and of scenarios that is learnt from, and trials of a search."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    trials: Annotated[int, Field(ge=1, le=200)] = 12


class Plan(_Part):
    """All of it. Two runs with one plan and the same files give the same model."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Recipe.seed
    estimator: Estimator = Estimator()
    splits: Splits = Splits()
    calibration: Calibration = Calibration()
    budget: Budget = Budget()
    influence: Influence = Influence()
    reader: bool = True
    search: dict[str, Annotated[list[Value], Field(min_length=1, max_length=50)]] = {}

    def recipe(self, features: Sequence[str]) -> Recipe:
        """How a model is fitted by this plan; raises `ConfigError` where its estimator takes no such parameter."""
        made = recipe_for(features, seed=self.seed, folds=self.splits.folds, estimator=self.estimator.name)
        return told(made, self.estimator.parameters)

    def takes(self, session_id: str) -> bool:
        """Whether a session that is not one's own is among those learnt from: by a hash of its id, so that a larger share holds a smaller one."""
        number = int.from_bytes(hashlib.sha256(f"{self.seed}|{session_id}".encode()).digest()[:8], "big")
        return number < self.budget.share * 2.0**64


def told(recipe: Recipe, parameters: Mapping[str, Value]) -> Recipe:
    """A recipe with an estimator's own parameters: trees and leaves, which a recipe counts itself, as the recipe's.

    Raises
    ------
    ConfigError
        The estimator has no such parameter.
    """
    changes: dict[str, Any] = {}
    kept = dict(recipe.parameters)
    for name, value in parameters.items():
        if name in (*_TREES, _LEAVES):
            if not isinstance(value, int) or isinstance(value, bool) or value < 2:
                raise ConfigError(f"{name}: {value!r}; a whole number from 2 on is wanted")
            changes["leaves" if name == _LEAVES else "trees"] = value
        elif name == "random_state":
            raise ConfigError("random_state: the plan's own seed is what fits are seeded with")
        else:
            kept[name] = value
    made = replace(recipe, **changes, parameters=tuple(sorted(kept.items())))
    families.build(made.estimator, dict(made.parameters), {})
    return made


def read(path: Path) -> Plan:
    """The plan that a file holds.

    Raises
    ------
    ConfigError
        It cannot be read, is larger than `MAX_BYTES`, or says something that a plan does not.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES >> 10} KiB, so it is no plan of a training")
        document = yaml.safe_load(raw)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return Plan.model_validate({} if document is None else document)
    except ValidationError as error:
        wrong = "; ".join(map(_problem, error.errors(include_url=False)))
        raise ConfigError(f"{path}: {wrong} (docs/training.md lists what a plan says)") from error


def _problem(error: ErrorDetails) -> str:
    """Where a plan is wrong, and the mend."""
    where = ".".join(map(str, error["loc"])) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{where}: no such part; remove it or correct its name"
    said = re.sub("^Input should", "it should", error["msg"].removeprefix("Value error, "))
    return f"{where}: {said}, and is {str(error['input'])[:40]!r}"
