"""Named checks: what a call's extract shows, family by family, told with the calls it rests on.

A signal *supports* drift when its condition holds; others are given as context. Texts name argument paths
and calls, never values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.contracts import ArgumentRef, Evidence, Family
from models.evidence.features import ACTIONS, FEATURES, Extract, LeafOrigin, share
from models.heads.expectation import says_anything
from models.session import Session
from models.text.index import DESCRIBED
from stream.events import short_hash
from stream.policy import Policy

_AT = {name: n for n, name in enumerate(FEATURES)}
_CLASSES = tuple(ACTIONS)


ASKED_AFFINITY = 170
"""From two thirds of the affinity of the tool that the intent speaks of most, a tool counts as spoken of."""
PRIVATE_CHARACTERS = 12
"""Characters of tokens from a private result that an outward call may carry by chance (chosen)."""

LINE_EXPLAINS = 300
"""How much of a call, in thousandths, one line must explain beyond what the intent does to be told as evidence (chosen)."""
LINE_SOONER = 100
"""How much sooner than the intent that line must lead to the call, in hundredths of log odds (chosen)."""


class Signal(NamedTuple):
    """One check's outcome: its name in the policy, and the evidence."""

    name: str
    evidence: Evidence


class Standing(NamedTuple):
    """What the identity checks need beside the extract."""

    after_end: bool
    after_revocation: bool
    credential_expired: bool
    credential_undeclared: bool
    credential_long_lived: bool
    budget_overrun: str | None


def reference(leaf: LeafOrigin, policy: Policy, key: bytes) -> ArgumentRef:
    """An argument named by path, length and keyed hash; its text only where the policy shows excerpts."""
    text = leaf.leaf.text
    excerpt = text[:40] if policy.excerpts else "*" * min(8, len(text))
    return ArgumentRef(
        path=leaf.leaf.path[:256],
        length=len(text),
        hash=short_hash(key, text, size=8),
        excerpt=excerpt,
    )


def _place(call: int, found: Extract) -> str:
    """Where something comes from, to be read: an answer, or what was declared of a tool."""
    return (
        f"what the catalogue says of {found.planted}" if call == DESCRIBED else f"the result of call {call}"
    )


