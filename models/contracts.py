"""Every contract on the bus, in one place.

Inputs ignore unknown fields, so that producers may move first; outputs forbid them, so that we cannot
publish what is not documented. JSON Schemas and the AsyncAPI document are generated from here
(``python -m stream.schemas``) and a test fails when they are stale.

Times are RFC 3339 in UTC. Scores are multiples of 0.0001 in [0, 1], higher = more drift.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

SCHEMA_VERSION = 1
"""The newest version of the input contracts that this code reads."""
MAX_WHOLE = 2**53
"""Largest whole number that every reader of JSON keeps as it is (RFC 8259, 6)."""

MOST_MINUTES = 5_256_000
"""Ten years: with a time that a record may have it is a time that any clock has."""

Moment = Annotated[
    AwareDatetime,
    Field(strict=False, ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""A time that any zone can write down."""
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Signature = Annotated[str, Field(max_length=2048)]
"""A JWS without its payload (``header..signature``): the signed content is the event itself (docs/security.md)."""
Attestation = Annotated[str, Field(max_length=8192)]
"""A compact JWS that an issuer of workload identity signed, for Driftline's audience alone (docs/identity.md)."""
Action = Literal["read", "write", "execute"]
KINDS: tuple[Action, ...] = ("read", "write", "execute")
"""The kinds of action, from the least to the most."""
Verdict = Literal["allow", "alert", "deny", "revoke", "abstain"]
FLAGGED: tuple[Verdict, ...] = ("alert", "deny", "revoke")
"""Verdicts that somebody hears of, the mildest first."""
GRAVITY: tuple[Verdict, ...] = ("allow", "abstain", *FLAGGED)
"""All verdicts, the mildest first."""
TENANT_SOURCE = "tenant:"
"""Before a tenant's name in the ``source`` of own traffic: no tenant is taken for a recorded set, whatever it is called."""
Standing = Literal["quiet", "watch", "alert", "contained", "closed"]
Family = Literal["intent", "provenance", "scope", "sequence", "tempo", "identity", "content"]

FAMILIES: tuple[Family, ...] = (
    "intent",
    "provenance",
    "scope",
    "sequence",
    "tempo",
    "identity",
    "content",
)


class Inbound(BaseModel):
    """Base of what others send: unknown fields ignored, no silent conversion of types."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Outbound(BaseModel):
    """Base of what we publish: nothing undocumented leaves."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --------------------------------------------------------------------------- agent.events.v1


class Credential(Inbound):
    """A reference to a short-lived credential, never the credential itself.

    ``issued_for_task``: whether it was issued for this session's task alone, so that the session's end revokes it;
    without a word the policy says it by broker and kind.
    ``issued_to``: the workload that the broker issued it to, by SPIFFE id or by name.
    """

    broker: Identifier
    kind: Identifier
    value: Identifier
    scope: Annotated[str, Field(max_length=1024)] | None = None
    issued: Annotated[AwareDatetime, Field(strict=False)] | None = None
    expires: Annotated[AwareDatetime, Field(strict=False)] | None = None
    issued_for_task: bool | None = None
    issued_to: Identifier | None = None


class Agent(Inbound):
    """Who acts: the workload's identity, and the person it acts for.

    ``user_issuer``: the ``iss`` of whoever issued the user's identity, of which ``user`` is the ``sub``; tokens then name the user as
    ``iss_sub`` (RFC 9493).
    """

    id: Identifier | None = None
    spiffe_id: Identifier | None = None
    user: Identifier | None = None
    user_issuer: Annotated[str, Field(max_length=256, pattern=r"^https://[^\s/?#]+[^\s?#]*$")] | None = None
    framework: Identifier | None = None
    model: Identifier | None = None


class Budget(Inbound):
    """How much the session may do; None = no limit of its own."""

    calls: Annotated[int, Field(ge=0)] | None = None
    writes: Annotated[int, Field(ge=0)] | None = None
    seconds: Annotated[int, Field(ge=0)] | None = None


KnownBy = Literal["user", "host", "agent", "observer"]
"""How an intent is known: ``user``: the words of the user's own turn, as the host took them; ``host``: what somebody set the agent up for,
a file or a standing task; ``agent``: what the agent says of itself; ``observer``: read afterwards, out of a trace or a transcript."""


