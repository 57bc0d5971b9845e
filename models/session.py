"""A session's state: what is known of it, bounded, in one packed record.

The calls and results themselves are not kept: counters, fingerprints, the last calls, and where the release has a reader some of
their words are. `VERSION`
changes whenever the packed form does; a state of another version is refused (`StateError`) and rebuilt from
the input.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from models.contracts import Family, KnownBy, Standing, Verdict
from models.errors import StateError
from models.heads.handover import ANSWERS
from models.reading.memory import MAX_FETCHER, MAX_HEARD, MAX_INTENT
from models.text.embedding import DIMS
from models.text.meaning import LINE, MAX_CLAUSES, MAX_LINES
from models.text.quotes import MAX_ASKED_BYTES

VERSION = 23
MAX_STATE = 65_536
"""Bytes of a packed session, whatever its events hold: what the rest leaves of them bounds its index."""
WINDOW = 64
"""Calls kept one by one; older ones live on in the counters."""
MAX_PRINTS = 6000
"""Fingerprints of a session's index: 8 bytes each."""
MAX_SEEN = 1024
"""Event numbers whose content is remembered exactly: 8 bytes each."""
MAX_SEEN_TOMBSTONE = 64
MAX_GAPS = 32
MAX_STEMS = 1000
MAX_NAMES = 256
"""Fingerprints of what an intent names: 4 bytes each."""
LISTED = 255
"""In a clause's place: what an intent names only in its list of resources."""
MAX_ADDRESSED = 64
"""Mail addresses that an intent names, and accounts: 4 bytes each. An intent that names more is held to none."""
MAX_DATA_CLASSES = 32
"""Classes of data that a session may touch: the first that its intent lists."""
MAX_SAID = 8
"""Latest calls whose words are kept, to know them again in their answers."""
MAX_SAID_PRINTS = 160
"""Fingerprints of one call's arguments that are kept."""
MAX_SAID_TOTAL = 480
"""... of all of them together."""
MAX_CHANGED = 64
"""Tools declared otherwise than at first that are known again: 4 bytes each."""
MAX_GONE = 32
"""Tools that left whose declaration is known again: 8 bytes each."""
MAX_DISCOVERED = 128
"""Latest tools that answers named: 4 bytes each."""
MAX_CREDENTIALS = 16
MAX_CREDENTIAL_BYTES = 16_384
"""Bytes of all credential references of a session together: one alone may have 7 kB."""
HELD = 8
"""Bytes of a credential's print, by which sessions that hold the same one are found."""
_PRINT = 5
"""Bytes of one packed print, at most."""
MAX_PATH = 16
MAX_PATH_BYTES = 2048
"""Bytes of a dossier's path, which lives on in the tombstone: 16 calls with ids of usual length."""

MAX_HEADLINE = 240
"""Bytes of an alert's title that its case keeps."""
MAX_TOOL, MAX_TOOL_BYTES = 60, 384
"""Characters of a called tool's name that are kept, and bytes of all of them: of further tools alerts tell the number of the call."""

Refusal = Literal[
    "unreadable",  # no compact JWS with an object in it
    "issuer",  # of none that is known
    "signature",  # by none of its issuer's keys, or by an algorithm that does not count
    "type",  # a token of another kind
    "claims",  # one is missing, or of another form
    "audience",  # for others than Driftline, or for others too
    "expired",
    "early",  # issued later than now
    "long_lived",
    "proof",  # tied to what no record can show
]
"""Why an attestation tells nothing, see `stream.attestations`."""
Fault = (
    Refusal
    | Literal[
        "unbound",  # it names no session, and the policy demands that it does
        "agent",  # it names another agent than the declaration
        "user",  # ... another user
        "signed",  # the key that it names did not sign the event
        "replayed",  # it names another session
        "shared",  # another open session came with it
    ]
)
"""What was wrong with an attestation of a session."""


