"""Whether what drift revoked is dead: what went out, what its brokers say became of it, and when they are late.

It knows nothing but the log of cases: the cases whose revocations act sends, and the outcomes that stand among them. Its clock is the
latest stamp of a partition's records. So the same log leads to the same findings, whoever reads it and however often.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from models.contracts import Case, Outcome, Signed
from stream.events import REVOCATIONS, clipped, member, milliseconds, short_hash
from stream.outbound.claims import credential_id, credentials_of
from stream.outbound.findings import dedup_key
from stream.outbound.notice import ACCESS_REVOKED, DENIED, ERROR, LATEST_MS, Notice, Subject, finding

MAX_OPEN, MAX_CONTAINED = 2_000, 500
"""Cases of a partition that are followed, and contained ones that are remembered, the latest of each: some 3 KiB each, 17 KiB where a
case has 16 credentials (measured). Nothing more is said of an older one."""
MAX_NAMED = 8
"""Credentials that a finding names."""
MAX_NAME, MAX_DETAIL = 64, 160
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


class _Told(NamedTuple):
    """What is kept of an outcome."""

    status: str
    time_ms: int
    detail: str
    survives: str
    survives_until_ms: int | None


class _Credential(NamedTuple):
    broker: str
    kind: str
    due_ms: int | None
    told: _Told | None = None

    @property
    def status(self) -> str:
        return "" if self.told is None else self.told.status

    @property
    def is_dead(self) -> bool:
        return self.status in DEAD


class _Followed:
    """A case of which revocations went out, and what is known of each credential."""

    def __init__(self, case: Case) -> None:
        told = case.finding or {}
        self.actor = member(told, "actor") or {"session": {"uid": case.session_id}}
        until = member(member(told, "unmapped"), "exposure").get("worst_case_until")
        self.until_ms = until if isinstance(until, int) else None
        self.subject = Subject.of(case)
        self.confirm_minutes = 0.0
        self.credentials: dict[tuple[str, str], _Credential] = {}  # by jti and name
        self.passed_ms = -1  # the latest deadline that is over
        # What was said of it: each once, and of each credential once that it failed, whatever a broker says by turns.
        self.said: set[str | tuple[str, str]] = set()
        self.standing = ""

    def expect(self, sets: Iterable[Signed], tenant: str, due_ms: int | None) -> bool:
        """Note the credentials of tokens that went out, and until when they are to be dead; whether any of them is new."""
        before = len(self.credentials)
        for signed in sets:
            jti = str(signed.claims.get("jti"))
            for ref in credentials_of(signed.claims):
                broker, kind = clipped(ref.broker, MAX_NAME), clipped(ref.kind, MAX_NAME)
                self.credentials.setdefault(
                    (jti, credential_id(tenant, ref)), _Credential(broker, kind, due_ms)
                )
        if new := len(self.credentials) > before:
            self.said.clear()
        self._stand()
        return new

    def take(self, outcome: Outcome) -> None:
        """Note what became of a credential, or of several that the outcome does not tell apart; what is dead stays dead."""
        told = _Told(
            outcome.status,
            milliseconds(outcome.time),
            clipped(outcome.detail or "", MAX_DETAIL),
            clipped(outcome.survives or "", MAX_DETAIL),
            None if outcome.survives_until is None else milliseconds(outcome.survives_until),
        )
        broker = clipped(outcome.broker, MAX_NAME)
        kind = None if outcome.kind is None else clipped(outcome.kind, MAX_NAME)
        for (jti, name), each in self.credentials.items():
            about = (outcome.jti, broker) == (jti, each.broker) and outcome.credential in (None, name)
            if about and kind in (None, each.kind) and not each.is_dead:
                self.credentials[jti, name] = each._replace(told=told)
        self._stand()

    def pass_time(self, due_ms: int) -> None:
        """Note that a deadline is over."""
        self.passed_ms = max(self.passed_ms, due_ms)
        self._stand()

    def is_late(self, at_ms: int) -> bool:
        """Whether a credential is not dead that was to be by then."""
        return any(
            each.due_ms is not None and each.due_ms <= at_ms and not each.is_dead
            for each in self.credentials.values()
        )

    def news(self) -> bool:
        """Whether its standing is to be told, and note that it was."""
        names: set[str | tuple[str, str]] = {self.standing}
        if self.standing == "failed":
            names = {name for name, each in self.credentials.items() if each.status == "failed"}
        news = bool(self.standing) and not names <= self.said
        self.said |= names
        return news

    def _stand(self) -> None:
        statuses = {each.status for each in self.credentials.values()}
        if statuses.issubset(DEAD):
            self.standing = "contained"
        elif "failed" in statuses:
            self.standing = "failed"
        else:
            self.standing = "overdue" if self.is_late(self.passed_ms) else ""


class _Partition:
    """The cases of a partition, and their deadlines."""

    def __init__(self) -> None:
        self.clock_ms = 0
        self.open: OrderedDict[Key, _Followed] = OrderedDict()
        self.contained: OrderedDict[Key, _Followed] = OrderedDict()
        self.due: list[tuple[int, Key]] = []  # a heap

    def find(self, key: Key) -> _Followed | None:
        return self.open.get(key) or self.contained.get(key)

    def put(self, key: Key, followed: _Followed) -> None:
        """Keep it where it belongs by now."""
        self.open.pop(key, None)
        self.contained.pop(key, None)
        place, most = (
            (self.contained, MAX_CONTAINED) if followed.standing == "contained" else (self.open, MAX_OPEN)
        )
        place[key] = followed
        while len(place) > most:
            place.popitem(last=False)

    def is_late(self, at_ms: int, key: Key) -> bool:
        return key in self.open and self.open[key].is_late(at_ms)


class Containment:
    """The cases whose revocations went out, until their brokers have confirmed them."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def sent(self, case: Case, sets: Sequence[Signed], number: int, at_ms: int) -> None:
        """Note the revocations of a case for drift that go out; what ends with its task is routine, and not followed."""
        sets = [signed for signed in sets if signed.topic == REVOCATIONS and credentials_of(signed.claims)]
        if case.cause != "drift" or not sets:
            return
        partition, key = self._of(number), (case.tenant, case.case_id)
        followed = partition.find(key) or _Followed(case)
        minutes = case.budget.confirm_minutes if case.budget is not None else None
        clock_ms = max(partition.clock_ms, at_ms)
        due_ms = None if minutes is None else clock_ms + round(minutes * 60_000)
        followed.confirm_minutes = minutes or 0.0
        if followed.expect(sets, case.tenant, due_ms) and due_ms is not None:
            heapq.heappush(partition.due, (due_ms, key))
        partition.put(key, followed)

    def take(self, number: int, tenant: str, outcome: Outcome) -> list[dict[str, Any]]:
        """The findings that an outcome leads to: that a case is contained, or that a credential of it could not be revoked."""
        partition, key = self._of(number), (tenant, outcome.case_id)
        followed = partition.find(key)
        if followed is None:
            return []
        followed.take(outcome)
        partition.put(key, followed)
        return _said(followed, milliseconds(outcome.time), f"{outcome.jti}/{outcome.credential}")

    def pass_time(self, number: int, at_ms: int) -> list[dict[str, Any]]:
        """The findings that a stamp of a partition's record leads to: brokers that have confirmed nothing in time."""
        partition = self._of(number)
        partition.clock_ms = max(partition.clock_ms, at_ms)
        found: list[dict[str, Any]] = []
        while partition.due and partition.due[0][0] <= partition.clock_ms:
            due_ms, key = heapq.heappop(partition.due)
            if partition.is_late(due_ms, key):
                followed = partition.open[key]
                followed.pass_time(due_ms)
                found += _said(followed, due_ms, str(due_ms))
        return found

    def next_deadline(self, number: int) -> int | None:
        """When a stamp would lead to something, in ms since 1970; None: nothing is waited for."""
        partition = self._of(number)
        while partition.due and not partition.is_late(*partition.due[0]):
            heapq.heappop(partition.due)
        return partition.due[0][0] if partition.due else None

    def count(self) -> Standing:
        """How many cases stand where."""
        counts = Counter(
            followed.standing for each in self._partitions.values() for followed in each.open.values()
        )
        return Standing(counts[""], counts["failed"], counts["overdue"])

    def _of(self, number: int) -> _Partition:
        return self._partitions.setdefault(number, _Partition())


