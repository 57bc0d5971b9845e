"""The finding that says that revocations are held, and the one that says what a person did about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from models.contracts import Case
from stream.outbound.breaker import Opening
from stream.outbound.notice import NEW, RESOLVED, Notice, Subject, finding


def held(case: Case, opening: Opening) -> dict[str, Any]:
    """The OCSF Detection Finding of an opening; `case` is the first whose revocations are held."""
    desc = (
        f"Drift revoked {opening.budget} sessions of {opening.scope} within {opening.window_minutes:g} minutes, which is the policy's "
        "budget. Further revocations are held until a person sends or drops them; their credentials live on."
    )
    steps = (
        f"1. driftline held {opening.breaker} shows what is held and why. 2. If the sessions did drift, an attack is under way: driftline "
        f"held {opening.breaker} --send --by NAME --key FILE. 3. If they are honest, something changed: a release, a tool, a policy. driftline held "
        f"{opening.breaker} --drop --by NAME --key FILE, and go back to shadow until it is mended."
    )
    return _finding(
        case,
        opening.breaker,
        opening.scope,
        activity=1,
        title="Revocations are held",
        desc=desc,
        steps=steps,
    )


def resolved(case: Case, breaker: str, *, sent: bool, by: str, count: int) -> dict[str, Any]:
    """The finding that closes an opening; `case` is one of those that it held."""
    did = "sent" if sent else "dropped"
    return _finding(
        case,
        breaker,
        "",
        activity=3,
        title=f"Held revocations were {did}",
        desc=f"{by} {did} the revocations of {count} sessions. The budget that was spent begins anew.",
        steps="Nothing is left to do."
        if sent
        else "Look whether the cases of these sessions are false alarms, and close them.",
    )


def _finding(
    case: Case, breaker: str, scope: str, *, activity: int, title: str, desc: str, steps: str
) -> dict[str, Any]:
    closes = activity == 3
    return finding(
        Subject.of(case),
        Notice(
            uid=f"{breaker}/{activity}",
            about=breaker,
            correlation=breaker,
            dedup_key=f"{quote(case.tenant, safe='')}|breaker|{breaker}",
            analytic=("driftline.breaker", "Driftline circuit breaker"),
            activity=activity,
            calls=not closes,
            title=title,
            message=f"{title}: {scope}" if scope else title,
            desc=desc,
            steps=steps,
            revocation="decided" if closes else "held",
            status=RESOLVED if closes else NEW,
        ),
    )
