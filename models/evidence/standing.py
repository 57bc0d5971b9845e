"""How a called tool stands in the session's catalogue: what the intent, and what results, say of it."""

from __future__ import annotations

import msgspec

from models.evidence.called import CalledTool
from models.evidence.context import CallContext
from models.text.meaning import NEUTRAL


class ToolStanding(msgspec.Struct, frozen=True):
    """How a called tool stands in the catalogue.

    Attributes
    ----------
    place : in the catalogue's order; None for a tool that it lacks
    affinity : how much the intent speaks of it, of those of all ancestors the least, 0 to 255; 0 without a place
    lure : how much the prose of results speaks of it, likewise
    likeness : z-score of its meaning against the nearest clause, 128 = mean, 32 a deviation
    """

    place: int | None
    affinity: int
    lure: int
    likeness: int

    @property
    def lure_gain(self) -> int:
        """How much more results speak of it than the intent does, -255 to 255."""
        return self.lure - self.affinity


NOT_OFFERED = ToolStanding(None, 0, 0, NEUTRAL)


def tool_standing(context: CallContext, tool: CalledTool) -> ToolStanding:
    """How `tool` stands in the catalogue of the session."""
    session, catalogue = context.session, context.catalogue
    place = catalogue.order.get(tool.offered) if catalogue is not None else None
    if place is None:
        return NOT_OFFERED
    affinity = session.affinity[place] if place < len(session.affinity) else 0
    for ancestor in context.ancestors:
        if ancestor.catalogue == session.catalogue and place < len(ancestor.affinity):
            affinity = min(affinity, ancestor.affinity[place])
    return ToolStanding(
        place=place,
        affinity=affinity,
        lure=session.lure[place] if place < len(session.lure) else 0,
        likeness=session.likeness[place] if place < len(session.likeness) else NEUTRAL,
    )