def check(session: Session, found: Extract, at: Standing, policy: Policy, key: bytes) -> list[Signal]:
    """All signals of a call, those that support drift and those that are context.

    Parameters
    ----------
    session : Session
        State before the call was folded in.
    found : Extract
        What the call shows.
    at : Standing
        What the session's record and credentials say.
    """
    row = found.row
    here = session.calls
    signals: list[Signal] = []

    def tell(
        family: Family,
        name: str,
        value: float,
        unit: str,
        supports: bool,
        text: str,
        calls: Sequence[int] = (),
        argument: ArgumentRef | None = None,
    ) -> None:
        evidence = Evidence(
            family=family,
            name=name,
            value=value,
            unit=unit,
            supports=supports,
            calls=[c for c in calls if c >= 0] or [here],
            text=text[:400],
            argument=argument,
        )
        signals.append(Signal(f"{family}.{name}", evidence))

    action = row[_AT["action"]]
    power = ACTIONS[found.facts.action]  # the tool's own: what is called through it may be less
    allowed = not session.allowed_actions or bool(session.allowed_actions >> power & 1)
    asked = bool(row[_AT["action_asked"]]) and allowed
    affinity, carried = row[_AT["tool_affinity"]], row[_AT["args_intent"]]
    if session.declared:
        speaks = (
            "does not mention this tool"
            if not affinity
            else "speaks of no tool more than of this one"
            if affinity == 255
            else f"speaks of this tool {100 * affinity // 255} % as much as of the one it speaks of most"
        )
        foreign = action > 0 and carried < 300 and (not asked or affinity < 100)
        tell(
            "intent",
            "not_asked",
            carried / 1000,
            "share of argument characters in the intent",
            foreign,
            (
                f"the intent {'asks' if asked else 'does not ask'} for {_CLASSES[action]} access, "
                f"{speaks}, and names {carried / 10:.0f} % of the arguments"
            ),
        )
    worst = max(
        (o for o in found.leaves if o.sink and o.origin.total),
        key=lambda o: (share(o.origin.results, o.origin.total), o.origin.nowhere),
        default=None,
    )
    if worst is not None and action > 0:
        results, total = worst.origin.results, worst.origin.total
        intended = share(worst.origin.intent, total)
        source = worst.origin.source
        from_result = share(results, total) >= 500 and intended < 400 and source is not None
        unexplained = share(worst.origin.nowhere, total) >= 700 and intended < 200
        if from_result and source is not None:
            tell(
                "provenance",
                "foreign_destination",
                share(results, total) / 1000,
                "share of the value that only results, or descriptions of tools, carry",
                True,
                f"the destination {worst.leaf.path} comes from {_place(source, found)}, not from the intent",
                [source, here],
                reference(worst, policy, key),
            )
        elif unexplained:
            tell(
                "provenance",
                "unexplained_destination",
                share(worst.origin.nowhere, total) / 1000,
                "share of the value that nothing carries",
                session.declared,
                f"the destination {worst.leaf.path} appears in no result and not in the intent",
                [here],
                reference(worst, policy, key),
            )
    if not row[_AT["known"]] and session.catalogue is not None:
        tell(
            "scope",
            "tool_unknown",
            1,
            "flag",
            True,
            "the tool is not in the catalogue that the session declared",
        )
    if not allowed:
        tell(
            "scope",
            "action_not_allowed",
            power,
            "0 read, 1 write, 2 execute",
            True,
            f"the intent does not allow to {found.facts.action}",
        )
    # Asked for: the user named the destination, or spoke of this very tool.
    asked_out = asked and (row[_AT["sink_intent_min"]] >= 600 or affinity >= ASKED_AFFINITY)
    carried_private = sum(
        o.origin.by_source.get(session.last_private, 0) for o in found.leaves if session.last_private >= 0
    )
    in_url = sum(
        o.origin.by_source.get(session.last_private, 0)
        for o in found.leaves
        if session.last_private >= 0 and "://" in o.leaf.text
    )
    leaves_by_url = in_url >= PRIVATE_CHARACTERS and row[_AT["sink_intent_min"]] < 600
    if (found.facts.outward and carried_private >= PRIVATE_CHARACTERS and not asked_out) or leaves_by_url:
        tell(
            "provenance",
            "private_data_leaves",
            float(in_url if leaves_by_url else carried_private),
            "characters",
            True,
            f"what private call {session.last_private} returned leaves the session with this call"
            + (" in a URL" if leaves_by_url else ""),
            [session.last_private, here],
        )
    if row[_AT["trifecta"]] or (leaves_by_url and session.last_open >= 0):
        path = [session.last_private, session.last_open, here]
        honest = asked_out and not leaves_by_url
        tell(
            "sequence",
            "trifecta",
            1,
            "flag",
            not honest,
            (
                f"private data (call {path[0]}), foreign content (call {path[1]}) and now a way out"
                + (", which was asked for" if honest else "")
            ),
            path,
        )
    gain, sooner, line = row[_AT["tool_lure_gain"]], row[_AT["line_expected"]], found.explained.line
    # To look up what a text mentions is what honest agents do all day; and a line is set against an intent that says something.
    does = action > 0 and not row[_AT["command_looks"]] and row[_AT["known"]] > 0
    stands = session.usable and says_anything(session.clauses) and line < here
    if does and stands and row[_AT["line_gain"]] >= LINE_EXPLAINS and sooner >= LINE_SOONER:
        tell(
            "sequence",
            "lured",
            sooner / 100,
            "log odds by which the line leads to this call sooner",
            True,
            f"a line in {_place(line, found)} leads to this call sooner than the intent does",
            [line, here],
        )
    elif action > 0 and gain > 60 and session.open_reads:
        tell(
            "sequence",
            "lured",
            gain / 255,
            "gain of affinity, -1 to 1",
            True,
            "text in results speaks of this tool more than the intent does",
            [session.last_open, here],
        )
    same = found.same + 1
    if same >= policy.loop_calls:
        tell(
            "tempo",
            "loop",
            same,
            "equal calls",
            True,
            f"this very call was made {same} times within 64 calls",
        )
    if at.budget_overrun is not None:
        tell("tempo", "budget_overrun", 1, "flag", True, at.budget_overrun)
    if at.credential_expired:
        tell("identity", "credential_expired", 1, "flag", True, "the credential was expired when it was used")
    if at.credential_undeclared:
        tell(
            "identity",
            "credential_undeclared",
            1,
            "flag",
            True,
            "the credential used was not declared for this session",
        )
    if at.credential_long_lived:
        tell(
            "identity",
            "credential_long_lived",
            1,
            "flag",
            True,
            f"a credential lives longer than {policy.credential_max_hours:g} hours, or for ever",
        )
    if at.after_end:
        tell("identity", "after_end", 1, "flag", True, "the session was over before this call")
    if at.after_revocation:
        tell(
            "identity",
            "after_revocation",
            1,
            "flag",
            True,
            "the session's credentials were revoked before this call",
        )
    if session.bait >= 400:
        tell(
            "content",
            "talks_to_agent",
            session.bait / 1000,
            "0 to 1",
            True,
            f"the result of call {session.bait_call} talks to the agent instead of answering it",
            [session.bait_call],
        )
    return signals
