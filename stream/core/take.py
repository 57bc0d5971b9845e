"""take, the first pass: each record in order goes into its session, and leaves what is to be ruled on.

No score is read here, so that what a call shows cannot depend on where a batch was cut.
"""

from __future__ import annotations

import copy

from models.contracts import (
    CallHeld,
    CatalogueChanged,
    ControlEvent,
    IntentAmended,
    OpinionGiven,
    ReleaseActivated,
    SessionDeclared,
    ToolCalled,
    ToolReturned,
)
from models.errors import ArtefactError, ContractError, SchemaError, StateError
from models.session import MAX_SEEN, MAX_SEEN_TOMBSTONE, Session, Tombstone
from models.text.fingerprints import content_print, fingerprint
from stream import events
from stream.core.arrival import LATEST_MS, Arrival, arrive
from stream.core.births import Births, shell_of
from stream.core.deployment import Deployment
from stream.core.draft import Draft
from stream.core.ends import Ends
from stream.core.items import Item, Opined
from stream.core.numbering import Novelty, Numbers, number_event
from stream.core.observe import observe_result
from stream.core.references import secrets_in
from stream.core.take_call import CallTaker
from stream.core.take_intent import IntentTaker
from stream.core.take_refusal import RefusalTaker
from stream.core.trees import Trees
from stream.events import Record, dumps, refusal