class Intent(Inbound):
    """What the user asked for, as a trusted source states it. What the agent itself says (``known_by``) widens nothing later on."""

    text: str
    known_by: KnownBy | None = None
    plan: list[str] | None = None
    resources: list[str] | None = None
    actions: list[Action] | None = None
    data_classes: list[str] | None = None
    budget: Budget | None = None


class Tool(Inbound):
    """One entry of the catalogue that the session was offered."""

    name: Identifier
    server: Identifier | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _Event(Inbound):
    id: Identifier
    session_id: Identifier
    root_session_id: Identifier | None = None
    seq: Annotated[int, Field(ge=0, le=2**53)] | None = None
    tenant: Identifier | None = None
    time: Annotated[AwareDatetime, Field(strict=False)]
    schema_version: Annotated[int, Field(ge=1)] = 1


class SessionDeclared(_Event):
    """The session begins: who, what for, with which tools and credentials."""

    type: Literal["session.declared"]
    agent: Agent | None = None
    intent: Intent | None = None
    tools: list[Tool] | None = None
    credentials: list[Credential] | None = None
    parent_session_id: Identifier | None = None
    signature: Signature | None = None
    attestation: Attestation | None = None


class IntentAmended(_Event):
    """The *user* changed their mind. The only event that widens an intent."""

    type: Literal["intent.amended"]
    intent: Intent
    signature: Signature | None = None
    attestation: Attestation | None = None

    @property
    def by_agent(self) -> bool:
        """Whether it is the agent's own word, which widens nothing."""
        return self.intent.known_by == "agent"


class CatalogueChanged(_Event):
    """The host offers other tools from now on: ``tools`` joined or are declared otherwise, ``left`` are gone.

    It tells what tools there are and widens no intent.
    """

    type: Literal["catalogue.changed"]
    tools: list[Tool] | None = None
    left: list[Identifier] | None = None
    signature: Signature | None = None
    attestation: Attestation | None = None


class ToolCalled(_Event):
    """The agent is about to call a tool; sent before the effect.

    ``arguments_seen``: false where whoever tells of the call could not see its arguments, which then are none. Its score is not acted on.
    """

    type: Literal["tool.called"]
    call_id: Identifier
    tool: Identifier
    arguments: dict[str, Any] = Field(default_factory=dict)
    arguments_seen: bool = True
    credential: Credential | None = None

    @property
    def unseen(self) -> bool:
        """Whether nobody saw its arguments. A word against arguments that are there counts for nothing."""
        return not self.arguments_seen and not self.arguments


class CallHeld(_Event):
    """A call waits before it runs: a person is asked (``asked``), or it is put off until something else has happened (``deferred``).

    Sent again with the answer. It tells an auditor who let a call run; it widens no intent, and changes no verdict.
    """

    type: Literal["call.held"]
    call_id: Identifier
    how: Literal["asked", "deferred"]
    answer: Literal["approved", "rejected"] | None = None
    by: Identifier | None = None


class ToolReturned(_Event):
    """What the tool answered. ``not_run``: it never ran, and the result is the host's own word, which tells nothing of the world."""

    type: Literal["tool.returned"]
    call_id: Identifier
    status: Literal["ok", "error", "not_run"] = "ok"
    result: Any = None


class SessionEnded(_Event):
    """The task is over, and with it the credentials issued for it."""

    type: Literal["session.ended"]
    reason: Annotated[str, Field(max_length=1024)] | None = None


class OpinionGiven(_Event):
    """A second opinion on a call, by a model or a person who saw what was asked and done.

    ``token`` is a compact JWS with ``typ`` ``driftline-opinion+jwt``, and alone counts. Its payload holds ``aud`` (the issuer of the
    installation it is for), ``tenant``, ``root_session_id``, ``session_id``, ``decision_id``, ``opinion`` (``serves``: the call serves what
    was asked; ``drifts``: it does not) and ``by`` (who says so, at most 64 characters).
    """

    type: Literal["opinion.given"]
    token: Annotated[str, Field(max_length=4096)]