def _said(followed: _Followed, at_ms: int, cause: str) -> list[dict[str, Any]]:
    if not followed.news():
        return []
    standing, subject = followed.standing, followed.subject
    notice = _contained(followed) if standing == "contained" else _alive(followed)
    # A credential that came to light since makes it another record.
    uid = short_hash(standing, subject.case_id, cause, str(len(followed.credentials)))
    return [finding(subject, notice._replace(uid=uid, time_ms=at_ms))]


def _contained(followed: _Followed) -> Notice:
    told = [each.told for each in followed.credentials.values() if each.told is not None]
    last_ms = max(each.time_ms for each in told)
    took = _took(max(0, last_ms - milliseconds(datetime.fromisoformat(followed.subject.time))))
    left = [each for each in told if each.survives]
    known = [each.survives_until_ms for each in left if each.survives_until_ms is not None]
    is_bounded = len(known) == len(left)
    lines = [f"All credentials that were revoked are dead, {took} after the call."]
    if left:
        what = clipped(", ".join(sorted({each.survives for each in left})), MAX_DETAIL)
        lines.append(
            f"What stays valid {f'until {_moment(max(known))}' if is_bounded else 'with no known end'}: {what}."
        )
    lines += _each([each for each in followed.credentials.values() if each.status == "wider"])
    return _notice(
        followed,
        title="Contained: the revoked credentials are dead",
        said=f"contained, {took} after the call" + ("; some tokens stay valid for a while" if left else ""),
        desc=" ".join(lines),
        steps="1. Reissue credentials only after the owner has answered. 2. See what the session did before, and mend it.",
        revocation="done",
        until_ms=last_ms if not left else max(known) if is_bounded else None,
        action=DENIED,
        disposition=ACCESS_REVOKED,
    )


