"""Copy this file next to your agent. It needs kafka-python 3.0 or later and nothing of Driftline."""

# ruff: noqa: TID251  (this is an agent's side of the bus: it has a clock)

import difflib
import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.partitioner.default import murmur2

Action = Literal["read", "write", "execute"]
CREDENTIAL = ("broker", "kind", "value", "scope", "issued", "expires", "issued_for_task", "issued_to")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "session.declared": ("agent", "intent", "tools", "credentials", "parent_session_id", "attestation"),
    "intent.amended": ("intent", "attestation"),
    "catalogue.changed": ("tools", "left", "attestation"),
    "tool.called": ("call_id", "tool", "arguments", "credential"),
    "tool.returned": ("call_id", "status", "result"),
    "session.ended": ("reason",),
    "intent": ("text", "plan", "resources", "actions", "data_classes", "budget"),
    "budget": ("calls", "writes", "seconds"),
    "agent": ("id", "spiffe_id", "user", "user_issuer", "framework", "model"),
    "tools": ("name", "server", "description", "parameters", "annotations"),
    "credentials": CREDENTIAL,
    "credential": CREDENTIAL,
}
"""What the contract knows. Consumers ignore other names: a misspelt one would be sent, and never read."""


LISTS = ("tools", "credentials", "plan", "resources", "actions", "data_classes", "left")
OBJECTS = ("intent", "budget", "agent", "credential", "arguments")


def check(where: str, fields: Mapping[str, Any]) -> None:
    """`TypeError` for a name that `where` lacks or a value of another shape, `ValueError` for an action that is none."""
    for name, value in fields.items():
        if name not in FIELDS[where]:
            close = difflib.get_close_matches(name, FIELDS[where], 1)
            mend = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(FIELDS[where])}"
            raise TypeError(f"{where} has no field {name!r}; {mend}")
        if value is None and name != "arguments":
            continue
        shaped = f"an object with {', '.join(FIELDS[name])}" if name in FIELDS else "an object"
        if name in LISTS and not isinstance(value, list | tuple):
            raise TypeError(f"{name}: a list, not {type(value).__name__}")
        if name in OBJECTS and not isinstance(value, dict):  # the value is not shown: it may be a secret
            raise TypeError(f"{name}: {shaped}, not {type(value).__name__}")
        if name == "attestation" and not isinstance(value, str):
            raise TypeError(f"attestation: the token as text, not {type(value).__name__}")
        if name == "actions" and not set(value) <= set(get_args(Action)):
            raise ValueError(f"actions are read, write and execute, not {value!r}")
        if name in FIELDS:
            for part in value if name in LISTS else (value,):
                if not isinstance(part, dict):
                    raise TypeError(f"{name}: each is {shaped}, not {type(part).__name__}")
                check(name, part)


def attested(token: str | None) -> dict[str, str]:
    """The field of an attestation, if there is one. Its sole audience must be Driftline: whoever reads the bus reads it."""
    return {} if token is None else {"attestation": token}


def encoded(event: Mapping[str, Any]) -> bytes:
    """JSON that every reader takes; NaN, infinities and numbers past a double go as text, half a character as `?`.

    A record that no reader takes would be a call that nobody answers, and that runs unjudged where silence allows it.
    """
    said = json.loads(
        json.dumps(event, default=str),
        parse_constant=str,
        parse_int=lambda digits: int(digits) if len(digits) < 309 else digits,
    )
    return json.dumps(said, ensure_ascii=False).encode(errors="replace")


