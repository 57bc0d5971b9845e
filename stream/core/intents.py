"""How a declaration, and what the user adds to its intent, are folded into a session.

What is kept of an intent's words is read here once: stems, clauses and their vectors, what it names, hands over
and allows. It is read by the readers of the release that judges the session.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache, partial

import numpy as np
from msgspec.structs import replace

from models.contracts import Action, Budget, Credential, Intent, SessionDeclared
from models.evidence.called import ACTIONS
from models.heads.handover import ANSWERS, Heads
from models.heads.readers import Readers
from models.reading.memory import shortened
from models.session import (
    LISTED,
    MAX_ADDRESSED,
    MAX_CREDENTIAL_BYTES,
    MAX_CREDENTIALS,
    MAX_DATA_CLASSES,
    MAX_NAMES,
    MAX_STEMS,
    SURE_PRINTS,
    CredentialRow,
    Session,
    Terms,
    asked_limit,
    credential_size,
    heard_limit,
    measure_names,
    print_limit,
)
from models.text.embedding import DIMS
from models.text.fingerprints import apart, data_class_print, fingerprint, pieces_met, prints_of
from models.text.index import INTENT, Index, as_prints
from models.text.meaning import MAX_CLAUSES, clauses_of
from models.text.memo import Memo
from models.text.recipients import accounts_in, mails_in
from models.text.stems import STOP, stem, stem_prints, stems_of_pieces
from models.text.tokens import tokens, unhashed
from models.text.vectors import Matrix, pack
from models.tools.catalogue import Catalogue
from models.tools.verbs import wanted_actions
from stream.events import dumps, milliseconds, short_hash

_NAMED = re.compile(r"\w{3}")
"""What a listed resource has to hold to tell anything."""
_MAX_CHARACTERS = 32_768
"""Of an intent's text, of its plan and of its list of resources, each."""


def declare(
    session: Session, event: SessionDeclared, catalogue: Catalogue | None, readers: Readers, key: bytes
) -> None:
    """Fold a declaration into a session that has none yet."""
    session.declared = event.intent is not None
    if event.agent is not None:
        session.agent = event.agent.id
        session.spiffe = event.agent.spiffe_id
        session.user = event.agent.user
        session.user_issuer = event.agent.user_issuer
    if event.credentials and not session.credentials:
        session.credentials = _held(event.credentials)
    measure_names(session)
    if event.intent is not None:
        session.intent_by = event.intent.known_by
        before, session.terms = session.terms, Terms(calls=session.terms.calls, writes=session.terms.writes)
        try:
            widen(session, event.intent, catalogue, readers, key)
        finally:  # one that fails half way frees no session of what narrowed it
            _keep_within(session.terms, before)


def _keep_within(terms: Terms, before: Terms) -> None:
    """Let terms be no wider than those `before`: of a session that began afresh, whose agent declares it once more."""
    if before.actions:
        terms.actions = (terms.actions & before.actions) or before.actions
    if before.data:
        terms.data = [each for each in terms.data if each in before.data] or before.data
    terms.budget_calls = _least(terms.budget_calls, before.budget_calls)
    terms.budget_writes = _least(terms.budget_writes, before.budget_writes)
    terms.budget_ms = _least(terms.budget_ms, before.budget_ms)