class Take:
    """Takes the records of one batch into a draft.

    Parameters
    ----------
    deployment : Deployment
        What records are held against.
    draft : Draft
        Of the partition that they belong to.

    Attributes
    ----------
    items : list of Item
        What the records led to, in order.
    """

    def __init__(self, deployment: Deployment, draft: Draft) -> None:
        self.items: list[Item] = []
        self._deployment = deployment
        self._key = deployment.fingerprint_key
        self._draft = draft
        trees = Trees(draft)
        self._ends = Ends(draft, trees, self.items)
        self._births = Births(draft, trees, self._ends, self.items)
        self._refusals = RefusalTaker(deployment, draft, self._births, self.items)
        self._intents = IntentTaker(deployment, draft, trees, self.items)
        self._calls = CallTaker(self._key, draft, trees, self.items)
        # Of the session at hand, before its record: one that fails must not use up its own.
        self._numbers = Numbers(b"", 0, [])

    def take(self, record: Record) -> None:
        """Take one record: into its session, or to quarantine."""
        ledger = self._draft.ledger
        if record.timestamp_type == "append" and record.timestamp_ms > ledger.clock_ms:
            ledger.clock_ms = min(record.timestamp_ms, LATEST_MS)
            self._ends.expire()
        arrival: Arrival | None = None
        try:
            parsed = events.parse(record.value)
            event = parsed.event
            if isinstance(event, ControlEvent):
                self._control(record, event)
                return
            tenants, n_partitions = self._deployment.tenants, self._draft.base.n_partitions
            arrival = arrive(record, event, parsed, tenants, n_partitions, self._draft.limits)
            if arrival.event is not event:
                self._note_secrets(arrival)
            self._take_event(arrival)
            self._ends.keep_within_weight(arrival.key)
        except ContractError as error:
            self._refuse(record, error.reason, error.detail)
        except (ArtefactError, StateError):
            raise
        except Exception as error:
            # Unforeseen: the record goes to quarantine, its session starts afresh, marked, alike live and
            # in replay. The type alone is told: messages may carry payload.
            self._refuse(record, "internal", type(error).__name__)
            self._draft.count("internal")
            if arrival is not None:
                self._births.begin_afresh(arrival, self._numbers)

    def _note_secrets(self, arrival: Arrival) -> None:
        """Count an event whose references held secrets, and leave word of them."""
        self._draft.count("secret_reference")
        for found in secrets_in(arrival.event, arrival.tenant):
            self._draft.note_secret(found)

    def _refuse(self, record: Record, reason: str, detail: str) -> None:
        self._draft.count("quarantined")
        self.items.append(refusal(record, reason, detail))
        try:
            self._refusals.take(record, reason, detail)
        except (ArtefactError, StateError):
            raise
        except Exception:
            # The record is in quarantine with its reason. What fails beside that must not stop the partition.
            self._draft.count("internal")

    def _control(self, record: Record, event: ControlEvent) -> None:
        if not isinstance(event, ReleaseActivated):
            return  # a tick only lets the clock be read, which has happened; a forged one moves nothing
        ledger = self._draft.ledger
        activation = self._deployment.activations.read(event.token)
        if activation.topic != record.topic or activation.partition != record.partition:
            raise SchemaError("control", "the activation names another topic or partition")
        if activation.epoch <= ledger.epoch:
            self._draft.count("stale_activation")
            return
        self._draft.activate(activation)

    def _take_event(self, arrival: Arrival) -> None:
        """Find or begin the event's session, see that the event is new, and fold it in."""
        if isinstance(arrival.event, OpinionGiven):
            self._opinion(arrival, arrival.event)
            return
        draft, seq = self._draft, arrival.event.seq
        number, content = self._number(arrival), self._content(arrival)
        state, clock_ms = self._state(arrival)
        if isinstance(state, Tombstone):
            novelty = number_event(state, number, content, seq, MAX_SEEN_TOMBSTONE)
            self._take_after_end(arrival, state, novelty, clock_ms)
            return
        session = state if state is not None else self._births.begin(arrival, clock_ms)
        self._numbers = Numbers(session.seen, session.next_seq, session.gaps)
        novelty = number_event(session, number, content, seq, MAX_SEEN)
        if novelty == "duplicate":
            draft.count("duplicate")
            return
        session.offset, session.clock_ms = arrival.record.offset, max(session.clock_ms, clock_ms)
        draft.touch(arrival.key, session)
        self._fold(arrival, session, novelty)

    def _opinion(self, arrival: Arrival, event: OpinionGiven) -> None:
        """Take a second opinion: it is no step of its session, has no number there, and neither keeps that open nor ends it."""
        opinions = self._deployment.opinions
        if opinions is None:
            raise SchemaError("opinion", "no key is trusted to give second opinions")
        opinion = opinions.read(event.token)
        if (opinion.tenant, opinion.root_session_id, opinion.session_id) != (
            arrival.tenant,
            arrival.root,
            arrival.session,
        ):
            raise SchemaError("opinion", "the opinion is not valid: it is on a call of another session")
        state = self._draft.state(arrival.key)
        if state is None:
            self._draft.count("opinion_unmatched")
            return
        session = state if isinstance(state, Session) else shell_of(state, arrival)
        self._numbers = Numbers(session.seen, session.next_seq, session.gaps)
        self._draft.changed[arrival.key] = None
        now_ms = max(session.clock_ms, self._draft.ledger.clock_ms if arrival.stamped else 0)
        self.items.append(Opined(copy.copy(session), opinion, self._draft.release(session), now_ms))

    def _number(self, arrival: Arrival) -> int:
        """What an event is known again by: its number within the session, or its id."""
        event = arrival.event
        return fingerprint(f"#{event.seq}" if event.seq is not None else f"@{event.id}", self._key)

    def _content(self, arrival: Arrival) -> int:
        """What tells two events of one number apart: all that they say but their id."""
        try:
            return content_print(dumps(arrival.document), self._key)
        except TypeError as error:  # before any state is touched: a session keeps its own
            raise SchemaError("schema", "nested deeper than 250 levels") from error

    def _state(self, arrival: Arrival) -> tuple[Session | Tombstone | None, int]:
        """The event's session, ended first if it was idle for too long, and the clock at the event."""
        draft = self._draft
        state = draft.state(arrival.key)
        if not isinstance(state, Session):
            return state, draft.ledger.clock_ms if arrival.stamped else arrival.time_ms
        # A worker that lacks the session's release stops here, whatever came.
        idle_ms = draft.release(state).policy.limits.idle_minutes * 60_000
        if arrival.stamped:
            return state, draft.ledger.clock_ms
        # Without the broker's stamps each session goes by its own clock.
        clock_ms = max(state.clock_ms, arrival.time_ms)
        if arrival.time_ms >= state.clock_ms + idle_ms:
            return self._ends.end(arrival.key, state, "idle", state.clock_ms + int(idle_ms)), clock_ms
        return state, clock_ms

    def _take_after_end(self, arrival: Arrival, tomb: Tombstone, novelty: Novelty, clock_ms: int) -> None:
        if novelty == "duplicate":
            self._draft.count("duplicate")
            return
        self._draft.changed[arrival.key] = None
        if isinstance(arrival.event, ToolCalled):
            self._calls.take_after_end(arrival, arrival.event, tomb, novelty, clock_ms)
        else:
            self._draft.count("after_end")

    def _fold(self, arrival: Arrival, session: Session, novelty: Novelty) -> None:
        event = arrival.event
        if isinstance(event, SessionDeclared):
            self._intents.declare(arrival, event, session)
        elif isinstance(event, IntentAmended):
            self._intents.amend(arrival, event, session)
        elif isinstance(event, CatalogueChanged):
            self._intents.change(arrival, event, session)
        elif isinstance(event, ToolCalled):
            self._calls.take(arrival, event, session, novelty)
        elif isinstance(event, ToolReturned):
            self._observe(event, session)
        elif isinstance(event, CallHeld):
            self._draft.count(event.how)
        else:
            self._ends.end_tree(arrival.key, session, session.clock_ms)

    def _observe(self, event: ToolReturned, session: Session) -> None:
        if event.status == "not_run":
            session.results += 1  # it has its answer, of which nothing came from outside
            return
        release = self._draft.release(session)
        unusual = observe_result(
            session,
            event.call_id,
            event.status,
            event.result,
            self._draft.catalogues.of(session, release),
            release.readers,
            self._key,
        )
        for name in unusual:
            self._draft.count(name)
