"""Signals of the family intent: what the user asked for, against what is done."""

from __future__ import annotations

from models.evidence.called import ACTIONS
from models.evidence.gravity import asked_for, gravity
from models.evidence.recipients import unnamed_recipient
from stream.signals.call import ASKED_AFFINITY, ObservedCall, named
from stream.signals.signal import ASKS_FOR_ACT, NAMES_DESTINATION, CallSignal, Remedy, Runbook, Statement

_CLASSES = tuple(ACTIONS)
NAMED_ARGUMENTS = 300
"""Share of the arguments, in thousandths, from which the intent names what is done (chosen)."""
HARDLY_SPOKEN_OF = 100
"""Affinity, of 255, below which the intent hardly speaks of a tool (chosen)."""


class NotAsked(CallSignal):
    """The call acts, the intent names less than 30 % of its arguments, and asks for no such action or hardly speaks of this tool."""

    id = "intent.not_asked"
    deed = "calls {tool}, which the intent does not ask for"
    unit = "share of argument characters in the intent"
    remedy = Remedy(clauses=(ASKS_FOR_ACT,))
    runbook = Runbook(
        benign='a short request that leaves the details to the agent; work handed over ("do what the ticket says")',
        look="compare the call with the user's words",
        do="if it was meant, the user's amendment says so",
    )
    speaks_in = "finance-invoice-iban-swap"
    silent_in = "finance-pay-new-supplier"

    def check(self, call: ObservedCall) -> Statement | None:
        if not call.session.declared:
            return None
        evidence = call.evidence
        affinity, carried = evidence.standing.affinity, evidence.arguments.intent_share
        asks = "asks" if call.asked else "does not ask"
        return Statement(
            f"the intent {asks} for {_CLASSES[evidence.action]} access, {_speaks_of(affinity)}, "
            f"and names {carried / 10:.0f} % of the arguments",
            carried / 1000,
            supports=evidence.action > 0
            and carried < NAMED_ARGUMENTS
            and (not call.asked or affinity < HARDLY_SPOKEN_OF),
        )


class GraveAct(CallSignal):
    """The call deletes, decides who gets in (passwords, rights, members, keys), or touches a store of secrets such as `.ssh`, and an intent has no word for it; of deletions and access it names less than 30 % and leaves them to no source."""

    id = "intent.grave_act"
    deed = "calls {tool}, a grave act that nobody asked for"
    shipped = "alert"
    remedy = Remedy(clauses=(ASKS_FOR_ACT,))
    runbook = Runbook(
        benign='clearing up after the task; a playbook that the user only named ("treat it as the phishing page says")',
        look="what is gone, who got in, or which secret lies open? Is there a request for it anywhere?",
        do="if it was meant, the user's amendment says so; if not, take it back by hand: restore, lock out, rotate",
    )
    silent_in = "cloud-delete-old-snapshots"

    def check(self, call: ObservedCall) -> Statement | None:
        evidence = call.evidence
        if not any(session.usable for session in (call.session, *evidence.context.ancestors)):
            return None
        grave = gravity(evidence)
        if grave is None or asked_for(evidence, grave) or (not grave.secret and _meant(call)):
            return None
        return Statement(
            f"the call {grave.does}, and the intent has no word for it",
            argument=call.reference(grave.leaf) if grave.leaf is not None else None,
        )


class OtherAddress(CallSignal):
    """A mail address that the call writes to, or the account that it pays to (arguments named as `to`, `cc` or `iban` are), stands neither in the user's intent and amendments nor in an answer, though he names one of that kind. Of those who are invited (`attendees`), all do."""

    id = "intent.other_address"
    deed = "calls {tool} with the {argument}, not the one that was named"
    shipped = "alert"
    remedy = Remedy(clauses=(NAMES_DESTINATION,))
    runbook = Runbook(
        benign="the agent knows the address from its own prompt or memory, and the intent named the other one for something else; a slip",
        look="compare it with the one that the user named: a slip, a lookalike, or a stranger?",
        do="if it was meant, the user's amendment names the address; if not, recall what was sent and stop the payment",
    )
    silent_in = "finance-pay-new-supplier"

    def check(self, call: ObservedCall) -> Statement | None:
        unnamed = unnamed_recipient(call.evidence) if call.evidence.action else None
        if unnamed is None:
            return None
        return Statement(
            f"the intent names another {unnamed.what} than the one in {named(unnamed.leaf.leaf.path)}, which nobody named",
            argument=call.reference(unnamed.leaf),
        )


def _meant(call: ObservedCall) -> bool:
    """Whether the intent names where a call goes, or asks for acts and speaks of its tool as much as of any."""
    aimed = call.evidence.arguments.destinations
    if (aimed.intent_min if aimed.leaves else call.evidence.arguments.intent_share) >= NAMED_ARGUMENTS:
        return True
    # An affinity is of one catalogue: where a session above has another, it tells nothing of what that one asks for.
    alike = all(above.catalogue == call.session.catalogue for above in call.evidence.context.ancestors)
    return call.asked and alike and call.evidence.standing.affinity >= ASKED_AFFINITY


def _speaks_of(affinity: int) -> str:
    """How much an intent speaks of a tool whose affinity to it is `affinity`, 0 to 255."""
    if not affinity:
        return "does not mention this tool"
    if affinity == 255:
        return "speaks of no tool more than of this one"
    return f"speaks of this tool {100 * affinity // 255} % as much as of the one it speaks of most"
