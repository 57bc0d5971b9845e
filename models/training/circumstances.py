"""What an evaluation is told of a session beside its labels: whose it was, when, and what its tools do at worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.training.named_tools import first_effect, gravest_class

RECORDED = "recorded"
"""The tenant of sessions that name none: recorded sets."""
UNNAMED = "not named"


class Circumstances(NamedTuple):
    """What is told of one session.

    Attributes
    ----------
    goal : the attacker's, by its number in its suite; None where nothing names it so
    gravest : class of its gravest tool, see `models.training.named_tools.GRAVITY`
    effect : its harmful call, see `models.training.named_tools.first_effect`
    began, ended : times in UTC, all spelled alike, so that their order is that of their texts; None where unknown
    """

    tenant: str
    agent: str
    model: str
    goal: str | None
    gravest: str
    effect: int | None
    began: str | None
    ended: str | None


def of_record(session: Mapping[str, Any]) -> Circumstances:
    """What a recorded session, or one of own traffic, tells."""
    goal = session.get("injection_task_id")
    return Circumstances(
        tenant=str(session.get("tenant") or RECORDED),
        agent=str(session.get("suite")),
        model=str(session.get("model") or UNNAMED),
        goal=f"{session.get('suite')}/{goal}" if goal else None,
        gravest=gravest_class(session),
        effect=first_effect(session),
        began=session.get("began"),
        ended=session.get("ended"),
    )