class Emitter:
    """One agent session on the bus. `consumer` is needed only by `wait_for_decision`; `topic` is your tenant's."""

    def __init__(
        self, producer: Any, session_id: str, *, root_session_id: str | None = None,
        tenant: str | None = None, consumer: Any = None, prefix: str = "", topic: str = "agent.events.v1",
    ) -> None:  # fmt: skip
        self.producer, self.consumer, self.topic = producer, consumer, prefix + topic
        self.session_id, self.root, self.tenant = session_id, root_session_id or session_id, tenant
        told = (("session_id", session_id, 230), ("root_session_id", self.root, 256), ("tenant", tenant, 256))
        for name, text, longest in told:  # `id` and `call_id` add a number to the session's
            if text is not None and not (isinstance(text, str) and 0 < len(text) <= longest):
                raise ValueError(f"{name}: a text of 1 to {longest} characters, not {text!r:.40}")
        self.seq = self.calls = 0
        self.decided: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()  # numbers must reach the log in their order
        self.last: Any = None  # the producer's future of the last event
        self.lost: Exception | None = None  # why an event did not arrive
        if consumer is not None:  # from now on, and only the partition that holds this tree of sessions
            decisions = prefix + "agent.decisions.v1"
            known = consumer.partitions_for_topic(decisions)
            if not known:
                raise LookupError(
                    f"{decisions} is missing (run `driftline topics create`), or this principal may not read it"
                )
            place = TopicPartition(decisions, (murmur2(self.root.encode()) & 0x7FFFFFFF) % len(known))
            consumer.assign([place])
            consumer.seek_to_end()
            consumer.position(place)  # finds the end now, not at the first poll

    def _send(self, kind: str, **fields: Any) -> None:
        check(kind, fields)
        self._whole()
        event = {"type": kind, "id": f"{self.session_id}/{self.seq}", "seq": self.seq,
                 "session_id": self.session_id, "root_session_id": self.root, "tenant": self.tenant,
                 "time": datetime.now(UTC).isoformat(), **fields}  # fmt: skip
        self.last = self.producer.send(self.topic, key=self.root.encode(), value=encoded(event))
        self.seq += 1
        self.last.add_errback(self._failed)

    def _failed(self, error: Exception) -> None:
        self.lost = self.lost or error

    def _whole(self) -> None:
        if self.lost is not None:
            raise ConnectionError(
                f"an event of {self.session_id} did not arrive ({type(self.lost).__name__}): what is judged is no "
                "longer all of the session; begin a new session"
            ) from self.lost

    def declare(
        self, intent: str, *, resources: list[str] | None = None, actions: list[Action] | None = None,
        budget: dict[str, int] | None = None, plan: list[str] | None = None,
        data_classes: list[str] | None = None, **fields: Any,
    ) -> None:  # fmt: skip
        """Begin: what the user asked for; `agent`, `tools`, `credentials`, `parent_session_id`, `attestation` if known."""
        told = {"text": intent, "resources": resources, "actions": actions, "budget": budget,
                "plan": plan, "data_classes": data_classes}  # fmt: skip
        with self.lock:
            self._send("session.declared", intent=told, **fields)

    def amend(
        self, intent: str, *, resources: list[str] | None = None, actions: list[Action] | None = None,
        budget: dict[str, int] | None = None, plan: list[str] | None = None,
        data_classes: list[str] | None = None, attestation: str | None = None,
    ) -> None:  # fmt: skip
        """The *user* changed their mind. Never send what the agent itself plans."""
        told = {"text": intent, "resources": resources, "actions": actions, "budget": budget,
                "plan": plan, "data_classes": data_classes}  # fmt: skip
        with self.lock:
            self._send("intent.amended", intent=told, **attested(attestation))

    def offer(
        self, tools: list[dict[str, Any]], *, left: list[str] | None = None, attestation: str | None = None
    ) -> None:
        """Other tools from now on: those that joined or are declared otherwise, and the names of those that `left`."""
        with self.lock:
            self._send("catalogue.changed", tools=tools, left=left, **attested(attestation))

    def call(self, tool: str, arguments: dict[str, Any], **fields: Any) -> str:
        """Before the tool runs. Returns the call's id."""
        with self.lock:
            call_id = f"{self.session_id}:{self.calls}"
            self._send("tool.called", call_id=call_id, tool=tool, arguments=arguments, **fields)
            self.calls += 1
        return call_id

    def returned(self, call_id: str, result: Any, *, ok: bool = True) -> None:
        """After the tool ran: text or JSON, cut to what your topic takes."""
        with self.lock:
            self._send("tool.returned", call_id=call_id, status="ok" if ok else "error", result=result)

    def end(self, reason: str = "done", *, timeout: float = 30.0) -> None:
        """The task is over, and with it the credentials that were issued for it. Waits until all has arrived."""
        with self.lock:
            self._send("session.ended", reason=reason)
        try:
            self.last.get(timeout)
        except Exception as error:
            self._failed(error)
        self._whole()

    def wait_for_decision(
        self, call_id: str, timeout: float, *, on_timeout: Literal["allow", "deny", "raise"]
    ) -> bool:
        """Whether the call may run. You choose what silence means: there is no default for `on_timeout`."""
        if on_timeout not in ("allow", "deny", "raise"):
            raise ValueError(f"on_timeout is {on_timeout!r}; expected allow, deny or raise")
        if self.consumer is None:
            raise RuntimeError(
                "nothing reads decisions here; give the consumer of connect(): Emitter(..., consumer=...)"
            )
        deadline = time.monotonic() + timeout
        while call_id not in self.decided:
            self._whole()  # what did not arrive is never decided, and silence about it is no answer
            left = deadline - time.monotonic()
            if left <= 0:
                if on_timeout == "raise":
                    raise TimeoutError(f"no decision on {call_id} within {timeout:g} s")
                return on_timeout == "allow"
            for records in self.consumer.poll(timeout_ms=max(1, round(min(left, 0.2) * 1000))).values():
                for record in records:
                    found = json.loads(record.value)
                    if found["session_id"] == self.session_id and self.tenant in (None, found["tenant"]):
                        self.decided.setdefault(found["call_id"], found)  # a repeat says the same
        decision = self.decided[call_id]
        if {"refused", "declaration_refused"} & set(decision.get("marks", ())):
            return False  # what the contract refuses is not judged, and never allowed; `explanation` says why
        return not (decision["enforced"] and decision["verdict"] in ("deny", "revoke"))


def connect(bootstrap: str, **security: Any) -> tuple[KafkaProducer, KafkaConsumer]:
    """A producer that loses and reorders nothing, and a consumer for one `Emitter`."""
    if int(kafka.__version__.split(".")[0]) < 3:
        raise RuntimeError(
            f"kafka-python {kafka.__version__} is too old (its idempotent producer never sends to the embedded broker): "
            "install 3.0 or later"
        )
    producer = KafkaProducer(  # what is not on the bus after ten seconds never will be: a call must not run unjudged for minutes
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_block_ms=5000,
        request_timeout_ms=5000, delivery_timeout_ms=10_000, **security,
    )  # fmt: skip
    # A fetch waits for a decision no longer than that: some brokers answer the one after it only when it is over.
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=20, **security
    )
    return producer, consumer
