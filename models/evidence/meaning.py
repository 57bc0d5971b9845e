"""What a call means beside what the intent says, and beside the lines that results said."""

from __future__ import annotations

import msgspec

from models.evidence.called import CalledTool
from models.evidence.context import CallContext
from models.evidence.origins import ArgumentOrigins
from models.evidence.standing import ToolStanding
from models.heads.expectation import FURTHEST, says_anything
from models.text.index import DESCRIBED
from models.text.meaning import Explained, explain
from models.text.vectors import Vector
from models.tools.names import SPOKEN, spoken_call


class CallMeaning(msgspec.Struct, frozen=True):
    """What a call means.

    Attributes
    ----------
    vector : of the call, tool and arguments
    explained : by which clause of the intent, and by which line of a result
    expected : how much sooner this intent leads to the call than another would, hundredths of log odds, see
        `models.heads.expectation`; of the session's intent and its ancestors' the least
    expected_rank : share of the catalogue that the intent leads to sooner than to this tool, in thousandths
    line_expected : how much sooner that line leads to the call than the intent does, hundredths; -999 without a line
    """

    vector: Vector
    explained: Explained
    expected: int
    expected_rank: int
    line_expected: int


def call_meaning(
    context: CallContext, tool: CalledTool, standing: ToolStanding, arguments: ArgumentOrigins
) -> CallMeaning:
    """What a call means beside the session's intent and lines."""
    session, catalogue, place = context.session, context.catalogue, standing.place
    plain = (one.leaf.text for one in arguments.leaves[:SPOKEN] if not one.hashed)
    spoken = catalogue.spoken if catalogue is not None else {}
    vector = context.readers.words.vector_of(spoken_call(spoken, tool.inner, plain))
    lines = session.lines
    if catalogue is not None and DESCRIBED in arguments.by_source:
        # Only then: examples of addresses stand in many a description, and lead to nothing.
        lines += catalogue.aimed_beside(tool.offered)
    explained = explain(vector, _tool_vector(context, tool, place), session.clauses, lines)
    leads = context.readers.expectation
    # What a sub-agent was told narrows its parent's intent: a call must follow from both.
    clauses = [each.clauses for each in (session, *context.ancestors) if says_anything(each.clauses)]
    expected = min((leads.of(vector, intent) for intent in clauses), default=0)
    line = explained.line_vector
    by_line = leads.of_line(vector, line) - expected if line is not None else -FURTHEST
    rank = 0
    if catalogue is not None and place is not None:
        rank = leads.rank(place, session.clauses, catalogue.meanings)
    return CallMeaning(
        vector=vector,
        explained=explained,
        expected=expected,
        expected_rank=rank,
        line_expected=max(-FURTHEST, min(FURTHEST, by_line)),
    )


def _tool_vector(context: CallContext, tool: CalledTool, place: int | None) -> Vector:
    """What the called tool means: by the catalogue's word where that lists what is called, else by its name."""
    if context.catalogue is not None and place is not None and tool.offered == tool.inner:
        vector: Vector = context.catalogue.vectors[place]
        return vector
    return context.readers.words.vector_of(tool.inner)
