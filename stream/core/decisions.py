"""rule, calls: a call's score meets the policy, and becomes a decision.

Decisions of a session form a chain: each holds the digest of the one before. What was decided is noted in the
session's dossier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, NamedTuple

from models.contracts import FAMILIES, KINDS, Family, Standing
from models.evidence.called import ACTIONS
from models.forest.units import UNITS
from models.reading.pieces import Mark as Piece
from models.session import PathRow, path_within
from models.text import quotes
from models.text.documents import texts_at
from stream.core import words
from stream.core.cases import Cases, Move, attested_by, is_revoked, next_standing
from stream.core.expected import Expected, expected
from stream.core.items import Call, Mark, Reading
from stream.core.releases import PolicyNames
from stream.core.verdict import Ruling, decide
from stream.events import CORE, DECISIONS, Output, case_id_of, clipped, dumps, rfc3339, short_hash
from stream.outbound.change import Deed, Source
from stream.policy import SCORE, ExpectedCalls
from stream.signals import registry
from stream.signals.signal import Raised


class Judgement(NamedTuple):
    """What the policy made of a call, and why.

    Parameters
    ----------
    score : int
        In `UNITS`.
    signals, speaking : list of Raised
        All that were raised, and those that support drift.
    families : list of Family
        Of the speaking signals, in the contract's order.
    before, after : Standing
        Of the session.
    shares : list of (Family, int)
        What each family adds to the score, in hundredths of log odds; only where the score is told.
    noted : bool
        Whether the call belongs on the case's path.
    reading : Reading or None
        What a reader made of the call, if one read it.
    expected : Expected
        What of the call passes because the policy expects it.
    marks : list of str
        What a reader of the decision must know.
    """

    ruling: Ruling
    score: int
    signals: list[Raised]
    speaking: list[Raised]
    families: list[Family]
    before: Standing
    after: Standing
    decision_id: str
    shares: list[tuple[Family, int]]
    why: str
    noted: bool
    reading: Reading | None
    expected: Expected
    marks: list[Mark]


class Decisions:
    """Decides on calls.

    Parameters
    ----------
    key : bytes
        Key of all fingerprints.
    policy_name : PolicyNames
        What decisions call a policy.
    cases : Cases
        Where a change of standing leads.
    outputs : list of Output
        Where decisions are put.
    """

    def __init__(self, key: bytes, policy_name: PolicyNames, cases: Cases, outputs: list[Output]) -> None:
        self._key = key
        self._policy_name = policy_name
        self._cases = cases
        self._outputs = outputs

    def decide(self, call: Call, score: int, reading: Reading | None) -> None:
        """Put the decision on a call among the outputs, note it, and bring its session where it belongs."""
        judgement = _judge(call, score, reading)
        value, digest = self._document(call, judgement)
        self._outputs.append(Output(DECISIONS, call.session.root.encode(), (), value))
        _note(call, judgement, digest)
        self._move(call, judgement)

    def _document(self, call: Call, judgement: Judgement) -> tuple[bytes, str]:
        """The decision as it is published, and its digest.

        The digest is SHA-256 over all other members, which others recompute with any tool: it is put at its
        place between the two halves of the record.
        """
        session, event, release = call.session, call.event, call.release
        ruling, level, policy = judgement.ruling, release.levels_of(session.tenant), release.policy
        score = judgement.score
        case_id = case_id_of(session.tenant, session.root, session.session)
        used, attested = event.credential, attested_by(session.identity)
        head = dumps(
            {
                "action": call.action,
                "agent": session.agent,
                "arguments_digest": short_hash(self._key, call.arguments),
                **({"attested": attested} if attested is not None else {}),
                "call_id": event.call_id,
                "call_seq": call.seq,
                "case_id": case_id if judgement.after != "quiet" else None,
                "core": CORE,
                "credential": f"{used.broker}/{used.kind}/{used.value}" if used is not None else None,
                "decision_id": judgement.decision_id,
            }
        )
        tail = dumps(
            {
                "enforced": policy.enforces(session.tenant, session.agent),
                "event_id": event.id,
                "event_seq": event.seq,
                "evidence": [raised.evidence for raised in judgement.signals],
                "explanation": clipped(judgement.why, 1200),
                "families": judgement.families,
                "intent_digest": session.intent_digest,
                **({"intent_known_by": session.intent_by} if session.intent_by is not None else {}),
                "marks": judgement.marks,
                "policy": self._policy_name(policy),
                "previous": session.dossier.chain,
                **_read(judgement.reading),
                "release": release.name,
                "root_session_id": session.root,
                "schema_version": 1,
                "score": score / UNITS,
                "session_id": session.session,
                "shares": [{"family": family, "log_odds": part / 100} for family, part in judgement.shares],
                "standing": judgement.after,
                "tenant": session.tenant,
                "thresholds": level.as_scores(),
                "time": rfc3339(call.time_ms),
                "tool": event.tool,
                "verdict": ruling.verdict,
                "would_pass": _would_pass(call, judgement),
            }
        )
        head, tail = head[:-1] + b",", tail[1:]
        digest = hashlib.sha256(head + tail).hexdigest()
        return b'%b"digest":"%b",%b' % (head, digest.encode(), tail), digest

    def _move(self, call: Call, judgement: Judgement) -> None:
        """Open, raise or lower the session's case, if the decision does."""
        ruling = judgement.ruling
        session, dossier = call.session, call.session.dossier
        # Its end was told: that calls go on is news even where its standing is what it was.
        goes_on = dossier.over and ruling.verdict in ("alert", "deny")
        # What shadow alone revoked still holds its credentials when the policy comes to enforce.
        in_earnest = (
            dossier.withheld
            and call.release.policy.enforces(session.tenant, session.agent)
            and ruling.verdict == "revoke"
            and not call.over
        )
        if judgement.after == judgement.before and not in_earnest and not goes_on:
            return
        move = Move(
            kind="standing",
            cause="drift",
            before=judgement.before,
            after=judgement.after,
            why=judgement.why,
            evidence=[raised.evidence for raised in judgement.speaking],
            verdict=ruling.verdict,
            score=judgement.score,
            in_earnest=in_earnest,
            deed=_deed(call, judgement, self._key),
        )
        self._cases.move(call, move)


