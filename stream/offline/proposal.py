"""A change of the policy that would have let a case pass, as a diff, with a backtest of what else it would have silenced.

Nothing is applied. What a policy can say of one credential is an exception, and of one agent's calls of a tool that they are expected, both
with owner, reason and last day; of one tool what it does; of a signal what it leads to for everybody.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from models.contracts import FLAGGED, Action, CredentialRef
from models.errors import ConfigError, InputError
from models.text.documents import leaves
from models.text.secrets import digested
from models.tools.parameters import is_sink
from stream.core.expected import path_of
from stream.core.judge import Judge
from stream.events import CASES, DECISIONS, dumps, object_in, printable, short_hash
from stream.offline.calibration import with_values
from stream.offline.files import read_records
from stream.offline.lines import documents_in, is_recorded
from stream.offline.recorded import TENANT
from stream.offline.replay import replay
from stream.policy import SCORE, Policy, parse_policy
from stream.signals.registry import FOLLOWS

EXCEPTED = "identity.credential_long_lived"
"""The signal that a policy can except a single credential from."""
MAX_VALUE = 256
"""Characters of an argument's value that an expected call is held to at most: nobody reviews more in a policy."""
ATTACKS = frozenset({"hijacked", "unseen", "acted", "overreach", "complied"})
"""Labels of recorded sessions that drifted."""

Place = tuple[str, str, int]
"""Tenant, session and number of a call."""


class Reason(NamedTuple):
    """Why, who answers for it, and the last day on which it is to hold."""

    why: str
    owner: str
    until: date


class Proposal(NamedTuple):
    """A policy that lets a case pass.

    Attributes
    ----------
    text : the policy file, changed
    scope : for whom it would hold, in words
    ends : whether the policy itself ends it at the last day
    """

    text: str
    scope: str
    ends: bool


@dataclass
class Judged:
    """What a policy made of some records: the calls that were not let pass, and how many were judged."""

    alarms: dict[Place, dict[str, Any]] = field(default_factory=dict)
    credentials: list[CredentialRef] = field(default_factory=list)
    n_calls: int = 0
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the case's calls, by digest

    def sessions(self) -> set[tuple[str, str]]:
        """Tenant and session of those with an alarm."""
        return {place[:2] for place in self.alarms}


class Case(NamedTuple):
    """A case found in the records: whose it is, and the key under which its tree of sessions lies."""

    tenant: str
    root: str
    session: str
    agent: str


def judged(files: Sequence[Path], judge: Judge, *, case: str = "", root: str | None = None) -> Judged:
    """The alarms that files lead to, each a log of its own, and the credentials and arguments of one case.

    With `root` of that tree of sessions alone.
    """
    found = Judged()
    logs = (read_records(path) for path in files)
    some = (log if root is None else (each for each in log if each[0].key == root.encode()) for log in logs)
    for output in chain.from_iterable(replay(log, judge) for log in some):
        if output.topic == DECISIONS:
            decision = orjson.loads(output.value)
            found.n_calls += 1
            if decision["verdict"] in FLAGGED:
                place = decision["tenant"], decision["session_id"], decision["call_seq"]
                found.alarms.setdefault(place, decision)
        elif output.topic == CASES and case and (told := orjson.loads(output.value))["case_id"] == case:
            refs = (CredentialRef.model_validate(ref) for ref in told["credentials"])
            found.credentials += (ref for ref in refs if ref not in found.credentials)
    # Of an event's id there may be others, of anybody's: the one that was judged has the decision's digest.
    if calls := {each["arguments_digest"] for each in found.alarms.values() if each["case_id"] == case}:
        for record, _ in chain.from_iterable(map(read_records, files)):
            event = object_in(record.value) or {}
            if isinstance(event.get("tool"), str) and isinstance(event.get("arguments"), dict):
                given = dumps([event["tool"], event["arguments"]])
                digest = short_hash(judge.deployment.fingerprint_key, given)
                if digest in calls:
                    found.arguments.setdefault(digest, event["arguments"])
    return found


