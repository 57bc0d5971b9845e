"""take, identities: who a declaration is attested to come from, and what its attestation gives away."""

from __future__ import annotations

from msgspec.structs import replace

from models.contracts import SessionDeclared, Signable
from models.session import HELD, Fault, Identity, Session, measure_names
from stream.core.arrival import Arrival
from stream.core.credentials import prints_in
from stream.core.deployment import Attested, Deployment
from stream.core.draft import Draft
from stream.core.intents import fit
from stream.policy import Policy

HARMLESS: frozenset[Fault] = frozenset({"shared"})
"""Faults with which an attestation counts: a host may have asked for one token for several tasks."""
STOLEN: frozenset[Fault] = frozenset({"signed", "replayed"})
"""Faults of a token that somebody else than its workload may have sent: it shows who acts to nobody."""


class Identities:
    """Notes who sessions are attested to be.

    Parameters
    ----------
    deployment : Deployment
        Whose attestations count, and whose signatures.
    draft : Draft
        Where sessions stand.
    """

    def __init__(self, deployment: Deployment, draft: Draft) -> None:
        self._deployment = deployment
        self._draft = draft

    def allow(self, arrival: Arrival, event: Signable, session: Session, policy: Policy) -> bool:
        """Note what the attestation of `event` shows, and give whether `event` may count."""
        attested, faults = self._read(arrival, event, session, policy)
        demanded = policy.attestations.demanded(session.tenant)
        if attested is None and not faults and not demanded:
            return True
        if demanded and policy.attestations.bound and attested is not None and attested.session is None:
            faults.append("unbound")
        counts = not demanded or (attested is not None and HARMLESS.issuperset(faults))
        if not counts:
            self._draft.count("unattested_declaration")
        shown = attested if counts and STOLEN.isdisjoint(faults) else None
        self._note(session, shown, faults, counts)
        return counts

    def _read(
        self, arrival: Arrival, event: Signable, session: Session, policy: Policy
    ) -> tuple[Attested | None, list[Fault]]:
        """What is attested of `event`, and what is wrong with that; neither where nothing is or nobody's word is known."""
        issuers = self._deployment.attestations
        if issuers is None or event.attestation is None:
            return None, []
        skew_ms = int(policy.limits.clock_skew_seconds * 1000)
        read = issuers.read(session.tenant, event.attestation, session.clock_ms, skew_ms)
        if not isinstance(read, Attested):
            return None, [read] if read is not None else []
        return read, self._faults(arrival, event, session, read)

    def _faults(self, arrival: Arrival, event: Signable, session: Session, attested: Attested) -> list[Fault]:
        faults: list[Fault] = []
        if not _is_agent(event, session, attested):
            faults.append("agent")
        if not _is_user(event, session, attested):
            faults.append("user")
        if attested.key is not None:
            signed = self._deployment.declarations
            signer = signed.signer(session.tenant, event, arrival.document) if signed is not None else None
            if signer != attested.key:
                faults.append("signed")
        if attested.session is not None:
            if attested.session != session.session:
                faults.append("replayed")
        else:
            token = attested.digest[:HELD]
            if self._draft.holders(token) > (token in prints_in(session.holds)):
                faults.append("shared")
        return faults

    def _note(self, session: Session, attested: Attested | None, faults: list[Fault], counts: bool) -> None:
        # A new value each time: copies of the session that await their ruling share the one before.
        was = session.identity or Identity()
        if attested is not None and not was.issuer:
            token = attested.digest[:HELD]
            was = replace(
                was,
                issuer=attested.issuer,
                agent=attested.agent,
                principal=attested.principal,
                expires_ms=attested.expires_ms,
                token=token,
                bound=attested.session is not None,
            )
            if attested.session is None:
                self._draft.hold(session, token)
        new = [fault for fault in faults if fault not in was.faults]
        session.identity = replace(was, faults=[*was.faults, *new], unattested=was.unattested or not counts)
        measure_names(session)
        fit(session)


def _is_agent(event: Signable, session: Session, attested: Attested) -> bool:
    """Whether an attestation is of the agent that `event` names; one that was attested before stays who it is."""
    identity = session.identity
    if identity is not None and identity.issuer and identity.agent != attested.agent:
        return False
    named = [session.agent, session.spiffe]
    if isinstance(event, SessionDeclared) and event.agent is not None:
        named = [event.agent.id, event.agent.spiffe_id]
    return all(name in (None, attested.agent, attested.name) for name in named)


def _is_user(event: Signable, session: Session, attested: Attested) -> bool:
    """Whether an attestation that tells whom the agent acts for tells the user that `event` names."""
    if attested.principal is None:
        return True
    identity = session.identity
    if identity is not None and identity.principal not in (None, attested.principal):
        return False
    user, issuer = session.user, session.user_issuer
    if isinstance(event, SessionDeclared) and event.agent is not None:
        user, issuer = event.agent.user, event.agent.user_issuer
    return user in (None, attested.principal) and issuer in (None, attested.principal_issuer)
