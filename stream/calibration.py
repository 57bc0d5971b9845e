"""Thresholds of a new ecosystem, raised by what its own sessions score; nobody has labelled them.

Decisions of shadow operation go in, a release comes out: the model as it is, and the policy with numbers in place
of the budgets whose thresholds `models.calibrate.raised` lifts. Nothing is ever lowered, and nothing rises above
the threshold of a tenth of its budget, so that whoever floods the sample with attacks can push it there and no
further. The release goes live like any other, by a signed activation (docs/operations.md).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from models import registry, trees
from models.calibrate import raised
from models.errors import ConfigError, InputError
from stream.bootstrap import release_digest
from stream.policy import FalsePositiveBudget, Policy, levels, parse_policy

FEWEST = 50
"""Sessions from which on a sample says anything: with fewer, the share that is allowed anyway is all of them."""


class Raised(NamedTuple):
    """One level: its budget, and its threshold in units of 0.0001 before and after; how many sessions reach each."""

    level: str
    budget: float
    before: int
    after: int
    reached_before: int
    reached_after: int


def maxima(decisions: Iterable[Mapping[str, Any]], release: str | None = None) -> dict[tuple[str, str], int]:
    """Each session's highest score, in units of 0.0001, by tenant and session.

    Decisions that abstain are passed over, since their score is not acted on; so are those of another `release`.

    Raises
    ------
    InputError
        A document is no decision.
    """
    found: dict[tuple[str, str], int] = {}
    for document in decisions:
        try:
            session = str(document.get("tenant") or ""), str(document["session_id"])
            score, verdict, by = float(document["score"]), document["verdict"], str(document["release"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a decision: {error!r}; give decisions of agent.decisions.v1") from error
        if not 0 <= score <= 1:
            raise InputError(f"a decision of session {session[1]} has the score {score}")
        if verdict == "abstain" or (release is not None and by != release):
            continue
        found[session] = max(found.get(session, 0), round(score * trees.UNITS))
    return found


def raise_levels(policy: Policy, model: registry.Model, highest: Sequence[int]) -> list[Raised]:
    """The levels that the policy gives as budgets, with what the sample makes of their thresholds.

    Levels given as numbers are somebody's decision and stay. Later levels stay above earlier ones.

    Raises
    ------
    InputError
        The sample has fewer than `FEWEST` sessions.
    """
    if len(highest) < FEWEST:
        raise InputError(f"{len(highest)} sessions say nothing of an ecosystem; at least {FEWEST} are needed")
    sample = np.asarray(highest, np.int64)
    now = levels(policy, model.threshold)
    found, least = [], 0
    for level, before in now._asdict().items():
        told = getattr(policy.thresholds, level)
        if isinstance(told, FalsePositiveBudget):
            after = max(least, raised(before, sample, told.budget, _ceiling(model, told.budget, before)))
            reached = int((sample >= before).sum()), int((sample >= after).sum())
            found.append(Raised(level, told.budget, before, after, *reached))
            least = after
        else:
            least = max(least, before)
    return found


def _ceiling(model: registry.Model, budget: float, before: int) -> int:
    """The threshold of a tenth of the budget; where none was measured, of the strictest that was."""
    measured = sorted(float(name) for name in model.manifest["thresholds"])
    return max(before, model.threshold(max(budget / 10, measured[0])))


def write(
    found: Sequence[Raised], policy_text: str, name: str, model: registry.Model, source: Path, out: Path
) -> str:
    """Write the release into the new directory `out`; its digest, as an activation names it.

    Parameters
    ----------
    policy_text : the policy; all of it but the raised levels is kept, comments too
    name : of the policy, for errors
    source : directory that the model was read from

    Raises
    ------
    ConfigError
        The directory is there already, or the policy's levels would not rise.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; name a new directory for the release")
    text = with_levels(policy_text, {one.level: one.after for one in found if one.after > one.before})
    policy = parse_policy(text, name)
    levels(policy, model.threshold)
    out.mkdir(parents=True)
    for file in (registry.MODEL_FILE, registry.MANIFEST_FILE):
        shutil.copyfile(source / file, out / file)
    (out / "policy.yaml").write_text(text)
    return release_digest(model.digest, policy)


def with_levels(policy_text: str, numbers: Mapping[str, int]) -> str:
    """`policy_text` with these thresholds, in units of 0.0001, in place of its own; the rest as it stands.

    >>> with_levels("thresholds:\\n  alert: {budget: 0.01}  # ours\\n", {"alert": 9123})
    'thresholds:\\n  alert: 0.9123  # ours\\n'
    """
    root = yaml.compose(policy_text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    (table,) = (value for key, value in root.value if key.value == "thresholds")
    places = [(value.start_mark.index, _end(value), key.value) for key, value in table.value]
    for start, end, level in sorted(places, reverse=True):
        if level in numbers:
            number = f"{numbers[level] / trees.UNITS:.4f}"
            policy_text = policy_text[:start] + number + policy_text[end:]
    return policy_text


def _end(node: yaml.Node) -> int:
    """Where a node's text ends; a block's own mark lies beyond the white space after it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    return int(node.end_mark.index)