def case_in(before: Judged, case: str) -> Case:
    """The session of a case; `InputError` where no alarm belongs to it."""
    decision = next((each for each in before.alarms.values() if each["case_id"] == case), None)
    if decision is None:
        raise InputError(
            f"no call in these files alerts for a case {case[:64]!r} under this policy; give the events that it was judged from "
            "(`driftline topics dump agent.events.v1`), and the policy that judged it"
        )
    tenant, root, session = (decision[name] for name in ("tenant", "root_session_id", "session_id"))
    return Case(tenant, root, session, decision["agent"] or "")


def proposal(
    text: str,
    policy: Policy,
    before: Judged,
    case: str,
    reason: Reason,
    passes: Callable[[Policy], bool],
    does: Mapping[str, Action] | None = None,
) -> Proposal | None:
    """The narrowest change that lets the case pass; None where the policy has no word for it.

    Parameters
    ----------
    text, policy : the policy in force, as its file has it and as it was read
    before : what it made of the records
    passes : whether no call of the case's session would alert under another policy
    does : what tools do, on the word of whoever asks: nobody else may call a tool that acts a reader
    """
    calls = [each for each in before.alarms.values() if each["case_id"] == case]
    speaking = list(dict.fromkeys(chain.from_iterable(_stopping(call, policy) for call in calls)))
    candidates: list[Iterator[Proposal]] = []
    if EXCEPTED in speaking:
        refs = _used(calls, before.credentials)
        candidates.append(_excepted(text, refs, reason))
    of = case_in(before, case)
    note = _note(of, calls, case, reason)
    if does:
        candidates.append(_classed(text, policy, does, note))
    candidates.append(_expected(text, policy, of, calls, before.arguments, reason))
    causes = [signal for signal in speaking if signal not in FOLLOWS]
    chosen = [[signal] for signal in causes] + ([causes] if len(causes) > 1 else [])
    candidates.append(_quieter(text, policy, chosen, note))
    return next(
        (each for each in chain.from_iterable(candidates) if passes(parse_policy(each.text, "proposal"))),
        None,
    )


def _stopping(call: dict[str, Any], policy: Policy) -> list[str]:
    """The signals that a call is not let pass for."""
    speak = (f"{each['family']}.{each['name']}" for each in call["evidence"] if each["supports"])
    return [signal for signal in speak if policy.signals.get(signal) in ("alert", "deny")]


def _used(calls: Sequence[dict[str, Any]], held: Sequence[CredentialRef]) -> list[CredentialRef]:
    """Of the credentials of a case those that its calls used; all where they do not say."""
    used = {call["credential"] for call in calls}
    return [ref for ref in held if f"{ref.broker}/{ref.kind}/{ref.value}" in used] or list(held)


def _excepted(text: str, refs: Sequence[CredentialRef], reason: Reason) -> Iterator[Proposal]:
    changed = text
    for ref in refs:
        said = {"owner": reason.owner, "reason": reason.why, "expires": reason.until}
        row = {"broker": ref.broker, "kind": ref.kind, "value": ref.value, **said}
        changed = with_exception(changed, _in_braces(row))
    if refs:
        named = ", ".join(printable(f"{ref.broker} {ref.kind} {ref.value}") for ref in refs)
        yield Proposal(changed, f"the credential {named} of whoever uses it, and {EXCEPTED} alone", True)


def _classed(text: str, policy: Policy, does: Mapping[str, Action], note: str) -> Iterator[Proposal]:
    changed = text
    for tool, action in does.items():
        changed = with_tool(changed, tool, action, note)
    if parse_policy(changed, "proposal").tools == policy.tools | dict(does):
        tools = ", ".join(printable(f"{tool} ({action})") for tool, action in does.items())
        yield Proposal(changed, f"the tool {tools} of all tenants and agents, in every judgement", False)


