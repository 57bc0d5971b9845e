"""What a session reached, call by call: the tools it came to use, with reading, writing and executing kept apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from models.contracts import FLAGGED
from stream.events import clipped, counted
from stream.offline.trail_entries import Entry

ACTIONS = ("read", "write", "execute")
MAX_TOOLS = 12
"""Tools that are named of an action; of more it is told how many."""
MAX_MARKS = 600
"""Calls that are marked; of more those that used nothing new and were not flagged have no mark."""
LEFT, WIDEST, STEP = 110, 840, 48
"""Where the first call stands, in units of the drawing; the room for all calls; the room for one where there is enough."""
APART = 32
"""The least room between two numbers of calls."""
LANE, BASE, STAIR = 62, 46, 36
"""Height of a lane; of it, from the top down to the line its calls stand on; the most that a stair rises above that line."""


class Use(NamedTuple):
    """A tool that was used for one action: by which call first, and how often."""

    tool: str
    first: int
    times: int


class Mark(NamedTuple):
    """A call in the drawing."""

    x: float
    kind: str
    text: str


class Lane(NamedTuple):
    """One action: a stair that rises where a tool is used for the first time, and under it each call.

    Attributes
    ----------
    y : int
        The line that its calls stand on.
    floor : str
        That line, as a path.
    uses : list of Use
        The tools, as they were first used; at most `MAX_TOOLS`.
    n_tools : int
        How many there are.
    n_calls : int
        How many calls used them.
    """

    action: str
    y: int
    floor: str
    stair: str
    marks: Sequence[Mark]
    uses: Sequence[Use]
    n_tools: int
    n_calls: int

    @property
    def text(self) -> str:
        """Its tools, for the legend and for whoever sees no picture.

        >>> Lane("read", 46, "", "", (), [Use("search_inbox", 0, 3), Use("read_file", 4, 1)], 14, 40).text
        'search_inbox from call 0 on (3 times), read_file at call 4, and 12 more'
        """
        named = [
            f"{use.tool} from call {use.first} on ({counted(use.times, 'time')})"
            if use.times > 1
            else f"{use.tool} at call {use.first}"
            for use in self.uses
        ]
        more = self.n_tools - len(self.uses)
        return ", ".join(named + ([f"and {more} more"] if more else [])) or "nothing"


class Reach(NamedTuple):
    """The drawing, in units of its own.

    Attributes
    ----------
    exposed : float or None
        Just after the call whose answer exposed the session.
    declared : list of str
        The actions that the declaration names; empty where it names none.
    ticks : list of (float, int)
        Where a call's number stands, and the number.
    """

    lanes: Sequence[Lane]
    width: int
    height: int
    exposed: float | None
    declared: Sequence[str]
    ticks: Sequence[tuple[float, int]]


def reached(decided: Sequence[Entry], declared: Sequence[Entry], exposing: int | None) -> Reach | None:
    """What the judged calls of a session came to use; None where none was judged. `exposing` is the call that exposed it."""
    calls = [each for each in decided if _number(each) >= 0]
    if not calls:
        return None
    step = min(STEP, WIDEST / len(calls))
    at = {_number(each): LEFT + step * (place + 0.5) for place, each in enumerate(calls)}
    end = LEFT + step * len(calls)
    by_action = {action: [each for each in calls if each.data["action"] == action] for action in ACTIONS}
    tools = {action: _uses(those) for action, those in by_action.items()}
    highest = max(map(len, tools.values()))
    lanes = [
        _lane(action, by_action[action], tools[action], at, BASE + LANE * place, STAIR / max(highest, 1), end)
        for place, action in enumerate(ACTIONS)
    ]
    intent: dict[str, Any] = next((each.data["intent"] for each in declared if each.data.get("intent")), {})
    return Reach(
        lanes,
        round(end) + 12,
        LANE * len(ACTIONS) + 16,
        None if exposing not in at else at[exposing] + step / 2,
        [action for action in ACTIONS if action in intent.get("actions", ())],
        [(round(x, 1), number) for number, x in list(at.items())[:: math.ceil(APART / step)]],
    )


def _number(entry: Entry) -> int:
    number = entry.data["call_seq"]
    return number if type(number) is int else -1


def _uses(calls: Sequence[Entry]) -> list[Use]:
    """The tools of calls, as they were first used."""
    found: dict[str, Use] = {}
    for each in calls:
        tool = each.data["tool"]
        first = found.get(tool, Use(tool, _number(each), 0))
        found[tool] = first._replace(times=first.times + 1)
    return list(found.values())


def _lane(
    action: str,
    calls: Sequence[Entry],
    uses: Sequence[Use],
    at: dict[int, float],
    y: int,
    rise: float,
    end: float,
) -> Lane:
    firsts = {use.first for use in uses}
    marks, path, height = [], [f"M {LEFT} {y}"], float(y)
    for each in calls:
        number, data = _number(each), each.data
        if number in firsts:
            height -= rise
            path.append(f"H {at[number]:.1f} V {height:.1f}")
        kind = "flagged" if data["verdict"] in FLAGGED else "new" if number in firsts else "again"
        if kind != "again" or len(at) <= MAX_MARKS:
            text = f"call {number}: {clipped(data['tool'], 60)}, {data['verdict']}"
            marks.append(Mark(round(at[number], 1), kind, text))
    path.append(f"H {end:.1f} V {y} Z")
    stair = " ".join(path) if calls else ""
    return Lane(action, y, f"M {LEFT} {y} H {end:.1f}", stair, marks, uses[:MAX_TOOLS], len(uses), len(calls))
