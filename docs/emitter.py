"""The contract in one file, for whoever writes the events in another language. In Python use the client: docs/attach.md."""

# ruff: noqa: TID251  (this is an agent's side of the bus: it has a clock)

import json
from datetime import UTC, datetime
from typing import Any


class Emitter:
    """One agent session. `producer` is one of kafka-python with ``acks="all", enable_idempotence=True``."""

    def __init__(self, producer: Any, session_id: str, *, root: str = "", tenant: str | None = None) -> None:
        self.producer, self.session_id, self.root, self.tenant = (
            producer,
            session_id,
            root or session_id,
            tenant,
        )
        self.seq = self.calls = 0

    def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "id": f"{self.session_id}/{self.seq}", "seq": self.seq,
                 "session_id": self.session_id, "root_session_id": self.root, "tenant": self.tenant,
                 "time": datetime.now(UTC).isoformat(), **fields}  # fmt: skip
        # By the root, so that a session and its sub-agents are judged together; the partition is Kafka's murmur2 of the key.
        self.producer.send("agent.events.v1", key=self.root.encode(), value=json.dumps(event).encode())
        self.seq += 1

    def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Before the tool runs. Its decision comes on `agent.decisions.v1`, in the partition of the same number."""
        call_id = f"{self.session_id}:{self.calls}"
        self.send("tool.called", call_id=call_id, tool=tool, arguments=arguments)
        self.calls += 1
        return call_id

    def returned(self, call_id: str, result: Any, *, ok: bool = True) -> None:
        """After the tool ran: text or JSON."""
        self.send("tool.returned", call_id=call_id, status="ok" if ok else "error", result=result)


def one_task(producer: Any) -> None:
    """A whole session."""
    session = Emitter(producer, "a-new-id-for-each-task", tenant="acme")
    tools = [{"name": "read_invoice", "description": "Reads one invoice."}]
    session.send("session.declared", intent={"text": "Pay invoice 17."}, agent={"id": "payer"}, tools=tools)
    call = session.call("read_invoice", {"number": 17})
    session.send("call.held", call_id=call, how="asked", answer="approved", by="ada")  # a person let it run
    session.returned(call, {"iban": "DE02120300000000202051", "amount": 40})
    session.send("intent.amended", intent={"text": "Pay it in two parts."})  # the *user* changed their mind
    session.send("catalogue.changed", tools=[{"name": "refund"}], left=["read_invoice"])
    session.send("session.ended", reason="done")  # revokes what was issued for the task
