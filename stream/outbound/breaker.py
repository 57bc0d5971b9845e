"""The circuit breaker: a wave of revocations is more likely our fault than a wave of attacks, so beyond a budget they are held.

It knows nothing but the cases of its tenants, in the order of their log, and what people signed about those that are held. The budget
comes with each case, from the policy that judged it; the clock is the latest time of the tenant's cases. The overall budget is one for
all tenants of a partition of that log, which is read by one worker in its order. So the same log leads to the same revocations, held ones
and alarms, whoever reads it and however often.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

import orjson

from models.contracts import Case, RevocationBudget
from stream.events import REVOCATIONS, Record, milliseconds, short_hash

MAX_DRIFTS = 10_000
"""Revocations for drift that are remembered of a tenant; a budget may be no larger."""
MAX_HELD = 10_000
"""Revocations held of a tenant; beyond it the oldest are dropped, and counted. Each takes some 300 bytes here."""


class Opening(NamedTuple):
    """The breaker opened: from here on revocations are held."""

    breaker: str
    scope: str  # for people: whose budget is used up
    budget: int
    window_minutes: float


class Ruling(NamedTuple):
    """What becomes of a case's revocations: sent, held by an opening, or dropped by a person; and the opening, if it begins here."""

    held_by: str | None = None
    opens: Opening | None = None
    dropped: bool = False


SENT = Ruling()


class Held(NamedTuple):
    """A case whose revocations are held: by which opening, and where the case lies in the tenant's log."""

    breaker: str
    partition: int
    offset: int
    record_id: str


class Standing(NamedTuple):
    """A case as it stands on the topic of what is held, and the scope of the opening that holds it."""

    tenant: str
    held: Held
    scope: str
    record: Record


def standing(records: Iterable[Record]) -> list[Standing]:
    """What is held by `records` of the topic `HELD`, each partition in its order: what people ruled on is taken off.

    A record of another shape says nothing.
    """
    found: dict[tuple[str, str], Standing] = {}
    for record in records:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        tenant = (record.key or b"").decode(errors="replace")
        try:
            breaker, partition, offset = headers["breaker"], int(headers["partition"]), int(headers["offset"])
            if "action" in headers:
                found = {
                    key: each
                    for key, each in found.items()
                    if (each.tenant, each.held[:2]) != (tenant, (breaker, partition))
                    or each.held.offset >= offset
                }
                continue
            record_id = orjson.loads(record.value or b"")["record_id"]
        except (KeyError, TypeError, ValueError):
            continue
        held = Held(breaker, partition, offset, record_id)
        found[tenant, record_id] = Standing(tenant, held, headers.get("scope", ""), record)
    return list(found.values())


class Resolution(NamedTuple):
    """What a person ruled on an opening: ``send`` or ``drop`` what it holds."""

    tenant: str
    breaker: str
    action: str
    by: str


class _Tenant:
    def __init__(self) -> None:
        self.clock_ms = 0
        self.drifts: OrderedDict[str, _Drift] = OrderedDict()  # by record id, oldest first
        self.open: dict[str, str] = {}  # by scope, the breaker
        self.held: OrderedDict[str, Held] = OrderedDict()  # by record id


class _Drift(NamedTuple):
    at_ms: int
    agent: str | None
    counts: bool
    ruling: Ruling


