"""rule: what becomes of each item that the take pass left, in order: decisions, and cases for act.

Here a score first meets the policy. What was decided of a session lives in its dossier, which the session and
its tombstone share; nothing else of a state is read or changed.
"""

from __future__ import annotations

import hashlib
from typing import Any

from models.contracts import FAMILIES, Evidence, Family
from models.forest.units import UNITS
from models.session import VERSION, PathRow, Session, Tombstone, path_within
from stream.core import words
from stream.core.cases import Cases, Move, case_id_of, is_revoked, next_standing
from stream.core.items import Call
from stream.core.releases import PolicyNames
from stream.core.verdict import decide
from stream.events import CORE, DECISIONS, Output, dumps, rfc3339, short_hash
from stream.outbound.change import Receivers
from stream.signals import registry


class Rulings:
    """Rules items in order; `outputs` holds what was decided, `changed` the keys whose dossier moved.

    Parameters are those of `stream.core.judge.Judge`.
    """

    def __init__(
        self,
        key: bytes,
        receivers: Receivers,
        policy_name: PolicyNames,
    ) -> None:
        self.key = key
        self.policy_name = policy_name
        self.outputs: list[Output] = []
        self.cases = Cases(receivers, policy_name, self.outputs)

    def rule(self, call: Call, score: int) -> None:
        event, release = call.event, call.release
        policy, level = release.policy, release.levels
        record = call.session.record  # one dossier, shared by the session and what became of it
        enforced = policy.mode == "enforce"
        # What a policy in shadow revoked and denied alone is nothing that happened to the agent.
        revoked = is_revoked(record, policy)
        denied = record.denied > (record.told_denied if enforced else 0)
        told = registry.check_history(call.seq, revoked, denied, call.signals, policy.signals)
        usable = call.session.usable
        speaking = [s for s in told if s.evidence.supports]
        heard = {s.evidence.family for s in speaking}
        families: list[Family] = [f for f in FAMILIES if f in heard]
        ruling = decide(policy, level, score, families, [s.signal.id for s in speaking], usable)
        before = record.standing
        after = next_standing(record, ruling, policy)
        case_id = case_id_of(call.session.tenant, call.session.root, call.session.session)
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
        move = Move(
            kind="standing",
            cause="drift",
            before=before,
            after=after,
            why=why,
            evidence=[s.evidence for s in speaking],
            verdict=ruling.verdict,
            score=score,
            in_earnest=in_earnest,
        )
        self.cases.move(call, move)


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
