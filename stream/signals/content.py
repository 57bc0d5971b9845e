"""Signals of the family content: what a text looks like, which is no evidence of what the agent does."""

from __future__ import annotations

from stream.signals.call import ObservedCall
from stream.signals.signal import CallSignal, Runbook, Statement

BAIT = 400
"""From how much of a result, in thousandths, it counts as talking to the agent, see `models.evidence.content`."""


class TalksToAgent(CallSignal):
    """Some result of this session talks to the agent instead of answering it; told of every later call."""

    id = "content.talks_to_agent"
    deed = "calls {tool} after {source} spoke to the agent"
    unit = "0 to 1"
    shipped = "watch"
    runbook = Runbook(
        benign="pages on prompts, mails with instructions to people",
        look="read the result",
        do="take its source out of reach; a policy may raise it to `watch` at most",
    )
    silent_in = "support-refund-lookup"

    def check(self, call: ObservedCall) -> Statement | None:
        session = call.session
        if session.bait < BAIT:
            return None
        return Statement(
            f"the result of call {session.bait_call} talks to the agent instead of answering it",
            session.bait / 1000,
            calls=[session.bait_call],
        )