class Breaker:
    """What is held of each tenant, and why.

    Attributes
    ----------
    n_dropped : int
        Held revocations that were dropped since there were more than `MAX_HELD`.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._went_out: dict[int, deque[int]] = {}  # by partition, when drift revoked a session of any tenant
        self.n_dropped = 0

    def rule(self, case: Case, partition: int) -> Ruling:
        """What becomes of the revocations of a case that lies in a partition, and note it: one read again is ruled as before and
        counts once."""
        if not is_ruled(case):
            return SENT
        tenant = self._tenants.setdefault(case.tenant, _Tenant())
        if (known := tenant.drifts.get(case.record_id)) is not None:
            return known.ruling
        tenant.clock_ms = max(tenant.clock_ms, milliseconds(datetime.fromisoformat(case.time)))
        ruling = self._ruling(tenant, case, partition)
        counts = case.inherited_from is None
        if counts and ruling == SENT:
            self._went_out.setdefault(partition, deque(maxlen=MAX_DRIFTS)).append(tenant.clock_ms)
        tenant.drifts[case.record_id] = _Drift(tenant.clock_ms, case.agent, counts, ruling)
        while len(tenant.drifts) > MAX_DRIFTS:
            tenant.drifts.popitem(last=False)
        return ruling

    def _ruling(self, tenant: _Tenant, case: Case, partition: int) -> Ruling:
        scopes = {
            "tenant": f"tenant {case.tenant}",
            "agent": f"agent {case.agent or '(no name)'} of tenant {case.tenant}",
            "overall": _overall(partition),
        }
        if case.inherited_from is not None:
            # It falls with the session above it, so it is one act with that one: it uses no budget, and waits where that one waits.
            return Ruling(
                next((tenant.open[scope] for scope in scopes.values() if scope in tenant.open), None)
            )
        budget = case.budget or RevocationBudget(window_minutes=1.0, agent=None, tenant=None)
        since_ms = tenant.clock_ms - budget.window_minutes * 60_000
        for name, most, used in (
            ("tenant", budget.tenant, partial(self._used, tenant, since_ms, None)),
            ("agent", budget.agent, partial(self._used, tenant, since_ms, case.agent or "")),
            ("overall", budget.overall, partial(self._used_by_all, partition, since_ms)),
        ):
            scope = scopes[name]
            if most is None or used(most) < most:
                tenant.open.pop(scope, None)
                continue
            opens = None
            if scope not in tenant.open:
                tenant.open[scope] = short_hash("breaker", case.tenant, scope, case.record_id)
                opens = Opening(tenant.open[scope], scope, most, budget.window_minutes)
            return Ruling(tenant.open[scope], opens)
        return SENT

    @staticmethod
    def _used(tenant: _Tenant, since_ms: float, agent: str | None, most: int) -> int:
        """Sessions of the tenant, or of one agent of it, that drift revoked or would have within the window; counted up to `most`."""
        used = 0
        for drift in reversed(tenant.drifts.values()):
            if drift.at_ms <= since_ms or used == most:
                break
            used += drift.counts and agent in (None, drift.agent or "")
        return used

    def _used_by_all(self, partition: int, since_ms: float, most: int) -> int:
        """Sessions of all tenants of a partition that drift revoked within the window; counted up to `most`.

        What is held counts for its tenant alone: so one tenant uses no more of this budget than its own allows, however many drift there.
        """
        within = (at_ms for at_ms in self._went_out.get(partition, ()) if at_ms > since_ms)
        return sum(1 for _ in islice(within, most))

    def hold(self, tenant_name: str, held: Held) -> None:
        """Note that a case waits until somebody rules on it."""
        tenant = self._tenants.setdefault(tenant_name, _Tenant())
        tenant.held[held.record_id] = held
        while len(tenant.held) > MAX_HELD:
            tenant.held.popitem(last=False)
            self.n_dropped += 1

    def resolve(self, tenant_name: str, breaker: str, before: tuple[int, int], *, sends: bool) -> list[Held]:
        """Take out what an opening held before a place (partition, offset) of the log, and count the tenant's revocations from nought.

        A ruling that is read again finds nothing, or what it found before a crash. A case of these that comes again is sent, or
        stays dropped.
        """
        tenant = self._tenants.setdefault(tenant_name, _Tenant())
        found = [
            held
            for held in tenant.held.values()
            if held.breaker == breaker and held.partition == before[0] and held.offset < before[1]
        ]
        for held in found:
            del tenant.held[held.record_id]
        is_open = breaker in tenant.open.values()
        if tenant.open.get(_overall(before[0])) == breaker:
            self._went_out.pop(before[0], None)
        tenant.open = {scope: each for scope, each in tenant.open.items() if each != breaker}
        for record_id, drift in tenant.drifts.items():
            ruling = Ruling(dropped=not sends) if drift.ruling.held_by == breaker else drift.ruling
            tenant.drifts[record_id] = drift._replace(counts=drift.counts and not is_open, ruling=ruling)
        return found

    def scope_of(self, tenant_name: str, breaker: str) -> str:
        """Whose budget an opening that is open is about; empty where it is not open."""
        tenant = self._tenants.get(tenant_name, _Tenant())
        return next((scope for scope, each in tenant.open.items() if each == breaker), "")

    def reopen(self, tenant_name: str, scope: str, breaker: str) -> None:
        """Call the opening of a scope, if it is open, what it was called when it began: further back than cases were read."""
        tenant = self._tenants.get(tenant_name)
        if tenant is not None and scope in tenant.open:
            tenant.open[scope] = breaker

    @property
    def n_held(self) -> int:
        """Cases that wait for a person."""
        return sum(len(tenant.held) for tenant in self._tenants.values())


def _overall(partition: int) -> str:
    return f"all tenants on partition {partition} of the cases"


def is_ruled(case: Case) -> bool:
    """Whether a case brings revocations for drift, in earnest: what ends with its task is routine, and no wave of errors."""
    return (
        case.enforced and case.cause == "drift" and any(signed.topic == REVOCATIONS for signed in case.sets)
    )
