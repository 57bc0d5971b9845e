"""rule: what becomes of each item that the take pass left, in order: decisions, and cases for act.

Here a score first meets the policy. What was decided of a session lives in its dossier, which the session and
its tombstone share; nothing else of a state is read or changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.contracts import (
    FAMILIES,
    Action,
    CredentialRef,
    Evidence,
    Family,
    PathStep,
    Standing,
    ToolCalled,
)
from models.forest.units import UNITS
from models.session import VERSION, Dossier, PathRow, Session, Tombstone, path_within
from stream.core import words
from stream.events import (
    CASES,
    CORE,
    DECISIONS,
    REVOCATIONS,
    RISK,
    Output,
    Record,
    dumps,
    rfc3339,
    short_hash,
)
from stream.outbound import findings, tokens
from stream.policy import Levels, Policy, decide
from stream.signals import registry
from stream.signals.signal import Raised

_ORDER: tuple[Standing, ...] = ("quiet", "watch", "alert", "contained", "closed")


class Scorer(Protocol):
    """What judge needs of a model: bundled, challenger and null one alike."""

    def score(self, X: npt.NDArray[np.float64], seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Scores in units of 0.0001, 0 to 10000, one for each row of features.

        `seen` are the calls that the row's session has made before.
        """
        ...

    def shares(self, row: Sequence[float]) -> list[tuple[Family, int]]:
        """What each family adds to a row's score, in hundredths of log odds, the greatest first; empty if not known."""
        ...


class Release(NamedTuple):
    """A model and a policy that go live together."""

    name: str
    scorer: Scorer
    policy: Policy
    levels: Levels


