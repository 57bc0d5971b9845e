"""A session's state: what is known of it, bounded, in one packed record.

The calls and results themselves are not kept: counters, fingerprints and the last calls are. `VERSION`
changes whenever the packed form does; a state of another version is refused (`StateError`) and rebuilt from
the input.
"""

from __future__ import annotations

import msgspec

from models.contracts import Family, Standing, Verdict
from models.errors import StateError

VERSION = 1
WINDOW = 64
"""Calls kept one by one; older ones live on in the counters."""
MAX_PRINTS = 6000
"""Fingerprints of a session's index: 8 bytes each, so 48 KiB at most."""
MAX_SEEN = 1024
"""Event numbers whose content is remembered exactly: 8 bytes each."""
MAX_SEEN_TOMBSTONE = 64
MAX_GAPS = 32
MAX_STEMS = 2000


class CallRow(msgspec.Struct, array_like=True):
    """One call in the window."""

    seq: int
    call: int  # fingerprint of call_id
    tool: str
    action: int  # 0 read, 1 write, 2 execute
    digest: int  # fingerprint of tool and arguments
    time_ms: int
    outward: bool
    returned: bool
    error: bool
    open_world: bool


class CredentialRow(msgspec.Struct, array_like=True):
    """A credential reference declared for the session."""

    broker: str
    kind: str
    value: str
    scope: str | None
    issued_ms: int | None
    expires_ms: int | None


class PathRow(msgspec.Struct, array_like=True):
    """A call that raised the session's standing, for the case's path."""

    decision_id: str
    call_id: str
    seq: int
    tool: str
    verdict: Verdict
    score: int
    time: str


class Dossier(msgspec.Struct, array_like=True):
    """What was decided so far; moves into the tombstone when the session is over."""

    chain: str = ""
    standing: Standing = "quiet"
    change: int = 0
    calm: int = 0
    top_score: int = 0
    revoked: bool = False
    denied: int = 0  # calls that a signal denied
    alerted: bool = False
    first_alert_ms: int = 0
    families: list[Family] = []
    path: list[PathRow] = []


class Session(msgspec.Struct, array_like=True, tag="s"):
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
    credentials: list[CredentialRow] = []
    # the intent
    intent_digest: str | None = None
    intent_words: bytes = b""  # stem prints, uint32
    intent_actions: int = 0  # bits read 1, write 2, execute 4 heard in its words
    allowed_actions: int = 0  # bits, 0 = not restricted
    resources: bytes = b""  # prints of declared resources
    budget_calls: int | None = None
    budget_writes: int | None = None
    budget_ms: int | None = None
    amendments: int = 0
    affinity: bytes = b""  # by tool of the catalogue, to the intent
    lure: bytes = b""  # by tool of the catalogue, to the prose of results
    # provenance
    index: bytes = b""
    folded: int = 0
    cuts: int = 0
    # dedup
    next_seq: int = 0
    gaps: list[list[int]] = []
    seen: bytes = b""  # (number, content) pairs, uint32 each
    # counters
    calls: int = 0
    reads: int = 0
    writes: int = 0
    executes: int = 0
    errors: int = 0
    results: int = 0
    repeats: int = 0
    private_reads: int = 0
    open_reads: int = 0
    outward: int = 0
    orphan_returns: int = 0
    last_private: int = -1
    last_open: int = -1
    bait: int = 0  # most instruction-like line seen in a result, 0 to 1000
    bait_call: int = -1
    tools_seen: list[str] = []
    window: list[CallRow] = []
    record: Dossier = msgspec.field(default_factory=Dossier)


class Tombstone(msgspec.Struct, array_like=True, tag="t"):
    """What is left of a finished session, so that its id is never born twice."""

    version: int
    tenant: str
    root: str
    session: str
    order: int  # ends in this partition before this one
    clock_ms: int
    ended: str
    calls: int
    next_seq: int
    seen: bytes
    release: str
    epoch: int
    agent: str | None
    record: Dossier


_DECODER = msgspec.msgpack.Decoder(Session | Tombstone)
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
    try:
        state: Session | Tombstone = _DECODER.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"a stored session cannot be read ({error}); rebuild it from the input") from error
    if state.version != VERSION:
        raise StateError(f"stored session has version {state.version}, this code reads {VERSION}")
    return state