def _expected(
    text: str,
    policy: Policy,
    of: Case,
    calls: Sequence[dict[str, Any]],
    arguments: Mapping[str, dict[str, Any]],
    reason: Reason,
) -> Iterator[Proposal]:
    """The case's calls as expected ones of its agent, for their signals alone, then for the score too; held to the values that evidence cites."""
    said = {"owner": reason.owner, "reason": reason.why, "expires": reason.until}
    by_tool: dict[str, list[dict[str, Any]]] = {}
    for call in calls if of.agent else ():
        by_tool.setdefault(call["tool"], []).append(call)
    for scored in (False, True):
        rows: list[dict[str, Any]] = []
        for tool, its in by_tool.items():
            signals = dict.fromkeys(chain.from_iterable(_stopping(call, policy) for call in its))
            passing = [signal for signal in signals if signal not in FOLLOWS]
            high = [
                call
                for call in its
                if call["score"] >= min(call["thresholds"]["alert"], call["thresholds"]["revoke"])
            ]
            passing += [SCORE] if scored and high else []
            values = _cited(its, arguments)
            row: dict[str, Any] = {"tenant": of.tenant, "agent": of.agent, "tool": tool, "lets_pass": passing}
            rows.append(row | ({"arguments": values} if values else {}))
        rows = [row for row in rows if row["lets_pass"]]
        if not rows or any(SCORE in row["lets_pass"] and "arguments" not in row for row in rows):
            continue
        changed = text
        for row in reversed(rows):
            changed = with_expected(changed, _in_braces(row | said))
        held = " with the values listed" if all("arguments" in row for row in rows) else ""
        names = ", ".join(dict.fromkeys(chain.from_iterable(row["lets_pass"] for row in rows)))
        scope = f"{', '.join(row['tool'] for row in rows)} called{held} by the agent {of.agent} of {of.tenant}, and {names} alone"
        yield Proposal(changed, printable(scope), True)


def _cited(calls: Sequence[dict[str, Any]], arguments: Mapping[str, dict[str, Any]]) -> dict[str, list[str]]:
    """By path, the values that the evidence of calls cites; none where one is a secret or too long to be reviewed.

    Evidence cites one argument, the worst. Beside it stands each destination that all the calls name: a payment from an account that
    is listed could go anywhere otherwise.
    """
    cited: dict[str, list[str]] = {}
    carried = [leaves(arguments.get(call["arguments_digest"], {}))[0] for call in calls]
    aimed = [{path_of(leaf.path) for leaf in its if is_sink(leaf.path)} for its in carried]
    everywhere = set.intersection(*aimed)
    named = [
        {
            path_of(each["argument"]["path"])
            for each in call["evidence"]
            if each["supports"] and each["argument"]
        }
        for call in calls
    ]
    if not any(named):
        return {}
    for paths, its in zip(named, carried, strict=True):
        for leaf in its:
            if (path := path_of(leaf.path)) in paths | everywhere and leaf.text not in cited.setdefault(
                path, []
            ):
                cited[path].append(leaf.text)
    fits = (
        len(value) <= MAX_VALUE and digested(value) == value for value in chain.from_iterable(cited.values())
    )
    return cited if all(fits) else {}


def _in_braces(row: Mapping[str, Any]) -> str:
    """A row as YAML on one line; where a text would end the line, every text is escaped.

    >>> _in_braces({"owner": "ada", "expires": date(2031, 1, 1)}), _in_braces({"owner": "a\\x85"})
    ('{owner: ada, expires: 2031-01-01}', '{"owner": "a\\\\N"}')
    """
    how: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": 10**6}
    line: str = yaml.safe_dump(dict(row), allow_unicode=True, **how).rstrip("\n")
    if line.isprintable():
        return line
    days = {name: value for name, value in row.items() if isinstance(value, date)}
    texts = yaml.safe_dump({k: v for k, v in row.items() if k not in days}, default_style='"', **how).rstrip(
        "\n"
    )
    return f"{texts[:-1]}{''.join(f', {name}: {day}' for name, day in days.items())}}}"


