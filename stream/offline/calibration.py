"""A policy for a new ecosystem, calibrated by what its own sessions score and which signals speak; nobody has labelled them.

Decisions of shadow operation go in, a release comes out: the model as it is, and the policy with numbers in place
of the budgets whose thresholds `models.training.calibrate` raises or lowers, and with `watch` in place of signals that alert too
often (`stream.offline.signal_rates`). Nothing rises above the threshold of a tenth of its budget, so that whoever floods the
sample with attacks can push it there and no further. Alert alone falls, where many sessions show that it may, and to the threshold of
five times its budget at most. The release goes live like any other, with a drained restart (docs/operations.md).
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from models.errors import ConfigError, InputError
from models.forest import units
from models.release import registry
from models.release.contents import files_of
from models.release.readers import read_list
from models.training.calibrate import fitted
from stream.bootstrap import release_digest
from stream.offline.signal_rates import Rate, Session, spoken
from stream.policy import FalsePositiveBudget, Policy, levels, parse_policy

FEWEST = 50
"""Sessions from which on a sample says anything: with fewer, the share that is allowed anyway is all of them."""


class Fitted(NamedTuple):
    """One level: its budget, and its threshold in units of 0.0001 before and after; how many sessions reach each."""

    level: str
    budget: float
    before: int
    after: int
    reached_before: int
    reached_after: int


class Sample(NamedTuple):
    """What the decisions given say of an ecosystem.

    Attributes
    ----------
    highest : each session's highest score, in units of 0.0001, by tenant and session
    abstained : decisions passed over since their score is not acted on
    others : decisions passed over since another release made them, by its name
    heard : signals that spoke in each session, also where the score is not acted on
    """

    highest: dict[Session, int]
    abstained: int
    others: Counter[str]
    heard: dict[Session, set[str]]


def maxima(decisions: Iterable[tuple[str, Mapping[str, Any]]], release: str | None = None) -> Sample:
    """The sessions of decisions that are acted on, of `release` (None: of any).

    Parameters
    ----------
    decisions : each with the place where it stands, for errors

    Raises
    ------
    InputError
        A document is no decision.
    """
    highest: dict[Session, int] = {}
    heard: dict[Session, set[str]] = {}
    others: Counter[str] = Counter()
    abstained = 0
    for where, document in decisions:
        lacking = [name for name in ("session_id", "score", "verdict", "release") if name not in document]
        if lacking:
            raise InputError(
                f"{where}: no {lacking[0]!r}, so not a decision; give those of agent.decisions.v1"
            )
        session = str(document.get("tenant") or ""), str(document["session_id"])
        try:
            score = float(document["score"])
        except (TypeError, ValueError):
            score = math.nan
        if not 0 <= score <= 1:
            raise InputError(f"{where}: the score of a decision lies between 0 and 1")
        by = str(document["release"])
        if release is not None and by != release:
            others[by] += 1
            continue
        heard.setdefault(session, set()).update(_spoken(document, where))
        if document["verdict"] == "abstain":
            abstained += 1
        else:
            highest[session] = max(highest.get(session, 0), round(score * units.UNITS))
    return Sample(highest, abstained, others, heard)


def _spoken(document: Mapping[str, Any], where: str) -> set[str]:
    try:
        return spoken(document)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{where}: the evidence of a decision is a list of family, name and supports"
        ) from error


def enough(sample: Sample, release: str) -> None:
    """Refuse a sample that says nothing of an ecosystem.

    Raises
    ------
    InputError
        It has fewer than `FEWEST` sessions.
    """
    if len(sample.highest) >= FEWEST:
        return
    passed = [f"{sample.abstained} that abstain"] if sample.abstained else []
    passed += [f"{count} of {name}" for name, count in sample.others.most_common(3)]
    if len(sample.others) > 3:
        passed.append(f"more of {len(sample.others) - 3} other releases")
    raise InputError(
        f"sessions decided by {release}: {len(sample.highest)}; at least {FEWEST} are needed"
        + (f"; decisions passed over: {', '.join(passed)}" if passed else "")
    )


def fit_levels(policy: Policy, model: registry.Model, highest: Sequence[int]) -> list[Fitted]:
    """The levels that the policy gives as budgets, with what the sample makes of their thresholds.

    Levels given as numbers are somebody's decision and stay (`fixed`). Later levels stay above earlier ones.
    """
    sample = np.asarray(highest, np.int64)
    stay = fixed(policy, model)
    rows: list[Fitted] = []
    least = 0
    for level, before in levels(policy, model.threshold)._asdict().items():
        if level in stay:
            least = max(least, stay.pop(level))
            continue
        budget = getattr(policy.thresholds, level).budget
        floor = min(before, model.threshold(5 * budget)) if level == "alert" else before
        after = max(least, fitted(before, sample, budget, floor, _ceiling(model, budget, before)))
        after = min(after, *stay.values(), units.UNITS)
        reached = int((sample >= before).sum()), int((sample >= after).sum())
        rows.append(Fitted(level, budget, before, after, *reached))
        least = after
    return rows


def fixed(policy: Policy, model: registry.Model) -> dict[str, int]:
    """The levels that a policy gives as numbers, in units of 0.0001: no sample moves them."""
    given = levels(policy, model.threshold)._asdict()
    return {
        level: at
        for level, at in given.items()
        if not isinstance(getattr(policy.thresholds, level), FalsePositiveBudget)
    }


def spent(rows: Sequence[Fitted], policy: Policy, model: registry.Model) -> Fitted | None:
    """The alert's row where the sample has pushed it so far that it now equals revoke; None otherwise."""
    after = levels_after(rows, policy, model)
    raised_to = (row for row in rows if row.level == "alert" and row.before < row.after >= after["revoke"])
    return next(raised_to, None)


