"""What the call means beside the clauses of the intent, the session's other calls, and the lines that results said."""

from __future__ import annotations

from models.evidence.call import CallEvidence
from models.evidence.features.spec import COUNT, FALLING, FLAG, HUNDREDTHS, RISING, THOUSANDTHS, Group
from models.text.meaning import cosine_to

GROUP = Group(family="intent", ablation="intent meaning")


@GROUP.feature(THOUSANDTHS, FALLING, means_intent=True)
def call_nearness(call: CallEvidence) -> int:
    """Cosine of tool and arguments to the nearest clause of the intent."""
    return call.meaning.explained.nearness


@GROUP.feature(THOUSANDTHS, RISING, means_intent=True)
def call_nearness_drop(call: CallEvidence) -> int:
    """How much nearer the session's calls so far were, by their mean; 0 for the first."""
    session = call.context.session
    return session.nearness // session.calls - call.meaning.explained.nearness if session.calls else 0


@GROUP.feature(HUNDREDTHS, FALLING, means_intent=True)
def call_expected(call: CallEvidence) -> int:
    """How much sooner this intent leads to the call than another would, see `models.heads.expectation`."""
    return call.meaning.expected


@GROUP.feature(THOUSANDTHS, RISING, means_intent=True)
def call_rest(call: CallEvidence) -> int:
    """Length of what the clauses of the intent leave of the call's meaning."""
    return call.meaning.explained.rest


@GROUP.feature(THOUSANDTHS, RISING, family="sequence", ablation="catalogue lure")
def line_gain(call: CallEvidence) -> int:
    """How much of what the clauses leave one line of a result explains; 0 below `models.text.meaning.GATE`."""
    return call.meaning.explained.gain


@GROUP.feature(HUNDREDTHS, RISING, family="sequence", ablation="catalogue lure")
def line_expected(call: CallEvidence) -> int:
    """How much sooner the line of a result that explains most leads to the call than the intent does; -999 without one."""
    return call.meaning.line_expected


@GROUP.feature(THOUSANDTHS, RISING, family="sequence", ablation="catalogue lure")
def line_tool(call: CallEvidence) -> int:
    """Cosine of the tool and the line of a result that explains most; 0 without one."""
    return call.meaning.explained.line_tool


@GROUP.feature(COUNT, means_intent=True)
def clause_served(call: CallEvidence) -> int:
    """Writes before this call that were made for the same clause of the intent."""
    clause, served = call.delegation.clause, call.context.session.served
    return served[clause] if 0 <= clause < len(served) else 0


@GROUP.feature(THOUSANDTHS, FALLING, means_intent=True)
def call_kin(call: CallEvidence) -> int:
    """Cosine of the call to the mean of the session's earlier ones; 0 for the first."""
    return cosine_to(call.context.session.work, call.meaning.vector)


@GROUP.feature(FLAG, FALLING, means_intent=True)
def action_asked(call: CallEvidence) -> int:
    """Whether a verb of the intent asks for this kind of action."""
    return int(call.action_asked)