class CallRow(msgspec.Struct, array_like=True, gc=False):
    """One call in the window."""

    seq: int
    call: int  # fingerprint of call_id
    action: int  # 0 read, 1 write, 2 execute
    digest: int  # fingerprint of tool and arguments
    time_ms: int
    open_world: bool
    named: (
        int  # how far its arguments lead back to the intent, in thousandths, see `models.evidence.delegation`
    )
    clause: int  # the clause of the intent that it was made for, -1 without any
    discovers: bool  # its tool looks up tools, see `models.tools.discovery`
    tool: int  # its name's place in `Session.tools`; -1 where that has no room for it
    answer: int = 0  # print of all that answered it, see `answer_print`; 0: nothing did


class SaidRow(msgspec.Struct, array_like=True, gc=False):
    """What a call said: prose of its answer that repeats it tells nothing."""

    call: int  # fingerprint of call_id
    prints: bytes  # of its arguments, uint32 each
    fetcher: bytes = b""  # tool and arguments in a few word pieces, where a reader reads


class CredentialRow(msgspec.Struct, array_like=True, gc=False):
    """A credential reference declared for the session."""

    broker: str
    kind: str
    value: str
    scope: str | None
    issued_ms: int | None
    expires_ms: int | None
    for_task: bool | None  # issued for this session's task alone; None: as the policy says
    issued_to: str | None = None  # the workload that it was issued to
    spent: bool = False  # it was issued for another task alone, which was over when this one was declared

    @property
    def scopes(self) -> list[str]:
        """What its scope consists of: words as OAuth has them (RFC 6749, 3.3), or a document, which is one."""
        scope = (self.scope or "").strip()
        return [scope] if scope.startswith("{") else list(dict.fromkeys(scope.split()))


class PathRow(msgspec.Struct, array_like=True, gc=False):
    """A call that raised the session's standing, for the case's path."""

    decision_id: bytes
    call_id: str
    seq: int
    tool: str
    verdict: Verdict
    score: int
    time_ms: int
    served: bool | None = None  # what a second opinion says, where one was given


class Terms(msgspec.Struct, array_like=True, gc=False):
    """What a session may do, and what it and all that work for it did; outlives it for those that go on below it."""

    actions: int = 0  # bits as `Session.intent_actions`, 0 = not restricted
    budget_calls: int | None = None
    budget_writes: int | None = None
    budget_ms: int | None = None
    calls: int = 0
    writes: int = 0  # calls of these that write or execute
    data: list[int] = []  # prints of the classes of data that it may touch, empty = not restricted


class Identity(msgspec.Struct, array_like=True, gc=False):
    """Who a session was attested to be, and what was wrong with attestations of it."""

    issuer: str = ""  # empty: nobody attested it
    agent: str = ""
    principal: str | None = None
    expires_ms: int = 0
    token: bytes = b""  # print of the token, `HELD` bytes
    bound: bool = False  # the token names this session
    faults: list[Fault] = []
    unattested: bool = (
        False  # something came without the attestation that the policy demands, and did not count
    )


class Dossier(msgspec.Struct, array_like=True, gc=False):
    """What was decided so far; moves into the tombstone when the session is over."""

    chain: str = ""
    standing: Standing = "quiet"
    change: int = 0
    calm: int = 0
    top_score: int = 0
    revoked: bool = False
    withheld: bool = False  # it was revoked in shadow alone, so that nothing was taken away
    denied: int = 0  # calls that a signal denied
    told_denied: int = 0  # of these, in shadow, so that the agent did not hear of it
    alerted: bool = False
    over: bool = False  # its end was told, and no call after it
    settled: bool = False  # more than a score speaks against it, or an opinion does: none closes its case
    first_alert_ms: int = 0
    families: list[Family] = []
    path: list[PathRow] = []
    # title of its latest alert, and the gravest severity and confidence that were told: what is told of its end has no other
    headline: str = ""
    severity: int = 0
    confidence: int = 0


