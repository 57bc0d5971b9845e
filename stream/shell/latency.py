"""How long decisions, revocations and what they led to took, as a reader of the bus sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream.events import DECISIONS, OUTCOMES, REVOCATIONS
from stream.shell.outputs import Seen


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of `values` do not exceed; None of nothing.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


class Latency:
    """When each event was sent, and how long its decision, its revocation and the outcome of that took to be readable."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._case_sent: dict[str, float] = {}
        self._early: dict[str, float] = {}  # revocations read before the decision that led to them
        self.decided_ms: list[float] = []
        self.revoked_ms: list[float] = []
        self.dead_ms: list[float] = []

    def sent(self, event_id: str, at: float) -> None:
        """The event went to the broker."""
        self._sent[event_id] = at

    def read(self, seen: Seen, document: dict[str, Any]) -> None:
        """A decision or a revocation became readable."""
        if seen.topic == DECISIONS:
            at = self._sent.get(str(document.get("event_id")))
            if at is None:
                return
            self.decided_ms.append((seen.read_at - at) * 1000)
            case = document.get("case_id")
            if document.get("verdict") == "revoke" and case is not None and case not in self._case_sent:
                self._case_sent[case] = at
                if case in self._early:
                    self.revoked_ms.append((self._early.pop(case) - at) * 1000)
        elif seen.topic == REVOCATIONS:
            case = str(document.get("txn"))
            if case in self._case_sent:
                self.revoked_ms.append((seen.read_at - self._case_sent[case]) * 1000)
            else:
                self._early[case] = seen.read_at
        elif seen.topic == OUTCOMES and document.get("status") in ("done", "wider"):
            case = str(document.get("case_id"))
            if case in self._case_sent:  # else the end of a task
                self.dead_ms.append((seen.read_at - self._case_sent[case]) * 1000)


def p50_p99(values_ms: Sequence[float]) -> str:
    """Median and 99th percentile as text.

    >>> p50_p99([1.0, 2.0, 3.0]), p50_p99([])
    ('p50 2 ms, p99 3 ms', '-')
    """
    p50, p99 = percentile(values_ms, 0.5), percentile(values_ms, 0.99)
    return "-" if p50 is None or p99 is None else f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