def _deed(call: Call, judgement: Judgement, key: bytes) -> Deed:
    """The call as an alert tells it."""
    session, policy, ruling = call.session, call.release.policy, judgement.ruling
    known = ((row.seq, row.tool) for row in session.window)
    return Deed(
        seq=call.seq,
        tool=call.event.tool,
        action=call.action,
        declared=session.declared,
        asked=session.quote,
        allowed=[action for action in KINDS if session.terms.actions >> ACTIONS[action] & 1],
        tools={seq: session.tools[tool] for seq, tool in known if tool >= 0},
        quoted=_quoted(call, judgement, key),
        shares=judgement.shares,
        would_pass=_would_pass(call, judgement),
        by_rule=ruling.by == "signal",
        source=_source(call, judgement, key),
        amount=policy.amounts.step(call.amount),
    )


def _source(call: Call, judgement: Judgement, key: bytes) -> Source | None:
    """The answers that the speaking signals say the call follows: all of them, since an address book that everybody reads is no
    source by itself where another text says what to do with it."""
    said = {raised.source for raised in judgement.speaking if raised.source is not None}
    answers = {row.seq: row.answer for row in call.session.window if row.seq in said and row.answer}
    if not said or len(answers) < len(said):
        return None
    prints = sorted(set(answers.values()))
    return Source(
        sorted(said), short_hash(key, "source", *(each.to_bytes(8, "little") for each in prints), size=8)
    )


def _quoted(call: Call, judgement: Judgement, key: bytes) -> dict[str, str]:
    """The values that evidence names, as far as the policy lets alerts quote them, by their paths."""
    arguments = [raised.evidence.argument for raised in judgement.speaking]
    hashes = {argument.path: argument.hash for argument in arguments if argument is not None}
    # A path may be that of another value too, which the call's author chose: the one at issue is known by its hash.
    return {
        path: quotes.value(text, call.release.policy.quotes)
        for path, texts in texts_at(call.event.arguments, hashes.keys()).items()
        for text in texts
        if short_hash(key, text, size=8) == hashes[path]
    }


def _would_pass(call: Call, judgement: Judgement) -> str:
    release = call.release
    told = words.would_pass(
        judgement.ruling,
        judgement.score,
        release.levels_of(call.session.tenant),
        release.policy,
        judgement.speaking,
        judgement.marks,
        judgement.expected.passing,
    )
    return clipped(told, 400)


