"""A session's standing, and the case that each change of it leads to.

What was decided of a session lives in its dossier, which the session and its tombstone share; nothing else
of a state is changed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from models.contracts import Case, CredentialRef, Evidence, PathStep, RevocationBudget, Standing, Verdict
from models.forest.units import UNITS
from models.session import MAX_HEADLINE, Dossier, Identity, PathRow, Session
from stream.core.credentials import announced
from stream.core.items import Call, Close, Offered, Opined, Unjudged
from stream.core.releases import PolicyNames
from stream.core.verdict import Ruling
from stream.events import CASES, CORE, REVOCATIONS, Output, case_id_of, clipped, dumps, rfc3339, short_hash
from stream.outbound.change import RANK, Change, Deed, Receivers
from stream.outbound.claims import signed_end_sets, signed_sets
from stream.outbound.findings import finding, is_told
from stream.policy import Policy

MAX_REASON = 600
"""Characters of a case's reason."""

OVER = {
    "ended": "the session ended",
    "idle": "the session was idle for longer than the limit",
    "evicted": "the partition's or the tree's limit of open sessions was reached",
    "parent_ended": "the session that it works for ended",
}
"""Why a case says that its session is over, by how it ended."""


class Move(NamedTuple):
    """From which standing a session comes to which, and why."""

    kind: Literal["standing", "ended", "unjudged"]
    cause: Literal["drift", "opinion", "ended", "internal"]
    before: Standing
    after: Standing
    why: str
    evidence: Sequence[Evidence] = ()
    verdict: Verdict | None = None
    score: int | None = None  # in `UNITS`; None: the session's highest
    inherited: str | None = None  # the session with which this one falls
    in_earnest: bool = False  # what shadow alone had revoked is revoked for good
    enforced: bool | None = None  # None: by the mode of the session itself
    deed: Deed | None = None  # the call that led to it


