"""Orders carried out: each credential at its provider, in order for a session, and every outcome told before the order counts as done."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from models.contracts import CredentialRef, Outcome
from stream.bridge.lane import GaveUp, Lane
from stream.bridge.ledger import Ledger
from stream.bridge.order import Order
from stream.bridge.provider import Effect, Rejected
from stream.events import printable, rfc3339
from stream.outbound.claims import credential_id

MAX_DETAIL = 1024

_log = logging.getLogger("driftline.bridge")


class Delivery:
    """Carries out orders.

    Parameters
    ----------
    lanes : mapping of broker to Lane
        Where the credentials of each broker are revoked.
    providers : mapping of broker to str
        What that is, as the configuration calls it: ``keycloak``.
    ledger : Ledger
        What was done before.
    report : callable
        Tells an outcome, of a tenant; returns once the bus has confirmed it.
    now_ms : callable
        The time of day, in ms since 1970.

    Attributes
    ----------
    counts : Counter
        Outcomes by (broker, status), and credentials found done before under ``repeated``.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        providers: Mapping[str, str],
        ledger: Ledger,
        report: Callable[[str, Outcome], Awaitable[None]],
        now_ms: Callable[[], int],
    ) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lanes, self._providers, self._ledger = lanes, providers, ledger
        self._report, self._now_ms = report, now_ms
        self._last: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def begin(self, order: Order, published_ms: int) -> asyncio.Task[None]:
        """Begin to carry out `order`, whose record was `published_ms` after 1970; the task ends when all of it was told.

        What a session asks of one broker is done in the order of `begin`; what it asks of another never waits for that.
        """
        by_broker: dict[str, list[CredentialRef]] = {}
        for ref in order.credentials:
            by_broker.setdefault(ref.broker, []).append(ref)
        tasks = []
        for broker, refs in by_broker.items():
            place = (order.tenant, order.session_id, broker)
            task = asyncio.create_task(self._after(self._last.get(place), order, refs, published_ms))
            self._last[place] = task
            task.add_done_callback(partial(self._forget, place))
            tasks.append(task)
        return asyncio.create_task(_all(tasks))

    def _forget(self, place: tuple[str, str, str], task: asyncio.Task[None]) -> None:
        if self._last.get(place) is task:
            del self._last[place]

    async def _after(
        self, before: asyncio.Task[None] | None, order: Order, refs: list[CredentialRef], published_ms: int
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        await _all([asyncio.create_task(self._credential(order, ref, published_ms)) for ref in refs])

    async def _credential(self, order: Order, ref: CredentialRef, published_ms: int) -> None:
        name = credential_id(order.tenant, ref)
        if self._ledger.is_done(order.jti, name):
            self.counts[ref.broker, "repeated"] += 1
            return
        lane = self._lanes.get(ref.broker)

        async def tell(status: str, detail: str, effect: Effect | None = None) -> None:
            now_ms = self._now_ms()
            ends = None if effect is None or effect.survives_s is None else now_ms + effect.survives_s * 1000
            outcome = Outcome.model_validate(
                {
                    "jti": order.jti,
                    "case_id": order.case_id,
                    "broker": ref.broker,
                    "kind": ref.kind,
                    "credential": name,
                    "provider": self._providers.get(ref.broker),
                    "status": status,
                    "time": rfc3339(now_ms),
                    "detail": detail[:MAX_DETAIL] or None,
                    "latency_ms": max(0, now_ms - published_ms),
                    "survives": None if effect is None else effect.survives or None,
                    "survives_until": None if ends is None else rfc3339(int(ends)),
                }
            )
            await self._report(order.tenant, outcome)
            self._ledger.note(order.jti, name, status)
            self.counts[ref.broker, status] += 1
            level = logging.WARNING if status == "failed" else logging.INFO
            line = f"{status}: {ref.broker} {ref.kind} of case {order.case_id}{_colon(detail)}"
            _log.log(level, "%s", printable(line))

        if lane is None:
            await tell(
                "failed", f"the bridge's configuration names no broker {ref.broker!r}; add it under brokers"
            )
            return

        async def delayed(why: str) -> None:
            await tell("requested", f"not yet: {why}; the bridge goes on trying")

        try:
            effect = await lane.revoke(ref, order.issued_s, delayed)
        except Rejected as error:
            await tell("failed", str(error))
        except GaveUp as error:
            await tell(
                "failed", f"given up: {error}; once that is mended, run driftline bridge --retry-failed"
            )
        else:
            await tell(effect.status, effect.detail, effect)


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for all; the first failure is raised, and none of the others goes on."""
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _colon(text: str) -> str:
    return f": {text}" if text else ""
