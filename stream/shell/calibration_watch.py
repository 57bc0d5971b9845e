"""The alarm of a release's promise over the sessions that a worker sees end, as metrics: no decision depends on it.

A session counts if the worker saw it from its first call on and one release decided all of it. Sessions are bet on in the order in which they
began, each once it and all that began before it are over: in the order of ends short ones would come first. What is known of them, and the
alarms' wealth, live as long as the worker: started again, each bets from the beginning, which its guarantee allows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from prometheus_client import Gauge

from models.errors import ArtefactError
from models.promise.alarm import Alarm, tie
from models.session import Stone, place
from stream.core.partition import state_key
from stream.core.releases import Release
from stream.events import DECISIONS, Output
from stream.offline import promise
from stream.offline.signal_rates import Session

log = logging.getLogger("driftline.worker")

MOST_FOLLOWED = 20_000
"""Sessions that are followed, over or not; for more, the one that began first is dropped without a bet."""


class _Watched(NamedTuple):
    """A release's promise: the signals that count, and the alarms by tenant."""

    signals: frozenset[str]
    alarms: dict[str | None, Alarm]
    """None: of all tenants together."""
    refused: frozenset[str]
    """Tenants to which nothing is promised: that of all together takes none of their sessions."""


class _Followed(NamedTuple):
    session: Session
    release: str


class CalibrationWatch:
    """Bets against the promises of a judge's releases; costs nothing where none promises anything.

    Parameters
    ----------
    releases : mapping of str to Release
        Those of the judge, which may come to know more.
    gauge : Gauge
        Takes the logarithm of each alarm's wealth, labelled by tenant and by what it is: now, or the highest so far.
    """

    def __init__(self, releases: Mapping[str, Release], gauge: Gauge) -> None:
        self._releases, self._gauge = releases, gauge
        self._known = 0
        self._watched: dict[str, _Watched] = {}
        self._followed: dict[str, _Followed] = {}  # in the order of beginnings
        self._over: set[str] = set()
        self._seen: dict[Session, promise.Seen] = {}
        self._broken = False

    def take(self, outputs: Iterable[Output], changes: Mapping[str, bytes | None]) -> None:
        """Note what a step decided, and bet on the sessions that it ended; a fault here ends the watch, never the worker."""
        if self._broken:
            return
        try:
            if len(self._releases) != self._known:
                self._look()
            if not self._watched:
                return
            for output in outputs:
                if output.topic == DECISIONS:
                    self._decided(orjson.loads(output.value))
            for key, raw in changes.items():
                if key in self._followed and (raw is None or isinstance(place(raw), Stone)):
                    self._over.add(key)
            self._bet()
        except Exception:
            self._broken = True
            log.exception("the alarm of the promise on false alerts is off until the worker starts again")

    def _look(self) -> None:
        """Find promises among releases that came since."""
        self._known = len(self._releases)
        for release in list(self._releases.values()):
            try:
                told = promise.read(getattr(release.scorer, "manifest", {}))
            except ArtefactError as error:
                log.warning("%s: %s", release.name, error)
                continue
            if told is not None and release.name not in self._watched:
                parts: dict[str | None, Any] = {None: told["pooled"], **told["tenants"]}
                alarms = {tenant: Alarm(promise.scores_of(part)) for tenant, part in parts.items()}
                self._watched[release.name] = _Watched(
                    frozenset(told["signals"]), alarms, frozenset(promise.refused(told))
                )

    def _decided(self, decision: Mapping[str, Any]) -> None:
        if "refused" in decision["marks"]:
            return
        session = decision["tenant"], decision["session_id"]
        key = state_key(decision["tenant"], decision["root_session_id"], decision["session_id"])
        followed = self._followed.get(key)
        if key in self._over:
            return
        if followed is None:
            # Two open sessions of one id and tenant, under other roots, would be taken for one.
            begins = decision["call_seq"] == 0 and session not in self._seen
            if not begins or "after_end" in decision["marks"] or decision["release"] not in self._watched:
                return
            self._followed[key] = _Followed(session, decision["release"])
        elif followed.release != decision["release"]:
            self._forget(key)
            return
        promise.fold(self._seen, decision)

    def _forget(self, key: str) -> tuple[_Followed, promise.Seen]:
        followed = self._followed.pop(key)
        self._over.discard(key)
        return followed, self._seen.pop(followed.session)

    def _bet(self) -> None:
        """Bet on sessions that are over, from the one that began first on, up to one that is not."""
        while self._followed:
            first = next(iter(self._followed))
            if first not in self._over:
                if len(self._followed) <= MOST_FOLLOWED:
                    return
                self._forget(first)
                continue
            followed, seen = self._forget(first)
            tenant = followed.session[0]
            signals, alarms, refused = self._watched[followed.release]
            for whose in set() if tenant in refused else {None, tenant} & alarms.keys():
                alarm = alarms[whose]
                alarm.take(promise.score(seen, signals), tie(*followed.session))
                self._gauge.labels(whose or promise.ALL, "now").set(alarm.wealth)
                self._gauge.labels(whose or promise.ALL, "highest").set(alarm.highest)
