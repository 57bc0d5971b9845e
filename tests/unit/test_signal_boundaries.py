"""At which number each signal begins to speak: one below it is silent, at it or one above it speaks."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from models.contracts import Credential
from models.evidence.call import CallEvidence, extract
from models.evidence.called import ACTIONS
from models.evidence.context import CallContext
from models.evidence.origins import LeafOrigin
from models.evidence.provenance import NOT_AIMED, Origin, leaf_tokens
from models.release.readers import load
from models.session import CredentialRow, Session, Terms
from models.text.documents import Leaf, Unread
from models.text.fingerprints import fingerprint
from models.text.index import Index
from stream.policy import Credentials, Policy
from stream.signals.call import (
    NAMED_DESTINATION,
    Circumstances,
    Destination,
    ObservedCall,
    PrivateData,
    circumstances,
    observe,
)
from stream.signals.registry import BY_ID
from stream.signals.sequence import LINE_EXPLAINS, LINE_SOONER
from stream.signals.signal import Statement
from tests import builders as b

NOW = b.T0
HOUR = 3_600_000
DAY = 24 * HOUR


def session(**more: Any) -> Session:
    """A session that declared something, and whose catalogue is not known."""
    fields = {"born": 0, "offset": 0, "clock_ms": NOW, "started_ms": NOW, "release": "r", "epoch": 0}
    return Session(1, "t", "s", "s", **{**fields, "declared": True, "vague": False, **more})


@cache
def plain() -> CallEvidence:
    """What a call of a tool that nobody knows shows, in a session that has seen nothing."""
    context = CallContext(session(), None, (), Index(), (), b.KEY, load())
    return extract(context, "send_report", {"to": "ann"}, 0)


def replaced(value: Any, **fields: Any) -> Any:
    """`value` with fields of it, or of its parts (``arguments__carried__intent``), replaced."""
    for name, new in fields.items():
        head, _, rest = name.partition("__")
        new = replaced(getattr(value, head), **{rest: new}) if rest else new
        value = (
            value._replace(**{head: new})
            if hasattr(value, "_replace")
            else msgspec.structs.replace(value, **{head: new})
        )
    return value


def leaf(path: str = "to", text: str = "ann", sink: bool = True, **origin: Any) -> LeafOrigin:
    """An argument of 1000 characters, of which `origin` says where they come from."""
    counts = dict.fromkeys(Origin._fields, 0) | {
        "total": 1000,
        "source": None,
        "by_source": {},
        "aimed": NOT_AIMED,
    }
    return LeafOrigin(
        Leaf(path, text, True), Origin(**{**counts, **origin}), sink, leaf_tokens(text, b.KEY), False
    )


def a_call(told: Session | None = None, at: Circumstances | None = None, **fields: Any) -> ObservedCall:
    """A call as signals look at it, of which `fields` say what is otherwise."""
    told = told or session()
    evidence = replaced(plain(), context__session=told)
    seen = observe(evidence, at or circumstances(told, None, NOW, ()), b.shipped("enforce"))
    return replaced(seen, **fields)  # type: ignore[no-any-return]


def says(signal: str, call: ObservedCall) -> Statement | None:
    """What one signal states of a call."""
    return BY_ID[signal].check(call)


def speaks(signal: str, call: ObservedCall) -> bool:
    """Whether it speaks against the call."""
    statement = says(signal, call)
    return statement is not None and statement.supports


# ------------------------------------------------------------------ tempo


@pytest.mark.parametrize(("before", "told"), [(0, False), (3, False), (4, True), (9, True)])
def test_a_loop_begins_with_the_fifth_equal_call(before: int, told: bool) -> None:
    call = a_call(evidence__repeats=before)
    assert speaks("tempo.loop", call) == told
    assert not told or says("tempo.loop", call).value == before + 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("terms", "started_ms", "over"),
    [
        (Terms(budget_calls=7, calls=6), 0, None),
        (Terms(budget_calls=7, calls=7), 0, "7 calls"),
        (Terms(budget_calls=0), 0, "0 calls"),
        (Terms(budget_writes=6, calls=90, writes=5), 0, None),
        (Terms(budget_writes=6, calls=90, writes=6), 0, "6 writes"),
        (Terms(budget_ms=5000), NOW - 5000, None),
        (Terms(budget_ms=5000), NOW - 5001, "5 seconds"),
        (Terms(calls=10_000, writes=10_000), 0, None),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_a_budget_is_overrun_by_the_first_call_beyond_it_of_the_session_or_of_one_above(
    terms: Terms, started_ms: int, over: str | None, above: bool
) -> None:
    payer = session(terms=terms, started_ms=started_ms)
    own = session() if above else payer
    at = circumstances(own, None, NOW, [session(), payer] if above else ())
    statement = says("tempo.budget_overrun", a_call(own, at))
    whose = "a session that it works for" if above else "the session"
    assert (statement.text if statement else None) == (over and f"{whose} declared a budget of {over}")


def test_a_call_that_only_reads_spends_no_writes() -> None:
    payer = session(terms=Terms(budget_writes=0))
    reading = a_call(payer, evidence__tool__facts__action="read")
    assert says("tempo.budget_overrun", reading) is None
    for action in ("write", "execute"):
        assert speaks("tempo.budget_overrun", a_call(payer, evidence__tool__facts__action=action))


# ------------------------------------------------------------------ identity


def row(**more: Any) -> CredentialRow:
    """A declared credential."""
    fields = dict.fromkeys(CredentialRow.__struct_fields__, None) | {"broker": "b", "kind": "k", "value": "v"}
    return CredentialRow(**{**fields, **more})


def credential(value: str = "v", **more: Any) -> Credential:
    """A credential that a call names."""
    return Credential.model_validate({"broker": "b", "kind": "k", "value": value, **more})


@pytest.mark.parametrize(
    ("expiries", "told"),
    [
        ([], False),
        ([NOW + 1], False),
        ([NOW], True),
        ([NOW - 1], True),
        ([NOW - 1, NOW + 1], False),  # one of them may have been used
        ([NOW - 1, NOW], True),
        ([NOW - 1, None], False),
        ([None], False),
    ],
)
def test_a_credential_is_expired_from_its_end_on_if_every_one_that_may_have_been_used_is(
    expiries: list[int | None], told: bool
) -> None:
    own = session(credentials=[row(value=str(n), expires_ms=end) for n, end in enumerate(expiries)])
    assert speaks("identity.credential_expired", a_call(own)) == told


def test_of_a_named_credential_only_the_one_declared_alike_is_a_candidate() -> None:
    rows = [row(), row(value="w"), row(broker="c"), row(kind="l")]
    at = circumstances(session(credentials=rows), credential(), NOW, ())
    assert at.candidates == rows[:1]
    assert circumstances(session(credentials=rows), None, NOW, ()).candidates == rows


def test_an_end_that_the_call_itself_names_counts_beside_the_declared_one() -> None:
    own = session(credentials=[row(expires_ms=NOW - 1)])
    for later, told in ((NOW - 1000, True), (NOW + 1000, False)):
        named = credential(expires=b.rfc3339(later))
        assert speaks("identity.credential_expired", a_call(own, circumstances(own, named, NOW, ()))) == told


def test_a_credential_is_undeclared_only_where_others_were_declared() -> None:
    for rows, value, told in (([], "v", False), ([row()], "v", False), ([row()], "w", True)):
        own = session(credentials=rows)
        at = circumstances(own, credential(value), NOW, ())
        assert speaks("identity.credential_undeclared", a_call(own, at)) == told
    own = session(credentials=[row()])
    assert not speaks("identity.credential_undeclared", a_call(own))


@pytest.mark.parametrize(
    ("issued", "expires", "told"),
    [
        (NOW, NOW + DAY, False),
        (NOW, NOW + DAY + 1, True),
        (NOW, None, True),
        (None, NOW + 9 * DAY, False),
        (None, None, False),
        (0, None, True),
    ],
)
def test_a_credential_is_long_lived_beyond_a_day_or_without_an_end(
    issued: int | None, expires: int | None, told: bool
) -> None:
    fine = row(value="fine", issued_ms=NOW, expires_ms=NOW + HOUR)
    own = session(credentials=[fine, row(issued_ms=issued, expires_ms=expires)])
    assert speaks("identity.credential_long_lived", a_call(own)) == told


RULES = {
    "longest_minutes": {"sensitive": 30},
    "exceptions": [
        {"broker": "b", "kind": "k", "value": "old", "owner": "o", "reason": "r", "expires": date(2025, 12, 31)},
        {"broker": "b", "kind": "k", "value": "key", "owner": "o", "reason": "r", "expires": date(2025, 12, 31)},
        {"broker": "b", "kind": "k", "value": "key", "owner": "o", "reason": "r", "expires": date(2026, 1, 1)},
    ],
    "scopes": {"b": {"read": ["look"], "all": ["look", "send_report"], "send": ["send_report"]}},
}  # fmt: skip


def held_to(told: Session, sensitive: bool = False, **how: Any) -> ObservedCall:
    """A call under a policy with `RULES`; the session's clock is 2026-01-01, 09:00 UTC, where it does not say."""
    rules = Credentials.model_validate({**RULES, **how})
    policy = b.shipped("enforce").model_copy(update={"credentials": rules})
    return a_call(told, knobs=policy, evidence__tool__facts__sensitive=sensitive)


