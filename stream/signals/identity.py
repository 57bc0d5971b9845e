"""Signals of the family identity: who acts, with which credential, and whether it still may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from models.session import Fault, Session
from stream.signals.call import ObservedCall
from stream.signals.signal import (
    CallSignal,
    HistorySignal,
    PastDecisions,
    Remedy,
    Runbook,
    Statement,
)

MS_PER_HOUR, MS_PER_MINUTE = 3_600_000, 60_000
_SPIFFE = "spiffe://"

UNUSABLE: Mapping[Fault, str] = {
    "unreadable": "it is no token",
    "issuer": "no issuer of this tenant is known by its name",
    "signature": "no key of its issuer signed it",
    "type": "it is a token of another kind",
    "claims": "a claim is missing or of another form",
    "audience": "it is for others than Driftline, or for others too",
    "expired": "it had expired when it came",
    "early": "it was issued later than it came",
    "long_lived": "it lives longer than a day",
    "proof": "it is tied to a key or certificate that no record can show",
    "unbound": "it names no session",
}
"""What is wrong with an attestation that tells nothing, in words."""


class CredentialExpired(CallSignal):
    """The credential named, or every one declared, was past its end at the call's own time."""

    id = "identity.credential_expired"
    deed = "calls {tool} with an expired credential"
    shipped = "deny"
    remedy = Remedy(otherwise="a credential that is valid at the time of the call")
    runbook = Runbook(
        benign="a task that outlived its lease; a renewal nobody declared; the host's clock",
        look="ask the broker whether it was renewed",
        do="begin a session with the new one",
    )
    speaks_in = "cloud-expired-credential"
    silent_in = "cloud-delete-old-snapshots"

    def check(self, call: ObservedCall) -> Statement | None:
        expiries = call.circumstances.expiries_ms
        known = [expiry for expiry in expiries if expiry is not None]
        if not known or len(known) < len(expiries) or max(known) > call.circumstances.time_ms:
            return None
        return Statement("the credential was expired when it was used")


class CredentialUndeclared(CallSignal):
    """The call names a credential that its session, which declared others, did not declare."""

    id = "identity.credential_undeclared"
    deed = "calls {tool} with a credential that it did not declare"
    shipped = "alert"
    remedy = Remedy(otherwise="a declaration that lists this credential")
    runbook = Runbook(
        benign="a lease rotated in the middle of a task",
        look="ask the broker for whom it was issued",
        do="declare every credential that the host may use",
    )
    silent_in = "cloud-expired-credential"

    def check(self, call: ObservedCall) -> Statement | None:
        at = call.circumstances
        if at.credential is None or at.candidates or not call.session.credentials:
            return None
        return Statement("the credential used was not declared for this session")


class CredentialLongLived(CallSignal):
    """A credential declared with its time of issue lives longer than 24 hours (`credential_max_hours`), or for ever; where the policy says `credentials.longest_minutes`, longer than that for this call's data, and from the session's beginning where no issue was declared. An exception of the policy, until it runs out, makes it context."""

    id = "identity.credential_long_lived"
    deed = "calls {tool} with a credential that lives too long"
    shipped = "watch"
    remedy = Remedy(otherwise="a credential that lives no longer than the policy allows")
    runbook = Runbook(
        benign="static keys",
        look="see how it was issued, and what else holds it",
        do="have the broker issue one for each task",
    )
    speaks_in = "code-long-lived-credential"
    silent_in = "cloud-expired-credential"

    def check(self, call: ObservedCall) -> Statement | None:
        rules, session, hours = call.knobs.credentials, call.session, call.knobs.credential_max_hours
        told_ms = rules.longest_ms(call.evidence.tool.facts.sensitive)
        longest_ms = told_ms if told_ms is not None else hours * MS_PER_HOUR
        allowed = f"{hours:g} hours" if told_ms is None else f"{told_ms / MS_PER_MINUTE:g} minutes"
        excepted = None
        for credential in call.circumstances.candidates:
            issued, expires = credential.issued_ms, credential.expires_ms
            if issued is None and told_ms is not None:
                issued = session.started_ms
            if issued is None or (expires is not None and expires - issued <= longest_ms):
                continue
            text = f"a credential lives longer than {allowed}, or for ever"
            until_ms = rules.excepted_until_ms(credential.broker, credential.kind, credential.value)
            if until_ms is None:
                return Statement(text)
            if session.clock_ms >= until_ms:
                return Statement(f"{text}; the policy's exception for it has run out")
            excepted = Statement(f"{text}, as the policy excepts it", supports=False)
        return excepted