class Cases:
    """Takes sessions from one standing to another.

    Parameters
    ----------
    receivers : Receivers
        Whom cases are addressed to.
    policy_name : PolicyNames
        What cases call a policy.
    outputs : list of Output
        Where cases are put, among what else is decided.

    Attributes
    ----------
    changed : dict of str to None
        Keys of sessions whose dossier moved though no record of theirs was judged, in order.
    """

    def __init__(self, receivers: Receivers, policy_name: PolicyNames, outputs: list[Output]) -> None:
        self._receivers = receivers
        self._policy_name = policy_name
        self._outputs = outputs
        self.changed: dict[str, None] = {}

    def move(self, call: Call, move: Move) -> None:
        """Bring the session of a call to another standing, and down with it what works for it."""
        session, dossier = call.session, call.session.dossier
        enforced = call.release.policy.enforces(session.tenant, session.agent)
        dossier.standing = move.after
        if move.in_earnest:
            dossier.revoked = False
        self._write(call, move)
        if move.after == "contained" and not call.over:
            dossier.revoked, dossier.withheld = True, not enforced
            # Never what stands above or beside it.
            for key, child in call.below:
                # Of one that fell in shadow alone what it holds lives on, whatever its own mode.
                if not child.dossier.revoked or (child.dossier.withheld and enforced):
                    self._inherit(key, child, call.session, call)

    def offered(self, item: Offered) -> None:
        """Revoke credentials that come to light after the session, or one that it works for, was revoked."""
        policy = item.release.policy
        tree = (item.session, *item.ancestors)
        revoked = [each for each in tree if is_revoked(each, policy)]
        if revoked:
            in_earnest = (each for each in revoked if policy.enforces(each.tenant, each.agent))
            self._inherit(item.key, item.session, next(in_earnest, revoked[0]), item)

    def _inherit(self, key: str, child: Session, parent: Session, item: Call | Offered) -> None:
        """Revoke what `child` holds, since `parent`, for which it works, was revoked."""
        dossier = child.dossier
        # By the mode of the one that drifted: in shadow it takes nothing from others, in earnest no other's mode shields what it gave.
        enforced = item.release.policy.enforces(parent.tenant, parent.agent)
        before = dossier.standing
        dossier.standing = "contained"
        in_earnest = dossier.withheld and enforced
        self.changed[key] = None
        move = Move(
            kind="standing",
            cause="drift",
            before=before,
            after="contained",
            why=f"revoked with session {parent.session[:128]}, for which it works",
            verdict="revoke",
            score=parent.dossier.top_score,
            inherited=parent.session,
            in_earnest=in_earnest,
            enforced=enforced,
        )
        self._write(Unjudged(child, item.release, item.now_ms), move)
        dossier.revoked, dossier.withheld = True, not enforced

    def end(self, item: Close) -> None:
        """Say that a session is over; one that holds nothing and was quiet has no case.

        A case that the SOC was told of stays open, for a session's end mends nothing. One that nobody was
        told of closes with its session.
        """
        dossier = item.session.dossier
        before, is_open = dossier.standing, dossier.alerted or dossier.revoked
        dossier.standing = before if is_open else "closed"
        if is_open or item.session.credentials or before != "quiet":
            self._write(item, Move("ended", "ended", before, dossier.standing, OVER[item.how]))
        dossier.over = True

    def opined(self, item: Opined) -> str:
        """Note a second opinion on a call of a case, and do what the policy lets it lead to; returns what it counts as.

        The first one on a call counts. One that the call drifts makes an alert of what was only watched. When all calls that led
        to an alert are said to serve, the case is closed, unless more than their scores ever spoke against the session.
        """
        dossier, opinion, may = item.session.dossier, item.opinion, item.release.policy.opinions
        ids = [row.decision_id.hex() for row in dossier.path]
        if opinion.decision_id not in ids:
            return "opinion_unmatched"
        at, path = ids.index(opinion.decision_id), list(dossier.path)
        if path[at].served is not None:
            return "opinion_repeated"
        path[at] = msgspec.structs.replace(path[at], served=opinion.opinion == "serves")
        dossier.path = path
        dossier.settled |= opinion.opinion == "drifts"
        before = dossier.standing
        said = f"a second opinion by {opinion.by} on call {path[at].seq}"
        if opinion.opinion == "drifts" and may.raise_cases and RANK[before] < RANK["alert"]:
            why = f"{said}: it does not serve what was asked"
            self._opine(item, Move("standing", "opinion", before, "alert", why, verdict="alert"))
        elif may.close_cases and dossier.alerted and not dossier.settled and _is_explained(path):
            why = f"{said}: it serves what was asked, as do all calls that led to this alert"
            self._opine(item, Move("standing", "opinion", before, "quiet", why))
            dossier.alerted = False  # what comes after is another alert
        else:
            return "opinion_noted"
        return "opinion_moved"

    def _opine(self, item: Opined, move: Move) -> None:
        item.session.dossier.standing, item.session.dossier.calm = move.after, 0
        self._write(item, move)

    def unjudged(self, item: Unjudged) -> None:
        """Say of a session that a record of it could not be judged."""
        standing = item.session.dossier.standing
        why = "a record of this session could not be judged; it is in quarantine with reason internal"
        self._write(item, Move("unjudged", "internal", standing, standing, why))

    def _write(self, item: Call | Close | Unjudged | Opined, move: Move) -> None:
        """Put the case of a move among the outputs, and note in the dossier what was told."""
        dossier = item.session.dossier
        number, dossier.change = dossier.change, dossier.change + 1
        change = self._change(item, move, number)
        told = finding(change, runbook_url=self._receivers.runbook_url) if is_told(change) else None
        sets = signed_sets(change, self._receivers)
        end_sets = signed_end_sets(change, self._receivers)
        by_drift = move.cause == "drift" and any(signed.topic == REVOCATIONS for signed in sets)
        document = vars(change.case) | {
            "finding": told,
            "sets": sets,
            "end_sets": end_sets,
            "budget": _budget(item.release.policy) if by_drift else None,
            "alerts_a_day": item.release.policy.alerts_a_day if told is not None else None,
        }
        # Most cases have neither: they are the bytes that they were before there were any.
        for younger in ("end_sets", "alerts_a_day"):
            if not document[younger]:
                del document[younger]
        if move.kind == "standing" and move.cause != "opinion":
            dossier.over = False  # a call came after the end
        if told is not None and move.kind == "standing":
            dossier.alerted = True
            headline: str = told["finding_info"]["title"]
            dossier.headline = headline.encode()[:MAX_HEADLINE].decode(errors="ignore")
            dossier.severity, dossier.confidence = told["severity_id"], told["confidence_id"]
            dossier.first_alert_ms = dossier.first_alert_ms or item.now_ms
        self._outputs.append(Output(CASES, change.case.tenant.encode(), (), dumps(document)))

    def _change(self, item: Call | Close | Unjudged | Opined, move: Move, number: int) -> Change:
        session, release, now_ms = item.session, item.release, item.now_ms
        dossier = session.dossier
        case_id = case_id_of(session.tenant, session.root, session.session)
        score = dossier.top_score if move.score is None else move.score
        case = Case(
            record_id=short_hash("change", case_id, str(number), move.kind, move.cause),
            case_id=case_id,
            change=number,
            kind=move.kind,
            cause=move.cause,
            tenant=session.tenant,
            root_session_id=session.root,
            session_id=session.session,
            time=rfc3339(now_ms),
            before=move.before,
            after=move.after,
            reason=clipped(move.why, MAX_REASON),
            verdict=move.verdict,
            score=score / UNITS,
            families=list(dossier.families),
            agent=session.agent,
            user=session.user,
            credentials=[
                CredentialRef(broker=held.broker, kind=held.kind, value=held.value, scope=held.scope)
                for held in session.credentials
            ],
            released=item.released if isinstance(item, Close) else [],
            path=[_step(row) for row in dossier.path],
            enforced=release.policy.enforces(session.tenant, session.agent)
            if move.enforced is None
            else move.enforced,
            inherited_from=move.inherited,
            finding=None,
            sets=[],
            release=release.name,
            policy=self._policy_name(release.policy),
            core=CORE,
        )
        expiries = [held.expires_ms for held in session.credentials]
        known = [expiry for expiry in expiries if expiry is not None]
        return Change(
            case=case,
            time_ms=now_ms,
            first_time_ms=dossier.first_alert_ms or now_ms,
            evidence=move.evidence,
            spiffe_id=session.spiffe,
            user_issuer=session.user_issuer,
            attested=attested_by(session.identity),
            max_credential_expiry_ms=max(known) if known and len(known) == len(expiries) else None,
            alerted=dossier.alerted,
            over=dossier.over,
            revoked=dossier.revoked,
            withheld=dossier.withheld,
            in_earnest=move.in_earnest,
            announced=announced(case.released, release.policy),
            deed=move.deed,
            headline=dossier.headline,
            severity=dossier.severity,
            confidence=dossier.confidence,
        )