def _alive(followed: _Followed) -> Notice:
    """Credentials that may live on: their broker failed, or has said nothing in time."""
    lives = (
        f"may work until {_moment(followed.until_ms)}"
        if followed.until_ms is not None
        else "may work until somebody revokes it: not every credential says when it expires"
    )
    if followed.standing == "failed":
        title, said = "Revocation failed", f"revocation failed; a credential {lives}"
    else:
        title = "No broker has confirmed a revocation"
        said = f"no confirmation within {followed.confirm_minutes:g} minutes; a credential {lives}"
    alive = _each([each for each in followed.credentials.values() if not each.is_dead])
    return _notice(
        followed,
        title=title,
        said=said,
        desc=" ".join([f"A credential {lives}.", *alive]),
        steps=(
            "1. Stop the agent, or revoke the credential at its provider by hand. 2. driftline bridge --check says what keeps the "
            "bridge from it. 3. Once that is mended, driftline bridge --retry-failed sends it again."
        ),
        calls=True,
        revocation=followed.standing,
        until_ms=followed.until_ms,
        disposition=ERROR,
    )


def _notice(followed: _Followed, *, title: str, said: str, calls: bool = False, **rest: Any) -> Notice:
    subject = followed.subject
    return Notice(
        uid="",
        about=subject.case_id,
        correlation=subject.root_session_id,
        dedup_key=dedup_key(subject.tenant, subject.session_id),
        analytic=_ANALYTIC,
        activity=2,
        status=None,
        calls=calls,
        title=title,
        message=f"Session {subject.session_id[:256]}: {said}",
        actor=followed.actor,
        **rest,
    )


def _each(credentials: Sequence[_Credential]) -> list[str]:
    """A sentence for each credential, of which so many are named."""
    lines = []
    for each in credentials[:MAX_NAMED]:
        status = each.status or "nothing was said"
        detail = f" ({each.told.detail})" if each.told is not None and each.told.detail else ""
        lines.append(f"{each.broker} {each.kind}: {status}{detail}.")
    if len(credentials) > MAX_NAMED:
        lines.append(f"{len(credentials) - MAX_NAMED} more.")
    return lines


def _took(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 60_000 else f"{ms / 60_000:.0f} min"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(max(0, min(ms, LATEST_MS)) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
