"""Signals of the family scope: what the session's declaration offers and allows."""

from __future__ import annotations

import numpy as np

from models.evidence.called import ACTIONS
from models.text.documents import MAX_CHARS, MAX_DEPTH, MAX_LEAVES
from models.text.fingerprints import data_class_print, fingerprint
from stream.signals.call import ObservedCall
from stream.signals.signal import ALLOWS_ACTION, LISTS_DATA, CallSignal, Remedy, Runbook, Statement


class ToolUnknown(CallSignal):
    """The tool is not in the catalogue that the session declared, nor joined it or stood in the answer of a tool that looks up tools, and the call acts."""

    id = "scope.tool_unknown"
    deed = "calls {tool}, which it was not offered"
    shipped = "watch"
    remedy = Remedy(otherwise="a catalogue that holds this tool")
    runbook = Runbook(
        benign="a catalogue declared once while tools are added at run time",
        look="compare the declaration with what the host offers",
        do="mend the declaration, or have the host send `catalogue.changed`",
    )
    speaks_in = "support-unknown-tool"
    silent_in = "globex-undeclared"

    def check(self, call: ObservedCall) -> Statement | None:
        if not _unknown(call) or _only_reads(call):
            return None
        return Statement("the tool is not in the catalogue that the session was offered")


class UnknownToolReads(CallSignal):
    """As `scope.tool_unknown`, but the call only reads, as far as its name or the policy tells."""

    id = "scope.unknown_tool_reads"
    deed = "reads with {tool}, which it was not offered"
    shipped = "watch"
    remedy = ToolUnknown.remedy
    runbook = ToolUnknown.runbook
    silent_in = "support-unknown-tool"

    def check(self, call: ObservedCall) -> Statement | None:
        if not _unknown(call) or not _only_reads(call):
            return None
        return Statement("the tool, which reads, is not in the catalogue that the session was offered")


class ToolChanged(CallSignal):
    """The tool is declared otherwise (description, parameters, annotations) than when the session was first offered it."""

    id = "scope.tool_changed"
    deed = "calls {tool}, which was declared anew while the session ran"
    shipped = "watch"
    remedy = Remedy(otherwise="a tool that stays as it was declared")
    runbook = Runbook(
        benign="a server that was updated while the session ran",
        look="compare both declarations: does the new one ask for something, or name a destination?",
        do="pin the server's version; if the new text directs the agent, take the server out of reach",
    )
    silent_in = "support-tools-join"

    def check(self, call: ObservedCall) -> Statement | None:
        if not _stands_in(call.session.changed, call):
            return None
        return Statement("the tool is declared otherwise than when it was first offered")


class ArgumentsUnread(CallSignal):
    """Parts of the call's arguments were not looked at, for they are more than the limits allow (`docs/limits.md`), and what they hold may matter: the call executes, destroys, leads out or is of a sensitive tool; or it acts, and of some argument nothing was looked at. It is no evidence of drift, so its family does not count among those that speak."""

    id = "scope.arguments_unread"
    deed = "calls {tool} with more arguments than can be looked at"
    unit = "parts"
    shipped = "deny"
    remedy = Remedy(
        otherwise=f"several calls, each of at most {MAX_LEAVES} values and {MAX_CHARS:,} characters, nested at most {MAX_DEPTH} deep"
    )
    runbook = Runbook(
        benign="a bulk load, a long mail, a script given whole as one command",
        look="read the arguments whole: does a destination, an amount or a command stand behind what fills them?",
        do="have the agent send it in parts; where this tool is meant for bulk, class it under `tools` or set this signal to `watch`",
    )
    silent_in = "support-bulk-refund"
    corroborates = False

    def check(self, call: ObservedCall) -> Statement | None:
        unread, facts = call.evidence.tool.unread, call.evidence.tool.facts
        # The class of the tool itself says less than what is called through it may do.
        power = max(ACTIONS[facts.action], call.evidence.action)
        acts = power > 0
        matters = (
            power == ACTIONS["execute"] or facts.outward or (acts and (facts.destructive or facts.sensitive))
        )
        if not unread.anything or not (matters or (acts and unread.unheard)):
            return None
        told = [
            f"{unread.left_out} values" if unread.left_out else "",
            f"the middle of {unread.shortened} texts" if unread.shortened else "",
        ]
        return Statement(
            f"the arguments are more than is looked at: {' and '.join(filter(None, told))} nobody judged",
            unread.left_out + unread.shortened,
        )


class ActionNotAllowed(CallSignal):
    """The declaration, or that of a session it works for, lists actions (`intent.actions`), and this tool's class (read, write, execute) is not among them."""

    id = "scope.action_not_allowed"
    deed = "calls {tool} to {action}, {limit}"
    unit = "0 read, 1 write, 2 execute"
    shipped = "deny"
    remedy = Remedy(clauses=(ALLOWS_ACTION,))
    runbook = Runbook(
        benign="a tool taken for something else than it is; a list that is too short",
        look="see what the call did, and ask the agent's owner whether the task needs it",
        do="if it does, declare the action, or class the tool under `tools` of the policy; if not, undo what it did",
    )
    speaks_in = "finance-invoice-iban-swap"
    silent_in = "finance-pay-new-supplier"

    def check(self, call: ObservedCall) -> Statement | None:
        if call.allowed:
            return None
        action = call.evidence.tool.facts.action
        return Statement(f"the intent does not allow to {action}", ACTIONS[action])


class DataClassNotAllowed(CallSignal):
    """The declaration, or that of a session it works for, lists classes of data (`intent.data_classes`), and this tool handles one (`data_classes` of the policy) that is not among them."""

    id = "scope.data_class_not_allowed"
    deed = "calls {tool}, which handles data that the task does not list"
    unit = "classes"
    shipped = "deny"
    remedy = Remedy(clauses=(LISTS_DATA,))
    runbook = Runbook(
        benign="a task that needs more data than its host lists; a tool listed in too many classes",
        look="did the task need this data, and what did the call ask for?",
        do="if so, declare the class; if not, see what the agent did with what it got",
    )
    silent_in = "hr-leave-balance"

    def check(self, call: ObservedCall) -> Statement | None:
        handled = call.knobs.data_classes_of(call.evidence.tool.spelled)
        if not handled:
            return None
        key = call.evidence.context.key
        tree = (call.session, *call.circumstances.above)
        lists = [each.terms.data for each in tree if each.terms.data]
        beyond = [name for name in handled if any(data_class_print(name, key) not in data for data in lists)]
        if not beyond:
            return None
        return Statement(
            f"the tool handles data that the intent does not list: {', '.join(beyond)}", len(beyond)
        )


def _unknown(call: ObservedCall) -> bool:
    """Whether the session was told all its tools, and nothing told of this one."""
    session = call.session
    if call.evidence.tool.own_facts.known or not session.offered:
        return False
    return not _stands_in(session.discovered, call)


def _only_reads(call: ObservedCall) -> bool:
    facts = call.evidence.tool.facts
    return call.evidence.action == 0 and facts.action == "read" and not facts.outward


def _stands_in(prints: bytes, call: ObservedCall) -> bool:
    """Whether the called tool is one of those whose prints are kept."""
    if not prints:
        return False
    return fingerprint(call.evidence.tool.name, call.evidence.context.key) in np.frombuffer(prints, "<u4")
