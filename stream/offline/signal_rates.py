"""How often each signal speaks in an ecosystem's own sessions, and which of them alert too often to alert by themselves.

Nobody has labelled the sessions, so a signal is only ever made quieter, and only one that alerts. What denies states a breach of
something that was declared: it is reported and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream.policy import FalsePositiveBudget, Policy
from stream.signals.registry import SIGNALS
from stream.signals.signal import Consequence

SHARE = 0.01
"""Share of the sessions that a signal may alert alone where the policy names no budget for alerts (chosen)."""
FEWEST_ALONE = 2
"""Sessions from which on it counts: a single one is chance, or an attack (chosen)."""

Session = tuple[str, str]
"""Tenant and id."""


class Rate(NamedTuple):
    """One signal: its consequence, the sessions in which it speaks and which it alone alerts, and what is proposed for it."""

    signal: str
    consequence: Consequence
    spoke: int
    alone: int
    proposed: Consequence

    @property
    def too_loud(self) -> bool:
        """Whether another consequence is proposed."""
        return self.proposed != self.consequence


def spoken(document: Mapping[str, Any]) -> set[str]:
    """Signals that speak against the call of a decision."""
    evidence = document.get("evidence") or ()
    return {f"{one['family']}.{one['name']}" for one in evidence if one["supports"]}


def rates(
    heard: Mapping[Session, set[str]], highest: Mapping[Session, int], alert: int, policy: Policy
) -> list[Rate]:
    """Each signal that speaks in some session, in the order of the registry.

    Parameters
    ----------
    heard : what spoke in each session
    highest : each session's highest score that is acted on
    alert : score from which on a session is alerted anyway
    """
    alone_in = dict.fromkeys((signal.id for signal in SIGNALS), 0)
    for session, names in heard.items():
        alerting = [name for name in names if policy.signals.get(name) in ("alert", "deny")]
        if len(alerting) == 1 and highest.get(session, 0) < alert:
            alone_in[alerting[0]] += 1
    allowed = max(FEWEST_ALONE - 1, _share(policy) * len(heard))
    found: list[Rate] = []
    for name, alone in alone_in.items():
        spoke = sum(name in names for names in heard.values())
        if spoke:
            consequence = policy.signals.get(name, "none")
            proposed = "watch" if consequence == "alert" and alone > allowed else consequence
            found.append(Rate(name, consequence, spoke, alone, proposed))
    return found


def _share(policy: Policy) -> float:
    threshold = policy.thresholds.alert
    return threshold.budget if isinstance(threshold, FalsePositiveBudget) else SHARE