def attested_by(identity: Identity | None) -> dict[str, Any] | None:
    """What decisions and findings say of who was attested to act (`models.contracts.AttestedBy`); None where nobody was."""
    if identity is None or not identity.issuer:
        return None
    return {
        "agent": identity.agent,
        "bound": identity.bound,
        "expires": rfc3339(identity.expires_ms),
        "issuer": identity.issuer,
        "principal": identity.principal,
        "token": identity.token.hex(),
    }


def _budget(policy: Policy) -> dict[str, Any]:
    """The policy's budget of revocations, which act holds its breaker to: it reads the log alone."""
    budget = RevocationBudget(**policy.revocations.model_dump())
    # An act that is older than the overall budget refuses it.
    return budget.model_dump(exclude={"overall"} if budget.overall is None else None)


def _step(row: PathRow) -> PathStep:
    return PathStep(
        decision_id=row.decision_id.hex(),
        call_id=row.call_id,
        call_seq=row.seq,
        tool=row.tool,
        verdict=row.verdict,
        score=row.score / UNITS,
        time=rfc3339(row.time_ms),
    )


def _is_explained(path: Sequence[PathRow]) -> bool:
    """Whether all calls that led to an alert are said to serve."""
    grave = [row for row in path if row.verdict == "alert"]
    return bool(grave) and all(row.served for row in grave)


def is_revoked(session: Session, policy: Policy) -> bool:
    """Whether the session was revoked; to a policy that enforces what shadow alone revoked was not."""
    dossier = session.dossier
    return dossier.revoked and not (dossier.withheld and policy.enforces(session.tenant, session.agent))


def next_standing(dossier: Dossier, ruling: Ruling, policy: Policy, *, over: bool) -> Standing:
    """Standing after a verdict: up at once, down a step after enough calm calls, never out of contained.

    Of a session that is over only an alert changes it. Counts the calm calls in `dossier`, and leaves its
    standing to `Cases.move`.
    """
    now = dossier.standing
    asked = _asked(ruling)
    if now == "contained":
        return now
    if over:
        return "alert" if asked == "alert" else now
    if RANK[asked] > RANK[now]:
        dossier.calm = 0
        return asked
    if asked != "quiet":
        dossier.calm = 0
        return now
    dossier.calm += 1
    if now != "quiet" and dossier.calm >= policy.calm_calls:
        dossier.calm = 0
        return "watch" if now == "alert" else "quiet"
    return now


def _asked(ruling: Ruling) -> Standing:
    """The standing that a verdict by itself asks for."""
    if ruling.verdict == "revoke":
        return "contained"
    if ruling.verdict in ("alert", "deny"):
        return "alert"
    return "watch" if ruling.watch else "quiet"