class ReleaseActivated(Inbound):
    """Control record: a model and policy go live in this partition from this offset on.

    ``token`` is a compact JWS with ``typ`` ``driftline-activation+jwt``, whose payload holds ``aud`` (the issuer
    of the installation it is for), ``topic``, ``partition``, ``epoch`` (rising), ``digest`` and ``scope`` (``new``
    or ``open``).
    """

    type: Literal["release.activated"]
    token: Annotated[str, Field(max_length=16_384)]
    schema_version: Annotated[int, Field(ge=1)] = 1


class ClockTick(Inbound):
    """Control record: empty; brings an overdue deadline about in a quiet partition."""

    type: Literal["clock.tick"]
    schema_version: Annotated[int, Field(ge=1)] = 1


SessionEvent = (
    SessionDeclared
    | IntentAmended
    | CatalogueChanged
    | ToolCalled
    | CallHeld
    | ToolReturned
    | OpinionGiven
    | SessionEnded
)
Signable = SessionDeclared | IntentAmended | CatalogueChanged
"""What says what a session is for, and with which tools: counts only with a signature where a policy demands one."""
ControlEvent = ReleaseActivated | ClockTick
Event = Annotated[SessionEvent | ControlEvent, Field(discriminator="type")]
EVENT: TypeAdapter[SessionEvent | ControlEvent] = TypeAdapter(Event)

EVENT_TYPES = frozenset(
    {
        "session.declared",
        "intent.amended",
        "catalogue.changed",
        "tool.called",
        "call.held",
        "tool.returned",
        "opinion.given",
        "session.ended",
        "release.activated",
        "clock.tick",
    }
)


# --------------------------------------------------------------------------- agent.decisions.v1


class ArgumentRef(Outbound):
    """A value named without being told: path, length, keyed hash, at most 40 characters.

    Of a call that goes through a general tool the path is that in the call inside.
    """

    path: Annotated[str, Field(max_length=256)]
    length: int
    hash: str
    excerpt: Annotated[str, Field(max_length=40)]


class Evidence(Outbound):
    """One number of one family, with the calls that it rests on."""

    family: Family
    name: str
    value: float
    unit: str
    supports: bool
    calls: list[int]
    text: Annotated[str, Field(max_length=400)]
    argument: ArgumentRef | None = None


class Thresholds(Outbound):
    """The numbers that the policy used for this decision."""

    watch: float
    alert: float
    revoke: float


class Share(Outbound):
    """What a family of evidence adds to the score, in log odds: see `models.forest.attribution`."""

    family: Family
    log_odds: float


class HeardFrom(Outbound):
    """A snippet that a call was read beside: the call whose answer it is from, and the way to that.

    ``adds``: what it adds to the log odds, found by reading without it; only where the score is one to alert on. ``through``: calls whose answers say what it was given, what these were given and so on, the nearest first. ``begins``: who says
    what the first of them was given; null where it was given nothing.
    """

    adds: float | None
    call_seq: int
    through: list[int]
    begins: Literal["intent", "nobody"] | None


class Reading(Outbound):
    """What the reader made of a call. ``score`` of the decision joins ``forest``, the score of its features alone, with ``log_odds``."""

    forest: float
    log_odds: float
    heard: list[HeardFrom]


class AttestedBy(Outbound):
    """Who a session's declaration was attested to come from; of the token itself a hash alone.

    ``principal``: whom the agent acts for. ``expires``: the token's end. ``bound``: it named this session. ``token``: the first
    eight bytes of the SHA-256 of its signed part, in hex.
    """

    issuer: str
    agent: str
    principal: str | None
    expires: str
    bound: bool
    token: str


class Decision(Outbound):
    """The judgement of one tool call: enough to reconstruct the access afterwards."""

    schema_version: Literal[1] = 1
    decision_id: str
    tenant: str
    root_session_id: str
    session_id: str
    event_id: str
    event_seq: int | None
    call_id: str
    call_seq: int
    time: str
    agent: str | None
    tool: str
    action: Action
    arguments_digest: str
    verdict: Verdict
    enforced: bool
    score: float
    thresholds: Thresholds
    families: list[Family]
    evidence: list[Evidence]
    shares: list[Share] = []
    explanation: Annotated[str, Field(max_length=1200)]
    would_pass: Annotated[str, Field(max_length=400)]
    marks: list[str]
    standing: Standing
    case_id: str | None
    intent_digest: str | None
    credential: str | None
    release: str
    policy: str
    core: str
    previous: str
    digest: str
    read: Reading | None = None
    """Only of a call that a release with a reader read."""
    attested: AttestedBy | None = None
    """Only of a session that was attested."""
    intent_known_by: KnownBy | None = None
    """Only where the declaration says how the intent is known. Without `attested` that is the declaring host's own word."""