@pytest.mark.parametrize(
    ("sensitive", "issued", "expires", "told"),
    [
        (True, NOW, NOW + HOUR // 2, False),
        (True, NOW, NOW + HOUR // 2 + 1, True),
        (True, None, NOW + HOUR // 2, False),
        (True, None, NOW + HOUR // 2 + 1, True),  # it lives from the session's beginning on at least
        (True, None, None, True),
        # Of other data this policy says nothing new.
        (False, NOW, NOW + DAY, False),
        (False, NOW, NOW + DAY + 1, True),
        (False, None, None, False),
    ],
)
def test_how_long_a_credential_may_live_goes_by_the_data_of_the_call(
    sensitive: bool, issued: int | None, expires: int | None, told: bool
) -> None:
    own = session(credentials=[row(issued_ms=issued, expires_ms=expires)])
    statement = says("identity.credential_long_lived", held_to(own, sensitive))
    assert (statement is not None) == told
    assert not told or ("30 minutes" if sensitive else "24 hours") in statement.text  # type: ignore[union-attr]


MIDNIGHT = NOW + 15 * HOUR
"""The end of 2026-01-01."""


@pytest.mark.parametrize(
    ("values", "clock", "supports", "word"),
    [
        (["key"], MIDNIGHT - 1, False, "excepts it"),
        (["key"], MIDNIGHT, True, "run out"),
        (["old"], NOW, True, "run out"),
        (["other"], NOW, True, "or for ever"),
        (["key", "other"], NOW, True, "or for ever"),  # either may have been used
    ],
)
def test_an_exception_counts_until_the_end_of_its_last_day_by_the_sessions_clock(
    values: list[str], clock: int, supports: bool, word: str
) -> None:
    own = session(clock_ms=clock, credentials=[row(value=value, issued_ms=0) for value in values])
    statement = says("identity.credential_long_lived", held_to(own))
    assert statement is not None
    assert statement.supports == supports
    assert statement.text.endswith(word) or word in statement.text


@pytest.mark.parametrize(
    ("scopes", "told"),
    [
        (["read"], True),
        (["read other"], True),
        (["read send"], False),  # one of those that list the tool is enough
        (["all"], False),
        ([None], False),  # nothing was declared of it
        ([""], False),
        (["read", "send"], False),  # the call names neither, so it may have used the other
        (["read", "read other"], True),
        (["read", None], False),
        ([], False),
    ],
)
def test_a_call_is_beyond_its_credentials_scope_where_none_that_it_may_have_used_lets_it(
    scopes: list[str | None], told: bool
) -> None:
    own = session(credentials=[row(value=str(n), scope=scope) for n, scope in enumerate(scopes)])
    assert speaks("identity.credential_beyond_scope", held_to(own)) == told
    assert not speaks("identity.credential_beyond_scope", held_to(own, scopes={}))
    elsewhere = row(broker="c", value="c", scope="read")
    assert not speaks(
        "identity.credential_beyond_scope", held_to(session(credentials=[*own.credentials, elsewhere]))
    )


# ------------------------------------------------------------------ intent, content


@pytest.mark.parametrize(
    ("action", "carried", "asked", "affinity", "told"),
    [
        (1, 299, False, 255, True),
        (1, 300, False, 255, False),
        (0, 0, False, 0, False),
        (1, 0, True, 99, True),
        (1, 0, True, 100, False),
        (2, 0, False, 0, True),
    ],
)
def test_a_call_is_not_asked_for_below_a_share_and_an_affinity(
    action: int, carried: int, asked: bool, affinity: int, told: bool
) -> None:
    call = a_call(
        asked=asked,
        evidence__action=action,
        evidence__arguments__carried__total=1000,
        evidence__arguments__carried__intent=carried,
        evidence__standing__affinity=affinity,
    )
    assert speaks("intent.not_asked", call) == told
    statement = says("intent.not_asked", call)
    assert statement is not None
    assert statement.value == carried / 1000
    assert f"names {carried / 10:.0f} % of the arguments" in statement.text
    assert says("intent.not_asked", replaced(call, session=session(declared=False))) is None


@pytest.mark.parametrize(
    ("affinity", "words"),
    [
        (0, "does not mention this tool"),
        (1, "speaks of this tool 0 % as"),
        (254, "99 % as"),
        (255, "of no tool more"),
    ],
)
def test_how_much_an_intent_speaks_of_a_tool_is_said(affinity: int, words: str) -> None:
    statement = says("intent.not_asked", a_call(evidence__standing__affinity=affinity))
    assert statement is not None
    assert words in statement.text


@pytest.mark.parametrize(("bait", "told"), [(0, False), (399, False), (400, True), (1000, True)])
def test_a_text_talks_to_the_agent_from_four_tenths_on(bait: int, told: bool) -> None:
    statement = says("content.talks_to_agent", a_call(session(bait=bait, bait_call=2)))
    assert (statement is not None) == told
    assert statement is None or (statement.value, list(statement.calls)) == (bait / 1000, [2])


# ------------------------------------------------------------------ provenance


@pytest.mark.parametrize(
    ("results", "intent", "nowhere", "foreign", "unexplained"),
    [
        (500, 399, 0, True, False),
        (499, 399, 0, False, False),
        (500, 400, 0, False, False),
        (0, 199, 700, False, True),
        (0, 200, 700, False, False),
        (0, 199, 699, False, False),
        (500, 0, 700, True, False),  # of the two only the former
    ],
)
def test_a_destination_is_foreign_or_unexplained_from_its_shares_on(
    results: int, intent: int, nowhere: int, foreign: bool, unexplained: bool
) -> None:
    worst = leaf(results=results, intent=intent, nowhere=nowhere, source=3)
    call = a_call(destination=Destination(worst, results, intent, nowhere))
    assert speaks("provenance.foreign_destination", call) == foreign
    assert speaks("provenance.unexplained_destination", call) == unexplained
    assert says("provenance.foreign_destination", replaced(call, destination=None)) is None
    assert says("provenance.unexplained_destination", replaced(call, destination=None)) is None


def test_of_many_destinations_the_one_that_results_explain_most_counts_and_then_the_one_from_nowhere() -> (
    None
):
    def worst(*leaves: LeafOrigin) -> str:
        evidence = replaced(plain(), arguments__leaves=list(leaves), action=1)
        found = observe(evidence, circumstances(session(), None, NOW, ()), b.shipped("enforce")).destination
        return found.leaf.leaf.path if found is not None else ""

    some, more = leaf("some", results=400), leaf("more", results=401)
    lost, known = leaf("lost", nowhere=500), leaf("known", intent=900)
    assert worst(some, more) == worst(more, some) == "more"
    assert worst(known, lost) == worst(lost, known) == "lost"
    assert worst(leaf("body", sink=False, results=1000), known) == "known"
    assert worst(leaf("none", total=0), known) == "known"
    assert worst(leaf("body", sink=False)) == ""


def test_a_call_that_only_reads_goes_nowhere() -> None:
    for action, goes in ((0, False), (1, True), (2, True)):
        evidence = replaced(plain(), arguments__leaves=[leaf()], action=action)
        found = observe(evidence, circumstances(session(), None, NOW, ()), b.shipped("enforce")).destination
        assert (found is not None) == goes


def carrying(text: str, characters: int, last_private: int = 0) -> PrivateData:
    """What a call carries of a private answer, of which one argument has so many characters."""
    told = session(last_private=last_private)
    leaves = [leaf(text=text, by_source={0: characters, 1: 99}), leaf(by_source={1: 99})]
    evidence = replaced(plain(), arguments__leaves=leaves, context__session=told)
    return observe(evidence, circumstances(told, None, NOW, ()), b.shipped("enforce")).private


def test_private_characters_are_those_of_the_latest_private_answer() -> None:
    assert carrying("a note", 7) == (7, 0)
    assert carrying("https://a.example/7", 7) == (7, 7)
    assert carrying("https://a.example/7", 7, last_private=-1) == (0, 0)
    assert carrying("https://a.example/7", 7, last_private=2) == (0, 0)


@pytest.mark.parametrize(
    ("in_url", "intended", "told"), [(11, 0, False), (12, 0, True), (12, 599, True), (12, 600, False)]
)
def test_private_data_in_an_address_counts_from_twelve_characters_where_the_user_did_not_name_it(
    in_url: int, intended: int, told: bool
) -> None:
    told_by = session(last_private=0, last_open=1, calls=2)
    call = a_call(
        told_by,
        asked_out=True,
        private=PrivateData(in_url, in_url),
        evidence__arguments__destinations__intent_min=intended,
        evidence__tool__facts__outward=False,
        evidence__tool__inner_facts__outward=False,
    )
    assert call.in_url_unnamed == told
    assert speaks("provenance.private_data_leaves", call) == told
    assert speaks("sequence.trifecta", call) == told
    assert not speaks("sequence.trifecta", replaced(call, session__last_open=-1))
    back = replaced(call, evidence__goes_back=True)
    assert not speaks("provenance.private_data_leaves", back)
    assert not speaks("sequence.trifecta", back)


@pytest.mark.parametrize(
    ("carried", "outward", "asked_out", "back", "told"),
    [
        (12, True, False, False, True),
        (11, True, False, False, False),
        (12, False, False, False, False),
        (12, True, True, False, False),
        (12, True, False, True, False),
    ],
)
def test_private_data_leaves_with_a_call_that_leads_out_and_was_not_asked_for(
    carried: int, outward: bool, asked_out: bool, back: bool, told: bool
) -> None:
    call = a_call(
        session(last_private=1, calls=3),
        asked_out=asked_out,
        private=PrivateData(carried, 0),
        evidence__tool__facts__outward=outward,
        evidence__goes_back=back,
    )
    statement = says("provenance.private_data_leaves", call)
    assert (statement is not None) == told
    assert statement is None or (statement.value, list(statement.calls)) == (carried, [1, 3])


@pytest.mark.parametrize(
    ("private", "foreign", "outward", "asked_out", "stated", "against"),
    [
        (0, 0, True, False, True, True),
        (0, 0, True, True, True, False),
        (0, 0, False, False, False, False),
        (-1, 0, True, False, False, False),
        (0, -1, True, False, False, False),
    ],
)
def test_a_trifecta_takes_private_data_foreign_content_and_a_way_out(
    private: int, foreign: int, outward: bool, asked_out: bool, stated: bool, against: bool
) -> None:
    told = session(last_private=private, last_open=foreign)
    call = a_call(told, asked_out=asked_out, evidence__tool__inner_facts__outward=outward)
    assert (says("sequence.trifecta", call) is not None) == stated
    assert speaks("sequence.trifecta", call) == against
    back = replaced(call, evidence__goes_back=True)
    assert says("sequence.trifecta", back) is None
    apart = replaced(back, evidence__context__session__private_apart=True)
    assert speaks("sequence.trifecta", apart) == against


# ------------------------------------------------------------------ scope


@pytest.mark.parametrize(
    ("unread", "action", "grave", "told"),
    [
        (Unread(), "execute", True, False),
        (Unread(1), "execute", False, True),
        (Unread(0, False, 1), "execute", False, True),
        (Unread(1), "write", True, True),
        (Unread(1), "write", False, False),
        (Unread(1, True), "write", False, True),
        (Unread(1, True), "read", False, False),
        (Unread(0, False, 1), "write", False, False),
        (Unread(0, False, 1), "write", True, True),
    ],
)
def test_unread_arguments_count_where_what_they_hold_may_matter(
    unread: Unread, action: str, grave: bool, told: bool
) -> None:
    for power in ("destructive", "sensitive", "outward"):
        fields = {f"evidence__tool__facts__{each}": grave and each == power for each in _POWERS}
        fields |= {"evidence__tool__facts__action": action, "evidence__action": ACTIONS[action]}
        call = a_call(evidence__tool__unread=unread, **fields)
        statement = says("scope.arguments_unread", call)
        assert (statement is not None) == told
        assert statement is None or statement.value == unread.left_out + unread.shortened
    looks_out = replaced(call, evidence__tool__facts__action="read", evidence__tool__facts__outward=True)
    assert speaks("scope.arguments_unread", looks_out) == unread.anything
    within = a_call(evidence__tool__unread=unread, evidence__tool__facts__action="read", evidence__action=2)
    assert speaks("scope.arguments_unread", within) == unread.anything


_POWERS = ("destructive", "sensitive", "outward")


@pytest.mark.parametrize(
    ("offered", "known", "found", "action", "outward", "spoken"),
    [
        (True, False, False, 1, False, "scope.tool_unknown"),
        (True, False, False, 0, True, "scope.tool_unknown"),
        (True, False, False, 0, False, "scope.unknown_tool_reads"),
        (False, False, False, 1, False, ""),
        (True, True, False, 1, False, ""),
        (True, False, True, 1, False, ""),
    ],
)
def test_a_tool_is_unknown_where_all_were_told_and_nothing_told_of_it_and_a_look_is_told_apart(
    offered: bool, known: bool, found: bool, action: int, outward: bool, spoken: str
) -> None:
    prints = [fingerprint(name, b.KEY) for name in ("send_report" if found else "other_tool", "third")]
    call = a_call(
        session(offered=offered, discovered=np.array(prints, "<u4").tobytes()),
        evidence__action=action,
        evidence__tool__own_facts__known=known,
        evidence__tool__facts__action="write" if action else "read",
        evidence__tool__facts__outward=outward,
    )
    names = ("scope.tool_unknown", "scope.unknown_tool_reads")
    assert [name for name in names if speaks(name, call)] == ([spoken] if spoken else [])
    assert not speaks("scope.tool_changed", call)
    assert speaks("scope.tool_changed", replaced(call, session__changed=call.session.discovered)) == found


# ------------------------------------------------------------------ what a call is asked for


@pytest.mark.parametrize(
    ("own", "above", "action", "allowed"),
    [
        (0, [], "execute", True),
        (0b001, [], "read", True),
        (0b001, [], "write", False),
        (0b110, [], "execute", True),
        (0b011, [], "execute", False),
        (0b111, [0b001], "write", False),
        (0, [0, 0b001], "write", False),
        (0b001, [0b111], "write", False),
    ],
)
def test_an_action_is_allowed_by_the_session_and_by_all_above(
    own: int, above: list[int], action: str, allowed: bool
) -> None:
    told = session(terms=Terms(actions=own))
    at = circumstances(told, None, NOW, [session(terms=Terms(actions=bits)) for bits in above])
    evidence = replaced(plain(), tool__facts__action=action, context__session=told, action_asked=True)
    call = observe(evidence, at, b.shipped("enforce"))
    assert (call.allowed, call.asked) == (allowed, allowed)
    assert speaks("scope.action_not_allowed", call) != allowed
    assert not observe(replaced(evidence, action_asked=False), at, b.shipped("enforce")).asked


@pytest.mark.parametrize(
    ("named", "affinity", "asked", "out"),
    [
        (600, 0, True, True),
        (599, 0, True, False),
        (599, 170, True, True),
        (599, 169, True, False),
        (600, 170, False, False),
    ],
)
def test_a_way_out_was_asked_for_where_the_user_named_it_or_spoke_of_the_tool(
    named: int, affinity: int, asked: bool, out: bool
) -> None:
    evidence = replaced(
        plain(),
        action_asked=asked,
        arguments__destinations__intent_min=named,
        standing__affinity=affinity,
    )
    assert observe(evidence, circumstances(session(), None, NOW, ()), b.shipped("enforce")).asked_out == out


@pytest.mark.parametrize("excerpts", [False, True])
def test_evidence_shows_the_beginning_of_an_argument_only_where_the_policy_says_so(excerpts: bool) -> None:
    policy: Policy = b.shipped("enforce").model_copy(update={"excerpts": excerpts})
    call = a_call(knobs=policy)
    for text, stars in (("abc", "***"), ("a" * 50, "*" * 8)):
        shown = call.reference(leaf("p" * 300, text))
        assert (shown.path, shown.length) == ("p" * 256, len(text))
        assert shown.excerpt == (text[:40] if excerpts else stars)


# ------------------------------------------------------------------ what a line leads to


@pytest.mark.parametrize(("sooner", "leads"), [(LINE_SOONER - 1, False), (LINE_SOONER, True)])
@pytest.mark.parametrize(("gain", "explains"), [(LINE_EXPLAINS - 1, False), (LINE_EXPLAINS, True)])
def test_a_line_leads_to_an_act_that_it_explains_and_expects_sooner_than_the_intent(
    sooner: int, leads: bool, gain: int, explains: bool
) -> None:
    call = a_call(
        session(clauses=b"\x01", calls=3),
        evidence__tool__own_facts__known=True,
        evidence__action=1,
        evidence__meaning__line_expected=sooner,
        evidence__meaning__explained__gain=gain,
        evidence__meaning__explained__line=0,
    )
    assert speaks("sequence.lured", call) == (leads and explains)


@pytest.mark.parametrize(("carried", "named"), [(NAMED_DESTINATION - 1, False), (NAMED_DESTINATION, True)])
def test_a_destination_is_asked_for_where_the_intent_carries_enough_of_it(carried: int, named: bool) -> None:
    told = session(intent_actions=7)
    evidence = replaced(
        plain(),
        context__session=told,
        action_asked=True,
        standing__affinity=0,
        arguments__destinations__intent_min=carried,
    )
    seen = observe(evidence, circumstances(told, None, NOW, ()), b.shipped("enforce"))
    assert seen.asked_out is named


def test_of_destinations_that_results_carry_alike_the_one_with_more_from_nowhere_is_looked_at() -> None:
    leaves = [leaf("first", results=500, nowhere=100), leaf("second", results=500, nowhere=400)]
    told = session()
    evidence = replaced(plain(), context__session=told, arguments__leaves=leaves, action=1)
    seen = observe(evidence, circumstances(told, None, NOW, ()), b.shipped("enforce"))
    assert seen.destination is not None
    assert seen.destination.leaf.leaf.path == "second"


def test_what_nothing_denied_was_not_denied_before() -> None:
    """Of two calls that an actions list forbids, only the second goes on after a denial."""
    only_reads = b.declared(intent={"text": "read notes.txt, then email ann", "actions": ["read"]})
    silent = b.release(scorer=b.ConstantScorer(0))
    run = b.play(
        [only_reads, *(b.called("s", n, "send_email", {"to": "ann"}) for n in (1, 2))], bundled=silent
    )
    told = [{e["name"] for e in one["evidence"]} for one in run.decisions]
    assert ["denied_before" in names for names in told] == [False, True]
