"""A session's change of state: the case that tells of it, with what its finding and its tokens are made from.

The case is spelled once, as the contract that is published (`models.contracts.Case`). What a finding or a
token needs beside it stands here next to it; nothing outside a `Change` shapes either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from models.contracts import Action, Case, CredentialRef, Evidence, Family, Standing

RANK: dict[Standing, int] = {"quiet": 0, "closed": 0, "watch": 1, "alert": 2, "contained": 3}
"""How much a standing calls for; a case that is closed calls for nothing any more."""


class Receivers(NamedTuple):
    """Whom a case is addressed to.

    Parameters
    ----------
    issuer : str
        ``iss`` of all tokens.
    audiences : mapping of broker to audience
        A broker that is not named gets `stream.outbound.claims.default_audience`; brokers that share an
        audience share its token.
    risk_audience : str
        ``aud`` of changes of risk.
    runbook_url : str or None
        Where the SOC's runbooks lie; None: findings link to none.
    """

    issuer: str
    audiences: Mapping[str, str]
    risk_audience: str
    runbook_url: str | None = None


class Source(NamedTuple):
    """What an agent read, and then followed: the calls that answered so, in order, and a keyed hash of all that they answered."""

    calls: Sequence[int]
    hash: str


class Deed(NamedTuple):
    """The call that a change comes from, as an alert tells it.

    Attributes
    ----------
    seq, tool, action : its place among the session's calls, what was called, and what that may do
    declared : whether there is an intent
    asked : what the intent asks for, as far as the policy lets alerts quote it
    allowed : the kinds of action that the declaration allows; none: it does not say
    tools : names of the session's calls, by their places, as far as they are known
    quoted : values of arguments by their paths, as far as the policy lets alerts quote them
    shares : what each family adds to the score, in hundredths of log odds; only where the score is told
    would_pass : what would have passed, as the decision has it
    by_rule : whether a signal led to the verdict, not the score
    source : the answers that signals say it follows; None: they say so of none, or not all are known
    amount : 1 where it moves a large sum of money, by the policy, -1 where a trivial one, else 0
    """

    seq: int
    tool: str
    action: Action
    declared: bool = True
    asked: str = ""
    allowed: Sequence[Action] = ()
    tools: Mapping[int, str] = {}
    quoted: Mapping[str, str] = {}
    shares: Sequence[tuple[Family, int]] = ()
    would_pass: str = ""
    by_rule: bool = False
    source: Source | None = None
    amount: Literal[-1, 0, 1] = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a case.

    Parameters
    ----------
    case : Case
        Final but for ``finding`` and ``sets``, which are made of this value.
    time_ms : int
        The moment of the change, from the log; ``case.time`` is the same as RFC 3339.
    first_time_ms : int
        When the case first called for a finding; now, if it did not before.
    evidence : sequence of Evidence
        What was found, supporting or not, in any order.
    spiffe_id : str or None
        The agent's workload identity, where it was declared.
    user_issuer : str or None
        Who issued the user's identity, where it was declared: ``case.user`` is the subject there.
    attested : mapping or None
        Who the session was attested to be, as decisions say it (`models.contracts.AttestedBy`).
    max_credential_expiry_ms : int or None
        Latest expiry among the credentials; None when any of them does not say.
    alerted, revoked : bool
        Whether the SOC was told of this case, and its session's credentials were revoked, before this change.
    over : bool
        The session was over before this change, and no call after its end was told.
    withheld : bool
        What drift called for before this change was told in shadow alone.
    in_earnest : bool
        What shadow alone had revoked is revoked for good now.
    announced : sequence of CredentialRef
        Credentials that the end of the session leaves alive, and of which brokers are told.
    deed : Deed or None
        The call that led to it; None where none did.
    headline, severity, confidence : str, int, int
        Title of the case's latest alert, and the gravest severity and confidence that were told, as OCSF numbers them; empty and 0
        where none was.
    """

    case: Case
    time_ms: int
    first_time_ms: int
    evidence: Sequence[Evidence] = ()
    spiffe_id: str | None = None
    user_issuer: str | None = None
    attested: Mapping[str, Any] | None = None
    max_credential_expiry_ms: int | None = None
    alerted: bool = False
    over: bool = False
    revoked: bool = False
    withheld: bool = False
    in_earnest: bool = False
    announced: Sequence[CredentialRef] = ()
    deed: Deed | None = None
    headline: str = ""
    severity: int = 0
    confidence: int = 0

    @property
    def peak(self) -> Standing:
        """The highest standing that was told before: tells a first alert from a repeated one."""
        if self.revoked:
            return "contained"
        return "alert" if self.alerted else self.case.before
