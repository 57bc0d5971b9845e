"""Which models and policies a backtest holds against each other, by what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import ConfigError
from models.release import readers, registry
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.releases import Release
from stream.policy import Policy, load_policy
from stream.settings import Settings

IN_USE = "in-use"
"""As a release or a policy: what the settings name, else what comes with the package."""
MOST = 8
"""Combinations; each judges the whole log."""


class Pair(NamedTuple):
    """A release and a policy, as they were asked for; None: not asked for."""

    release: str | None
    policy: str | None


def pairs(releases: Sequence[str], policies: Sequence[str]) -> list[Pair]:
    """The combinations, the base first.

    One of a kind goes with all of the other, as many go with each other in order. Where one combination is named, the base is
    what is in use.

    Raises
    ------
    ConfigError
        Nothing is named, too much, or it cannot be told what goes with what.

    >>> pairs(["a", "b"], ["new"])
    [Pair(release='a', policy='new'), Pair(release='b', policy='new')]
    >>> pairs([], ["new"])
    [Pair(release=None, policy=None), Pair(release=None, policy='new')]
    """
    n = max(len(releases), len(policies))
    if n == 0:
        raise ConfigError("nothing is to be compared; name a --release or a --policy, or several")
    if 1 < min(len(releases), len(policies)) != n:
        raise ConfigError(
            f"{len(releases)} releases and {len(policies)} policies: it cannot be told what goes with what; name as many of both, which go"
            f" together in order, or one of a kind ({IN_USE} names what is in use)"
        )
    if n > MOST:
        raise ConfigError(f"{n} combinations are more than {MOST}; compare fewer at once")
    found = [Pair(*(_nth(named, turn) for named in (releases, policies))) for turn in range(n)]
    return found if n > 1 else [Pair(None, None), *found]


def _nth(named: Sequence[str], turn: int) -> str | None:
    return None if not named else named[0] if len(named) == 1 else named[turn]


class Combinations:
    """Loads combinations, each model once, so that what is remembered of its reading serves all policies.

    Parameters
    ----------
    settings : Settings
        What is in use, and what records are held against.
    mode : shadow or enforce in place of the policies' own; None: as they say
    registered : brings the release of an alias or a digest
    """

    def __init__(self, settings: Settings, mode: str | None, registered: Callable[[str], Release]) -> None:
        self._settings, self._mode, self._registered = settings, mode, registered
        self._models: dict[Path | None, tuple[Any, Any]] = {}
        self._known: dict[str, Release] = {}

    def judge(self, pair: Pair) -> Judge:
        """What judges by a combination from the first record on: activations in the log count for nothing.

        Raises
        ------
        ArtefactError, ConfigError, InputError
            It cannot be used, or is not there.
        """
        return bootstrap.judge_with(self._settings, self._release(pair))

    def _release(self, pair: Pair) -> Release:
        release = None if pair.release == IN_USE else pair.release
        if release is not None and not Path(release).is_dir():
            return self._of_registry(release, pair.policy)
        folder = self._settings.model_dir if release is None else Path(release)
        if folder not in self._models:
            self._models[folder] = registry.load(folder), readers.load_beside(folder)
        model, its_readers = self._models[folder]
        own = Path(release) / "policy.yaml" if release is not None and pair.policy is None else None
        if own is not None and own.is_file():
            policy = load_policy(own, mode=self._mode)
        else:
            policy = self._policy(pair.policy)
        return bootstrap.make_release(model, policy, its_readers)

    def _of_registry(self, release: str, policy: str | None) -> Release:
        """A registered release: under its own policy, where no other is asked for."""
        if release not in self._known:
            self._known[release] = self._registered(release)
        found = self._known[release]
        if policy is None:
            return found
        return bootstrap.make_release(found.scorer, self._policy(policy), found.readers)

    def _policy(self, asked: str | None) -> Policy:
        path = self._settings.policy_path if asked in (None, IN_USE) else Path(asked)
        return load_policy(path, mode=self._mode)


def told(pair: Pair, judge: Judge) -> dict[str, Any]:
    """A combination as the report names it."""
    release = judge.releases[""]
    return {
        "release": release.name,
        "policy": judge.policy_name(release.policy),
        "mode": release.policy.mode,
        "asked_release": pair.release or IN_USE,
        "asked_policy": pair.policy or IN_USE,
        "thresholds": release.levels.as_scores(),
    }
