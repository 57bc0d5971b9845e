"""The contract in one file: what it puts on the bus, without a broker."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from driftline_client import contract

from models.contracts import EVENT, EVENT_TYPES
from models.release.registry import NullModel
from stream import bootstrap
from stream.core.judge import Judge
from stream.core.partition import Partition
from stream.events import DECISIONS, EVENTS, QUARANTINE, Record, parse
from stream.policy import load_policy
from stream.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
MOST_LINES = 60


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


class Collected:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def send(self, topic: str, *, key: bytes, value: bytes) -> None:
        self.sent.append(Sent(topic, key, value))

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(one.value) for one in self.sent]


def judge() -> Judge:
    return bootstrap.judge_with(Settings(), bootstrap.make_release(NullModel(), load_policy()))


def test_its_session_says_each_kind_of_event_as_the_contract_has_it_and_is_judged() -> None:
    producer = Collected()
    emitter.one_task(producer)
    assert {each["type"] for each in producer.documents()} == set(contract.FIELDS) & set(EVENT_TYPES)
    for one in producer.sent:
        assert EVENT.validate_json(one.value) == parse(one.value).event
    assert [each["seq"] for each in producer.documents()] == list(range(7))
    assert {(one.topic, one.key) for one in producer.sent} == {(EVENTS, b"a-new-id-for-each-task")}
    records = [Record(EVENTS, 0, n, 0, "none", one.key, (), one.value) for n, one in enumerate(producer.sent)]
    outputs = judge().judge(Partition.empty(), records).outputs
    assert [json.loads(o.value)["marks"] for o in outputs if o.topic == DECISIONS] == [[]]
    assert not [o for o in outputs if o.topic == QUARANTINE]


def test_it_stays_short() -> None:
    assert (DOCS / "emitter.py").read_text(encoding="utf-8").count("\n") < MOST_LINES
