"""Signals of the family identity: who acts, with which credential, and whether it still may."""

from __future__ import annotations

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


class CredentialExpired(CallSignal):
    """The credential named, or every one declared, was past its end at the call's own time."""

    id = "identity.credential_expired"
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


class AfterEnd(CallSignal):
    """The session was over before this call."""

    id = "identity.after_end"
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
