"""take, declarations, amendments and changed catalogues: who they count for, and what they bring into a session."""

from __future__ import annotations

import copy
from itertools import compress

import numpy as np

from models.contracts import CatalogueChanged, IntentAmended, SessionDeclared, Signable, Tool
from models.session import Session
from models.text import quotes
from models.tools.catalogue import Catalogue
from models.tools.requests import start_of_request
from stream.core import changes, intents
from stream.core.arrival import Arrival
from stream.core.catalogues import Packed
from stream.core.credentials import print_of
from stream.core.deployment import Deployment
from stream.core.draft import Draft
from stream.core.identities import Identities
from stream.core.items import Item, Offered
from stream.core.trees import Trees
from stream.policy import Policy


class IntentTaker:
    """Takes what is declared of sessions.

    Parameters
    ----------
    deployment : Deployment
        Whose signatures and attestations count.
    draft, trees
        Where sessions stand, and whom they work for.
    items : list of Item
        Where what is to be ruled on is put.
    """

    def __init__(self, deployment: Deployment, draft: Draft, trees: Trees, items: list[Item]) -> None:
        self._deployment = deployment
        self._draft = draft
        self._trees = trees
        self._items = items
        self._identities = Identities(deployment, draft)

    def declare(self, arrival: Arrival, event: SessionDeclared, session: Session) -> None:
        """Fold a declaration into `session`, if it counts and nothing was declared before."""
        draft = self._draft
        if not self._counts(arrival, event, session):
            return
        something_was = session.agent is not None or bool(session.credentials) or session.offered
        if session.declared or (something_was and event.intent is None):
            draft.count("second_declaration")  # only the user widens an intent, by an amendment
            return
        if session.session != session.root and event.parent_session_id is not None:
            session.parent = event.parent_session_id
            self._trees.changed()
        n_held = len(session.credentials)
        if event.tools and not session.offered:
            self._offer(session, event.tools, arrival.offered)
        release = draft.release(session)
        catalogue = draft.catalogues.of(session, release)
        try:
            intents.declare(session, event, catalogue, release.readers, self._deployment.fingerprint_key)
        finally:  # a record that fails half way leaves no holder that nobody counts: a session keeps what it holds
            if len(session.credentials) > n_held:
                self._hold_credentials(session)
        if event.intent is not None:
            text = event.intent.text
            session.quote = quotes.asked(text, release.policy.quotes, start_of_request(text))
        if catalogue is not None:
            _relate(session, catalogue)
        if len(session.credentials) > n_held:
            if len(event.credentials or ()) > len(session.credentials):
                draft.count("credentials_cut")
            above = [copy.copy(each) for _, each in self._trees.above(session) if isinstance(each, Session)]
            self._items.append(Offered(arrival.key, copy.copy(session), above, release, session.clock_ms))
        intents.fit(session)

    def amend(self, arrival: Arrival, event: IntentAmended, session: Session) -> None:
        """Widen the intent of `session`, if the amendment counts and there is one."""
        if not self._counts(arrival, event, session):
            return
        if not session.declared:
            self._draft.count("amendment_without_intent")
            return
        if event.by_agent:
            self._draft.count("agent_amendment")  # the user alone changes their mind
            return
        release = self._draft.release(session)
        catalogue = self._draft.catalogues.of(session, release)
        intents.widen(session, event.intent, catalogue, release.readers, self._deployment.fingerprint_key)
        if catalogue is not None:
            _relate(session, catalogue)
        intents.fit(session)

    def change(self, arrival: Arrival, event: CatalogueChanged, session: Session) -> None:
        """Fold what joined, changed and left into the tools that `session` is offered; its intent stays as it is."""
        if not self._counts(arrival, event, session) or not (event.tools or session.catalogue):
            return
        catalogues, release = self._draft.catalogues, self._draft.release(session)
        before = catalogues.of(session, release)
        packed = catalogues.changed(session, event.tools or (), event.left or ())
        if not self._hold(session, packed):
            return
        after = catalogues.of(session, release)
        assert after is not None
        changes.note(session, before, after, self._deployment.fingerprint_key)
        _relate(session, after)
        intents.fit(session)

    def _hold_credentials(self, session: Session) -> None:
        """Count `session` among the holders of its credentials, and note which of these an end took before."""
        prints = [print_of(session.tenant, row) for row in session.credentials]
        self._draft.hold(session, b"".join(prints))
        for row, its_print in zip(session.credentials, prints, strict=True):
            row.spent = self._draft.is_spent(its_print)

    def _counts(self, arrival: Arrival, event: Signable, session: Session) -> bool:
        """Whether what says what a session is for counts; what lacks a signature or an attestation demanded widens nothing.

        A signed one counts once and in its order: each has a higher number than the last, and none is older
        than a tombstone gets, so that an id that was forgotten is not declared again by a repeat.
        """
        policy = self._draft.release(session).policy
        signed = policy.signatures.demanded(session.tenant)
        if signed and not self._is_signed(arrival, event, session, policy):
            session.unsigned = True
            self._draft.count("unsigned_declaration")
            return False
        # Behind the signature: where one is demanded, nobody else's attestation may speak against the session.
        if not self._identities.allow(arrival, event, session, policy):
            return False
        if signed and event.seq is not None:
            session.signed_seq = event.seq
        return True

    def _is_signed(self, arrival: Arrival, event: Signable, session: Session, policy: Policy) -> bool:
        oldest_ms = self._draft.ledger.clock_ms - int(policy.limits.tombstone_hours * 3_600_000)
        signed = self._deployment.declarations
        return (
            signed is not None
            and event.seq is not None
            and event.seq > session.signed_seq
            and arrival.time_ms >= oldest_ms
            and signed.signer(session.tenant, event, arrival.document) is not None
        )

    def _offer(self, session: Session, tools: list[Tool], offered: bytes) -> None:
        """Let `session` hold what it was offered at first; tools that joined before that was told stay as they are."""
        catalogues = self._draft.catalogues
        if session.catalogue is None:
            session.offered = self._hold(session, catalogues.packed(tools, offered))
            return
        release = self._draft.release(session)
        before = catalogues.of(session, release)
        if self._hold(session, catalogues.preceded(session, tools)):
            session.offered = True
            after = catalogues.of(session, release)
            assert after is not None
            changes.move(session, before, after)

    def _hold(self, session: Session, packed: Packed) -> bool:
        if packed.cut:
            self._draft.count("catalogue_cut")
        held = self._draft.catalogues.hold(session, packed, self._draft.limits.catalogues)
        if not held:
            self._draft.count("catalogue_not_kept")
        return held


def _relate(session: Session, catalogue: Catalogue) -> None:
    """Note how the tools that a session was offered stand to its intent, and drop names that only tools explain."""
    words = np.frombuffer(session.intent_words, "<u4").tolist()
    session.affinity = bytes(catalogue.affinity(words))
    session.likeness = catalogue.likeness(session.clauses)
    names = np.frombuffer(session.names, "<u4").tolist()
    telling = [at == -1 for at in catalogue.index.find(names)]
    session.names = np.array(list(compress(names, telling)), "<u4").tobytes()
    session.name_clauses = bytes(compress(session.name_clauses, telling))
    if len(session.lure) != len(session.affinity):
        session.lure = bytes(len(session.affinity))