class CredentialBeyondScope(CallSignal):
    """The policy lists the scopes that let this tool be called (`credentials.scopes`), and the credential was declared with others."""

    id = "identity.credential_beyond_scope"
    deed = "calls {tool} beyond the scope of its credential"
    shipped = "watch"
    remedy = Remedy(otherwise="a credential with a scope that the policy lists for this tool")
    runbook = Runbook(
        benign="a list in the policy that is too short; a scope that was declared in other words",
        look="ask the broker for the credential's scope, and the provider whether the call went through",
        do="mend the list or the declaration; if it went through, the credential can do more than was declared",
    )
    silent_in = "code-long-lived-credential"

    def check(self, call: ObservedCall) -> Statement | None:
        tool, candidates = call.evidence.tool.name, call.circumstances.candidates
        for credential in candidates:
            needed = call.knobs.credentials.needed(credential.broker, tool)
            scopes = credential.scopes
            if needed is None or not scopes or not needed.isdisjoint(scopes):
                return None  # it may, or nothing tells
        return Statement("no scope declared lets this tool be called") if candidates else None


class CredentialOfEndedTask(CallSignal):
    """The credential that the call names, or every one declared, was issued for the task of another session alone, which was over before."""

    id = "identity.credential_of_ended_task"
    deed = "calls {tool} with the credential of a task that is over"
    shipped = "watch"
    remedy = Remedy(otherwise="a credential that was issued for this task")
    runbook = Runbook(
        benign="a host that declares its one credential as issued for each task; a task that was silent for longer than `idle_minutes` and goes on in a new session; sub-agents one after another with a credential that the session above them did not declare",
        look="ask the broker for which task it was issued, and whether it died with it",
        do="have the broker issue one for each task; if the call went through, the end of the other task revoked nothing",
    )
    silent_in = "cloud-expired-credential"

    def check(self, call: ObservedCall) -> Statement | None:
        if not call.circumstances.spent:
            return None
        return Statement("the credential was issued for another task alone, which is over")


class CredentialOfAnother(CallSignal):
    """A credential that the call names, or may have used, was issued to another workload (`issued_to`) than the one that acts."""

    id = "identity.credential_of_another"
    deed = "calls {tool} with another workload's credential"
    shipped = "alert"
    remedy = Remedy(otherwise="a credential that was issued to this workload")
    runbook = Runbook(
        benign="a sub-agent that works with the credential of the agent above it; a host that declares under another name than the broker knows",
        look="ask the broker to whom it was issued, and from where it was used",
        do="have the broker issue one for each workload",
    )
    speaks_in = "cloud-borrowed-credential"
    silent_in = "cloud-expired-credential"

    def check(self, call: ObservedCall) -> Statement | None:
        named = call.circumstances.credential
        told = [each.issued_to for each in call.circumstances.candidates]
        told.append(named.issued_to if named is not None else None)
        issued = {name for name in told if name is not None}
        if not issued or all(_may_be(name, _workload(call.session)) for name in issued):
            return None
        return Statement("a credential was issued to another workload than the one that acts")


class DeclaredForAnother(CallSignal):
    """An attestation that holds names another agent than its declaration does, another than attested the session before, or another user."""

    id = "identity.declared_for_another"
    deed = "calls {tool} in the name of another agent"
    shipped = "alert"
    remedy = Remedy(otherwise="a declaration in the name of the workload that makes it")
    runbook = Runbook(
        benign="a gateway that declares for its agents with a token of its own; a name that `agents` of the issuer does not list",
        look="compare `attested` of the decision with the agent and user that were declared: may that workload declare for them?",
        do="list the name, or have each agent attested by itself; if it is neither, treat the workload that was attested as taken over",
    )
    speaks_in = "support-borrowed-name"
    silent_in = "support-attested"

    def check(self, call: ObservedCall) -> Statement | None:
        faults = _faults(call.session)
        if "agent" in faults:
            return Statement("an attestation names another agent than the one that is declared")
        if "user" in faults:
            return Statement("an attestation names another user than the one that is declared")
        return None


class SignedByAnother(CallSignal):
    """An attestation names the key of its bearer (`cnf`), and another key signed the event, or none did."""

    id = "identity.signed_by_another"
    deed = "calls {tool} by the signature of another workload"
    shipped = "alert"
    remedy = Remedy(otherwise="an event signed with the key that its attestation names")
    runbook = Runbook(
        benign="a key of the producer that was rotated and is not listed yet; a host that forwards tokens of its agents",
        look="which key signed the event, and who holds it?",
        do="list the key among the tenant's; if nobody knows the one that signed, somebody uses a token that was taken",
    )
    speaks_in = "support-stolen-token"
    silent_in = "support-attested"

    def check(self, call: ObservedCall) -> Statement | None:
        if "signed" not in _faults(call.session):
            return None
        return Statement("the key that an attestation names did not sign what came with it")


