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

MS_PER_HOUR = 3_600_000


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
    """A credential declared with its time of issue lives longer than 24 hours (`credential_max_hours`), or for ever."""

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
        hours = call.knobs.credential_max_hours
        longest_ms = hours * MS_PER_HOUR
        for credential in call.circumstances.candidates:
            issued, expires = credential.issued_ms, credential.expires_ms
            if issued is not None and (expires is None or expires - issued > longest_ms):
                return Statement(f"a credential lives longer than {hours:g} hours, or for ever")
        return None


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
