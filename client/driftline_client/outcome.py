"""What came of a call: a decision, or that there is none; and the errors that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_REFUSED = frozenset({"refused", "declaration_refused"})


_KNOWN = frozenset({"allow", "alert", "abstain", "deny", "revoke"})
"""Verdicts; one that this client does not know lets nothing run."""


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
        return self.refused or self.verdict not in _KNOWN or (self.enforced and self._against)

    @property
    def would_stop(self) -> bool:
        """Whether it would have been stopped, were the policy enforced: in shadow that is not what was allowed."""
        return not self.stops and self._against

    @property
    def _against(self) -> bool:
        return self.verdict in ("deny", "revoke")


NOT_RUN = "the decision was against it"
"""Why a call never ran whose decision stopped it."""


class DriftlineError(Exception):
    """A call may not run, or what an agent does is no longer told."""


class Denied(DriftlineError):
    """The call may not run. Its text is for the agent too: it says why, and what would pass.

    Attributes
    ----------
    tool : str
    decision : Decision or None
        None where nothing was decided: silence was to mean denial, or what was to run is not what was decided on.
    why : str
    would_pass : str
        What would let such a call pass; empty where nothing is known to.
    """

    def __init__(self, tool: str, decision: Decision | None, why: str = "") -> None:
        self.tool, self.decision = tool, decision
        self.would_pass = "" if decision is None or decision.refused else decision.would_pass
        self.why = why or _why(decision)
        passes = f" What would pass: {self.would_pass}." if self.would_pass else ""
        super().__init__(f"{self._begins()}: {self.why}.{passes}{self._next()}")

    @classmethod
    def by(cls, tool: str, decision: Decision) -> Denied:
        """What a decision that stops a call raises."""
        revoked = decision.verdict == "revoke" and not decision.refused
        return Revoked(tool, decision) if revoked else Denied(tool, decision)

    def _begins(self) -> str:
        return f"{self.tool} was not run"

    def _next(self) -> str:
        return " Try again, or do without it." if self.decision is None else ""


class Revoked(Denied):
    """The call may not run, and the session's credentials are revoked: no other call of the session will be allowed."""

    def _begins(self) -> str:
        return f"{self.tool} was not run, and the session's credentials are revoked"

    def _next(self) -> str:
        return " Stop, and tell the user."


def _why(decision: Decision | None) -> str:
    if decision is None:
        return "no decision on it came in time"
    if decision.refused:
        return f"the host's events are not as the contract has them ({decision.explanation or 'see the quarantine'})"
    return decision.explanation.rstrip(".") or "it does not fit what was asked"


class Undecided(DriftlineError, TimeoutError):
    """No decision came in time, and silence was to raise."""


class Lost(DriftlineError, ConnectionError):
    """Events of the session did not reach the bus: what is judged is no longer all of it."""


def why_not_run(error: BaseException) -> str:
    """Why a call never ran, where waiting for its decision ended with `error`."""
    if isinstance(error, Denied):
        return NOT_RUN if error.decision is not None else error.why
    if isinstance(error, DriftlineError):
        return str(error)
    # A cancellation is no `Exception`; what is one came of the check itself, as where its arguments can be told no longer.
    failed = f"its decision could not be looked at ({type(error).__name__})"
    return failed if isinstance(error, Exception) else "it was cancelled while it waited"
