"""What the call can do: its kind of action, how sensitive its tool is, and what it completes."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import COUNT, FALLING, FLAG, RISING, Group

GROUP = Group(family="scope", ablation="scope")


@GROUP.feature("tens of characters, cut at 255", only_measures=True)
def argument_chars(call: CallEvidence) -> int:
    """Length of the arguments."""
    return min(255, call.arguments.length // 10)


@GROUP.feature("0 read, 1 write, 2 execute")
def action(call: CallEvidence) -> int:
    """What the call does, or most of what is called through it."""
    return call.action


@GROUP.feature(FLAG, FALLING)
def command_looks(call: CallEvidence) -> int:
    """Whether it executes commands that only look, see `models.evidence.commands`."""
    return int(call.tool.only_looks)


@GROUP.feature(FLAG, RISING)
def destructive(call: CallEvidence) -> int:
    """Whether the tool destroys something; not for commands that only look."""
    return int(call.tool.inner_facts.destructive and not call.tool.only_looks)


@GROUP.feature(FLAG)
def sensitive(call: CallEvidence) -> int:
    """Whether the tool handles private data."""
    return int(call.tool.inner_facts.sensitive)


@GROUP.feature(FLAG)
def outward(call: CallEvidence) -> int:
    """Whether the call takes something out of the session."""
    return int(call.tool.inner_facts.outward)


@GROUP.feature(FLAG)
def known(call: CallEvidence) -> int:
    """Whether the tool is in the catalogue."""
    return int(call.tool.own_facts.known)


@GROUP.feature(COUNT, ablation="sequence", only_measures=True)
def catalogue_size(call: CallEvidence) -> int:
    """Tools of the catalogue; 0 without one."""
    catalogue = call.context.catalogue
    return min(255, len(catalogue.tools)) if catalogue is not None else 0


@GROUP.feature(FLAG, RISING, family="sequence")
def trifecta(call: CallEvidence) -> int:
    """Whether private data and foreign content were read, and this call leads out."""
    return int(call.trifecta)
