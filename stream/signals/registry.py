"""All signals: found in the files of their families, and asked in the order in which decisions tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from models.contracts import FAMILIES
from stream.signals import content, identity, intent, provenance, scope, sequence, tempo
from stream.signals.call import ObservedCall
from stream.signals.signal import CallSignal, Consequence, HistorySignal, PastDecisions, Raised, Signal

_FILES = (intent, provenance, scope, sequence, tempo, identity, content)


def _defined_in(module: ModuleType) -> list[Signal[Any]]:
    """One of each signal that `module` defines, in the order of its lines."""
    classes = (kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Signal))
    return [kind() for kind in classes if kind.__module__ == module.__name__]


def _place(signal: Signal[Any]) -> tuple[int, bool]:
    """Where the evidence of `signal` stands among that of a decision."""
    return FAMILIES.index(signal.behind or signal.family), signal.behind is not None


SIGNALS: tuple[Signal[Any], ...] = tuple(signal for module in _FILES for signal in _defined_in(module))
"""Every signal, family by family."""
BY_ID: dict[str, Signal[Any]] = {signal.id: signal for signal in SIGNALS}

TOLD_ORDER: tuple[Signal[Any], ...] = tuple(sorted(SIGNALS, key=_place))
"""Every signal, in the order in which decisions tell them."""
_OF_CALLS = [signal for signal in TOLD_ORDER if isinstance(signal, CallSignal)]
_OF_HISTORY = [signal for signal in TOLD_ORDER if isinstance(signal, HistorySignal)]
NO_GROUNDS = frozenset(signal.id for signal in SIGNALS if not signal.corroborates)
"""Signals that are no evidence of drift: they stop a call and revoke nothing."""
FOLLOWS = frozenset(signal.id for signal in _OF_HISTORY)
"""Signals that only say what came of an earlier call."""


def check(call: ObservedCall) -> list[Raised]:
    """What all signals state of a call before its effect: what speaks against it, and what is context."""
    here = call.here
    return [
        signal.raised(statement, here)
        for signal in _OF_CALLS
        if (statement := signal.check(call)) is not None
    ]


def check_history(
    seq: int, revoked: bool, denied: bool, raised: Sequence[Raised], consequences: Mapping[str, Consequence]
) -> list[Raised]:
    """`raised`, and behind it what rests on earlier decisions of the session.

    Parameters
    ----------
    seq : int
        The call's place among its session's calls.
    revoked, denied : bool
        See `stream.signals.signal.PastDecisions`.
    raised : sequence of Raised
        What `check` found of the call.
    consequences : mapping of str to Consequence
        The policy's, by signal.
    """
    heard = list(raised)
    if revoked or denied:
        for signal in _OF_HISTORY:
            grounds = [earlier.signal.id for earlier in heard if earlier.signal.corroborates]
            denies = any(consequences.get(one) == "deny" for one in grounds)
            statement = signal.check(PastDecisions(revoked, denied, denies))
            if statement is not None:
                heard.append(signal.raised(statement, seq))
    return heard
