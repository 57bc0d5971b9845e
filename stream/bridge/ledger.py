"""What was carried out already, learnt from the outcomes on the bus: they are the bridge's only memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from stream.events import short_hash

FINAL = ("done", "already_gone", "wider")
MAX_REMEMBERED = 1_000_000
"""Outcomes that are remembered, the latest ones; each takes some 150 bytes (chosen)."""


class Ledger:
    """Which credential of which token is dead, and which attempt failed.

    Parameters
    ----------
    most : int
        How many outcomes are remembered.

    Attributes
    ----------
    forgot : bool
        Whether there were more: that nothing is remembered of a credential tells nothing then.

    Notes
    -----
    What is forgotten is asked of the provider again, and found gone there.
    """

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._final: OrderedDict[bytes, None] = OrderedDict()
        self._failed: OrderedDict[bytes, str] = OrderedDict()
        self._most, self.forgot = most, False

    def take(self, outcome: Mapping[str, Any]) -> None:
        """Note an outcome as it stands on the bus; one of another shape says nothing."""
        jti, credential, status = (outcome.get(name) for name in ("jti", "credential", "status"))
        if isinstance(jti, str) and isinstance(credential, str):
            self.note(jti, credential, str(status))

    def note(self, jti: str, credential: str, status: str) -> None:
        """Note what became of a credential; what was done once stays done."""
        key = _key(jti, credential)
        if status in FINAL:
            self._final[key] = None
            self._failed.pop(key, None)
        elif status == "failed" and key not in self._final:
            self._failed[key] = jti
        for kept in (self._final, self._failed):
            while len(kept) > self._most:
                kept.popitem(last=False)
                self.forgot = True

    def is_done(self, jti: str, credential: str) -> bool:
        """Whether nothing is left to do."""
        return _key(jti, credential) in self._final

    def failed(self) -> set[str]:
        """``jti`` of the tokens of which something failed and was not done since."""
        return set(self._failed.values())


def _key(jti: str, credential: str) -> bytes:
    return bytes.fromhex(short_hash(jti, credential))
