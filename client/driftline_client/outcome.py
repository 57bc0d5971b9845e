"""What came of a call: a decision, or that there is none; and the errors that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

OnSilence = Literal["allow", "deny", "raise"]
"""What it means when no decision comes in time."""


def on_silence_of(value: Any) -> OnSilence:
    """`value`, if it says what silence means; a misspelt one would let a call run."""
    if value not in ("allow", "deny", "raise"):
        raise ValueError(f"on_silence is {value!r}; expected allow, deny or raise")
    found: OnSilence = value
    return found


_REFUSED = frozenset({"refused", "declaration_refused"})


class Decision(NamedTuple):
    """What Driftline decided on one call.

    Attributes
    ----------
    verdict : ``allow``, ``alert``, ``abstain``, ``deny`` or ``revoke``
    enforced : whether it counts; in shadow it says what would have been
    explanation : why, for people
    would_pass : what would let such a call pass, where there is something
    document : all of it, as on the bus
    """

    verdict: str
    enforced: bool
    explanation: str
    would_pass: str
    document: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Decision:
        """From a record of the topic of decisions."""
        explanation, would_pass = (str(document.get(name) or "") for name in ("explanation", "would_pass"))
        enforced = document.get("enforced") is True
        return cls(str(document.get("verdict")), enforced, explanation, would_pass, document)

    @property
    def refused(self) -> bool:
        """Whether the contract refused the call or its session's declaration: it was not judged, and may not run."""
        return not _REFUSED.isdisjoint(self.document.get("marks") or ())

    @property
    def stops(self) -> bool:
        """Whether the call may not run."""
        return self.refused or (self.enforced and self.verdict in ("deny", "revoke"))


class DriftlineError(Exception):
    """A call may not run, or what an agent does is no longer told."""


class Denied(DriftlineError):
    """The call may not run.

    Its text is for the agent too: it says why, and what would pass. ``decision`` is None where silence was to mean denial.
    """

    def __init__(self, tool: str, decision: Decision | None) -> None:
        self.tool, self.decision = tool, decision
        super().__init__(_told(tool, decision))


def _told(tool: str, decision: Decision | None) -> str:
    if decision is None:
        return f"{tool} was not run: no decision on it came in time. Try again, or do without it."
    if decision.verdict == "revoke":
        return f"{tool} was not run, and the session's credentials are revoked: {decision.explanation}. Stop, and tell the user."
    if decision.refused:
        return f"{tool} was not run: the host's events are not as the contract has them ({decision.explanation or 'see the quarantine'})."
    passes = f" What would pass: {decision.would_pass}." if decision.would_pass else ""
    return f"{tool} was not run: {decision.explanation or 'it does not fit what was asked'}.{passes}"


class Undecided(DriftlineError, TimeoutError):
    """No decision came in time, and silence was to raise."""


class Lost(DriftlineError, ConnectionError):
    """Events of the session did not reach the bus: what is judged is no longer all of it."""
