"""What the contract refuses is told in plain words: the field, what is wrong with it, and never what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import SchemaError
from stream.events import dumps, parse
from tests import builders as b

CALL, DECLARED = b.called("s", 1), b.declared("s")
LONG = "secret" * 60


def intent(**more: Any) -> dict[str, Any]:
    return {"intent": {"text": "pay", **more}}


@pytest.mark.parametrize(
    ("event", "changed", "told"),
    [
        (CALL, {"tool": None}, "tool is not a text"),
        (CALL, {"tool": ""}, "tool is empty"),
        (CALL, {"tool": LONG}, "tool has more than 256 characters"),
        (CALL, {"arguments": ["secret"]}, "arguments is not an object"),
        (CALL, {"seq": -1}, "seq is below 0"),
        (CALL, {"seq": "secret"}, "seq is not a whole number"),
        (CALL, {"seq": 1.5}, "seq is not a whole number"),
        (CALL, {"time": "secret"}, "time is not a time such as 2026-03-02T09:00:00Z"),
        (CALL, {"time": "2026-03-02T09:00:00"}, "time has no time zone; write 2026-03-02T09:00:00Z"),
        (CALL, {"credential": "secret"}, "credential is not an object"),
        (CALL, {"type": "tool.returned", "status": "secret"}, "status is not 'ok', 'error' or 'not_run'"),
        (DECLARED, intent(actions=["secret"]), "intent.actions.0 is not 'read', 'write' or 'execute'"),
        (DECLARED, intent(budget={"calls": -1}), "intent.budget.calls is below 0"),
        (DECLARED, {"intent": "secret"}, "intent is not an object"),
        (DECLARED, {"tools": {"name": "secret"}}, "tools is not a list"),
        (DECLARED, {"tools": [{"server": "secret"}]}, "tools.0.name is missing"),
        (DECLARED, {"credentials": [{**b.CREDENTIAL, "issued_for_task": 7}]}, "credentials.0.issued_for_task is neither true nor false"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_and_what_is_wrong(
    event: dict[str, Any], changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        parse(dumps({**event, **changed}))
    assert str(refused.value) == f"schema: {told}"