def _judge(call: Call, score: int, reading: Reading | None) -> Judgement:
    session, release, dossier = call.session, call.release, call.session.dossier
    policy, level = release.policy, release.levels_of(session.tenant)
    # What a policy in shadow revoked and denied alone is nothing that happened to the agent.
    revoked = is_revoked(session, policy)
    told = dossier.told_denied if policy.enforces(session.tenant, session.agent) else 0
    denied = dossier.denied > told
    signals = registry.check_history(call.seq, revoked, denied, call.signals, policy.signals)
    speaking = [raised for raised in signals if raised.evidence.supports]
    heard = {raised.evidence.family for raised in speaking if raised.signal.corroborates}
    families: list[Family] = [family for family in FAMILIES if family in heard]
    ids = [raised.signal.id for raised in speaking]
    known = expected(
        policy, session.tenant, session.agent, call.event.tool, call.event.arguments, call.now_ms
    )
    judged = session.usable and not call.event.unseen
    ruling = decide(policy, level, score, families, ids, judged, known.passing)
    marks = list(call.marks)
    if known.rows and ruling != decide(policy, level, score, families, ids, judged):
        marks.append("expected")
    before = dossier.standing
    after = next_standing(dossier, ruling, policy, over=call.over)
    decision_id = short_hash(
        "decision",
        session.tenant,
        session.root,
        session.session,
        session.intent_digest or "",
        call.event.id,
        call.arguments,
        dossier.chain,
    )
    noted = ruling.watch or ruling.verdict not in ("allow", "abstain")
    shares = release.scorer.shares(call.row) if noted and score >= level.watch else []
    why = words.explain(
        ruling,
        score,
        level,
        speaking,
        shares,
        marks,
        reading if noted and score >= level.watch else None,
        _having_a_part(known, ids, score >= min(level.alert, level.revoke)) if "expected" in marks else (),
    )
    return Judgement(
        ruling,
        score,
        signals,
        speaking,
        families,
        before,
        after,
        decision_id,
        shares,
        why,
        noted,
        reading,
        known,
        marks,
    )


def _having_a_part(known: Expected, ids: Collection[str], is_high: bool) -> list[ExpectedCalls]:
    """The rows by which something passed."""
    spoke = {*ids, *([SCORE] if is_high else [])}
    return [row for row in known.rows if not spoke.isdisjoint(row.lets_pass)]


def _note(call: Call, judgement: Judgement, digest: str) -> None:
    """Note in the session's dossier what was decided."""
    session, ruling, policy = call.session, judgement.ruling, call.release.policy
    dossier = session.dossier
    dossier.chain = digest
    dossier.denied += ruling.verdict == "deny"
    dossier.told_denied += ruling.verdict == "deny" and not policy.enforces(session.tenant, session.agent)
    dossier.top_score = max(dossier.top_score, judgement.score)
    if not judgement.noted:
        return
    dossier.families = [
        family for family in FAMILIES if family in dossier.families or family in judgement.families
    ]
    row = PathRow(
        bytes.fromhex(judgement.decision_id),
        call.event.call_id,
        call.seq,
        call.event.tool[:60],
        ruling.verdict,
        judgement.score,
        call.time_ms,
    )
    path = [*dossier.path, row]
    dossier.path = path_within(path)
    cut = path[: len(path) - len(dossier.path)]
    by_signal = any(
        policy.signals.get(raised.signal.id) in ("alert", "deny")
        and raised.signal.id not in judgement.expected.passing
        for raised in judgement.speaking
    )
    unexplained = any(row.verdict == "alert" and not row.served for row in cut)
    dossier.settled |= ruling.verdict in ("deny", "revoke") or by_signal or unexplained


_BEGINS = {Piece.SAID: "intent", Piece.NOWHERE: "nobody", None: None}


def _read(reading: Reading | None) -> dict[str, Any]:
    """What a decision says of a reader's word; nothing where none read the call."""
    if reading is None:
        return {}
    heard = [
        {
            "adds": None if adds is None else round(adds, 4),
            "begins": _BEGINS[led.begins],
            "call_seq": led.seq,
            "through": led.through,
        }
        for led, adds in zip(reading.sources, reading.moves, strict=True)
    ]
    told = {"forest": reading.forest / UNITS, "heard": heard, "log_odds": round(reading.log_odds, 4)}
    return {"read": told}
