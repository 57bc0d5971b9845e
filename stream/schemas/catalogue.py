"""What each topic carries: the contracts that are published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from models.contracts import (
    CallHeld,
    Case,
    CatalogueChanged,
    ClockTick,
    Decision,
    FeedbackGiven,
    HeldResolved,
    IntentAmended,
    OpinionGiven,
    Outcome,
    OutcomeTold,
    QuarantineHeaders,
    ReleaseActivated,
    ReleaseAlias,
    ReleasedClaims,
    ReleaseRecord,
    RevocationClaims,
    RiskClaims,
    SessionDeclared,
    SessionEnded,
    ToolCalled,
    ToolReturned,
    WouldBe,
)
from stream.events import (
    ALERTS,
    CASES,
    CHALLENGES,
    DECISIONS,
    ENDS,
    EVENTS,
    FEEDBACK,
    HELD,
    OUTCOMES,
    QUARANTINE,
    RELEASES,
    REVOCATIONS,
    RISK,
)
from stream.outbound.ocsf import OCSF_VERSION, PROFILES, VERSIONS

JSON, TOKEN, BYTES = "application/json", "application/secevent+jwt", "application/octet-stream"

Action = Literal["receive", "send"]


class Contract(NamedTuple):
    """What one topic carries: `models` one message each, or a `payload` that no model of ours describes."""

    topic: str
    title: str
    actions: tuple[Action, ...]
    models: tuple[type[BaseModel], ...]
    content_type: str = JSON
    payload: Mapping[str, Any] | None = None
    headers: type[BaseModel] | None = None


# The class has hundreds of optional attributes; what is stated here is what every one of our alerts holds.
_FINDING: dict[str, Any] = {
    "type": "object",
    "title": "Detection Finding",
    "description": (
        f"OCSF {OCSF_VERSION} Detection Finding with the profiles {' and '.join(PROFILES)}; "
        "the whole class: "
        f"https://schema.ocsf.io/{OCSF_VERSION}/classes/detection_finding?profiles={','.join(PROFILES)}. "
        f"Where DRIFTLINE_OCSF_VERSION says so it is one of OCSF {VERSIONS[-1]}: see docs/alerts.md"
    ),
    "required": [
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
        "unmapped",
    ],
    "properties": {
        "class_uid": {"const": 2004},
        "category_uid": {"const": 2},
        "activity_id": {"enum": [1, 2, 3], "description": "1 Create, 2 Update, 3 Close"},
        "type_uid": {"enum": [200401, 200402, 200403]},
        "severity_id": {
            "enum": [2, 3, 4, 5],
            "description": "2 Low, 3 Medium, 4 High, 5 Critical: by impact and confidence (docs/alerts.md)",
        },
        "time": {"type": "integer", "description": "milliseconds since 1970"},
        "finding_info": {
            "type": "object",
            "required": ["uid"],
            "properties": {"uid": {"type": "string", "description": "the case id, one for a session"}},
        },
        "metadata": {"type": "object", "required": ["product", "profiles", "version"]},
        "unmapped": {
            "type": "object",
            "required": ["dedup_key", "enforced", "exposure"],
            "properties": {
                "dedup_key": {"type": "string"},
                "enforced": {"type": "boolean", "description": "false: shadow mode, nothing was revoked"},
                "exposure": {"type": "object", "description": "how long the credentials may still work"},
            },
        },
    },
}
_COMPACT_JWS: dict[str, Any] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "description": "Compact JWS, RS256, typ secevent+jwt; its payload is the claims' schema.",
}
_ANY_BYTES: dict[str, Any] = {
    "description": "The input's own bytes, whatever they are; the headers say why they were put aside."
}

CONTRACTS: tuple[Contract, ...] = (
    Contract(
        EVENTS,
        "What agents do",
        ("receive",),
        (
            SessionDeclared,
            IntentAmended,
            CatalogueChanged,
            ToolCalled,
            CallHeld,
            ToolReturned,
            OpinionGiven,
            SessionEnded,
            ReleaseActivated,
            ClockTick,
        ),
    ),
    Contract(OUTCOMES, "What became of a revocation", ("receive",), (Outcome,)),
    Contract(
        FEEDBACK,
        "An analyst's verdict on a case, a person's ruling on what is held",
        ("receive",),
        (FeedbackGiven, HeldResolved),
    ),
    Contract(HELD, "Revocations that the circuit breaker holds", ("send", "receive"), (Case,)),
    Contract(DECISIONS, "One decision for each call", ("send",), (Decision,)),
    Contract(
        CASES,
        "A session's changes of state, from judge to act, and what was said of them",
        ("send", "receive"),
        (Case, HeldResolved, FeedbackGiven, OutcomeTold, ClockTick),
    ),
    Contract(ALERTS, "Findings for the SOC", ("send",), (), payload=_FINDING),
    Contract(REVOCATIONS, "Signed revocations", ("send",), (RevocationClaims,), TOKEN, payload=_COMPACT_JWS),
    Contract(RISK, "Signed changes of risk", ("send",), (RiskClaims,), TOKEN, payload=_COMPACT_JWS),
    Contract(
        ENDS, "Signed word on what ends released", ("send",), (ReleasedClaims,), TOKEN, payload=_COMPACT_JWS
    ),
    Contract(
        QUARANTINE,
        "Input that could not be read",
        ("send",),
        (),
        BYTES,
        payload=_ANY_BYTES,
        headers=QuarantineHeaders,
    ),
    Contract(RELEASES, "Releases of model and policy", ("receive",), (ReleaseRecord, ReleaseAlias)),
    Contract(CHALLENGES, "What challengers would have decided", ("send",), (WouldBe,)),
)
