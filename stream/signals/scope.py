"""Signals of the family scope: what the session's declaration offers and allows."""

from __future__ import annotations

from models.evidence.called import ACTIONS
from stream.signals.call import ObservedCall
from stream.signals.signal import ALLOWS_ACTION, CallSignal, Remedy, Runbook, Statement


class ToolUnknown(CallSignal):
    """The tool is not in the catalogue that the session declared."""

    id = "scope.tool_unknown"
    shipped = "watch"
    remedy = Remedy(otherwise="a declaration whose catalogue holds this tool")
    runbook = Runbook(
        benign="a catalogue declared once while tools are added at run time",
        look="compare the declaration with what the host offers",
        do="mend the declaration",
    )
    speaks_in = "support-unknown-tool"
    silent_in = "globex-undeclared"

    def check(self, call: ObservedCall) -> Statement | None:
        if call.evidence.tool.own_facts.known or call.session.catalogue is None:
            return None
        return Statement("the tool is not in the catalogue that the session declared")


class ActionNotAllowed(CallSignal):
    """The declaration, or that of a session it works for, lists actions (`intent.actions`), and this tool's class (read, write, execute) is not among them."""

    id = "scope.action_not_allowed"
    unit = "0 read, 1 write, 2 execute"
    shipped = "deny"
    remedy = Remedy(clauses=(ALLOWS_ACTION,))
    runbook = Runbook(
        benign="a tool taken for something else than it is; a list that is too short",
        look="look at the decision's `action`",
        do="class the tool under `tools` of the policy, or declare the action",
    )
    speaks_in = "finance-invoice-iban-swap"
    silent_in = "finance-pay-new-supplier"

    def check(self, call: ObservedCall) -> Statement | None:
        if call.allowed:
            return None
        action = call.evidence.tool.facts.action
        return Statement(f"the intent does not allow to {action}", ACTIONS[action])
