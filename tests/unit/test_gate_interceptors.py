"""MCP's interceptors at the gate: what is answered and told, by plain JSON-RPC; without a broker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stream.gate import sessions
from tests.gate import ENFORCES, WATCHES
from tests.unit.test_client import allowed, bus, denied
from tests.unit.test_gate import HOST, TOKENS, Running, abstained, alerted, revoked, run, watched

__all__ = ["bus", "run"]
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
CONTEXT = {"sessionId": "s-1", "principal": {"type": "user", "id": "ada"}}
CONFIG = {"intent": "Pay invoice 17.", "agent": "payer"}


def rpc(gate: Running, method: str, params: Any, **headers: str) -> dict[str, Any]:
    """The JSON-RPC answer to a request."""
    envelope = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = gate.http.post("/mcp", json=envelope, headers=HEADERS | headers)
    assert answer.headers["content-type"].startswith("application/json"), (answer.status_code, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def invoke(
    gate: Running,
    payload: Any,
    event: str = "tools/call",
    phase: str = "request",
    name: str = ENFORCES,
    **more: Any,
) -> dict[str, Any]:
    """The result of an invocation."""
    params = {
        "name": name,
        "event": event,
        "phase": phase,
        "payload": payload,
        "context": CONTEXT,
        "config": CONFIG,
    }
    answer = rpc(gate, "interceptor/invoke", params | more)
    assert "result" in answer, answer
    found: dict[str, Any] = answer["result"]
    return found


def pays(**arguments: Any) -> dict[str, Any]:
    return {"name": "pay", "arguments": arguments}


INVOCATION: dict[str, Any] = {
    "name": ENFORCES,
    "event": "tools/call",
    "phase": "request",
    "payload": pays(),
    "context": CONTEXT,
}


@pytest.fixture
def gate(run: Callable[..., Running]) -> Running:
    return run(wires=["interceptors"])


def test_two_are_listed_in_the_form_of_the_proposal(gate: Running) -> None:
    found = rpc(gate, "interceptors/list", {})["result"]["interceptors"]
    assert [(each["name"], each["type"], each.get("mode"), each["failOpen"]) for each in found] == [
        ("driftline", "validation", None, False),  # what enforces has had two names, and is the default
        ("driftline-audit", "validation", "audit", False),
    ]
    for each in found:
        assert {hook["phase"]: "tools/call" in hook["events"] for hook in each["hooks"]} == {
            "request": True,
            "response": True,
        }
    assert rpc(gate, "interceptors/list", {"event": "tools/list"})["result"]["interceptors"] == found
    assert rpc(gate, "interceptors/list", {"event": "llm/completion"})["result"]["interceptors"] == []


@pytest.mark.parametrize(
    "failed",
    [
        {"jsonrpc": "2.0", "id": 7, "result": {"content": [], "isError": True}},
        {"jsonrpc": "2.0", "id": 7, "error": {"code": -32603, "message": "down"}},
    ],
)
def test_a_session_is_told_with_its_tools_its_calls_and_what_they_answered(
    gate: Running, failed: Any
) -> None:
    tools = {"tools": [{"name": "pay", "inputSchema": {"type": "object"}, "server": "forged"}]}
    assert invoke(gate, tools, "tools/list", "response", config=CONFIG | {"server": "bank"})["valid"]
    result = invoke(gate, pays(amount=40))
    result["info"].pop("driftline")
    assert result == {
        "interceptor": ENFORCES,
        "type": "validation",
        "phase": "request",
        "valid": True,
        "info": {},
    }
    shown = invoke(gate, {"content": [{"type": "text", "text": "paid"}]}, phase="response")
    assert (shown["valid"], shown["phase"]) == (True, "response")
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": pays(amount=41)}
    amended = CONFIG | {"intent": "Pay invoice 17 and 18."}
    assert invoke(gate, message, config=amended)["valid"]
    invoke(gate, failed, phase="response", config=amended)
    events = gate.told()
    assert [each["type"] for each in events] == [
        "session.declared", "tool.called", "tool.returned", "intent.amended", "tool.called", "tool.returned",
    ]  # fmt: skip
    assert events[0]["agent"] == {"id": "payer", "user": "ada"}
    assert events[0]["tools"] == [{"name": "pay", "parameters": {"type": "object"}, "server": "bank"}]
    called, returned = gate.told("tool.called"), gate.told("tool.returned")
    assert [each["arguments"] for each in called] == [{"amount": 40}, {"amount": 41}]
    assert [(each["call_id"], each["status"]) for each in returned] == [
        (called[0]["call_id"], "ok"),
        (called[1]["call_id"], "error"),
    ]


@pytest.mark.parametrize(
    ("posture", "decides", "valid", "severity", "says"),
    [
        ("raise", allowed, True, None, ""),
        ("raise", alerted, True, "warn", "an odd hour"),
        ("raise", watched, True, "warn", "only watched"),
        ("raise", denied, False, "error", "What would pass: an intent that names it"),
        ("raise", revoked, False, "error", "credentials are revoked"),
        ("allow", abstained, True, "warn", "allowed unjudged"),
        ("raise", abstained, False, "error", "no intent is known"),
        ("allow", None, True, "warn", "silence allows"),
        ("deny", None, False, "error", "no decision on it came in time"),
        ("raise", None, False, "error", "no decision"),
    ],
)
def test_what_came_of_a_call_is_a_validators_result(
    run: Callable[..., Running], posture: str, decides: Any, valid: bool, severity: str | None, says: str
) -> None:
    gate = run(wires=["interceptors"], on_silence=posture, wait_s=30.0 if decides else 0.05)
    gate.bus.decides = decides or (lambda _: None)
    result = invoke(gate, pays(amount=40))
    assert (result["valid"], result.get("severity")) == (valid, severity)
    assert [each["severity"] for each in result.get("messages", [])] == [severity] * (severity is not None)
    assert says in json.dumps(result)
    not_run = [each for each in gate.told("tool.returned") if each["status"] == "not_run"]
    assert len(not_run) == (not valid)


def test_in_audit_a_call_runs_whatever_is_decided_and_its_result_is_its_own(gate: Running) -> None:
    gate.bus.decides = denied
    result = invoke(gate, pays(amount=40), name=WATCHES)
    assert (result["valid"], result["severity"]) == (False, "error")
    invoke(gate, {"content": ["paid"]}, phase="response", name=WATCHES)
    (called,), (returned,) = gate.told("tool.called"), gate.told("tool.returned")
    assert (returned["call_id"], returned["status"]) == (called["call_id"], "ok")


def test_each_interceptor_has_sessions_of_its_own(gate: Running) -> None:
    for name in (ENFORCES, WATCHES):
        assert invoke(gate, pays(amount=40), name=name)["valid"]
    assert len({each["session_id"] for each in gate.told("tool.called")}) == 2


@pytest.mark.parametrize(
    ("payload", "more", "says"),
    [
        (None, {}, "no object"),
        ([], {}, "no object"),
        ({}, {}, "names no tool"),
        ({"name": ["pay"]}, {}, "names no tool"),
        ({"name": "pay", "arguments": "all"}, {}, "no object"),
        ({"name": "x" * 300}, {}, "256 characters"),
        ({"method": "tools/call", "params": []}, {}, "no object"),
        ({"method": "tools/list", "params": pays()}, {}, "neither params alone"),
        # One reader sees the call of a read, the other that of a payment.
        ({"name": "pay", "arguments": {}, "params": {"name": "read"}}, {}, "neither params alone"),
        (pays(amount=1), {"context": None}, "names no session"),
        (pays(amount=1), {"context": {"sessionId": 7}}, "names no session"),
        (pays(amount=1), {"context": {"sessionId": "x" * 201}}, "names no session"),
        (pays(amount=1), {"context": CONTEXT | {"principal": {"id": 7}}}, "are texts"),
        (pays(amount=1), {"config": {"intent": ["all"]}}, "are texts"),
        (pays(amount=1), {"config": {"agent": "x" * 300}}, "are texts"),
        ({"name": "pay", "arguments": {"a": [1] * 50_000}}, {}, "members"),
        ({"name": "pay", "arguments": json.loads('{"a":' * 70 + "1" + "}" * 70)}, {}, "levels deep"),
    ],
)
def test_a_call_that_cannot_be_judged_is_not_valid(
    run: Callable[..., Running], payload: Any, more: dict[str, Any], says: str
) -> None:
    gate = run(wires=["interceptors"], on_silence="allow")
    result = invoke(gate, payload, **more)
    assert (result["valid"], result["severity"]) == (False, "error")
    assert says in result["messages"][0]["message"]
    assert not gate.told("tool.called")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": "conf/does-not-exist"}, -32602),
        ({"event": "llm/completion"}, -32602),
        ({"event": "tools/list"}, -32602),  # hooked when it comes back alone
        ({"phase": "both"}, -32602),
        ({"timeoutMs": -1}, -32602),
        ({"config": "all"}, -32602),
        ({"config": {"intnet": "Read it."}}, -32602),  # a misspelt intent is none
    ],
)
def test_an_invocation_that_fits_no_interceptor_is_an_error(
    gate: Running, changed: dict[str, Any], code: int
) -> None:
    assert rpc(gate, "interceptor/invoke", INVOCATION | changed)["error"]["code"] == code
    assert not gate.told()


def test_a_time_limit_ends_the_wait_and_the_call_is_told_as_not_run(run: Callable[..., Running]) -> None:
    gate = run(wires=["interceptors"], on_silence="allow", wait_s=0.6)
    gate.bus.decides = lambda _: None
    answer = rpc(gate, "interceptor/invoke", INVOCATION | {"timeoutMs": 100})
    assert answer["error"]["code"] == -32000
    assert answer["error"]["data"] == {"interceptor": ENFORCES, "phase": "request"}
    until = time.monotonic() + 20
    while not (returned := gate.told("tool.returned")) and time.monotonic() < until:
        time.sleep(0.05)
    assert returned[0]["status"] == "not_run"


def test_a_session_is_one_principals(gate: Running) -> None:
    assert invoke(gate, pays(amount=1))["valid"]
    stolen = invoke(
        gate, pays(amount=2), context={"sessionId": "s-1", "principal": {"type": "user", "id": "eve"}}
    )
    assert not stolen["valid"]
    assert "another subject's" in stolen["messages"][0]["message"]


def test_a_fault_of_ours_is_an_error_and_tells_nothing(
    gate: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("never mind")

    monkeypatch.setattr(sessions.Gate, "ask", breaks)
    params = {"name": ENFORCES, "event": "tools/call", "phase": "request", "context": CONTEXT}
    answer = rpc(gate, "interceptor/invoke", params | {"payload": pays(iban="DE02-secret")})
    assert answer["error"]["code"] == -32603
    assert "never mind" not in json.dumps(answer)
    assert "DE02-secret" not in caplog.text


def test_tokens_tell_tenants_apart_and_strangers_get_nothing(run: Callable[..., Running]) -> None:
    gate = run(wires=["interceptors"], names=("acme", "globex"), tokens=True)
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "interceptor/invoke", "params": INVOCATION}
    for token in ({}, {"Authorization": f"Bearer {'x' * 32}"}):
        assert gate.http.post("/mcp", json=envelope, headers=HEADERS | token).status_code == 401
    for name in ("acme", "globex"):
        assert "result" in rpc(gate, "interceptor/invoke", INVOCATION, Authorization=f"Bearer {TOKENS[name]}")
    assert [each["tenant"] for each in gate.told("tool.called")] == ["acme", "globex"]


def test_pages_other_methods_and_large_requests_are_kept_out(run: Callable[..., Running]) -> None:
    gate = run(wires=["interceptors"], limits={"body_bytes": 2_048})
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "interceptors/list", "params": {"event": "x" * 4_000}}
    assert gate.http.post("/mcp", json=envelope, headers=HEADERS).status_code == 413
    assert gate.http.get("/mcp", headers=HEADERS).status_code == 405
    small = envelope | {"params": {}}
    assert (
        gate.http.post("/mcp", json=small, headers=HEADERS | {"Sec-Fetch-Site": "same-site"}).status_code
        == 403
    )
    assert gate.http.post("/mcp", json=small, headers=HEADERS | {"Host": f"evil.{HOST}"}).status_code == 421
    plain = gate.http.post(
        "/mcp", content=json.dumps(small), headers=HEADERS | {"Content-Type": "text/plain"}
    )
    assert plain.status_code in (400, 415)


def test_concurrent_calls_each_get_their_own_answer(gate: Running) -> None:
    gate.bus.decides = lambda event: denied(event) if event["arguments"]["n"] % 2 else allowed(event)
    begun = threading.Barrier(8)

    def asks(number: int) -> bool:
        begun.wait(10)
        return bool(invoke(gate, pays(n=number))["valid"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asks, range(8))) == [n % 2 == 0 for n in range(8)]
