"""Whether what drift revoked is dead: what went out, what its brokers say became of it, and when they are late.

It knows nothing but the log of cases: the cases whose revocations act sends, and the outcomes that stand among them. Its clock is the
latest stamp of a partition's records. So the same log leads to the same findings, whoever reads it and however often.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from models.contracts import Case, CredentialRef, Outcome, Signed
from stream.events import REVOCATIONS, clipped, milliseconds, short_hash
from stream.outbound.claims import credential_id, credentials_of
from stream.outbound.findings import dedup_key
from stream.outbound.notice import ACCESS_REVOKED, DENIED, ERROR, Notice, finding

MAX_FOLLOWED = 10_000
"""Cases that are followed, the latest ones; each takes some 2 KiB (chosen). Nothing more is said of an older one."""
MAX_NAMED = 8
"""Credentials that a finding names."""
MAX_DETAIL = 160
LATEST_MS = 253_402_300_799_000
"""The end of the year 9999, after which Python has no dates."""
DEAD = ("done", "already_gone", "wider")
_ANALYTIC = "driftline.containment", "Driftline containment"

Key = tuple[str, str]
"""Tenant and case id."""


class Standing(NamedTuple):
    """How many followed cases stand where.

    Attributes
    ----------
    awaited : not all their credentials are dead, and nobody said more
    failed : a broker says that one could not be revoked
    overdue : not all are dead, and the time for that is over
    """

    awaited: int = 0
    failed: int = 0
    overdue: int = 0


class _Credential(NamedTuple):
    ref: CredentialRef
    due_ms: int | None
    outcome: Outcome | None = None

    @property
    def status(self) -> str:
        return "" if self.outcome is None else self.outcome.status

    @property
    def is_dead(self) -> bool:
        return self.status in DEAD


class _Followed:
    """A case of which revocations went out, and what is known of each credential."""

    def __init__(self, case: Case) -> None:
        told = case.finding or {}
        self.actor = _member(told, "actor") or {"session": {"uid": case.session_id}}
        until = _member(_member(told, "unmapped"), "exposure").get("worst_case_until")
        self.until_ms = until if isinstance(until, int) else None
        self.case = case.model_copy(update={"finding": None, "sets": [], "path": [], "credentials": []})
        self.credentials: dict[tuple[str, str], _Credential] = {}  # by jti and name
        self.passed_ms = -1  # the latest deadline that is over
        self.told: set[str] = set()  # what was said of it: each once, whatever a broker says by turns

    def expect(self, sets: Iterable[Signed], due_ms: int | None) -> bool:
        """Note the credentials of tokens that went out, and until when they are to be dead; whether any of them is new."""
        before = len(self.credentials)
        for signed in sets:
            for ref in credentials_of(signed.claims):
                key = str(signed.claims.get("jti")), credential_id(self.case.tenant, ref)
                self.credentials.setdefault(key, _Credential(ref, due_ms))
        if new := len(self.credentials) > before:
            self.told.clear()
        return new

    def take(self, outcome: Outcome) -> None:
        """Note what became of a credential, or of all of a token at one broker; what is dead stays dead."""
        for (jti, name), each in self.credentials.items():
            about = outcome.jti == jti and outcome.broker == each.ref.broker
            if about and outcome.credential in (None, name) and not each.is_dead:
                self.credentials[jti, name] = each._replace(outcome=outcome)

    def is_late(self, at_ms: int) -> bool:
        """Whether a credential is not dead that was to be by then."""
        return any(
            each.due_ms is not None and each.due_ms <= at_ms and not each.is_dead
            for each in self.credentials.values()
        )

    @property
    def standing(self) -> str:
        """``contained``, ``failed``, ``overdue`` or, while nothing is to be said, empty."""
        statuses = {each.status for each in self.credentials.values()}
        if statuses.issubset(DEAD):
            return "contained"
        if "failed" in statuses:
            return "failed"
        return "overdue" if self.is_late(self.passed_ms) else ""


class Containment:
    """The cases whose revocations went out, until their brokers have confirmed them."""

    def __init__(self) -> None:
        self._followed: OrderedDict[Key, _Followed] = OrderedDict()
        self._clock_ms: dict[int, int] = {}
        self._due: dict[int, list[tuple[int, Key]]] = {}  # by partition, a heap

    def sent(self, case: Case, sets: Sequence[Signed], partition: int, at_ms: int) -> None:
        """Note the revocations of a case for drift that go out; what ends with its task is routine, and not followed."""
        sets = [signed for signed in sets if signed.topic == REVOCATIONS and credentials_of(signed.claims)]
        if case.cause != "drift" or not sets:
            return
        key = case.tenant, case.case_id
        followed = self._followed.setdefault(key, _Followed(case))
        self._followed.move_to_end(key)
        while len(self._followed) > MAX_FOLLOWED:
            self._followed.popitem(last=False)
        minutes = case.budget.confirm_minutes if case.budget is not None else None
        clock_ms = max(self._clock_ms.get(partition, 0), at_ms)
        due_ms = None if minutes is None else clock_ms + round(minutes * 60_000)
        if followed.expect(sets, due_ms) and due_ms is not None:
            heapq.heappush(self._due.setdefault(partition, []), (due_ms, key))

    def take(self, tenant: str, outcome: Outcome) -> list[dict[str, Any]]:
        """The findings that an outcome leads to: that a case is contained, or that a credential of it could not be revoked."""
        followed = self._followed.get((tenant, outcome.case_id))
        if followed is None:
            return []
        followed.take(outcome)
        return self._say(followed, milliseconds(outcome.time), f"{outcome.jti}/{outcome.credential}")

    def pass_time(self, partition: int, at_ms: int) -> list[dict[str, Any]]:
        """The findings that a stamp of a partition's record leads to: brokers that have confirmed nothing in time."""
        clock_ms = self._clock_ms[partition] = max(self._clock_ms.get(partition, 0), at_ms)
        found: list[dict[str, Any]] = []
        heap = self._due.get(partition, [])
        while heap and heap[0][0] <= clock_ms:
            due_ms, key = heapq.heappop(heap)
            if (followed := self._followed.get(key)) is not None:
                followed.passed_ms = due_ms
                found += self._say(followed, due_ms, str(due_ms))
        return found

    def next_deadline(self, partition: int) -> int | None:
        """When a stamp would lead to something, in ms since 1970; None: nothing is waited for."""
        heap = self._due.get(partition, [])
        while heap and not self._is_late(*heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _is_late(self, at_ms: int, key: Key) -> bool:
        return key in self._followed and self._followed[key].is_late(at_ms)

    def count(self) -> Standing:
        """How many cases stand where."""
        standings = [each.standing for each in self._followed.values() if "contained" not in each.told]
        return Standing(standings.count(""), standings.count("failed"), standings.count("overdue"))

    @staticmethod
    def _say(followed: _Followed, at_ms: int, cause: str) -> list[dict[str, Any]]:
        standing = followed.standing
        if not standing or standing in followed.told:
            return []
        followed.told.add(standing)
        notice = _contained(followed) if standing == "contained" else _alive(followed, standing)
        uid = short_hash(standing, followed.case.case_id, cause)
        return [finding(followed.case, notice._replace(uid=uid, time_ms=at_ms))]


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _contained(followed: _Followed) -> Notice:
    outcomes = [each.outcome for each in followed.credentials.values() if each.outcome is not None]
    last_ms = max(milliseconds(outcome.time) for outcome in outcomes)
    took = _took(max(0, last_ms - milliseconds(datetime.fromisoformat(followed.case.time))))
    left = [outcome for outcome in outcomes if outcome.survives]
    until = [outcome.survives_until for outcome in left]
    known = [milliseconds(each) for each in until if each is not None]
    lines = [f"All credentials that were revoked are dead, {took} after the call."]
    if left:
        what = ", ".join(sorted({outcome.survives or "" for outcome in left}))
        bound = f"until {_moment(max(known))}" if len(known) == len(left) else "with no known end"
        lines.append(f"What stays valid {bound}: {clipped(what, MAX_DETAIL)}.")
    lines += _each([each for each in followed.credentials.values() if each.status == "wider"])
    return _notice(
        followed,
        title="Contained: the revoked credentials are dead",
        said=f"contained, {took} after the call" + ("; some tokens stay valid for a while" if left else ""),
        desc=" ".join(lines),
        steps="1. Reissue credentials only after the owner has answered. 2. See what the session did before, and mend it.",
        revocation="done",
        until_ms=last_ms if not left else max(known) if len(known) == len(left) else None,
        action=DENIED,
        disposition=ACCESS_REVOKED,
    )


def _alive(followed: _Followed, standing: str) -> Notice:
    """Credentials that may live on: their broker failed, or has said nothing in time."""
    lives = (
        f"may work until {_moment(followed.until_ms)}"
        if followed.until_ms is not None
        else "may work until somebody revokes it: not every credential says when it expires"
    )
    if standing == "failed":
        title, said = "Revocation failed", f"revocation failed; a credential {lives}"
    else:
        budget = followed.case.budget
        minutes = budget.confirm_minutes if budget is not None and budget.confirm_minutes is not None else 0
        title = "No broker has confirmed a revocation"
        said = f"no confirmation within {minutes:g} minutes; a credential {lives}"
    return _notice(
        followed,
        title=title,
        said=said,
        desc=" ".join(
            [
                f"A credential {lives}.",
                *_each([each for each in followed.credentials.values() if not each.is_dead]),
            ]
        ),
        steps=(
            "1. Stop the agent, or revoke the credential at its provider by hand. 2. driftline bridge --check says what keeps the "
            "bridge from it. 3. Once that is mended, driftline bridge --retry-failed sends it again."
        ),
        calls=True,
        revocation=standing,
        until_ms=followed.until_ms,
        disposition=ERROR,
    )


def _notice(followed: _Followed, *, title: str, said: str, calls: bool = False, **rest: Any) -> Notice:
    case = followed.case
    return Notice(
        uid="",
        about=case.case_id,
        correlation=case.root_session_id,
        dedup_key=dedup_key(case),
        analytic=_ANALYTIC,
        activity=2,
        calls=calls,
        title=title,
        message=f"Session {case.session_id[:256]}: {said}",
        actor=followed.actor,
        **rest,
    )


def _each(credentials: Sequence[_Credential]) -> list[str]:
    """A sentence for each credential, of which so many are named."""
    lines = []
    for ref, _, outcome in credentials[:MAX_NAMED]:
        status = "nothing was said" if outcome is None else outcome.status
        detail = "" if outcome is None or not outcome.detail else f" ({clipped(outcome.detail, MAX_DETAIL)})"
        lines.append(f"{clipped(ref.broker, 64)} {clipped(ref.kind, 64)}: {status}{detail}.")
    if len(credentials) > MAX_NAMED:
        lines.append(f"{len(credentials) - MAX_NAMED} more.")
    return lines


def _took(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 60_000 else f"{ms / 60_000:.0f} min"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
