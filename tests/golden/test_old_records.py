"""What an older Driftline wrote, and what producers of its time send, must still be read: contracts grow and never break.

`records-core40.jsonl` was written by core 40, with every field of every type that there was. It is never written again; a contract
that grows gets another file beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from models.contracts import EVENT_TYPES, Case, Decision
from stream.events import CASES, DECISIONS, EVENTS, dumps, parse

ROOT = Path(__file__).parents[2]
LINES = [
    (path.stem, json.loads(line))
    for path in sorted(Path(__file__).parent.glob("records-*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]
MODELS = {DECISIONS: Decision, CASES: Case}


@pytest.mark.parametrize(("of", "line"), LINES, ids=[f"{of}-{n}" for n, (of, _) in enumerate(LINES)])
def test_a_record_of_an_older_core_is_read_to_the_last_field(of: str, line: dict[str, Any]) -> None:
    topic, value = line["topic"], line["value"]
    schema = json.loads((ROOT / "docs" / "schemas" / f"{topic}.json").read_text(encoding="utf-8"))
    jsonschema.validate(value, schema)
    if topic == EVENTS:
        event = parse(dumps(value)).event
        assert set(value) - {"signature"} <= event.model_fields_set | {"type"}
    else:
        MODELS[topic].model_validate(value)


def test_every_type_of_event_of_that_time_is_there() -> None:
    told = {line["value"]["type"] for _, line in LINES if line["topic"] == EVENTS}
    assert told == EVENT_TYPES - {"call.held"}
    assert {line["topic"] for _, line in LINES} == {EVENTS, DECISIONS, CASES}