def levels_after(rows: Sequence[Fitted], policy: Policy, model: registry.Model) -> dict[str, int]:
    """All levels once `rows` hold, those given as numbers too, in units of 0.0001."""
    return levels(policy, model.threshold)._asdict() | {row.level: row.after for row in rows}


def _ceiling(model: registry.Model, budget: float, before: int) -> int:
    """The threshold of a tenth of the budget; where none was measured, of the strictest that was."""
    measured = sorted(float(name) for name in model.manifest["thresholds"])
    return max(before, model.threshold(max(budget / 10, measured[0])))


def bounds(model: registry.Model, alpha: Fraction) -> tuple[int, int]:
    """The lowest and the highest threshold that a sample may lead to for a budget: those of five times and of a tenth of it."""
    measured = sorted(float(name) for name in model.manifest["thresholds"])
    least = model.threshold(max(5 * float(alpha), measured[0]))
    return least, max(least, _ceiling(model, float(alpha), 0))


def write(
    text: str,
    name: str,
    model: registry.Model,
    source: Path,
    out: Path,
    promise: Mapping[str, Any] | None = None,
) -> str:
    """Write the release into the new directory `out`; its digest, as an activation names it.

    Parameters
    ----------
    text : the calibrated policy
    name : of the policy, for errors
    source : directory that the model was read from
    promise : what its manifest says of false alerts; one that the model came with holds no more

    Raises
    ------
    ConfigError
        The directory is there already, or the policy's levels would not rise.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; name a new directory for the release")
    policy = parse_policy(text, name)
    levels(policy, model.threshold)
    out.mkdir(parents=True)
    for file in files_of(source).values():
        shutil.copyfile(file, out / file.name)
    readers = files_of(source)["readers"].parent
    for file_name in read_list(readers).files():
        shutil.copyfile(readers / file_name, out / file_name)
    (out / "policy.yaml").write_text(text)
    if promise is not None or "promise" in model.manifest:
        kept = {key: value for key, value in model.manifest.items() if key != "promise"}
        registry.write_manifest(out, kept | ({"promise": promise} if promise is not None else {}))
    return release_digest(out, policy)


def calibrated(policy_text: str, rows: Sequence[Fitted], signals: Sequence[Rate]) -> str:
    """`policy_text` with the levels that moved and the signals that are to be quieter; the rest as it stands, comments too."""
    numbers = {row.level: f"{row.after / units.UNITS:.4f}" for row in rows if row.after != row.before}
    quieter = {rate.signal: rate.proposed for rate in signals if rate.too_loud}
    return with_values(with_values(policy_text, "thresholds", numbers), "signals", quieter)


def with_values(policy_text: str, section: str, values: Mapping[str, str]) -> str:
    """`policy_text` with these values in place of those that `section` has; the rest as it stands.

    >>> with_values("thresholds:\\n  alert: {budget: 0.01}  # ours\\n", "thresholds", {"alert": "0.9123"})
    'thresholds:\\n  alert: 0.9123  # ours\\n'
    """
    root = yaml.compose(policy_text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    tables = (value for key, value in root.value if key.value == section)
    places = [
        (value.start_mark.index, _end(value), key.value) for table in tables for key, value in table.value
    ]
    for start, end, name in sorted(places, reverse=True):
        if name in values:
            policy_text = policy_text[:start] + values[name] + policy_text[end:]
    return policy_text


def with_tenants(policy_text: str, tenants: Mapping[str, Mapping[str, str]]) -> str:
    r"""`policy_text` with these thresholds of tenants in place of those that it has, at its end; the rest as it stands.

    >>> with_tenants("tenant_thresholds:\n  a: {alert: 1}\nname: p\n", {"b": {"alert": "0.5000"}})
    'name: p\ntenant_thresholds:\n  "b": {alert: 0.5000}\n'
    """
    root = yaml.compose(policy_text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    for key, value in root.value:
        if key.value == "tenant_thresholds":
            end = policy_text.find("\n", _end(value))
            policy_text = policy_text[: key.start_mark.index] + (policy_text[end + 1 :] if end >= 0 else "")
    rows = [
        f"  {_quoted(tenant)}: {{{', '.join(f'{level}: {at}' for level, at in of.items())}}}\n"
        for tenant, of in tenants.items()
    ]
    return policy_text.rstrip("\n") + "\n" + "".join(["tenant_thresholds:\n", *rows] if rows else [])


def _quoted(name: str) -> str:
    return str(yaml.safe_dump(name, default_style='"', width=math.inf)).strip()


def _end(node: yaml.Node) -> int:
    """Where a node's text ends; a block's own mark lies beyond the white space after it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    return int(node.end_mark.index)
