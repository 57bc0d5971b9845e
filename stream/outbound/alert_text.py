"""What an alert says in words: its title, what was asked, what was done instead and why that is drift, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from models.contracts import Action, Evidence
from models.text import quotes
from stream.events import clipped
from stream.outbound.change import Change, Deed
from stream.signals.call import CATALOGUE_SAYS
from stream.signals.registry import BY_ID
from stream.signals.signal import Runbook

MAX_TITLE, MAX_DESC = 300, 1200
MAX_AGAINST = 3
"""Further statements that the description gives; the evidence has them all."""
MAX_WHO, MAX_TOOL = 128, 60
MAX_ASKED_FIRST = 90
"""Characters of what was asked that a title begins with, so that the deed is on its first two lines; the description has all of it."""

TELLING = (
    "identity.after_revocation",
    "identity.after_end",
    "identity.signed_by_another",
    "identity.declared_for_another",
    "identity.token_replayed",
    "identity.credential_of_another",
    "provenance.private_data_leaves",
    "intent.other_address",
    "provenance.foreign_destination",
    "intent.grave_act",
    "provenance.unexplained_destination",
    "identity.credential_expired",
    "identity.credential_undeclared",
    "scope.data_class_not_allowed",
    "scope.action_not_allowed",
    "sequence.trifecta",
    "scope.tool_changed",
    "scope.arguments_unread",
    "tempo.budget_overrun",
    "tempo.loop",
    "identity.credential_beyond_scope",
    "identity.credential_of_ended_task",
    "identity.attestation_refused",
    "identity.token_shared",
    "identity.credential_long_lived",
    "scope.tool_unknown",
    "scope.unknown_tool_reads",
    "sequence.lured",
    "intent.not_asked",
    "sequence.denied_before",
    "content.talks_to_agent",
)
"""Signals by how much they tell whoever reads one line: what was done and to whose good before what was broken."""
_CALL = re.compile(r"\bcall (\d{1,9})\b(?! \()")
_DECLARED = re.compile(rf"\b{CATALOGUE_SAYS} (.+?)(?:, not from the intent| fits this call .*)?$")
_GERUND: dict[Action, str] = {"read": "reading", "write": "writing", "execute": "executing"}
OF_DESTINATIONS = {
    "provenance.foreign_destination",
    "provenance.unexplained_destination",
    "intent.other_address",
}
"""Signals whose argument says where something goes."""
_PLACE = {name: place for place, name in enumerate(TELLING)}


def leading(change: Change) -> list[Evidence]:
    """What speaks against the call, what tells most first."""
    speaking = [each for each in change.evidence if each.supports]
    return sorted(speaking, key=lambda each: _PLACE.get(signal_of(each), len(TELLING)))


def signal_of(evidence: Evidence) -> str:
    """The id of the signal that an evidence is of."""
    return f"{evidence.family}.{evidence.name}"


def title(change: Change) -> str:
    """One line: what was asked, and what the agent does."""
    deed = change.deed
    if deed is None:
        return clipped(change.headline or did(change), MAX_TITLE)
    if deed.asked:
        return clipped(f"Asked “{clipped(deed.asked, MAX_ASKED_FIRST)}”, {did(change)}", MAX_TITLE)
    return clipped(did(change) if deed.declared else f"Without a declared intent, {did(change)}", MAX_TITLE)


def did(change: Change) -> str:
    """What the agent does, or what else brought the change about."""
    agent = _agent(change)
    if change.deed is None:
        return f"{agent}: {_without_call(change)}"
    return f"{agent} {_did(change, change.deed)}"


def _agent(change: Change) -> str:
    return quotes.named(change.case.agent, MAX_WHO) if change.case.agent else "the agent"


def description(change: Change) -> str:
    """Three sentences at most: asked, did, why that is drift."""
    deed = change.deed
    if deed is None:
        return clipped(f"{_capital(_without_call(change))}.", MAX_DESC)
    told = leading(change)
    lines = [
        _asked(change, deed),
        f"In call {deed.seq} it {_did(change, deed, in_full=True)}.",
    ]
    if against := [_with_tools(each.text, deed) for each in told[1 : 1 + MAX_AGAINST]]:
        lines.append(f"Against it speaks also: {'; '.join(against)}.")
    return clipped(" ".join(lines), MAX_DESC)


def target(change: Change) -> str | None:
    """What cases of one campaign have in common: what tells most of them, and the keyed hash of a value; None without one."""
    told = leading(change)
    hashes = (each.argument.hash for each in told if each.argument is not None)
    found = next(hashes, None)
    return None if found is None else f"{signal_of(told[0])}:{found}"


def source(change: Change) -> dict[str, Any] | None:
    """What cases of one poisoned source have in common, and how this one follows it; None where no answer is known to be followed.

    Keys: ``calls`` and ``hash`` as `stream.outbound.change.Source` has them, and the tactic: the ``signal`` that tells most, the
    ``tool`` that is called.
    """
    told = leading(change)
    if change.deed is None or change.deed.source is None or not told:
        return None
    found = change.deed.source
    return {
        "calls": list(found.calls),
        "hash": found.hash,
        "signal": signal_of(told[0]),
        "tool": change.deed.tool[:MAX_TOOL],
    }


def steps(change: Change, next_step: str) -> str:
    """Up to five steps: what to look at, what an honest cause would be, what to do, the credential, and the commands for more."""
    told = leading(change)
    runbook = _runbook(told)
    lines = []
    if runbook is not None:
        lines = [
            f"{_capital(runbook.look)}",
            f"It may be honest: {runbook.benign}",
            f"{_capital(runbook.do)}",
        ]
    lines += [next_step, _commands(change)]
    return " ".join(
        f"{number}. {line}{'' if line[-1:] in '.?' else '.'}" for number, line in enumerate(lines, 1)
    )


def _commands(change: Change) -> str:
    case = change.case.case_id
    return f"driftline show {case} tells the session; driftline feedback {case} --verdict false_positive closes a false alarm"


def cited(change: Change) -> list[tuple[int, str]]:
    """The calls that evidence rests on, each with its tool, in order; of those whose tool is not known the number alone."""
    if change.deed is None:
        return []
    tools = {**change.deed.tools, change.deed.seq: change.deed.tool}
    calls = sorted({call for each in leading(change) for call in each.calls})
    return [(call, tools.get(call, "")[:MAX_TOOL]) for call in calls]


def rests_on_declaration(change: Change) -> bool:
    """Whether what speaks against the call came from what is declared of a tool: a source, and no answer that is cited for it."""
    if change.deed is None:
        return False
    planted = {"provenance.foreign_destination", "sequence.lured"}
    return any(
        signal_of(each) in planted and set(each.calls) == {change.deed.seq} for each in leading(change)
    )


def _runbook(told: Sequence[Evidence]) -> Runbook | None:
    known = (BY_ID[name] for each in told if (name := signal_of(each)) in BY_ID)
    return next((signal.runbook for signal in known), None)


def _asked(change: Change, deed: Deed) -> str:
    case = change.case
    user, agent = quotes.named(case.user, MAX_WHO) if case.user else "The user", _agent(change)
    if not deed.declared:
        return f"Nobody declared what {agent} was asked."
    allowed = f", and allowed it to {' and '.join(deed.allowed)}" if deed.allowed else ""
    what = f": “{deed.asked}”" if deed.asked else " for what the policy lets no alert quote"
    return f"{user} asked {agent}{what}{allowed}."


def _did(change: Change, deed: Deed, *, in_full: bool = False) -> str:
    """A clause without a subject."""
    told = leading(change)
    tool = quotes.named(deed.tool, MAX_TOOL)
    first = next((each for each in told if signal_of(each) in BY_ID), None)
    if first is None:
        return f"calls {tool}, which does not fit what was asked"
    signal = BY_ID[signal_of(first)]
    path, shown = _at_issue(deed, told)
    own = first.argument is not None and first.argument.path == path
    value = f" “{shown}”" if own and shown else ""
    clause = signal.deed.format(
        tool=tool,
        argument=f"{_name_of(first.argument.path) if first.argument is not None else 'value'}{value}",
        source=_source(first, deed, in_full=in_full),
        to=f", to “{shown}”," if shown and path in _destinations(told) else "",
        action=deed.action,
        limit=_limit(deed),
    )
    # What is forbidden goes without saying only where that is what the title is about.
    forbidden = next((each.text for each in told if signal_of(each) == "scope.action_not_allowed"), None)
    if forbidden is not None and signal.id != "scope.action_not_allowed" and not in_full:
        clause += f", though {forbidden}"
    # A clause that has no room for the value at issue gets it behind, where the sentence has room.
    if in_full and shown and f"“{shown}”" not in clause:
        clause += f" ({_name_of(path)}: “{shown}”)"
    return clause


def _at_issue(deed: Deed, told: Sequence[Evidence]) -> tuple[str, str]:
    """The path of the first argument at issue, and its value as far as it may be quoted; empty where nothing of it shows."""
    path = next((each.argument.path for each in told if each.argument is not None), "")
    shown = deed.quoted.get(path, "")
    return path, shown if shown.strip("*") else ""


def _destinations(told: Sequence[Evidence]) -> set[str]:
    """The paths of arguments that signals of destinations name."""
    return {
        each.argument.path
        for each in told
        if each.argument is not None and signal_of(each) in OF_DESTINATIONS
    }


def _limit(deed: Deed) -> str:
    """How far the declaration lets a call go that goes beyond it; what limits one that it allows is that of a session above."""
    if not deed.allowed or deed.action in deed.allowed:
        return "which it may not"
    return f"though the intent allows {' and '.join(_GERUND[each] for each in deed.allowed)} alone"


def _source(evidence: Evidence, deed: Deed, *, in_full: bool) -> str:
    """Where something comes from: the answer of the first call that an evidence cites beside the call itself."""
    call = next((call for call in evidence.calls if call != deed.seq), None)
    if call is None:
        declared = _DECLARED.search(evidence.text)
        return f"the description of {declared[1]}" if declared is not None else "an answer"
    tool = deed.tools.get(call)
    if tool is None:
        return f"the answer of call {call}"
    return f"the answer of {quotes.named(tool, MAX_TOOL)}{f' (call {call})' if in_full else ''}"


def _with_tools(text: str, deed: Deed) -> str:
    """A statement with the tool behind each call that it cites."""

    def with_tool(found: re.Match[str]) -> str:
        tool = deed.tools.get(int(found[1]))
        return f"{found[0]} ({quotes.named(tool, MAX_TOOL)})" if tool else found[0]

    return _CALL.sub(with_tool, text)


def _name_of(path: str) -> str:
    """An argument's name for people: of a place in a list that of the list."""
    names = [step for step in path.split(".") if not step.isdigit()]
    return quotes.named(".".join(names) or "value", MAX_TOOL)


def _without_call(change: Change) -> str:
    case = change.case
    if case.inherited_from is not None:
        return f"revoked with session {quotes.named(case.inherited_from, MAX_WHO)}, for which it works"
    return case.reason or "drift from what was asked"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