class PolicyNames:
    """What decisions call a policy: name and digest, computed once for each policy object."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Policy, str]] = {}  # holds the policies, so that no id comes twice

    def __call__(self, policy: Policy) -> str:
        held = self._names.get(id(policy))
        if held is None:
            if len(self._names) >= 64:
                self._names.clear()
            held = self._names[id(policy)] = (policy, f"{policy.name}@{policy.digest}")
        return held[1]


class Call(NamedTuple):
    record: Record
    event: ToolCalled
    arguments: bytes  # tool and arguments as JSON
    time_ms: int  # the event's own time
    over: bool  # the session was finished before, and `session` is what its tombstone tells
    session: Session
    row: list[int]  # of features; the rest of the extract ends with its record
    action: Action
    signals: list[Raised]
    seq: int
    marks: list[str]
    release: Release
    now_ms: int
    below: list[tuple[str, Session]]


class Close(NamedTuple):
    tombstone: Tombstone
    session: Session
    how: str
    release: Release
    now_ms: int


class Unjudged(NamedTuple):
    session: Session
    release: Release
    now_ms: int


class Offered(NamedTuple):
    """A session whose declaration brought credentials: they fall with it if it was revoked before."""

    key: str
    session: Session
    ancestors: list[Session]
    release: Release
    now_ms: int


class Rulings:
    """Rules items in order; `outputs` holds what was decided, `changed` the keys whose dossier moved.

    Parameters are those of `stream.core.judge.Judge`.
    """

    def __init__(
        self,
        key: bytes,
        issuer: str,
        audiences: Mapping[str, str],
        risk_audience: str,
        runbook_url: str | None,
        policy_name: PolicyNames,
    ) -> None:
        self.key = key
        self.policy_name = policy_name
        self.issuer = issuer
        self.audiences = audiences
        self.risk_audience = risk_audience
        self.runbook_url = runbook_url
        self.outputs: list[Output] = []
        self.changed: dict[str, None] = {}

    def rule(self, call: Call, score: int) -> None:
        event, release = call.event, call.release
        policy, level = release.policy, release.levels
        record = call.session.record  # one dossier, shared by the session and what became of it
        enforced = policy.mode == "enforce"
        # What a policy in shadow revoked and denied alone is nothing that happened to the agent.
        revoked = _is_revoked(record, policy)
        denied = record.denied > (record.told_denied if enforced else 0)
        told = registry.check_history(call.seq, revoked, denied, call.signals, policy.signals)
        usable = call.session.usable
        speaking = [s for s in told if s.evidence.supports]
        heard = {s.evidence.family for s in speaking}
        families: list[Family] = [f for f in FAMILIES if f in heard]
        ruling = decide(policy, level, score, families, [s.signal.id for s in speaking], usable)
        before = record.standing
        after = self._next(record, ruling.verdict, ruling.watch, policy)
        case_id = _case_id(call.session.tenant, call.session.root, call.session.session)
        decision_id = short_hash(
            "decision",
            call.session.tenant,
            call.session.root,
            call.session.session,
            event.id,
            call.arguments,
            record.chain,
        )
        noted = ruling.watch or ruling.verdict not in ("allow", "abstain")
        shares = release.scorer.shares(call.row) if noted and score >= level.watch else []
        why = words.explain(ruling, score, level, speaking, shares, vague="vague" in call.marks)
        time = rfc3339(call.time_ms)
        # `digest` is over all other members: it is put at its place between the two halves of the record.
        head = dumps(
            {
                "action": call.action,
                "agent": call.session.agent,
                "arguments_digest": short_hash(self.key, call.arguments),
                "call_id": event.call_id,
                "call_seq": call.seq,
                "case_id": case_id if after != "quiet" else None,
                "core": CORE,
                "credential": f"{event.credential.broker}/{event.credential.kind}/{event.credential.value}"
                if event.credential is not None
                else None,
                "decision_id": decision_id,
            }
        )
        tail = dumps(
            {
                "enforced": enforced,
                "event_id": event.id,
                "event_seq": event.seq,
                "evidence": [_plain(s.evidence) for s in told],
                "explanation": why[:1200],
                "families": families,
                "intent_digest": call.session.intent_digest,
                "marks": call.marks,
                "policy": self.policy_name(policy),
                "previous": record.chain,
                "release": release.name,
                "root_session_id": call.session.root,
                "schema_version": 1,
                "score": score / UNITS,
                "session_id": call.session.session,
                "shares": [{"family": family, "log_odds": part / 100} for family, part in shares],
                "standing": after,
                "tenant": call.session.tenant,
                "thresholds": {
                    "watch": level.watch / UNITS,
                    "alert": level.alert / UNITS,
                    "revoke": level.revoke / UNITS,
                },
                "time": time,
                "tool": event.tool,
                "verdict": ruling.verdict,
                "would_pass": words.would_pass(ruling, score, level, policy, speaking)[:400],
            }
        )
        head, tail = head[:-1] + b",", tail[1:]
        digest = sha256_hex(head + tail)
        value = b'%b"digest":"%b",%b' % (head, digest.encode(), tail)
        self.outputs.append(Output(DECISIONS, call.session.root.encode(), (), value))
        record.chain = digest
        record.denied += ruling.verdict == "deny"
        record.told_denied += ruling.verdict == "deny" and not enforced
        record.top_score = max(record.top_score, score)
        if noted:
            record.families = [f for f in FAMILIES if f in record.families or f in families]
            row = PathRow(
                bytes.fromhex(decision_id),
                event.call_id,
                call.seq,
                event.tool[:64],
                ruling.verdict,
                score,
                call.time_ms,
            )
            record.path = path_within([*record.path, row])
        # What shadow alone revoked still holds its credentials when the policy comes to enforce.
        in_earnest = record.withheld and enforced and ruling.verdict == "revoke" and not call.over
        if after == before and not in_earnest:
            return
        record.standing = after
        if in_earnest:
            record.revoked = False
        evidence = [s.evidence for s in speaking]
        self._case(
            call.session,
            record,
            "standing",
            "drift",
            before,
            after,
            why,
            evidence,
            release,
            call.now_ms,
            verdict=ruling.verdict,
            score=score,
            in_earnest=in_earnest,
        )
        if after == "contained" and not call.over:
            record.revoked, record.withheld = True, not enforced
            self._contain_below(call.session, call.below, release, call.now_ms)

    def _next(self, record: Dossier, verdict: str, watch: bool, policy: Policy) -> Standing:
        """Standing after a verdict: up at once, down a step after enough calm calls, never out of contained."""
        now: Standing = record.standing
        asked: Standing = (
            "contained"
            if verdict == "revoke"
            else "alert"
            if verdict in ("alert", "deny")
            else "watch"
            if watch
            else "quiet"
        )
        if now in ("contained", "closed"):
            return "alert" if now == "closed" and asked == "alert" else now
        if _ORDER.index(asked) > _ORDER.index(now):
            record.calm = 0
            return asked
        if asked != "quiet":
            record.calm = 0
            return now
        record.calm += 1
        if now != "quiet" and record.calm >= policy.calm_calls:
            record.calm = 0
            return "watch" if now == "alert" else "quiet"
        return now

    def _contain_below(
        self, session: Session, below: list[tuple[str, Session]], release: Release, now_ms: int
    ) -> None:
        """Revoke what the session's sub-agents hold too; never what stands above or beside it."""
        for key, child in below:
            if not _is_revoked(child.record, release.policy):
                self._inherit(key, child, session, release, now_ms)

    def _inherit(self, key: str, child: Session, parent: Session, release: Release, now_ms: int) -> None:
        before = child.record.standing
        child.record.standing, child.record.revoked = "contained", True
        enforced = release.policy.mode == "enforce"
        in_earnest = child.record.withheld and enforced
        child.record.withheld = not enforced
        self.changed[key] = None
        self._case(
            child,
            child.record,
            "standing",
            "drift",
            before,
            "contained",
            f"revoked with session {parent.session[:128]}, for which it works",
            [],
            release,
            now_ms,
            verdict="revoke",
            score=parent.record.top_score,
            inherited=parent.session,
            in_earnest=in_earnest,
        )

    def offered(self, item: Offered) -> None:
        """Revoke credentials that come to light after the session, or one that it works for, was revoked."""
        session = item.session
        policy = item.release.policy
        revoked = next((s for s in [session, *item.ancestors] if _is_revoked(s.record, policy)), None)
        if revoked is not None:
            self._inherit(item.key, session, revoked, item.release, item.now_ms)

    def close(self, item: Close) -> None:
        session, tomb = item.session, item.tombstone
        record = tomb.record
        before = record.standing
        record.standing = "closed"
        if not session.credentials and before == "quiet":
            return
        why = {
            "ended": "the session ended",
            "idle": "the session was idle for longer than the limit",
            "evicted": "the partition's or the tree's limit of open sessions was reached",
            "parent_ended": "the session that it works for ended",
        }[item.how]
        self._case(session, record, "ended", "ended", before, "closed", why, [], item.release, item.now_ms)

    def unjudged(self, item: Unjudged) -> None:
        session = item.session
        standing = session.record.standing
        why = "a record of this session could not be judged; it is in quarantine with reason internal"
        self._case(
            session,
            session.record,
            "unjudged",
            "internal",
            standing,
            standing,
            why,
            [],
            item.release,
            item.now_ms,
        )

    def _case(
        self,
        session: Session,
        record: Dossier,
        kind: Any,
        cause: Any,
        before: Standing,
        after: Standing,
        why: str,
        evidence: list[Evidence],
        release: Release,
        now_ms: int,
        *,
        verdict: Any = None,
        score: int | None = None,
        inherited: str | None = None,
        in_earnest: bool = False,
    ) -> None:
        case_id = _case_id(session.tenant, session.root, session.session)
        change = record.change
        record.change += 1
        time = rfc3339(now_ms)
        peak: Standing = "contained" if record.revoked else "alert" if record.alerted else before
        policy = release.policy
        expiries = [c.expires_ms for c in session.credentials]
        credentials = [
            CredentialRef(broker=c.broker, kind=c.kind, value=c.value, scope=c.scope)
            for c in session.credentials
        ]
        path = [
            PathStep(
                decision_id=p.decision_id.hex(),
                call_id=p.call_id,
                call_seq=p.seq,
                tool=p.tool,
                verdict=p.verdict,
                score=p.score / UNITS,
                time=rfc3339(p.time_ms),
            )
            for p in record.path
        ]
        facts = findings.CaseFacts(
            case_id=case_id,
            record_id=short_hash("change", case_id, str(change), kind, cause),
            change=change,
            kind=kind,
            cause=cause,
            tenant=session.tenant,
            root_session_id=session.root,
            session_id=session.session,
            time=time,
            time_ms=now_ms,
            before=before,
            after=after,
            reason=why[:600],
            verdict=verdict,
            score=(record.top_score if score is None else score) / UNITS,
            families=list(record.families),
            evidence=evidence,
            agent=session.agent,
            spiffe_id=session.spiffe,
            user=session.user,
            credentials=credentials,
            path=path,
            first_time_ms=record.first_alert_ms or now_ms,
            enforced=policy.mode == "enforce",
            inherited_from=inherited,
            release=release.name,
            policy=self.policy_name(policy),
            core=CORE,
            max_credential_expiry_ms=None
            if not expiries or None in expiries
            else max(e for e in expiries if e is not None),
            peak=peak,
            withheld=record.withheld,
        )
        told = (
            kind == "standing"
            and after in ("alert", "contained")
            and (in_earnest or before == "closed" or _ORDER.index(after) > _ORDER.index(before))
        )
        closes = kind == "ended" and (record.alerted or record.revoked)
        sets: list[dict[str, Any]] = []
        if (
            (after == "contained" and not record.revoked)
            or (inherited is not None)
            or (kind == "ended" and (record.withheld or not record.revoked))
        ):
            sets += [
                {"topic": REVOCATIONS, "claims": claims}
                for claims in tokens.revocation_claims(facts, self.issuer, self.audiences)
            ]
        if tokens.risk_changed(before, after):
            claims = tokens.risk_claims(facts, self.issuer, self.risk_audience)
            sets.append({"topic": RISK, "claims": claims})
        case = {
            "schema_version": 1,
            "record_id": facts.record_id,
            "case_id": case_id,
            "change": change,
            "kind": kind,
            "cause": cause,
            "tenant": session.tenant,
            "root_session_id": session.root,
            "session_id": session.session,
            "time": time,
            "before": before,
            "after": after,
            "reason": facts.reason,
            "verdict": verdict,
            "score": facts.score,
            "families": facts.families,
            "agent": session.agent,
            "user": session.user,
            "credentials": [c.__dict__ for c in credentials],
            "path": [p.__dict__ for p in path],
            "enforced": facts.enforced,
            "inherited_from": inherited,
            "finding": findings.finding(facts, runbook_url=self.runbook_url) if told or closes else None,
            "sets": sets,
            "release": release.name,
            "policy": facts.policy,
            "core": CORE,
        }
        if told:
            record.alerted = True
            record.first_alert_ms = record.first_alert_ms or now_ms
        self.outputs.append(Output(CASES, session.tenant.encode(), (), dumps(case)))


