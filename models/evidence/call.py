"""What a call shows before its effect: one typed value, built once, that features and signals read.

It and its parts are structs, whose fields are read faster than a named tuple's: a row alone reads some 150 of them.
"""

from __future__ import annotations

import msgspec

from models.evidence.called import ACTIONS, CalledTool, called_tool
from models.evidence.context import CallContext
from models.evidence.delegation import Delegation, call_delegation
from models.evidence.meaning import CallMeaning, call_meaning
from models.evidence.origins import ArgumentOrigins, argument_origins
from models.evidence.standing import ToolStanding, tool_standing
from models.evidence.systems import goes_back, system_of
from models.tools.names import name_words


class CallEvidence(msgspec.Struct, frozen=True):
    """What a call shows, given what was known before it.

    Attributes
    ----------
    context : what was known before
    tool : which tool is called, and what it can do
    standing : how that tool stands in the session's catalogue
    arguments : where the arguments come from
    meaning : what the call means beside intent and lines
    delegation : which clause and which source led to it, and what these hand over
    action : of what is called: 0 read, 1 write, 2 execute
    action_asked : whether a verb of the intent, and of all ancestors' intents, asks for this kind of action
    repeats : times this very call stands in the window
    system : that it reaches, see `models.evidence.systems`; 0 where nothing tells
    goes_back : whether it reaches nothing but the system that the latest private answer came from
    """

    context: CallContext
    tool: CalledTool
    standing: ToolStanding
    arguments: ArgumentOrigins
    meaning: CallMeaning
    delegation: Delegation
    action: int
    action_asked: bool
    repeats: int
    system: int
    goes_back: bool

    @property
    def tool_in_words(self) -> str:
        """What is called, in words: asked for where a reader reads, and nowhere else."""
        catalogue, inner = self.context.catalogue, self.tool.inner
        return " ".join(name_words(catalogue.proper.get(inner, inner) if catalogue is not None else inner))

    @property
    def trifecta(self) -> bool:
        """Whether private data and foreign content were read, and this call takes something out of the session."""
        session = self.context.session
        both = session.last_private >= 0 and session.last_open >= 0
        return self.tool.inner_facts.outward and both and (session.private_apart or not self.goes_back)


def extract(context: CallContext, tool: str, arguments: object, digest: int) -> CallEvidence:
    """What the call of `tool` with `arguments` shows; `digest` is the fingerprint of both."""
    called = called_tool(context, tool, arguments)
    origins = argument_origins(context, called)
    standing = tool_standing(context, called)
    meaning = call_meaning(context, called, standing, origins)
    action = ACTIONS[called.inner_facts.action]
    system = system_of(context, called)
    asked = context.session.intent_actions
    for ancestor in context.ancestors:
        asked &= ancestor.intent_actions
    return CallEvidence(
        context=context,
        tool=called,
        standing=standing,
        arguments=origins,
        meaning=meaning,
        delegation=call_delegation(context, standing, origins, meaning),
        action=action,
        action_asked=bool(asked >> action & 1),
        repeats=sum(call.digest == digest for call in context.session.window),
        system=system,
        goes_back=goes_back(context, called, system, origins.leaves),
    )
