"""The client of a process: one producer, one reader of decisions, any number of sessions."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from driftline_client import contract
from driftline_client.bus import Answers, Headers, Item, Outbox, clients
from driftline_client.outcome import Decision, OnSilence
from driftline_client.redaction import Redaction, Shown
from driftline_client.session import Session

READY_S = 5.0
"""How long the first session waits until decisions are read."""
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
    on_silence : {"allow", "deny", "raise"}
        What it means when none comes in time. There is no default: only you know what a call may cost.
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
        self, bootstrap: str, *, tenant: str | None = None, on_silence: OnSilence, wait_s: float = 0.5,
        decisions: bool = True, topic: str = "agent.events.v1", prefix: str = "", shown: Shown | None = None,
        trace: Callable[[], Mapping[str, str]] | None = None, most_events: int = 10_000, most_bytes: int = 32 * 1024 * 1024,
        **security: Any,
    ) -> None:  # fmt: skip
        if on_silence not in ("allow", "deny", "raise"):
            raise ValueError(f"on_silence is {on_silence!r}; expected allow, deny or raise")
        self.tenant = None if tenant is None else contract.identifier("tenant", tenant)
        self._redacts = Redaction()
        self.shown: Shown = self._redacts if shown is None else shown
        self.lost = 0
        self._wait_s, self._on_silence, self._topic = wait_s, on_silence, prefix + topic
        self._trace = trace or _of_opentelemetry
        producer, consumer = clients(bootstrap, security)
        self._outbox = Outbox(producer, most_events=most_events, most_bytes=most_bytes)
        self._answers = Answers(consumer, f"{prefix}agent.decisions.v1") if decisions else None

    def session(
        self, intent: str, *, session_id: str | None = None, parent: Session | None = None,
        agent: Mapping[str, Any] | None = None, tools: Iterable[Mapping[str, Any]] | None = None,
        credentials: Sequence[Mapping[str, Any]] | None = None, attestation: str | None = None,
        wait_s: float | None = None, on_silence: OnSilence | None = None, **more: Any,
    ) -> Session:  # fmt: skip
        """Begin a task: what the user asked for, in their words.

        Parameters
        ----------
        parent : Session or None
            The session that it works for; it may do no more than that one.
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
            self, name, root, self._wait_s if wait_s is None else wait_s, on_silence or self._on_silence
        )
        fields = {
            "agent": None if agent is None else dict(agent),
            "tools": None if tools is None else [contract.tool(each) for each in tools],
            "credentials": None if credentials is None else [dict(each) for each in credentials],
            "parent_session_id": None if parent is None else parent.id,
            "attestation": attestation,
        }
        said = {"intent": self.intent(intent, more), **{k: v for k, v in fields.items() if v is not None}}
        contract.check("session.declared", said)
        if self._answers is not None:
            self._answers.open(root.encode())
            if not self._answers.ready(READY_S):
                _log.warning("decisions are not read yet (%s)", self._answers.why_not or "no answer")
        session._send("session.declared", **said)
        return session

    def intent(self, text: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """An intent as it leaves."""
        if not isinstance(text, str):
            raise TypeError(f"intent: the user's words as text, not {type(text).__name__}")
        said = {name: value for name, value in more.items() if value is not None}
        if named := self.shown.named(text):
            said["resources"] = [*said.get("resources", ()), *named]
        return {"text": self._redacts.text(text), **said}

    def expect(self, session_id: str, call_id: str) -> Future[Decision] | None:
        """What will be decided on a call; None where nothing reads decisions."""
        return None if self._answers is None else self._answers.expect(session_id, call_id)

    def send(
        self,
        session: Session,
        kind: str,
        seq: int,
        fields: Mapping[str, Any],
        arrived: Callable[[Exception | None], None],
    ) -> None:
        """Put an event of a session on its way; `arrived` hears what became of it."""
        event = {
            "type": kind, "id": f"{session.id}/{seq}", "seq": seq, "session_id": session.id,
            "root_session_id": session.root, "tenant": self.tenant, "time": datetime.now(UTC).isoformat(), **fields,
        }  # fmt: skip
        headers: Headers = [(name, str(value).encode()) for name, value in self._trace().items()]

        def told(error: Exception | None) -> None:
            if error is not None:
                self.lost += 1
                _log.warning("an event of session %s is lost (%s)", session.id, type(error).__name__)
            arrived(error)

        self._outbox.put(Item(self._topic, session.root.encode(), contract.encoded(event), headers, told))

    def forget(self, session: Session) -> None:
        """Hear no more of a session that is over."""
        if self._answers is not None:
            self._answers.close_session(session.root.encode(), session.id)

    @property
    def n_waiting(self) -> int:
        """Calls of open sessions that are not decided yet."""
        return 0 if self._answers is None else self._answers.n_waiting

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all events have arrived or are lost; False if some are still on their way."""
        return self._outbox.flush(timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Give what is on its way so long to arrive, and stop."""
        self._outbox.close(timeout_s)
        if self._answers is not None:
            self._answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_opentelemetry() -> Mapping[str, str]:
    """``traceparent`` and ``tracestate`` of the span at hand, where the host uses OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
