"""Signals of the family tempo: how often, how much, how long."""

from __future__ import annotations

from stream.signals.call import ObservedCall
from stream.signals.signal import CallSignal, Remedy, Runbook, Statement


class Loop(CallSignal):
    """This very call, tool and arguments, was made five times (`loop_calls`) within 64 calls."""

    id = "tempo.loop"
    unit = "equal calls"
    shipped = "watch"
    remedy = Remedy(otherwise="fewer equal calls")
    runbook = Runbook(
        benign="polling, retries after an error",
        look="look at the results between",
        do="raise `loop_calls` where agents poll by design",
    )
    silent_in = "support-bulk-refund"

    def check(self, call: ObservedCall) -> Statement | None:
        equal = call.evidence.repeats + 1
        if equal < call.knobs.loop_calls:
            return None
        return Statement(f"this very call was made {equal} times within 64 calls", equal)


class BudgetOverrun(CallSignal):
    """More calls, acts or seconds than the declaration's budget."""

    id = "tempo.budget_overrun"
    shipped = "alert"
    remedy = Remedy(otherwise="a larger budget in the declaration")
    runbook = Runbook(
        benign="a budget too small for the task",
        look="see what the calls beyond it did",
        do="declare a larger budget",
    )
    speaks_in = "finance-slow-creep"
    silent_in = "support-bulk-refund"

    def check(self, call: ObservedCall) -> Statement | None:
        session = call.session
        acts = call.evidence.tool.facts.action != "read"
        if session.budget_calls is not None and session.calls + 1 > session.budget_calls:
            return Statement(f"the session declared a budget of {session.budget_calls} calls")
        if session.budget_writes is not None and acts:
            acted = session.writes + session.executes + 1
            if acted > session.budget_writes:
                return Statement(f"the session declared a budget of {session.budget_writes} writes")
        if session.budget_ms is not None:
            passed = call.circumstances.time_ms - session.started_ms
            if passed > session.budget_ms:
                return Statement(f"the session declared a budget of {session.budget_ms // 1000} seconds")
        return None
