"""The emitter that users copy: what it puts on the bus, without a broker."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
import warnings
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from models.contracts import (
    EVENT,
    Agent,
    Budget,
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
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, QUARANTINE, Record, murmur2_partition, parse
from stream.settings import Settings
from stream.signals.registry import BY_ID

with warnings.catch_warnings():
    # kafka-python reads its schemas with a function that Python 3.11 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka
    from kafka import TopicPartition
    from kafka.errors import MessageSizeTooLargeError
    from kafka.future import Future

DOCS = Path(__file__).parents[2] / "docs"


def emitter_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("emitter", DOCS / "emitter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


emitter = emitter_module()


class Sent(NamedTuple):
    topic: str
    key: bytes
    value: bytes


class Sending(Future):
    """What a producer gives for a record: known at once here."""

    def get(self, timeout: float) -> None:
        if self.exception is not None:
            raise self.exception


class Collected:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> Sending:
        self.sent.append(Sent(topic, key, value))
        sending = Sending()
        self.settle(sending)
        return sending

    def settle(self, sending: Sending) -> None:
        sending.success(None)

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(one.value) for one in self.sent]


class Answer(NamedTuple):
    value: bytes


class Decisions:
    """A consumer whose decisions are given beforehand, a batch for each poll, then silence."""

    def __init__(self, *batches: list[dict[str, Any]], partitions: int = 12) -> None:
        self.batches = [[Answer(json.dumps(one).encode()) for one in batch] for batch in batches]
        self.partitions = partitions
        self.assigned: list[TopicPartition] = []
        self.at_end = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.partitions))

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    def seek_to_end(self) -> None:
        self.at_end = True

    def position(self, place: TopicPartition) -> int:
        return 0

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Answer]]:
        if not self.batches:
            threading.Event().wait(timeout_ms / 1000)
            return {}
        return {self.assigned[0]: self.batches.pop(0)}


def decision(call_id: str, verdict: str, **more: Any) -> dict[str, Any]:
    return {
        "session_id": "s",
        "tenant": "acme",
        "call_id": call_id,
        "verdict": verdict,
        "enforced": True,
        **more,
    }


def played(producer: Any, **options: Any) -> Any:
    agent = emitter.Emitter(producer, "s", tenant="acme", **options)
    agent.declare(
        "Pay invoice 17 of ACME.",
        agent={"id": "payer", "user": "ada@example.com"},
        tools=[{"name": "read_invoice"}, {"name": "pay"}],
        credentials=[{"broker": "vault", "kind": "lease", "value": "lease/1"}],
    )
    first = agent.call("read_invoice", {"number": 17})
    agent.returned(first, {"iban": "DE02120300000000202051", "amount": 40})
    agent.amend("Pay it twice.")
    second = agent.call("pay", {"iban": "DE02120300000000202051", "amount": 80})
    agent.returned(second, "refused", ok=False)
    agent.end()
    return agent


def test_every_event_of_a_session_satisfies_the_contract() -> None:
    producer = Collected()
    played(producer)
    events = [EVENT.validate_json(one.value) for one in producer.sent]
    kinds = [SessionDeclared, ToolCalled, ToolReturned, IntentAmended, ToolCalled, ToolReturned, SessionEnded]
    assert [type(event) for event in events] == kinds
    assert [parse(one.value).event for one in producer.sent] == events


def test_an_attestation_goes_with_what_it_attests_and_is_no_field_without_one() -> None:
    producer = Collected()
    for token in (None, "a.b.c"):
        agent = emitter.Emitter(producer, "s")
        agent.declare("Pay it.", **({"attestation": token} if token else {}))
        agent.amend("Pay it twice.", attestation=token)
        agent.offer([{"name": "pay"}], attestation=token)
    events = producer.documents()
    assert [event.get("attestation", "none") for event in events] == ["none"] * 3 + ["a.b.c"] * 3
    assert all(EVENT.validate_python(event) for event in events)
    with pytest.raises(TypeError, match="attestation: the token as text, not bytes"):
        agent.declare("Pay it.", attestation=b"a.b.c")


def test_an_intent_may_say_all_that_the_contract_knows_of_it() -> None:
    said = {
        "plan": ["Read the invoice.", "Pay it."],
        "resources": ["DE02120300000000202051"],
        "actions": ["read", "write"],
        "data_classes": ["payment"],
        "budget": {"calls": 20, "writes": 1, "seconds": None},
    }
    assert {"text", *said} == set(Intent.model_fields)
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    agent.declare("Pay invoice 17.", agent={"id": "payer"}, **said)
    agent.amend("Pay it twice.", **said)
    first, second = (EVENT.validate_json(one.value) for one in producer.sent)
    assert first.intent.model_dump() == {"text": "Pay invoice 17.", **said}  # type: ignore[union-attr]
    assert first.agent.id == "payer"  # type: ignore[union-attr]
    assert second.intent.model_dump() == {"text": "Pay it twice.", **said}  # type: ignore[union-attr]


def test_tools_that_join_and_leave_satisfy_the_contract() -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    agent.offer([{"name": "pay", "description": "Pays to an IBAN."}], left=["read_invoice"])
    (event,) = (EVENT.validate_json(one.value) for one in producer.sent)
    assert isinstance(event, CatalogueChanged)
    assert [tool.name for tool in event.tools or []] == ["pay"]
    assert event.left == ["read_invoice"]
    with pytest.raises(TypeError, match="tools has no field 'descr'"):
        agent.offer([{"name": "pay", "descr": "Pays."}])
    assert len(producer.sent) == 1


def test_the_guide_tells_of_every_field_of_an_intent_and_of_signals_that_there_are() -> None:
    guide = (DOCS / "attach.md").read_text(encoding="utf-8")
    table = guide.split("## What an intent may say", 1)[1].split("\n## ", 1)[0]
    assert {f"`{name}`" for name in Intent.model_fields} - {"`text`"} <= set(re.findall(r"`\w+`", table))
    named = re.findall(r"`(\w+)\.([\w*]+)`", table)
    assert named
    for family, name in named:
        assert any(fnmatch(signal, f"{family}.{name}") for signal in BY_ID), (family, name)


def test_the_names_that_the_emitter_knows_are_those_of_the_contract() -> None:
    told = {"id", "session_id", "root_session_id", "seq", "tenant", "time", "schema_version", "type"}
    parts = {
        "session.declared": SessionDeclared,
        "intent.amended": IntentAmended,
        "catalogue.changed": CatalogueChanged,
        "tool.called": ToolCalled,
        "tool.returned": ToolReturned,
        "session.ended": SessionEnded,
        "intent": Intent,
        "budget": Budget,
        "agent": Agent,
        "tools": Tool,
        "credentials": Credential,
        "credential": Credential,
    }
    # A signature is over the whole event, with the number and time that the emitter gives it: docs/security.md.
    known = {name: set(part.model_fields) - told - {"signature"} for name, part in parts.items()}  # type: ignore[attr-defined]
    known["agent"].add("id")
    assert {name: set(fields) for name, fields in emitter.FIELDS.items()} == known


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"agnet": {"id": "payer"}}, "session.declared has no field 'agnet'; did you mean 'agent'"),
        ({"agent": {"ident": "payer"}}, "agent has no field 'ident'"),
        ({"credentials": [{"brokr": "vault", "kind": "lease", "value": "1"}]}, "did you mean 'broker'"),
        ({"tools": [{"name": "pay", "descr": "Pays."}]}, "tools has no field 'descr'"),
        ({"budget": {"call": 20}}, "did you mean 'calls'"),
        ({"actions": ["raed"]}, "actions are read, write and execute"),
        ({"credential": {"broker": "vault"}}, "session.declared has no field 'credential'"),
    ],
)
def test_a_name_that_the_contract_does_not_know_is_refused_before_anything_is_sent(
    fields: dict[str, Any], says: str
) -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    with pytest.raises((TypeError, ValueError), match=re.escape(says)):
        agent.declare("Pay invoice 17.", **fields)
    with pytest.raises(
        TypeError, match=r"tool\.called has no field 'credentials'; did you mean 'credential'"
    ):
        agent.call("pay", {"amount": 40}, credentials=[])
    assert producer.sent == []
    agent.declare("Pay invoice 17.")
    assert agent.call("pay", {"anything": {"at": "all"}}) == "s:0"
    assert [e["seq"] for e in producer.documents()] == [0, 1]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"tools": ["pay"]},
            "tools: each is an object with name, server, description, parameters, annotations",
        ),
        ({"tools": {"name": "pay"}}, "tools: a list, not dict"),
        ({"credentials": ["lease/17"]}, "credentials: each is an object with broker, kind, value"),
        (
            {"agent": "payer"},
            "agent: an object with id, spiffe_id, user, user_issuer, framework, model, not str",
        ),
        ({"budget": 20}, "budget: an object with calls, writes, seconds, not int"),
        ({"resources": "ACME"}, "resources: a list, not str"),
        ({"plan": "Read it, then pay it."}, "plan: a list, not str"),
    ],
)
def test_a_value_of_another_shape_is_refused_before_anything_is_sent_and_is_not_shown(
    fields: dict[str, Any], says: str
) -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    with pytest.raises(TypeError, match=re.escape(says)) as told:
        agent.declare("Pay invoice 17.", **fields)
    assert "lease/17" not in str(told.value)
    for arguments in ("n=1", None, [1]):
        with pytest.raises(TypeError, match="arguments: an object, not "):
            agent.call("pay", arguments)
    with pytest.raises(TypeError, match="left: a list, not str"):
        agent.offer([], left="pay")
    assert producer.sent == []


def test_a_value_that_json_lacks_is_sent_as_text_so_that_its_call_is_judged() -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    numbers = {"nan": float("nan"), "least": float("-inf"), "past_a_double": 10**400, "large": 1e30}
    call = agent.call("pay", {**numbers, "half": "a\ud800b", "whole": "\U0001f600"})
    agent.returned(call, {"rate": float("inf"), "text": "\udfff"})
    called, returned = (parse(one.value).event for one in producer.sent)
    assert isinstance(called, ToolCalled)
    assert isinstance(returned, ToolReturned)
    assert called.arguments == {
        "nan": "NaN", "least": "-Infinity", "past_a_double": str(10**400), "large": 1e30,
        "half": "a?b", "whole": "\U0001f600",
    }  # fmt: skip
    assert returned.result == {"rate": "Infinity", "text": "?"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"session_id": ""}, "session_id: a text of 1 to 230 characters"),
        ({"session_id": "s" * 231}, "session_id: a text of 1 to 230 characters"),
        ({"session_id": UUID(int=1)}, "session_id: a text of 1 to 230 characters"),
        ({"root_session_id": "r" * 257}, "root_session_id: a text of 1 to 256 characters"),
        ({"tenant": ""}, "tenant: a text of 1 to 256 characters"),
        ({"tenant": "t" * 257}, "tenant: a text of 1 to 256 characters"),
    ],
)
def test_an_id_that_no_record_may_have_is_refused_at_once(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        emitter.Emitter(Collected(), **{"session_id": "s", **options})


def test_ids_as_long_as_they_may_be_satisfy_the_contract() -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s" * 230, root_session_id="r" * 256, tenant="t" * 256)
    agent.seq = agent.calls = 2**53
    agent.call("pay", {})
    assert isinstance(parse(producer.sent[0].value).event, ToolCalled)


class Failing(Collected):
    """A producer whose second record the broker refuses, after it was taken."""

    def settle(self, sending: Sending) -> None:
        if len(self.sent) == 2:
            sending.failure(MessageSizeTooLargeError())
        else:
            sending.success(None)


def test_an_event_that_did_not_arrive_stops_the_session() -> None:
    consumer = Decisions()
    agent = emitter.Emitter(Failing(), "s", consumer=consumer)
    agent.declare("Pay invoice 17.")
    call = agent.call("pay", {"amount": 40})
    for on_timeout in ("allow", "deny", "raise"):
        with pytest.raises(ConnectionError, match=r"MessageSizeTooLargeError.*begin a new session"):
            agent.wait_for_decision(call, 5, on_timeout=on_timeout)
    for go_on in (lambda: agent.call("pay", {}), lambda: agent.returned(call, "x"), agent.end):
        with pytest.raises(ConnectionError, match="did not arrive"):
            go_on()


def test_an_end_that_did_not_arrive_is_told() -> None:
    agent = emitter.Emitter(Failing(), "s")
    agent.declare("Pay invoice 17.")
    with pytest.raises(ConnectionError, match="did not arrive"):
        agent.end()


@pytest.mark.parametrize(("version", "fits"), [("2.0.2", False), ("2.3.3", False), ("3.0.0", True)])
def test_a_client_that_never_sends_to_the_embedded_broker_is_refused_at_once(
    version: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "__version__", version)
    monkeypatch.setattr(emitter, "KafkaProducer", lambda **_: "producer")
    monkeypatch.setattr(emitter, "KafkaConsumer", lambda **_: "consumer")
    if fits:
        assert emitter.connect("127.0.0.1:9") == ("producer", "consumer")
        return
    with pytest.raises(RuntimeError, match=rf"kafka-python {re.escape(version)} .* install 3\.0 or later"):
        emitter.connect("127.0.0.1:9")


def test_events_are_numbered_without_a_gap_and_keyed_by_the_root() -> None:
    producer = Collected()
    played(producer, root_session_id="root")
    assert [e["seq"] for e in producer.documents()] == list(range(7))
    assert [e["id"] for e in producer.documents()] == [f"s/{n}" for n in range(7)]
    assert {one.key for one in producer.sent} == {b"root"}
    assert {one.topic for one in producer.sent} == {EVENTS}


def test_a_root_session_is_its_own_key() -> None:
    producer = Collected()
    played(producer, prefix="eu.")
    assert {(one.topic, one.key) for one in producer.sent} == {("eu." + EVENTS, b"s")}


def test_a_tenant_s_own_topic_takes_the_events_and_the_decisions_stay_where_they_are() -> None:
    producer, consumer = Collected(), Decisions()
    played(producer, consumer=consumer, prefix="eu.", topic="acme.events.v1")
    assert {one.topic for one in producer.sent} == {"eu.acme.events.v1"}
    assert {place.topic for place in consumer.assigned} == {"eu." + DECISIONS}


@pytest.mark.parametrize("known", [None, set()])  # what versions of kafka-python give
def test_a_waiting_emitter_that_may_not_read_decisions_says_so_at_once(known: set[int] | None) -> None:
    class Forbidden(Decisions):
        def partitions_for_topic(self, topic: str) -> set[int] | None:  # type: ignore[override]
            return known

    with pytest.raises(LookupError, match=r"agent\.decisions\.v1 is missing .*create.*, or .* may not read"):
        emitter.Emitter(Collected(), "s", consumer=Forbidden())


def test_calls_and_returns_share_their_ids() -> None:
    producer = Collected()
    played(producer)
    ids = [e["call_id"] for e in producer.documents() if "call_id" in e]
    assert ids == ["s:0", "s:0", "s:1", "s:1"]


def test_parallel_calls_reach_the_log_in_the_order_of_their_numbers() -> None:
    producer = Collected()
    agent = emitter.Emitter(producer, "s")
    threads = [threading.Thread(target=lambda: [agent.call("read", {}) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e["seq"] for e in producer.documents()] == list(range(400))
    assert [e["call_id"] for e in producer.documents()] == [f"s:{n}" for n in range(400)]


def test_a_number_is_not_used_up_by_an_event_that_could_not_be_sent() -> None:
    class Away(Collected):
        def send(self, topic: str, *, key: bytes, value: bytes) -> Sending:
            if b"tool.called" in value and not self.sent[1:]:
                self.sent.append(Sent("lost", key, value))
                raise TimeoutError("no broker")
            return super().send(topic, key=key, value=value)

    producer = Away()
    agent = emitter.Emitter(producer, "s")
    agent.declare("Read.")
    with pytest.raises(TimeoutError):
        agent.call("read", {})
    assert agent.call("read", {}) == "s:0"
    assert [e["seq"] for e in producer.documents() if e["type"] == "tool.called"] == [1, 1]


def judge() -> Judge:
    from models.release.registry import NullModel
    from stream.policy import load_policy

    return bootstrap.judge_with(Settings(), bootstrap.make_release(NullModel(), load_policy()))


def test_the_core_judges_each_call_and_quarantines_nothing() -> None:
    producer = Collected()
    played(producer)
    records = [Record(EVENTS, 0, n, 0, "none", one.key, (), one.value) for n, one in enumerate(producer.sent)]
    outputs = judge().judge(Partition.empty(), records).outputs
    decided = [json.loads(o.value) for o in outputs if o.topic == DECISIONS]
    assert [d["call_id"] for d in decided] == ["s:0", "s:1"]
    assert [d["marks"] for d in decided] == [[], []]
    assert not [o for o in outputs if o.topic == QUARANTINE]


@pytest.mark.parametrize(
    ("verdict", "enforced", "runs"),
    [
        ("allow", True, True),
        ("alert", True, True),
        ("abstain", True, True),
        ("deny", True, False),
        ("revoke", True, False),
        ("deny", False, True),
        ("revoke", False, True),
    ],
)
def test_an_enforced_deny_or_revoke_stops_the_call(verdict: str, enforced: bool, runs: bool) -> None:
    consumer = Decisions([decision("s:0", verdict, enforced=enforced)])
    agent = emitter.Emitter(Collected(), "s", consumer=consumer)
    assert agent.wait_for_decision(agent.call("read", {}), 5, on_timeout="raise") is runs


@pytest.mark.parametrize("enforced", [True, False])
@pytest.mark.parametrize("marks", [["refused"], ["undeclared", "declaration_refused"]])
def test_what_the_contract_refused_is_never_allowed(marks: list[str], enforced: bool) -> None:
    consumer = Decisions([decision("s:0", "abstain", enforced=enforced, marks=marks)])
    agent = emitter.Emitter(Collected(), "s", consumer=consumer)
    assert agent.wait_for_decision(agent.call("read", {}), 5, on_timeout="allow") is False


def test_the_partition_read_is_the_one_of_the_root_and_from_its_end() -> None:
    consumer = Decisions()
    emitter.Emitter(Collected(), "child", root_session_id="root", consumer=consumer, prefix="eu.")
    assert consumer.assigned == [TopicPartition("eu." + DECISIONS, murmur2_partition(b"root", 12))]
    assert consumer.at_end


def test_decisions_of_others_are_passed_by_and_those_of_later_calls_kept() -> None:
    consumer = Decisions(
        [decision("s:0", "deny", session_id="other"), decision("s:0", "deny", tenant="globex")],
        [decision("s:1", "deny"), decision("s:0", "allow")],
    )
    agent = emitter.Emitter(Collected(), "s", tenant="acme", consumer=consumer)
    first, second = agent.call("read", {}), agent.call("pay", {})
    assert agent.wait_for_decision(first, 5, on_timeout="raise")
    assert not agent.wait_for_decision(second, 5, on_timeout="raise")


def test_the_caller_must_say_what_silence_means() -> None:
    agent = emitter.Emitter(Collected(), "s", consumer=Decisions())
    with pytest.raises(TypeError, match="on_timeout"):
        agent.wait_for_decision("s:0", 0.01)
    with pytest.raises(ValueError, match="expected allow, deny or raise"):
        agent.wait_for_decision("s:0", 0.01, on_timeout="whatever")


@pytest.mark.parametrize("on_timeout", ["allow", "deny", "raise"])
def test_an_emitter_without_a_consumer_that_is_to_wait_says_what_it_lacks(on_timeout: str) -> None:
    agent = emitter.Emitter(Collected(), "s")
    with pytest.raises(RuntimeError, match="consumer"):
        agent.wait_for_decision(agent.call("read", {}), 5, on_timeout=on_timeout)


def test_silence_means_what_the_caller_said() -> None:
    agent = emitter.Emitter(Collected(), "s", consumer=Decisions())
    assert agent.wait_for_decision("s:0", 0.02, on_timeout="allow") is True
    assert agent.wait_for_decision("s:0", 0.02, on_timeout="deny") is False
    with pytest.raises(TimeoutError, match=r"no decision on s:0 within 0\.02 s"):
        agent.wait_for_decision("s:0", 0.02, on_timeout="raise")


def test_the_guide_shows_the_names_that_the_emitter_has() -> None:
    guide = (DOCS / "attach.md").read_text(encoding="utf-8")
    assert "emitter.py" in guide
    used = set(re.findall(r"session\.(\w+)\(", guide))
    assert {"declare", "call", "returned", "end", "wait_for_decision"} <= used
    assert all(hasattr(emitter.Emitter, name) for name in used)