def _quieter(text: str, policy: Policy, chosen: Iterable[Sequence[str]], note: str) -> Iterator[Proposal]:
    for signals in chosen:
        wanted = policy.signals | dict.fromkeys(signals, "watch")
        for value in (f"watch  # {note}", "watch"):  # within braces a comment would swallow what follows
            changed = with_values(text, "signals", dict.fromkeys(signals, value))
            try:
                if parse_policy(changed, "proposal").signals == wanted:
                    what = " and ".join(signals)
                    scope = f"all tenants, agents and tools: of the signal {what} a policy knows no narrower scope"
                    yield Proposal(changed, scope, False)
                    break
            except ConfigError:
                continue


def _note(of: Case, calls: Sequence[dict[str, Any]], case: str, reason: Reason) -> str:
    tools = ", ".join(dict.fromkeys(str(call["tool"]) for call in calls))
    return printable(
        f"case {case}, tenant {of.tenant}, agent {of.agent or 'unnamed'}, {tools}: {reason.why}; owner {reason.owner}, "
        f"look again by {reason.until}"
    )


def with_exception(text: str, entry: str) -> str:
    """A policy's text with one more entry, in YAML's braces, among the exceptions of its credentials.

    Raises
    ------
    ConfigError
        The section is written in a way that this does not change; the entry is in the message.

    >>> print(with_exception("name: a", "{broker: b}"))
    name: a
    credentials:
      exceptions:
        - {broker: b}
    <BLANKLINE>
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    section = _child(root, "credentials")
    lines = text.rstrip("\n").split("\n")
    if section is None:
        lines += ["credentials:", "  exceptions:", f"    - {entry}"]
    elif isinstance(section, yaml.MappingNode) and not section.flow_style:
        listed = _child(section, "exceptions")
        first = section.value[0][0].start_mark
        margin = " " * first.column
        if listed is None:
            lines[first.line : first.line] = [f"{margin}exceptions:", f"{margin}  - {entry}"]
        elif isinstance(listed, yaml.SequenceNode) and not listed.flow_style:
            # The first stays where it is: a block's own end lies beyond the comments behind it.
            at = listed.start_mark
            lines[at.line : at.line] = [f"{' ' * at.column}- {entry}"]
        else:
            raise _by_hand(entry)
    else:
        raise _by_hand(entry)
    return "\n".join(lines) + "\n"


def with_expected(text: str, entry: str) -> str:
    """A policy's text with one more entry, in YAML's braces, among the calls that it expects; raises as `with_exception`.

    >>> print(with_expected("expected_calls: []  # ours", "{agent: a}"))
    expected_calls:  # ours
      - {agent: a}
    <BLANKLINE>
    """
    listed = _child(yaml.compose(text, Loader=yaml.SafeLoader), "expected_calls")
    lines = text.rstrip("\n").split("\n")
    if listed is None:
        lines += ["expected_calls:", f"  - {entry}"]
    elif isinstance(listed, yaml.SequenceNode) and not listed.flow_style:
        at = listed.start_mark
        lines[at.line : at.line] = [f"{' ' * at.column}- {entry}"]
    elif (
        isinstance(listed, yaml.SequenceNode)
        and not listed.value
        and listed.start_mark.line == listed.end_mark.line
    ):
        line, at, end = listed.start_mark.line, listed.start_mark.column, listed.end_mark.column
        before, behind = lines[line][:at].rstrip(), lines[line][end:]
        lines[line : line + 1] = [before + behind, f"  - {entry}"]
    else:
        raise _by_hand(entry)
    return "\n".join(lines) + "\n"


def with_tool(text: str, tool: str, action: Action, note: str) -> str:
    """A policy's text with the class of one more tool, the note behind it where lines allow that.

    >>> print(with_tool("tools: {}  # ours", "a: b", "read", "why"))
    tools:
      "a: b": read  # why
      # ours
    >>> with_tool("tools: {c: write}", "a", "read", "why")
    'tools: {"a": read, c: write}'
    """
    name = yaml.safe_dump(tool, default_style='"', allow_unicode=True, width=10**6).rstrip("\n")
    section = _child(yaml.compose(text, Loader=yaml.SafeLoader), "tools")
    if section is None:
        return f"{text.rstrip()}\ntools:\n  {name}: {action}  # {note}\n"
    if _child(section, tool) is not None:
        return with_values(text, "tools", {tool: action})
    start, end = section.start_mark.index, section.end_mark.index
    if not section.value:
        rest = text[end:].lstrip(" ")
        behind = "  " if rest.startswith("#") else ""
        line = "" if rest.startswith("\n") or not rest else "\n"
        return f"{text[:start].rstrip(' ')}\n  {name}: {action}  # {note}{line}{behind}{rest}"
    if isinstance(section, yaml.MappingNode) and section.flow_style:
        return f"{text[: start + 1]}{name}: {action}, {text[start + 1 :]}"
    lines, at = text.split("\n"), section.start_mark
    lines[at.line : at.line] = [f"{' ' * at.column}{name}: {action}  # {note}"]
    return "\n".join(lines)


def _by_hand(entry: str) -> ConfigError:
    return ConfigError(
        f"the policy writes what this would add to in braces; write it in lines of its own first, or add by hand: {entry}"
    )


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def diff(before: str, after: str, name: str) -> str:
    """The change of a policy file as a unified diff."""
    lines = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(*lines, f"a/{name}", f"b/{name}"))


class Backtest(NamedTuple):
    """What a change would have silenced.

    Attributes
    ----------
    n_calls : judged
    calls : alarms before, after
    sessions : that alert before, after
    silenced : alarms that are none any more, in the order of the records: session, tool, verdict before, and the session's label
    sessions_silenced : counts of sessions with no alarm left, by label
    attacks : sessions of these whose label says that they drifted
    of_others : sessions with no alarm left beside the case's
    """

    n_calls: int
    calls: tuple[int, int]
    sessions: tuple[int, int]
    silenced: list[dict[str, Any]]
    sessions_silenced: dict[str, int]
    attacks: list[str]
    of_others: list[str]


def backtest(before: Judged, after: Judged, case: Case, labels: dict[str, str]) -> Backtest:
    """`before` against `after`; `labels` of recorded sessions, by id."""

    def label(tenant: str, session: str) -> str:
        return labels.get(session, "unlabelled") if tenant == TENANT else "unlabelled"

    gone = {place: call for place, call in before.alarms.items() if place not in after.alarms}
    quiet = sorted(before.sessions() - after.sessions())
    return Backtest(
        before.n_calls,
        (len(before.alarms), len(after.alarms)),
        (len(before.sessions()), len(after.sessions())),
        [
            {
                "tenant": tenant,
                "session_id": session,
                "call_seq": seq,
                "tool": call["tool"],
                "verdict": call["verdict"],
                "label": label(tenant, session),
            }
            for (tenant, session, seq), call in gone.items()
        ],
        dict(Counter(label(*each) for each in quiet)),
        [session for tenant, session in quiet if label(tenant, session) in ATTACKS],
        [session for tenant, session in quiet if (tenant, session) != (case.tenant, case.session)],
    )


def labels_in(paths: Iterable[Path]) -> dict[str, str]:
    """The labels of the recorded sessions in files, by session."""
    found: dict[str, str] = {}
    for path in paths:
        for _, _, document in documents_in(path):
            if is_recorded(document) and isinstance(document.get("label"), str):
                found[str(document.get("session_id"))] = document["label"]
    return found
