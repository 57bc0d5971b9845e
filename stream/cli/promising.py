"""``driftline calibrate --promise``: few false alerts, guaranteed under what is stated, as a release."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import typer

from models.errors import ConfigError
from stream.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from models.release.registry import Model
    from stream.core.releases import Release
    from stream.offline.calibration import Sample
    from stream.offline.promise import Asked, Made, Promise, Seen
    from stream.offline.signal_rates import Rate, Session
    from stream.policy import Policy

SUPPOSED = "0.05"
"""Share of the sessions that is hijacked at most, where nothing else is said: what calibration supposes without a promise, too."""
MOST_A_DAY = 100_000


class Source(NamedTuple):
    """What a release is made from: its model and its place, the release that decided, and its policy's text and name."""

    model: Model
    place: Path
    release: Release
    text: str
    name: str


def asked(
    promise: str | None,
    alerts_a_day: str | None,
    hijacked: str | None,
    tasks: str | None,
    labels: list[Path] | None,
) -> Asked | None:
    """What the options ask for; None where nothing is to be promised.

    Raises
    ------
    ConfigError
        They contradict each other, or one is out of its range.
    """
    from stream.offline import promise as promises

    if promise is None and alerts_a_day is None:
        if hijacked is not None or tasks is not None or labels:
            raise ConfigError(
                "--hijacked-at-most, --tasks and --labels are of a promise: add --promise 0.01, say"
            )
        return None
    if promise is not None and alerts_a_day is not None:
        raise ConfigError("--promise and --alerts-a-day are two ways to say one thing; leave one away")
    known = get_args(promises.Tasks)
    if tasks not in (None, *known):
        raise ConfigError(f"--tasks is {tasks!r}; expected {', '.join(known)}")
    by = cast("promises.Tasks", tasks or "intent")
    share = _number(hijacked or SUPPOSED, "--hijacked-at-most", Fraction(0), promises.HALF)
    if promise is not None:
        budget = _number(promise, "--promise", Fraction(1, 100_000), promises.HALF)
        return promises.Asked("session", budget, share, by)
    budget = _number(str(alerts_a_day), "--alerts-a-day", Fraction(1, 1000), Fraction(MOST_A_DAY))
    return promises.Asked("day", budget, share, by)


def _number(text: str, option: str, least: Fraction, most: Fraction) -> Fraction:
    """A number as it was written, exactly."""
    try:
        number = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{option} is {text!r}; expected a number such as 0.01") from error
    if not least <= number <= most:
        raise ConfigError(f"{option} is {text}; expected {float(least):g} to {float(most):g}")
    return number


def seen(
    rows: Iterable[tuple[str, Mapping[str, Any]]], release: str, labels: list[Path] | None
) -> dict[Session, Seen]:
    """The sessions of decisions, without those that labels call hijacked."""
    from stream.offline import promise as promises
    from stream.offline.labels import merging, store

    found = promises.sessions(rows, release)
    words = merging.merged(store.read(labels or [])).labels
    hijacked = {(word.tenant, word.session_id) for word in words if word.label == "hijacked"} & found.keys()
    if labels:
        say(f"{len(hijacked)} sessions are labelled hijacked, and left out")
    return {key: one for key, one in found.items() if key not in hijacked}


def write(asked: Asked, seen: Mapping[Session, Seen], sample: Sample, source: Source, out: Path) -> bool:
    """Write the release that keeps what is asked, and tell of it; whether every tenant has its promise."""
    from stream.offline import calibration, signal_rates
    from stream.offline import promise as promises

    def bounds(alpha: Fraction) -> tuple[int, int]:
        return calibration.bounds(source.model, alpha)

    policy = source.release.policy
    by_score = promises.make(seen, asked, set(), bounds)
    budgeted = _with_budget(policy, float(by_score.pooled.alpha))
    # A tenant whose sessions score too high for a promise quietens no signal for the others.
    heard = {
        key: names for key, names in sample.heard.items() if key in seen and key[0] not in by_score.refused
    }
    signals = signal_rates.rates(heard, sample.highest, by_score.pooled.kept.threshold, budgeted)
    quieter = {rate.signal: rate.proposed for rate in signals if rate.too_loud}
    alone = promises.alerting(policy.model_copy(update={"signals": {**policy.signals, **quieter}}))
    made = promises.make(seen, asked, alone, bounds)
    text = calibration.with_values(source.text, "signals", quieter)
    text = calibration.with_values(text, "thresholds", _around(source.release, made.pooled))
    own = {str(one.tenant): _around(source.release, one) for one in made.own}
    as_before = {tenant: _as_it_was(source.release, tenant) for tenant in made.refused}
    text = calibration.with_tenants(text, own | as_before)
    document = promises.document(made, seen, alone)
    digest = calibration.write(text, source.name, source.model, source.place, out, document)
    _tell(made, signals, document)
    typer.echo(f"release {digest} in {out}")
    return not made.refused


def _with_budget(policy: Policy, alpha: float) -> Policy:
    """The policy with an alert that has what is promised for its budget: a signal that alone alerts more is too loud."""
    from stream.policy import FalsePositiveBudget

    budget = FalsePositiveBudget(budget=alpha)
    return policy.model_copy(update={"thresholds": policy.thresholds.model_copy(update={"alert": budget})})


def _around(release: Release, made: Made) -> dict[str, str]:
    """All three thresholds: alert as promised, watch no higher and revoke no lower."""
    from models.forest.units import UNITS

    alert = made.kept.threshold
    now = release.levels if made.tenant is None else release.levels_of(made.tenant)
    three = {"watch": min(now.watch, alert), "alert": alert, "revoke": max(now.revoke, alert)}
    return {level: f"{at / UNITS:.4f}" for level, at in three.items()}


def _as_it_was(release: Release, tenant: str) -> dict[str, str]:
    """All three thresholds of a tenant to which nothing is promised: what the others are promised does not move them."""
    from models.forest.units import UNITS

    return {level: f"{at / UNITS:.4f}" for level, at in release.levels_of(tenant)._asdict().items()}


def _tell(made: Promise, signals: Iterable[Rate], document: Mapping[str, Any]) -> None:
    from stream.events import counted
    from stream.offline import promise as promises

    for line in promises.told(document):
        say(line)
    for rate in signals:
        if rate.too_loud:
            say(f"signals: {rate.signal}: {rate.proposed} (alone it alerts {rate.alone} sessions)")
    if made.sharing:
        say(
            f"{counted(len(made.sharing), 'tenant')} with too few tasks for a promise of their own: the threshold of all is theirs, which holds for "
            "a session drawn from all tenants, not for theirs by themselves"
        )
    if made.refused:
        say(
            f"WARNING: nothing is promised to {counted(len(made.refused), 'tenant')} of those above: the thresholds that they had are theirs, and "
            "their sessions count for nobody. The others have their promise"
        )
    days = made.pooled.days
    if made.asked.per == "day" and days.chance < 0.9:
        say(
            f"WARNING: {counted(days.days, 'day')} seen. A further day has no more than the most of them with a chance of "
            f"{100 * days.chance:.0f} %; nine days and more make that 90"
        )