# --------------------------------------------------------------------------- agent.cases.v1


class CredentialRef(Outbound):
    """Which credential to kill, by reference."""

    broker: str
    kind: str
    value: str
    scope: str | None = None


class ReleasedCredential(CredentialRef):
    """A credential that a session's end leaves alone: another open session holds it, or else it was not issued for the task."""

    why: Literal["not_for_task", "held_elsewhere"]


class PathStep(Outbound):
    """One call on the way to the case."""

    decision_id: str
    call_id: str
    call_seq: int
    tool: str
    verdict: Verdict
    score: float
    time: str


class Signed(Outbound):
    """Claims that act signs as they stand and publishes to `topic`."""

    topic: Literal["agent.revocations.v1", "agent.risk.v1", "agent.ends.v1"]
    claims: dict[str, Any]


class RevocationBudget(Outbound):
    """How many sessions drift may revoke within a window before further revocations are held; None: any number.

    ``overall`` is for all tenants whose cases lie in one partition. ``confirm_minutes`` is how long a broker may take to confirm one
    before the SOC hears of it; None: for ever.
    """

    window_minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)]
    agent: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None
    tenant: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None
    overall: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None = None
    confirm_minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)] | None = None


class Case(Outbound):
    """A session's change of state, from judge to act, with everything act needs.

    ``case_id`` is one for a session; ``record_id`` one for this change. ``finding`` and ``sets`` are final:
    act sends, holds or groups them and signs, and adds nothing. ``kind`` ``ended``: the session is over, which
    closes no case that the SOC was told of; of ``credentials`` its end revokes those that are not ``released``.
    ``end_sets`` are the tokens for `agent.ends.v1`, apart from ``sets``: an act that is older than that topic
    ignores the field, and sends the rest.
    """

    schema_version: Literal[1] = 1
    record_id: str
    case_id: str
    change: int
    kind: Literal["standing", "ended", "unjudged"]
    cause: Literal["drift", "opinion", "ended", "internal"]
    tenant: str
    root_session_id: str
    session_id: str
    time: str
    before: Standing
    after: Standing
    reason: str
    verdict: Verdict | None
    score: float
    families: list[Family]
    agent: str | None
    user: str | None
    credentials: list[CredentialRef]
    released: list[ReleasedCredential] = []
    budget: RevocationBudget | None = None
    alerts_a_day: Annotated[int, Field(ge=1, le=MAX_WHOLE)] | None = None
    path: list[PathStep]
    enforced: bool
    inherited_from: str | None
    finding: dict[str, Any] | None
    sets: list[Signed]
    end_sets: list[Signed] = []
    release: str
    policy: str
    core: str


# --------------------------------------------------------------------------- also in, keyed by tenant


class Outcome(Inbound):
    """What became of one credential of a revocation, as the credential broker, or the bridge for it, reports it.

    Attributes
    ----------
    status
        ``requested``: taken, not yet in effect. ``done``. ``already_gone``: nothing of that name was there. ``failed``: it may
        still live. ``wider``: more went than was asked for.
    kind, credential
        Which credential of the token; the second is its name as a hash, never its value. Absent: all of that broker.
    provider
        What carried it out, or was to: the bridge's own name for it, such as ``keycloak``. Absent: the broker has none by that
        name, or reports by itself.
    latency_ms
        From the revocation's record on the bus to the provider's answer.
    survives, survives_until
        What stays valid all the same, and until when at most.
    """

    jti: Identifier
    case_id: Identifier
    broker: Identifier
    kind: Identifier | None = None
    credential: Identifier | None = None
    provider: Identifier | None = None
    status: Literal["requested", "done", "already_gone", "failed", "wider"]
    time: Moment
    detail: Annotated[str, Field(max_length=1024)] | None = None
    latency_ms: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None = None
    survives: Annotated[str, Field(max_length=256)] | None = None
    survives_until: Moment | None = None
    schema_version: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 1