class Session(msgspec.Struct, array_like=True, tag="s", gc=False):
    """The window of one open session."""

    version: int
    tenant: str
    root: str
    session: str
    born: int  # offset of its first record
    offset: int  # offset of its last record
    clock_ms: int  # the clock at its last record
    started_ms: int
    release: str
    epoch: int
    declared: bool = False
    partial: bool = False
    unjudged: bool = False
    parent: str | None = None
    agent: str | None = None
    spiffe: str | None = None
    user: str | None = None
    catalogue: str | None = None
    weight: int = 0  # `Session.weighs` after its last record
    holds: bytes = b""  # prints of its credentials, `HELD` bytes each
    credentials: list[CredentialRow] = []
    # the intent
    intent_digest: str | None = None
    intent_words: bytes = b""  # stem prints, uint32
    vague: bool = True  # neither the intent nor an amendment tells anything, see `models.heads.vagueness`
    names: bytes = b""  # prints of what the intent names, uint32
    name_clauses: bytes = b""  # for each, the clause that names it, or `LISTED`
    clauses: bytes = b""  # its clauses' vectors, see `models.text.meaning`
    handing: bytes = b""  # by clause: what its sentence hands over and wants, see `models.heads.handover`
    wants: bytes = b""  # what the intent as a whole hands over and wants, likewise
    served: bytes = b""  # by clause: writes that were nearest to it
    intent_actions: int = 0  # bits read 1, write 2, execute 4 heard in its words
    terms: Terms = msgspec.field(default_factory=Terms)
    affinity: bytes = b""  # by tool of the catalogue, to the intent
    likeness: bytes = b""  # by tool of the catalogue, in meaning, to the nearest clause
    lure: bytes = b""  # by tool of the catalogue, to the prose of results
    lines: bytes = b""  # lines of prose that results said, see `models.text.meaning`
    nearness: int = 0  # sum over the calls of the cosine to their nearest clause
    work: bytes = b""  # mean direction of what the calls meant, see `models.text.meaning`
    # provenance
    index: bytes = b""
    said: list[SaidRow] = []
    # dedup
    next_seq: int = 0
    gaps: list[list[int]] = []
    seen: bytes = b""  # (number, content) pairs, uint32 each
    # counters
    calls: int = 0
    results: int = 0
    open_reads: int = 0
    last_private: int = -1
    last_open: int = -1
    bait: int = 0  # most instruction-like line seen in a result, 0 to 1000
    bait_call: int = -1
    window: list[CallRow] = []
    dossier: Dossier = msgspec.field(default_factory=Dossier)
    unsigned: bool = False  # a declaration or amendment came without the signature that the policy demands
    signed_seq: int = -1  # highest number of a signed declaration or amendment that counted
    named: int = 0  # bytes of names and credentials, see `measure_names`
    told: bool = False  # some answer said anything
    refused: bool = False  # the contract refused a declaration of it
    # what became of the tools
    offered: bool = False  # a declaration told all tools that there were
    changed: bytes = b""  # prints of tools that are declared otherwise than at first, uint32
    gone: bytes = b""  # (name, declaration) prints of tools that left, uint32 each
    discovered: bytes = b""  # prints of tools that an answer named, uint32
    # where private data lives, see `models.evidence.systems`
    private_system: int = 0  # print of the system that the latest private call reached; 0 where nothing tells
    private_apart: bool = False  # an earlier private call reached another one, or none that is known
    # in words, where a reader reads, see `models.reading.memory`
    asked: bytes = b""  # the intent's sentences
    heard: bytes = b""  # what answers said
    # prints of the addresses that the intent names, uint32 each, see `models.text.recipients`
    mails: bytes = b""
    accounts: bytes = b""
    user_issuer: str | None = None  # who issued the user's identity, see `models.contracts.Agent`
    identity: Identity | None = None  # None: no attestation came, and none was demanded
    # for whoever reads an alert
    quote: str = ""  # what was asked, as far as the policy lets alerts quote it
    tools: list[str] = []  # names of the tools that were called, each once
    intent_by: KnownBy | None = None  # how the intent is known, as its declaration says

    @property
    def usable(self) -> bool:
        """Whether an intent was declared that says enough to judge against."""
        return self.declared and not self.vague

    def weighs(self) -> int:
        """About how many bytes the session takes, by what its own records filled it with.

        What was decided of it is left out (10 KiB at most): that stands only once a batch is over, and a limit
        must be reached at the same record whatever the batches.
        """
        return (
            2048
            + self.named
            + len(self.index)
            + len(self.seen)
            + len(self.intent_words)
            + len(self.names)
            + len(self.name_clauses)
            + len(self.clauses)
            + len(self.lines)
            + len(self.work)
            + len(self.affinity)
            + len(self.likeness)
            + len(self.lure)
            + len(self.changed)
            + len(self.gone)
            + len(self.discovered)
            + _PRINT * len(self.terms.data)
            + len(self.mails)
            + len(self.accounts)
            + len(self.asked)
            + len(self.heard)
            + sum([16 + len(row.prints) + len(row.fetcher) for row in self.said])
            + 48 * len(self.window)
            + len(self.quote)
            + sum(map(len, self.tools))
        )