def _least(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _held(credentials: Sequence[Credential]) -> list[CredentialRow]:
    """The credentials that are kept: in order, as far as number and bytes allow."""
    rows: list[CredentialRow] = []
    room = MAX_CREDENTIAL_BYTES
    for c in credentials:
        row = CredentialRow(
            c.broker,
            c.kind,
            c.value,
            c.scope,
            milliseconds(c.issued) if c.issued else None,
            milliseconds(c.expires) if c.expires else None,
            c.issued_for_task,
            c.issued_to,
        )
        size = credential_size(row)
        if size <= room:
            room -= size
            rows.append(row)
        if len(rows) == MAX_CREDENTIALS:
            break
    return rows


def fit(session: Session) -> None:
    """Bring answers and index back within what the rest of the session leaves, after that has grown."""
    if len(session.asked) > asked_limit(session):
        session.asked = b""
    session.heard = shortened(session.heard, heard_limit(session))
    if len(session.index) > 8 * SURE_PRINTS:
        index = Index(session.index)
        index.trim(print_limit(session))
        session.index = index.dump()


def widen(
    session: Session, intent: Intent, catalogue: Catalogue | None, readers: Readers, key: bytes
) -> None:
    """Take an intent, or the user's amendment of it, into the session."""
    text = intent.text[:_MAX_CHARACTERS]
    plan = " ".join((intent.plan or [])[:64])[:_MAX_CHARACTERS]
    listed = " ".join((intent.resources or [])[:256])[:_MAX_CHARACTERS]
    whole = f"{text} {plan} {listed}"
    _take_words(session, whole, key)
    _take_addresses(session, whole, key)
    session.vague = (
        session.vague
        and not _NAMED.search(unhashed(listed))
        and readers.vagueness.is_vague(f"{text}\n{plan}")
    )
    _take_actions(session, text, intent.actions)
    _take_data_classes(session, intent.data_classes or (), key)
    planned = f"{text}\n{plan}" if plan else text
    clauses = clauses_of(planned, catalogue.nearness if catalogue is not None else None)
    dropped = max(0, len(session.served) + len(clauses) - MAX_CLAUSES)
    _take_clauses(session, readers.words.vectors_of([clause for clause, _ in clauses]), dropped)
    _take_handover(session, planned, [sentence for _, sentence in clauses], readers.handover, dropped)
    _take_named(session, [clause for clause, _ in clauses], listed, dropped, key)
    if readers.reader is not None:
        wished = f"{text}\n{listed}" if listed else text
        session.asked = readers.reader.with_intent(session.asked, wished, asked_limit(session))
    index = Index(session.index)
    prints = prints_of(f"{text}\n{plan}\n{listed}", key)
    index.add(prints, INTENT, prose=False, limit=print_limit(session))
    session.index = index.dump()
    if intent.budget is not None:
        _take_budget(session, intent.budget)
    session.intent_digest = short_hash(session.intent_digest or "", dumps(intent.model_dump(mode="json")))


def _take_words(session: Session, text: str, key: bytes) -> None:
    whole = unhashed(text)
    words = stems_of_pieces(whole.split(), key) if apart(whole) else stem_prints(whole, key)
    session.intent_words = _with_prints(session.intent_words, words, MAX_STEMS)


def _take_addresses(session: Session, text: str, key: bytes) -> None:
    """Add the mail addresses and accounts that an intent names."""
    mails, accounts = ({fingerprint(one, key) for one in found(text)} for found in (mails_in, accounts_in))
    session.mails = _with_prints(session.mails, mails, MAX_ADDRESSED)
    session.accounts = _with_prints(session.accounts, accounts, MAX_ADDRESSED)


def _with_prints(kept: bytes, more: set[int], most: int) -> bytes:
    """Kept prints and more of them, in order, `most` in all."""
    return as_prints(more.union(np.frombuffer(kept, "<u4").tolist()))[:most].astype("<u4").tobytes()


def _take_actions(session: Session, text: str, listed: Sequence[Action] | None) -> None:
    """Add the kinds of action that an intent's words ask for, and those that it lists as allowed."""
    for action in wanted_actions(text):
        session.intent_actions |= 1 << ACTIONS[action]
    for action in listed or ():
        # The declaration's list restricts; an amendment's, which only a user can send, adds to one and begins none.
        if session.terms.actions or session.intent_digest is None:
            session.terms.actions |= 1 << ACTIONS[action]
        session.intent_actions |= 1 << ACTIONS[action]


def _take_data_classes(session: Session, listed: Sequence[str], key: bytes) -> None:
    """Add the classes of data that an intent lists: as with actions a declaration restricts, and an amendment begins no list."""
    terms = session.terms
    if terms.data or session.intent_digest is None:
        more = (data_class_print(name, key) for name in listed if name and not name.isspace())
        terms.data = list(dict.fromkeys((*terms.data, *more)))[:MAX_DATA_CLASSES]


def _take_clauses(session: Session, clauses: Matrix, dropped: int) -> None:
    """Add the vectors of clauses, in place of the `dropped` oldest."""
    session.clauses = (session.clauses + pack(clauses))[dropped * DIMS :]
    session.served = (session.served + bytes(len(clauses)))[dropped:]
    if dropped:
        session.window = [replace(row, clause=max(-1, row.clause - dropped)) for row in session.window]


def _take_handover(session: Session, text: str, sentences: Sequence[str], heads: Heads, dropped: int) -> None:
    """Add what each clause's sentence, and the intent as a whole, hand over to a source and want done."""
    answers = {sentence: bytes(heads.sentence.of(sentence)) for sentence in dict.fromkeys(sentences)}
    handing = session.handing + b"".join(answers[sentence] for sentence in sentences)
    session.handing = handing[ANSWERS * dropped :]
    whole = bytes(heads.whole.of_text(text))
    session.wants = bytes(map(max, session.wants, whole)) if session.wants else whole


def _take_named(session: Session, clauses: Sequence[str], listed: str, dropped: int, key: bytes) -> None:
    """Add what the clauses and the list of resources name; what is named twice belongs to the first clause."""
    held = zip(np.frombuffer(session.names, "<u4").tolist(), session.name_clauses, strict=True)
    named = {
        name: clause if clause == LISTED else clause - dropped for name, clause in held if clause >= dropped
    }
    first = len(session.served) - len(clauses)
    for place, clause in (*enumerate(clauses, first), (LISTED, listed)):
        for name in names_in(clause, key):
            named.setdefault(name, place)
    kept = sorted(named)[:MAX_NAMES]
    session.names = np.array(kept, "<u4").tobytes()
    session.name_clauses = bytes(named[name] for name in kept)


def names_in(text: str, key: bytes) -> Collection[int]:
    """Prints of the tokens that name something in a text; piece by piece between white space, where none depends on another."""
    pieces, met = text.split(), pieces_met(key)
    if not apart(text) or any(met[piece].opening or met[piece].of_date for piece in pieces):
        return _names_of(text, key)
    return set().union(*map(_names_met(key).__getitem__, pieces))


@lru_cache(maxsize=4)
def _names_met(key: bytes) -> Memo[list[int]]:
    return Memo(partial(_names_of, key=key))


def _names_of(text: str, key: bytes) -> list[int]:
    named = (
        each.text
        for each in tokens(text)
        if len(each.text) >= 3 and (each.entity or stem(each.text) not in STOP)
    )
    return [fingerprint(name, key) for name in named]


def _take_budget(session: Session, budget: Budget) -> None:
    terms = session.terms
    terms.budget_calls = budget.calls
    terms.budget_writes = budget.writes
    seconds = budget.seconds  # cut to what can be packed: nothing lasts longer
    terms.budget_ms = min(seconds, 1 << 40) * 1000 if seconds is not None else None