class HeldResolved(Inbound):
    """A person's ruling on revocations that the circuit breaker holds; the token says which, and what to do (docs/policy.md)."""

    type: Literal["held.resolved"]
    tenant: Identifier
    token: Annotated[str, Field(max_length=4096)]
    schema_version: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 1


class OutcomeTold(Inbound):
    """An outcome, put among the cases of its tenant: from there on it counts."""

    type: Literal["outcome.told"]
    tenant: Identifier
    outcome: Outcome
    schema_version: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 1


class FeedbackGiven(Inbound):
    """An analyst's verdict on a case; the token says which, and what (docs/feedback.md)."""

    type: Literal["feedback.given"]
    tenant: Identifier
    token: Annotated[str, Field(max_length=16_384)]
    schema_version: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = 1


class Feedback(Inbound):
    """What such a token claims: with it a case is closed, or opened again, by one who remembers nothing of the case.

    Attributes
    ----------
    root_session_id
        What the case's alerts correlate to.
    agent
        Empty where the alert names none.
    severity_id, enforced
        As the alert has them: a verdict changes neither.
    by
        Who says it. The verdict with the latest ``time`` counts, whatever arrives last.
    """

    tenant: Identifier
    case_id: Identifier
    root_session_id: Identifier
    session_id: Identifier
    agent: Annotated[str, Field(max_length=256)]
    severity_id: Annotated[int, Field(ge=0, le=6)]
    enforced: bool
    verdict: Literal["true_positive", "false_positive", "benign", "unsure", "reopen"]
    by: Annotated[str, Field(min_length=1, max_length=64)]
    time: Annotated[
        AwareDatetime,
        Field(strict=False, ge=datetime(2020, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC)),
    ]
    comment: Annotated[str, Field(max_length=1024)]


# --------------------------------------------------------------------------- agent.quarantine.v1

QuarantineReason = Literal[
    "decode",
    "schema",
    "type",
    "version",
    "key",
    "partition",
    "time",
    "too_large",
    "control",
    "internal",
]


class QuarantineHeaders(Outbound):
    """Headers of a quarantined record; its key and value are the input's own bytes."""

    reason: QuarantineReason
    detail: Annotated[str, Field(max_length=1024)]
    topic: str
    partition: int
    offset: int
    core: Annotated[str, Field(max_length=64)]


# --------------------------------------------------------------------------- agent.releases.v1


class ReleaseRecord(Outbound):
    """A model and policy that may be activated: manifest, digest, and where the bytes are."""

    schema_version: Literal[1] = 1
    digest: str
    manifest: dict[str, Any]
    location: str
    token: str


class ReleaseAlias(Outbound):
    """What a name such as ``@champion`` means, and what it meant before, the last first; an empty digest is what workers begin with."""

    schema_version: Literal[1] = 1
    alias: str
    digest: str
    epoch: int
    previous: list[str]
    by: str
    reason: str
    token: str


# --------------------------------------------------------------------------- agent.challenges.v1


class WouldBe(Outbound):
    """What a challenger would have decided of a call, by the same log as the champion. It acts on nothing.

    Attributes
    ----------
    challenger
        The name that it runs under.
    challenge_id
        The id that its decision would have had.
    release_digest
        What an activation of its release would name.
    event_id, arguments_digest
        With tenant and session what tells which decision of the champion is on the same call.
    standing
        Of the session, as the challenger sees it.
    """

    schema_version: Literal[1] = 1
    challenge_id: str
    challenger: str
    release_digest: str
    tenant: str
    root_session_id: str
    session_id: str
    event_id: str
    call_id: str
    call_seq: int
    arguments_digest: str
    time: str
    agent: str | None
    tool: str
    verdict: Verdict
    score: float
    standing: Standing
    families: list[Family]
    explanation: Annotated[str, Field(max_length=1200)]
    marks: list[str]
    release: str
    policy: str
    core: str


# ---------------------- agent.revocations.v1, agent.risk.v1 and agent.ends.v1: what the tokens hold


class SessionSubject(Outbound):
    """Exactly one session. An absent member is a wildcard to SSF, so session and tenant are required."""

    format: Literal["complex"]
    session: dict[str, str]
    tenant: dict[str, str]
    application: dict[str, str] | None = None
    user: dict[str, str] | None = None


