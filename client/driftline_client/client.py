"""The client of a process: one producer, one reader of decisions, any number of sessions."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from driftline_client import contract
from driftline_client.bus import Answers, Headers, Item, Outbox, clients
from driftline_client.outcome import Decision
from driftline_client.posture import Posture, posture_of
from driftline_client.redaction import Redaction, Shown
from driftline_client.session import Session

READY_S = 5.0
"""How long the first event waits until decisions are read, and how much longer than others calls wait at most until it has arrived."""
AT_EXIT_S = 5.0
"""How long a process that forgot to close its client waits for what is on its way."""
_AS_IT_IS = frozenset({"arguments", "result", "call_id", "status", "attestation", "parent_session_id"})
"""Fields that were looked at already, that name an event, or that are signed."""
_log = logging.getLogger("driftline.client")


class Client:
    """Tells Driftline what the agents of this process do, and waits for its decisions. A context manager; safe for threads.

    Parameters
    ----------
    bootstrap : str
        Kafka's address, ``host:port``, several with commas.
    tenant : str or None
        Whose sessions these are.
    wait_s : float
        How long a call waits for its decision.
    on_silence : {"allow", "deny", "raise"} or ByClass
        What it means when none comes in time, for every call or by its class. There is no default: only you know what a call may cost.
    decisions : bool
        Whether decisions are read. Without, nothing is waited for, and nothing is stopped.
    topic, prefix : str
        Your tenant's topic of events, and what stands before all names of topics.
    shown : Shown or None
        What leaves this process of arguments and results; None: all but secrets (`Redaction`). For privacy mode `privacy.Hidden`.
    trace : callable or None
        Gives the headers of each event; None: W3C trace context of OpenTelemetry, where that is imported.
    most_events, most_bytes : int
        What may wait for the bus; beyond it events are lost, and said to be.
    security
        As of kafka-python: ``security_protocol="SASL_SSL", sasl_mechanism=...``.
    """

    def __init__(
        self, bootstrap: str, *, tenant: str | None = None, on_silence: Posture, wait_s: float = 0.5,
        decisions: bool = True, topic: str = "agent.events.v1", prefix: str = "", shown: Shown | None = None,
        trace: Callable[[], Mapping[str, str]] | None = None, most_events: int = 10_000, most_bytes: int = 32 * 1024 * 1024,
        **security: Any,
    ) -> None:  # fmt: skip
        self.tenant = None if tenant is None else contract.identifier("tenant", tenant)
        self._redacts = Redaction()
        self.shown: Shown = self._redacts if shown is None else shown
        self.lost = 0
        self._wait_s, self._on_silence, self._topic = wait_s, posture_of(on_silence), prefix + topic
        self._trace = trace or _of_opentelemetry
        self._pid = os.getpid()
        producer, consumer = clients(bootstrap, security, inspect.signature(type(self)).parameters)
        self._stood: float | None = None
        self._first_sent: float | None = None
        answers = self._answers = Answers(consumer, f"{prefix}agent.decisions.v1") if decisions else None
        self._outbox = Outbox(
            producer, partial(_heard, answers), most_events=most_events, most_bytes=most_bytes
        )
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def session(
        self, intent: str | None, *, session_id: str | None = None, parent: Session | None = None,
        agent: Mapping[str, Any] | None = None, tools: Iterable[Mapping[str, Any]] | None = None,
        credentials: Sequence[Mapping[str, Any]] | None = None, attestation: str | None = None,
        wait_s: float | None = None, on_silence: Posture | None = None, tenant: str | None = None, **more: Any,
    ) -> Session:  # fmt: skip
        """Begin a task: what the user asked for, in their words.

        Parameters
        ----------
        intent : str or None
            None: nobody knows it yet. What else is known is declared, and the session is undeclared until `Session.declare` or `Session.amend`
            says it.
        parent : Session or None
            The session that it works for; it may do no more than that one.
        tenant : str or None
            Whose session it is, where the process serves several; None: the client's own.
        tools : iterable of dict or None
            As the contract has them, as MCP lists them, or as OpenAI's function calling does.
        credentials : sequence of dict or None
            References to what the agent holds, no secrets: ``broker``, ``kind``, ``value`` and more.
        more
            What else the intent says: ``plan``, ``resources``, ``actions``, ``data_classes``, ``budget``.

        Raises
        ------
        TypeError, ValueError
            A name or a shape that the contract does not know. Nothing was sent.
        """
        name = contract.identifier("session_id", session_id or str(uuid.uuid4()), contract.MAX_SESSION)
        root = name if parent is None else parent.root
        session = Session(
            self,
            name,
            root,
            self._wait_s if wait_s is None else wait_s,
            self._on_silence if on_silence is None else on_silence,
            self.tenant if tenant is None else contract.identifier("tenant", tenant),
            None if parent is None else parent.id,
        )
        self._same_process()
        if self._answers is not None:
            self._answers.open(root.encode(), name)
        try:
            if any(each is not None for each in (intent, agent, tools, credentials, attestation)) or more:
                session.declare(
                    intent, agent=agent, tools=tools, credentials=credentials, attestation=attestation, **more
                )
        except Exception:
            self.forget(session)  # nothing was sent: its name may be used
            raise
        return session

    def intent(self, text: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
        """An intent with what its user named."""
        if not isinstance(text, str):
            raise TypeError(f"intent: the user's words as text, not {type(text).__name__}")
        said = {name: value for name, value in more.items() if value is not None}
        if named := self.shown.named(text):
            said["resources"] = [*said.get("resources", ()), *named]
        return {"text": text, **said}

    def expect(self, session: Session, call_id: str, seq: int) -> Future[Decision | None] | None:
        """What will be decided on a call; None where nothing reads decisions."""
        self._same_process()
        if self._answers is None:
            return None
        return self._answers.expect(session.id, call_id, f"{session.id}/{seq}", session.tenant)

    def give_up(self, session: Session, call_id: str) -> None:
        """Nothing will be decided on a call."""
        if self._answers is not None:
            self._answers.give_up(session.id, call_id)

    def send(
        self,
        session: Session,
        kind: str,
        seq: int,
        fields: Mapping[str, Any],
        arrived: Callable[[Exception | None], None],
    ) -> None:
        """Put an event of a session on its way; `arrived` hears what became of it."""
        self._same_process()
        shown = {name: self._shown(name, value) for name, value in fields.items()}
        event = {
            "type": kind, "id": f"{session.id}/{seq}", "seq": seq, "session_id": session.id,
            "root_session_id": session.root, "tenant": session.tenant, "time": datetime.now(UTC).isoformat(), **shown,
        }  # fmt: skip
        value = contract.encoded(event)
        if len(value) > contract.MAX_RECORD:
            raise ValueError(
                f"{kind}: {len(value):,} bytes, of which a record takes {contract.MAX_RECORD:,}; send less"
            )

        def told(error: Exception | None) -> None:
            if error is not None:
                self.lost += 1
                _log.warning("an event of session %s is lost (%s)", session.id, type(error).__name__)
            elif self._stood is None:
                self._stood = time.monotonic()
            arrived(error)

        if self._first_sent is None:
            self._first_sent = time.monotonic()
        self._outbox.put(Item(self._topic, session.root.encode(), value, self._headers(), told))

    def _shown(self, name: str, value: Any) -> Any:
        """A field without secrets; of credentials the digest that Driftline itself would put in a secret's place."""
        if name in _AS_IT_IS:
            return value
        if name in ("credential", "credentials"):
            held = value if isinstance(value, list) else [value]
            shown = [{each: self._redacts.reference(of) for each, of in one.items()} for one in held]
            return shown if isinstance(value, list) else shown[0]
        if isinstance(value, list):  # each is looked at for itself: a large tool hides none behind it
            return [self._redacts.whole(each) for each in value]
        return self._redacts.whole(value)

    def _headers(self) -> Headers:
        try:
            return [(name, str(value).encode()) for name, value in self._trace().items()]
        except Exception as error:  # a host's tracing stops no agent
            _log.warning("no trace context (%s)", type(error).__name__)
            return []

    def _same_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this client was made before the process was forked; make one in each process")

    def forget(self, session: Session) -> None:
        """Hear no more of a session that is over."""
        if self._answers is not None:
            self._answers.close_session(session.root.encode(), session.id)

    @property
    def decides(self) -> bool:
        """Whether decisions are read at all."""
        return self._answers is not None

    def ready(self, timeout_s: float = 0.0) -> bool:
        """Whether decisions are read, so that a call that is told now is heard of; waits for it so long."""
        return self._answers is not None and self._answers.ready(timeout_s)

    def waits_from(self, begun: float) -> float:
        """When the time for a decision that is waited for since `begun` begins (as `time.monotonic`): once an event has arrived.

        While none has it begins now, as long as the first one was sent less than `READY_S` ago.
        """
        if self._stood is not None:
            return max(begun, self._stood)
        now = time.monotonic()
        return max(begun, min(now, (self._first_sent or now) + READY_S))

    @property
    def n_waiting(self) -> int:
        """Calls of open sessions that are not decided yet."""
        return 0 if self._answers is None else self._answers.n_waiting

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all events have arrived or are lost; False if some are still on their way."""
        return self._outbox.flush(timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Give what is on its way so long to arrive, and stop."""
        atexit.unregister(self._at_exit)
        self._outbox.close(timeout_s)
        if self._answers is not None:
            self._answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _heard(answers: Answers | None) -> None:
    """Wait until decisions are read: one on what leaves before would be missed."""
    if answers is not None and not answers.ready(READY_S):
        _log.warning("decisions are not read yet (%s)", answers.why_not or "no answer")


def _close(client: weakref.ref[Client]) -> None:
    if (left := client()) is not None:
        left.close(AT_EXIT_S)


def _of_opentelemetry() -> Mapping[str, str]:
    """``traceparent`` and ``tracestate`` of the span at hand, where the host uses OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
