"""Signals of the family tempo: how often, how much, how long."""

from __future__ import annotations

from models.session import Session, Tombstone
from stream.signals.call import ObservedCall
from stream.signals.signal import CallSignal, Remedy, Runbook, Statement


class Loop(CallSignal):
    """This very call, tool and arguments, was made five times (`loop_calls`) within 64 calls."""

    id = "tempo.loop"
    deed = "makes the same call of {tool} again and again"
    unit = "equal calls"
    shipped = "watch"
    remedy = Remedy(otherwise="fewer equal calls")
    runbook = Runbook(
        benign="polling, retries after an error",
        look="look at what was answered between these calls",
        do="raise `loop_calls` where agents poll by design",
    )
    silent_in = "support-bulk-refund"

    def check(self, call: ObservedCall) -> Statement | None:
        equal = call.evidence.repeats + 1
        if equal < call.knobs.loop_calls:
            return None
        return Statement(f"this very call was made {equal} times within 64 calls", equal)


class BudgetOverrun(CallSignal):
    """More calls, acts or seconds than the budget of the declaration, or of a session it works for, with all that sub-agents did."""

    id = "tempo.budget_overrun"
    deed = "calls {tool} beyond its budget"
    shipped = "alert"
    remedy = Remedy(otherwise="a larger budget in the declaration")
    runbook = Runbook(
        benign="a budget too small for the task",
        look="see what the calls beyond the budget did",
        do="if the task needs them, declare a larger budget",
    )
    speaks_in = "finance-slow-creep"
    silent_in = "support-bulk-refund"

    def check(self, call: ObservedCall) -> Statement | None:
        acts = call.evidence.tool.facts.action != "read"
        for payer in (call.session, *call.circumstances.above):
            whose = "the session" if payer is call.session else "a session that it works for"
            if (limit := _overrun(payer, acts, call.circumstances.time_ms)) is not None:
                return Statement(f"{whose} declared a budget of {limit}")
        return None


def _overrun(payer: Session | Tombstone, acts: bool, time_ms: int) -> str | None:
    """The limit that one more call, which `acts` or only reads, goes beyond; None while the budget lasts."""
    terms = payer.terms
    if terms.budget_calls is not None and terms.calls + 1 > terms.budget_calls:
        return f"{terms.budget_calls} calls"
    if terms.budget_writes is not None and acts and terms.writes + 1 > terms.budget_writes:
        return f"{terms.budget_writes} writes"
    if terms.budget_ms is not None and time_ms - payer.started_ms > terms.budget_ms:
        return f"{terms.budget_ms // 1000} seconds"
    return None
