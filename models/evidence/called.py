"""Which tool a call is of, what is called through it, and what these can do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from models.evidence.commands import only_looks
from models.evidence.context import CallContext
from models.evidence.dispatch import dispatched
from models.text.documents import Leaf, Unread, arguments_in
from models.tools.facts import ToolFacts, facts_of
from models.tools.names import speaks
from models.tools.parameters import beside_command, is_command, is_query, properties_of

ACTIONS = {"read": 0, "write": 1, "execute": 2}
"""What a call does, as a number: the more, the more it can do."""


class CalledTool(msgspec.Struct, frozen=True):
    """The tool that an agent called, and what is called through it.

    Attributes
    ----------
    name : of the tool
    inner : of what is called through it the first that does most; the tool itself where nothing is
    offered : which of these two the catalogue is asked about
    spelled : names of the tool and of all that is called through it, as they stand in the call
    names : of the tool and of all that is called through it; their proper names too
    own_facts : of the tool by itself
    inner_facts : of what is called through it
    facts : of both together; the class of action is the tool's own
    only_looks : whether it executes commands that only look, see `models.evidence.commands`
    arguments : leaves of what `inner` is given
    envelope : leaves of the tool's own arguments, where what is called through it was taken out of them; else none
    unread : what of the arguments there was no room to look at
    """

    name: str
    inner: str
    offered: str
    spelled: frozenset[str]
    names: set[str]
    own_facts: ToolFacts
    inner_facts: ToolFacts
    facts: ToolFacts
    only_looks: bool
    arguments: list[Leaf]
    envelope: Sequence[Leaf]
    unread: Unread


def called_tool(context: CallContext, tool: str, arguments: object) -> CalledTool:
    """What is called where an agent calls `tool` with `arguments`."""
    catalogue = context.catalogue
    own = _own_facts(context, tool)
    raw, unread = arguments_in(arguments, _parameters_of(context, tool))
    parameters = catalogue.general.get(tool) if catalogue is not None else None

    def inside(name: str) -> ToolFacts:
        return _inner_facts(context, name, own)

    through, given = dispatched(tool, arguments, parameters, lambda name: inside(name).action != "read")
    taken_out = given is not arguments
    inner, facts = _strongest([(name, inside(name)) for name in through]) if through else (tool, own)
    inner_leaves = raw
    if taken_out:
        inner_leaves, more = arguments_in(given, _parameters_of(context, inner))
        unread = _either(unread, more)
    if tool in context.policy_on_tools.classes:
        facts = facts._replace(action=own.action)
    spelled = frozenset((tool, *through))
    names = set(spelled)
    if catalogue is not None:
        names |= {catalogue.proper[name] for name in names if name in catalogue.proper}
    return CalledTool(
        name=tool,
        inner=inner,
        offered=inner if catalogue is not None and inner in catalogue.tools else tool,
        spelled=spelled,
        names=names,
        own_facts=own,
        inner_facts=facts,
        facts=_together(own, facts) if through else own,
        only_looks=own.action == "execute" and _only_looks(raw, unread),
        arguments=inner_leaves,
        envelope=raw if taken_out else (),
        unread=unread,
    )


def _parameters_of(context: CallContext, tool: str) -> Collection[str]:
    """Names of the arguments that a tool declares; none where the catalogue does not have it."""
    declared = context.catalogue.tools.get(tool) if context.catalogue is not None else None
    return properties_of(declared.parameters) if declared is not None else ()


def _either(one: Unread, other: Unread) -> Unread:
    return Unread(
        max(one.left_out, other.left_out), one.unheard or other.unheard, max(one.shortened, other.shortened)
    )


def _own_facts(context: CallContext, tool: str) -> ToolFacts:
    """Facts of a tool: the catalogue's, else what its name and the policy say."""
    catalogue = context.catalogue
    if catalogue is not None and tool in catalogue.tools:
        return catalogue.facts[tool]
    return context.policy_on_tools.over(tool, facts_of(tool, None, {}, context.readers.acting))


def _inner_facts(context: CallContext, name: str, own: ToolFacts) -> ToolFacts:
    """Facts of what is called through a tool, the tool's own where its name says nothing."""
    catalogue, policy = context.catalogue, context.policy_on_tools
    if catalogue is not None and name in catalogue.facts:
        return catalogue.facts[name]
    return (
        policy.over(name, facts_of(name, None, policy.classes, context.readers.acting))
        if speaks(name)
        else own
    )


def _strongest(named: Sequence[tuple[str, ToolFacts]]) -> tuple[str, ToolFacts]:
    """Of what is called through a tool the first that does most, and the facts of all of it."""

    def power(tool: tuple[str, ToolFacts]) -> tuple[int, bool]:
        return ACTIONS[tool[1].action], tool[1].destructive or tool[1].outward

    name, most = max(named, key=power)
    return name, most._replace(
        destructive=any(facts.destructive for _, facts in named),
        sensitive=any(facts.sensitive for _, facts in named),
        open_world=any(facts.open_world for _, facts in named),
        outward=any(facts.outward for _, facts in named),
    )


def _together(own: ToolFacts, inner: ToolFacts) -> ToolFacts:
    """A tool's own facts, and what those of what is called through it add."""
    return own._replace(
        destructive=own.destructive or inner.destructive,
        sensitive=own.sensitive or inner.sensitive,
        open_world=own.open_world or inner.open_world,
        outward=own.outward or inner.outward,
    )


def _only_looks(arguments: Sequence[Leaf], unread: Unread) -> bool:
    """Whether what is executed only looks: one argument named as a command, nothing but why and where beside it, none unread."""
    commands = [leaf for leaf in arguments if is_command(leaf.path)]
    if unread.anything or len(commands) != 1 or not commands[0].is_string:
        return False
    command = commands[0]
    beside = (leaf for leaf in arguments if leaf.is_string and leaf is not command)
    return all(beside_command(leaf.path, leaf.text) for leaf in beside) and only_looks(
        command.text, sql=is_query(command.path)
    )
