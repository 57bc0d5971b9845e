"""What `driftline drift-report` found, out of the file that it wrote: the tenants whose traffic changed most come first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from models.evidence.features.registry import BY_NAME
from stream.console.index import MAX_IDENTIFIER
from stream.console.written import Written
from stream.offline.drift import FEWEST_SESSIONS, MOVED

MAX_BYTES = 32 * 1024 * 1024
"""Of the file: a hundred tenants of two hundred tools each, and some room."""
MAX_SHOWN = 12
"""Features and tools of a tenant that are listed, those that moved most first."""
SCALE = 1.0
"""Index at which a bar is full (chosen)."""
COMMAND = "driftline drift-report NOW --against THEN --json > drift.json"
"""What writes such a file."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_IDENTIFIER)]
Pair = tuple[int, int]


class Shift(msgspec.Struct, frozen=True):
    """How far counts have moved."""

    psi: float
    beyond_chance: float


class Tool(msgspec.Struct, frozen=True):
    """A tool's share of the calls at both times, and how far the scores of its calls have moved."""

    before: float
    now: float
    score: Shift | None = None


class Tenant(msgspec.Struct, frozen=True):
    """A tenant at both times, as `stream.offline.drift.document` tells it."""

    sessions: Pair
    calls: Pair
    features: dict[Text, Shift]
    score: Shift
    tools: dict[Text, Tool]
    calls_of_new_tools: float
    abstained: tuple[float, float]
    sessions_alerted: Pair
    alerts_with_a_verdict: int
    of_these_confirmed: int


class Line(msgspec.Struct, frozen=True):
    """A line of the rule."""

    tenant: Text
    holds: bool
    rule: str
    found: str
    suggests: str


class Report(msgspec.Struct, frozen=True):
    """The file."""

    tenants: dict[Text, Tenant]
    rule: list[Line]


class Moved(NamedTuple):
    """A row of the page: a feature or a tool, in words of people where it has any, how far it moved, and how long its bar is, in per cent."""

    name: str
    meaning: str
    shift: Shift | None
    bar: float
    has_moved: bool


class Seen(NamedTuple):
    """A tenant as the page shows it."""

    name: str
    told: Tenant
    lines: Sequence[Line]

    @property
    def suggests(self) -> list[str]:
        """What the lines that hold suggest."""
        return list(dict.fromkeys(line.suggests for line in self.lines if line.holds))

    @property
    def n_moved(self) -> int:
        """How many features have moved."""
        return sum(each.beyond_chance >= MOVED for each in self.told.features.values())

    @property
    def is_small(self) -> bool:
        """Whether it has too few sessions for the rule to say anything of its features."""
        return min(self.told.sessions) < FEWEST_SESSIONS

    @property
    def features(self) -> list[Moved]:
        """The score, and the features that moved most."""
        ranked = sorted(self.told.features.items(), key=lambda each: (-each[1].beyond_chance, each[0]))
        rows = [("score", self.told.score), *ranked[:MAX_SHOWN]]
        return [_moved(name, BY_NAME[name].meaning if name in BY_NAME else "", shift) for name, shift in rows]

    @property
    def tools(self) -> list[tuple[Moved, Tool]]:
        """The tools whose calls changed most: in their share, or in their scores."""

        def change(tool: Tool) -> float:
            return max(abs(tool.now - tool.before), tool.score.beyond_chance if tool.score else 0.0)

        ranked = sorted(self.told.tools.items(), key=lambda each: (-change(each[1]), each[0]))
        return [(_moved(name, "", tool.score), tool) for name, tool in ranked[:MAX_SHOWN]]


class Drifted:
    """A file of `drift-report`."""

    def __init__(self, path: Path) -> None:
        self.file = Written(
            path,
            Report,
            Report({}, []),
            most=MAX_BYTES,
            command=COMMAND,
            what="comparison as `drift-report --json` has it",
            fewer="compare the rows of fewer tenants",
        )

    def tenants(self) -> list[Seen]:
        """Its tenants, those for which the rule suggests something first; none where it cannot be read, and the file says why."""
        self.file.look()
        report = self.file.content
        seen = [
            Seen(name, told, [line for line in report.rule if line.tenant == name])
            for name, told in report.tenants.items()
        ]
        return sorted(
            seen,
            key=lambda each: (not each.suggests, -each.n_moved, -each.told.score.beyond_chance, each.name),
        )

    @property
    def of_all(self) -> list[Line]:
        """The lines of the rule that are of no tenant by itself."""
        return [line for line in self.file.content.rule if line.tenant not in self.file.content.tenants]


def _moved(name: str, meaning: str, shift: Shift | None) -> Moved:
    beyond = shift.beyond_chance if shift is not None else 0.0
    return Moved(name, meaning, shift, round(100 * min(1.0, max(0.0, beyond) / SCALE), 1), beyond >= MOVED)
