"""What a session reached: stairs by action, the calls under them, and what is said of it to whoever sees no picture."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.console import story
from stream.console.reach import ACTIONS, BASE, LANE, LEFT, MAX_MARKS, MAX_TOOLS, STAIR, Reach, reached
from stream.events import Record
from stream.offline.trail_entries import Entry
from tests.unit.test_console import client, indexed, records

__all__ = ["records"]


def decided(number: int, tool: str, action: str, verdict: str = "allow") -> Entry:
    return Entry(
        "decided", "", "", None, {"call_seq": number, "tool": tool, "action": action, "verdict": verdict}
    )


def declared(**intent: Any) -> Entry:
    return Entry("declared", "", "", None, {"intent": intent or None})


def drawn(entries: list[Entry], *declarations: Entry, exposing: int | None = None) -> Reach:
    made = reached(entries, declarations, exposing)
    assert made is not None
    return made


def test_each_action_has_its_lane_and_a_stair_rises_at_first_uses_alone() -> None:
    calls = [
        decided(0, "search", "read"),
        decided(1, "search", "read"),
        decided(2, "read_file", "read"),
        decided(3, "search", "write", "revoke"),
    ]
    made = drawn(calls, exposing=2)
    read, write, execute = made.lanes
    assert [lane.action for lane in made.lanes] == [*ACTIONS]
    assert [lane.y for lane in made.lanes] == [BASE, BASE + LANE, BASE + 2 * LANE]
    assert read.text == "search from call 0 on (2 times), read_file at call 2"
    assert (write.text, execute.text) == ("search at call 3", "nothing")
    assert [mark.kind for mark in read.marks] == ["new", "again", "new"]
    assert [(mark.kind, mark.text) for mark in write.marks] == [("flagged", "call 3: search, revoke")]
    # Two tools were read with at most: each is half of the highest stair, and one for writing is as high as one for reading.
    assert re.findall(r"V ([\d.]+)", read.stair)[:2] == [f"{BASE - STAIR / 2:.1f}", f"{BASE - STAIR:.1f}"]
    assert f"V {BASE + LANE - STAIR / 2:.1f}" in write.stair
    assert execute.stair == ""
    assert [number for _, number in made.ticks] == [0, 1, 2, 3]
    assert made.exposed is not None
    assert read.marks[2].x < made.exposed < write.marks[0].x


def test_what_was_refused_is_no_use_of_a_tool() -> None:
    assert reached([decided(-1, "search", "read")], [], None) is None
    assert reached([], [declared(actions=["read"])], None) is None
    made = drawn([decided(-1, "pay", "write"), decided(0, "search", "read")])
    assert [lane.n_tools for lane in made.lanes] == [lane.n_calls for lane in made.lanes] == [1, 0, 0]
    assert [lane.action for lane in made.lanes if lane.n_calls] == ["read"]


def test_the_first_declaration_that_has_an_intent_says_which_actions_it_names() -> None:
    call = decided(0, "search", "read")
    assert drawn([call]).declared == drawn([call], declared()).declared == []
    assert drawn([call], declared(), declared(text="x", actions=["write", "read"])).declared == [
        "read",
        "write",
    ]


def test_an_exposure_by_a_call_that_is_not_there_has_no_line() -> None:
    assert drawn([decided(4, "search", "read")], exposing=-2).exposed is None
    assert drawn([decided(4, "search", "read")], exposing=3).exposed is None


def test_a_long_session_is_bounded_and_loses_neither_first_uses_nor_flagged_calls() -> None:
    calls = [decided(n, f"tool {n % (MAX_TOOLS + 3)}", "execute") for n in range(5_000)]
    calls[4_000] = decided(4_000, "tool 0", "execute", "deny")
    made = drawn(calls)
    lane = made.lanes[2]
    assert lane.text.endswith("and 3 more")
    assert len(lane.uses) == MAX_TOOLS
    assert [mark.kind for mark in lane.marks] == ["new"] * (MAX_TOOLS + 3) + ["flagged"]
    assert len(lane.marks) < MAX_MARKS
    assert made.width < 1_000
    assert 20 < len(made.ticks) < 30
    assert all(after[0] - before[0] > 30 for before, after in zip(made.ticks, made.ticks[1:], strict=False))


STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(ACTIONS), st.booleans()), min_size=1)


@given(STEPS)
def test_every_call_stands_in_the_lane_of_its_action_in_order_and_within_the_drawing(
    steps: list[tuple[str, str, bool]],
) -> None:
    calls = [
        decided(n, tool, action, "alert" if bad else "allow") for n, (tool, action, bad) in enumerate(steps)
    ]
    made = drawn(calls)
    for lane in made.lanes:
        own = [(n, tool, bad) for n, (tool, action, bad) in enumerate(steps) if action == lane.action]
        assert [mark.text.split(":")[0] for mark in lane.marks] == [f"call {n}" for n, _, _ in own]
        assert [mark.kind == "flagged" for mark in lane.marks] == [bad for *_, bad in own]
        assert lane.n_tools == len({tool for _, tool, _ in own})
        xs = [mark.x for mark in lane.marks]
        assert xs == sorted(xs)
        assert all(LEFT < x < made.width for x in xs)
        assert all(lane.y - STAIR - 0.1 <= float(y) <= lane.y for y in re.findall(r"V ([\d.]+)", lane.stair))


def test_the_page_shows_it_and_says_it_in_words(records: list[Record]) -> None:
    made = indexed(records)
    (case,) = made.cases()
    shown = story.told(made, case).reach
    assert shown is not None
    assert shown.exposed is not None
    text = client(made).get(f"/sessions/{case.case_id}").text
    assert "Access used, call by call" in text
    assert "<dt>read</dt><dd><bdi>search_inbox at call 0" in text
    assert "update_payee at call 2" in text
    assert "The dashed line stands behind the call whose answer the flagged act follows" in text