class Tombstone(msgspec.Struct, array_like=True, tag="t", gc=False):
    """What is left of a finished session, so that its id is never born twice.

    Its names are not kept: what comes to it brings them, since the state's key is made of them.
    """

    version: int
    order: int  # ends in this partition before this one
    clock_ms: int
    spent: bytes  # prints of the credentials that were issued for its task alone and went with it, `HELD` bytes each
    ended: str
    calls: int
    next_seq: int
    seen: bytes
    release: str
    epoch: int
    agent: str | None
    dossier: Dossier
    started_ms: int
    parent: str | None
    terms: Terms


_MEANING = MAX_CLAUSES * (DIMS + ANSWERS + 1) + MAX_LINES * LINE + 5 * MAX_NAMES + DIMS
_SAID = 4 * MAX_SAID_TOTAL + 16 * MAX_SAID
_FETCHERS = (2 * MAX_FETCHER + 2) * MAX_SAID
_WORDS = 2 * (MAX_INTENT + MAX_HEARD) + _FETCHERS
_TOOLS = 4 * MAX_CHANGED + 8 * MAX_GONE + 4 * MAX_DISCOVERED + 32
_ADDRESSED = 8 * MAX_ADDRESSED + 8
_TOLD = MAX_ASKED_BYTES + MAX_HEADLINE + MAX_TOOL_BYTES
_BESIDE_NAMES = (
    WINDOW * 44
    + 8 * MAX_SEEN
    + 19 * MAX_GAPS
    + MAX_PATH_BYTES
    + _MEANING
    + _SAID
    + _TOOLS
    + _ADDRESSED
    + _TOLD
    + 1024
)
"""Bytes of a session's window, events, gaps, path, meaning, what calls said, what became of tools, what alerts tell, numbers and digests at most, headers included."""
_IDENTITY = 256
"""Bytes of a packed `Identity` beside its names at most, its print among what the session holds included."""
SURE_PRINTS = 1344
"""Fingerprints that any session has room for."""