class SessionRevoked(Outbound):
    """CAEP `session-revoked`, with the references of the credentials to kill."""

    event_timestamp: int
    initiating_entity: Literal["policy", "system"]
    reason_admin: Annotated[dict[str, str], Field(min_length=1)]
    driftline_cause: Literal["drift", "ended"]
    driftline_credentials: Annotated[list[CredentialRef], Field(min_length=1)]


class RiskLevelChange(Outbound):
    """CAEP `risk-level-change` of a session."""

    principal: Literal["SESSION"]
    previous_level: Literal["LOW", "MEDIUM", "HIGH"]
    current_level: Literal["LOW", "MEDIUM", "HIGH"]
    risk_reason: str
    event_timestamp: int
    initiating_entity: Literal["policy", "system"]


class CredentialsReleased(Outbound):
    """An event of our own: what a session that is over held, and its end left alive. It asks for nothing.

    The list is not called as that of a revocation is, so that nobody takes the one for the other.
    """

    event_timestamp: int
    initiating_entity: Literal["system"]
    reason_admin: Annotated[dict[str, str], Field(min_length=1)]
    driftline_released: Annotated[list[CredentialRef], Field(min_length=1)]


class SessionRevokedEvents(Outbound):
    """The one event of a revocation."""

    session_revoked: Annotated[
        SessionRevoked, Field(alias="https://schemas.openid.net/secevent/caep/event-type/session-revoked")
    ]


class RiskLevelChangeEvents(Outbound):
    """The one event of a change of risk."""

    risk_level_change: Annotated[
        RiskLevelChange,
        Field(alias="https://schemas.openid.net/secevent/caep/event-type/risk-level-change"),
    ]


class CredentialsReleasedEvents(Outbound):
    """The one event of an end that released something."""

    credentials_released: Annotated[
        CredentialsReleased, Field(alias="urn:uuid:01f01c84-f32b-4c1d-9d37-bcae5bdc2175")
    ]


class TokenClaims(Outbound):
    """What every Security Event Token of ours holds; times in seconds, ``txn`` is the case."""

    iss: str
    jti: str
    iat: int
    aud: str
    txn: str
    sub_id: SessionSubject


class RevocationClaims(TokenClaims):
    """Payload of a signed revocation."""

    events: SessionRevokedEvents


class RiskClaims(TokenClaims):
    """Payload of a signed change of risk."""

    events: RiskLevelChangeEvents


class ReleasedClaims(TokenClaims):
    """Payload of a signed word on what an end released."""

    events: CredentialsReleasedEvents


# --------------------------------------------------------------------------- labels: a file, on no topic

LabelKind = Literal["benign", "hijacked", "unseen", "attempted", "acted", "overreach", "complied", "unclear"]
Whence = Literal["dataset", "analyst", "broker", "import"]
CALLS_OF: frozenset[LabelKind] = frozenset({"hijacked", "acted", "overreach", "complied"})
"""Kinds of session that may have a first bad call."""


class Label(Inbound):
    """What somebody says that a session was: one line of a label store (docs/labels.md).

    Attributes
    ----------
    call_seq, call_id
        The first bad call, by its place among the session's calls (from 0), by its id, or by neither: unknown.
    who, key
        Who says so: a data set's name, a person, a broker. ``key`` is the id of the key that signed it, which an analyst's word has; null: nobody signed.
    when
        Of the word itself; null where nothing tells it.
    confidence
        How sure whoever says so is, from 0 to 1; null: not said.
    """

    tenant: Identifier
    session_id: Identifier
    label: LabelKind
    call_seq: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None = None
    call_id: Identifier | None = None
    whence: Whence
    who: Identifier
    key: Identifier | None = None
    when: Moment | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    notes: Annotated[str, Field(max_length=1024)] | None = None
    schema_version: Literal[1] = 1

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.whence == "analyst" and self.key is None:
            raise ValueError(
                "an analyst's word names the key that signed it; take what nobody signed for an import"
            )
        if self.names_a_call and self.label not in CALLS_OF:
            raise ValueError(f"a session that was {self.label} has no first bad call")
        return self

    @property
    def names_a_call(self) -> bool:
        """Whether it says which call was the first bad one."""
        return self.call_seq is not None or self.call_id is not None