def _is_revoked(record: Dossier, policy: Policy) -> bool:
    """Whether the session was revoked; to a policy that enforces what shadow alone revoked was not."""
    return record.revoked and not (record.withheld and policy.mode == "enforce")


@lru_cache(maxsize=1 << 14)
def _case_id(tenant: str, root: str, session: str) -> str:
    return short_hash("case", tenant, root, session)


def _plain(evidence: Evidence) -> dict[str, Any]:
    """What `evidence.model_dump` gives, without the walk over its schema."""
    told = evidence.__dict__
    return told if evidence.argument is None else {**told, "argument": evidence.argument.__dict__}


def sha256_hex(raw: bytes) -> str:
    """SHA-256 of `raw`, hexadecimal: the chain's digest, which others recompute with any tool."""
    return hashlib.sha256(raw).hexdigest()


def shell_of(tomb: Tombstone, tenant: str, root: str, session: str) -> Session:
    """A finished session as far as its tombstone tells: enough to judge what comes after, with no credentials left."""
    return Session(
        version=VERSION,
        tenant=tenant,
        root=root,
        session=session,
        born=-1,
        offset=-1,
        clock_ms=tomb.clock_ms,
        started_ms=tomb.clock_ms,
        release=tomb.release,
        epoch=tomb.epoch,
        agent=tomb.agent,
        calls=tomb.calls,
        record=tomb.record,
    )