def print_limit(session: Session) -> int:
    """Fingerprints that `session` has room for beside everything else that it holds."""
    words = _words_limit(session) if session.asked else 0
    return min(MAX_PRINTS, (MAX_STATE - _used(session) - words) // 8)


def may_forget(session: Session) -> bool:
    """Whether the index of `session` may have dropped something: it holds what `Index.trim` leaves of a full one."""
    limit = print_limit(session)
    return len(session.index) // 8 >= limit - limit // 8


def asked_limit(session: Session) -> int:
    """Bytes of its intent's words that `session` has room for; without them it keeps none of answers."""
    return max(0, min(2 * MAX_INTENT, _words_limit(session) - _FETCHERS))


def heard_limit(session: Session) -> int:
    """Bytes of answers' words that `session` has room for."""
    room = _words_limit(session) - _FETCHERS - len(session.asked)
    return max(0, min(2 * MAX_HEARD, room)) if session.asked else 0


def _words_limit(session: Session) -> int:
    """Bytes of words that there is room for beside the prints that are sure and everything else."""
    return max(0, min(_WORDS, MAX_STATE - _used(session) - 8 * SURE_PRINTS))


def _used(session: Session) -> int:
    of_intent = len(session.intent_words) + _PRINT * len(session.terms.data)
    return _BESIDE_NAMES + session.named + of_intent + 3 * len(session.affinity)


def measure_names(session: Session) -> None:
    """Note the bytes of the session's names and credentials, after one of them was set."""
    names = (
        session.tenant,
        session.root,
        session.session,
        session.parent,
        session.agent,
        session.spiffe,
        session.user,
        session.user_issuer,
    )
    session.named = sum(len(name.encode()) for name in names if name is not None)
    session.named += sum(map(credential_size, session.credentials))
    if (identity := session.identity) is not None:
        told = (identity.issuer, identity.agent, identity.principal or "")
        session.named += _IDENTITY + sum(len(text.encode()) for text in told)


def credential_size(row: CredentialRow) -> int:
    """Bytes of a packed credential reference, at most."""
    told = (row.broker, row.kind, row.value, row.scope or "", row.issued_to or "")
    return 35 + 2 * (row.issued_to is not None) + HELD + sum(len(text.encode()) for text in told)


def path_within(path: list[PathRow]) -> list[PathRow]:
    """The newest rows of `path` that its limits leave room for."""
    room = MAX_PATH_BYTES
    for kept, row in enumerate(reversed(path)):
        room -= 57 + len(row.call_id.encode()) + len(row.tool.encode())
        if room < 0 or kept == MAX_PATH:
            return path[len(path) - kept :]
    return path


class Head(msgspec.Struct, array_like=True, tag="s", gc=False):
    """The first fields of a packed `Session`, in its order: all that a partition's own orders are made of."""

    version: int
    tenant: str
    root: str
    session: str
    born: int
    offset: int
    clock_ms: int
    started_ms: int
    release: str
    epoch: int
    declared: bool
    partial: bool
    unjudged: bool
    parent: str | None
    agent: str | None
    spiffe: str | None
    user: str | None
    catalogue: str | None
    weight: int
    holds: bytes


class Stone(msgspec.Struct, array_like=True, tag="t", gc=False):
    """The first fields of a packed `Tombstone`, likewise."""

    version: int
    order: int
    clock_ms: int
    spent: bytes


_DECODER = msgspec.msgpack.Decoder(Session | Tombstone)
_PLACES = msgspec.msgpack.Decoder(Head | Stone)
_ENCODER = msgspec.msgpack.Encoder()


def dump(state: Session | Tombstone) -> bytes:
    """Packed form of `state`."""
    return _ENCODER.encode(state)


def load(raw: bytes) -> Session | Tombstone:
    """State of a packed form.

    Raises
    ------
    StateError
        Unreadable, or of another version.
    """
    state: Session | Tombstone = unpacked(_DECODER, raw, "a stored session", VERSION)
    return state


def place(raw: bytes) -> Head | Stone:
    """The first fields of a packed form; raises as `load` does, and costs a fraction of it."""
    state: Head | Stone = unpacked(_PLACES, raw, "a stored session", VERSION)
    return state


def unpacked(decoder: msgspec.msgpack.Decoder[Any], raw: bytes, what: str, version: int) -> Any:
    """What `decoder` makes of a packed form; raises `StateError`, naming `what`, as `load` does."""
    try:
        state = decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"{what} cannot be read ({error}); rebuild it from the input") from error
    if state.version != version:
        raise StateError(f"{what} has version {state.version}, this code reads {version}")
    return state