class TokenReplayed(CallSignal):
    """An attestation is for another session than it came in."""

    id = "identity.token_replayed"
    deed = "calls {tool} with the token of another session"
    shipped = "alert"
    remedy = Remedy(otherwise="an attestation issued for this session")
    runbook = Runbook(
        benign="a host that begins a new session with the token of the one before",
        look="the session that the token was issued for, and who may read the topic",
        do="end the session and ask for a new token; if the host did not send it, find who reads the topic",
    )
    speaks_in = "support-replayed-token"
    silent_in = "support-attested"

    def check(self, call: ObservedCall) -> Statement | None:
        if "replayed" not in _faults(call.session):
            return None
        return Statement("an attestation was issued for another session")


class TokenShared(CallSignal):
    """An attestation that names no session came in another session of this partition too, which was still open."""

    id = "identity.token_shared"
    deed = "calls {tool} with a token that another session came with"
    shipped = "watch"
    remedy = Remedy(otherwise="an attestation of its own for each session")
    runbook = Runbook(
        benign="a host that asks for one token for several tasks; SPIRE's agent gives the same token until half of its life is over",
        look="do both sessions come from one host?",
        do="name the session in the token's audience",
    )
    speaks_in = "travel-shared-token-hotels"
    silent_in = "support-attested"

    def check(self, call: ObservedCall) -> Statement | None:
        if "shared" not in _faults(call.session):
            return None
        return Statement("another open session came with the same attestation")


class AttestationRefused(CallSignal):
    """An attestation that came in this session tells nothing: forged, expired, for another audience, or of another form."""

    id = "identity.attestation_refused"
    deed = "calls {tool} though its attestation was refused"
    shipped = "watch"
    remedy = Remedy(
        otherwise="an attestation by a known issuer, for Driftline alone, that is valid when it comes"
    )
    runbook = Runbook(
        benign="keys of the issuer that were rotated and are not listed yet; a token with several audiences; a slow host",
        look="the reason; a token for another audience lies on the bus, where others may read it",
        do="mend the host or the file of issuers; a forged one was sent by somebody who may write to the topic",
    )
    speaks_in = "support-foreign-audience"
    silent_in = "support-attested"

    def check(self, call: ObservedCall) -> Statement | None:
        why = next((UNUSABLE[fault] for fault in _faults(call.session) if fault in UNUSABLE), None)
        return Statement(f"an attestation does not count: {why}") if why is not None else None


class AfterEnd(CallSignal):
    """The session was over before this call."""

    id = "identity.after_end"
    deed = "calls {tool} after its end"
    shipped = "alert"
    remedy = Remedy(otherwise="a new session, declared before the call")
    runbook = Runbook(
        benign="a straggler; a host that ends too early; a pause longer than `idle_minutes`",
        look="see how the session ended",
        do="a task that goes on needs a new session",
    )
    silent_in = "support-ticket-exfiltration"

    def check(self, call: ObservedCall) -> Statement | None:
        return Statement("the session was over before this call") if call.circumstances.over else None


class AfterRevocation(HistorySignal):
    """The session was revoked before this call; in shadow too, where nothing was taken away."""

    id = "identity.after_revocation"
    deed = "calls {tool} after it was revoked"
    shipped = "deny"
    remedy = Remedy(otherwise="a new session with new credentials")
    runbook = Runbook(
        benign="calls on their way; a broker that is slow",
        look="see that the credential is dead; in shadow, judge the revocation that would have been",
        do="begin a new session with new credentials once the cause is mended",
    )
    speaks_in = "finance-invoice-iban-swap"
    silent_in = "cloud-expired-credential"

    def check(self, past: PastDecisions) -> Statement | None:
        if not past.revoked:
            return None
        return Statement("the session's credentials were revoked before this call")


def _faults(session: Session) -> Sequence[Fault]:
    return session.identity.faults if session.identity is not None else ()


def _workload(session: Session) -> set[str]:
    """The names of the workload that acts: as attested, and as declared where nothing speaks against that."""
    attested = {session.identity.agent} if session.identity is not None and session.identity.issuer else set()
    if attested and "agent" in _faults(session):
        return attested
    return attested | {name for name in (session.agent, session.spiffe) if name is not None}


def _may_be(name: str, acting: Collection[str]) -> bool:
    """Whether `name` may be the workload of the names `acting`: SPIFFE ids are held against SPIFFE ids, others against others."""
    alike = [each for each in acting if each.startswith(_SPIFFE) == name.startswith(_SPIFFE)]
    return not alike or name in alike
