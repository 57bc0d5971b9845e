"""An observed agent and a caller of AuthZEN, for tests of the gate; what they sign shares no code with the gate."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from typing import Any

SECRET = b"an-agent-and-its-guardian-share-this-secret"
"""Of the tenant of tests."""


def form(value: Any) -> bytes:
    """RFC 8785's form, as far as tests need it: no numbers but whole ones, no names beyond ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key(session_id: str, secret: bytes = SECRET) -> bytes:
    """HKDF-SHA256 by hand (RFC 5869), of one block."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, session_id.encode() + b"\x01", hashlib.sha256).digest()


def seal(envelope: dict[str, Any], session_id: str, secret: bytes = SECRET) -> str:
    """The signature of an envelope that carries none yet."""
    return base64.b64encode(
        hmac.new(key(session_id, secret), form(envelope), hashlib.sha256).digest()
    ).decode()


def head(envelope: dict[str, Any], before: str = "") -> str:
    """The chain's head after a step, as an observer computes it."""
    params = envelope["params"]
    entry = {
        "entry_id": params["request_id"],
        "request_hash": hashlib.sha256(form(params)).hexdigest(),
        "step_id": params["request_id"],
        "step_type": envelope["method"],
        "timestamp": params["timestamp"],
    }
    return hashlib.sha256(form(entry) + bytes.fromhex(before)).hexdigest()


class Agent:
    """What an agent's host sends; `now_s`: seconds since 1970."""

    def __init__(self, now_s: Any, session_id: str | None = None, secret: bytes = SECRET) -> None:
        self.id, self._now_s, self._secret = session_id or str(uuid.uuid4()), now_s, secret

    def step(self, method: str, payload: Any = None, *, sign: bool = True, **params: Any) -> dict[str, Any]:
        """A request, signed; `params` take the place of its own."""
        metadata = {"agent_id": "payer", "session_id": self.id, "platform": "test"}
        envelope: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": str(uuid.uuid4()),
            "method": method,
            "params": {
                "acs_version": "0.1.0",
                "request_id": str(uuid.uuid4()),
                "timestamp": datetime.fromtimestamp(self._now_s(), UTC).isoformat(),
                "metadata": metadata | params.pop("metadata", {}),
                "payload": {} if payload is None else payload,
                **params,
            },
        }
        if sign:
            value = seal(envelope, self.id, self._secret)
            envelope["params"]["signature"] = {
                "algorithm": "HMAC-SHA256",
                "value": value,
                "key_id": "default",
            }
        return envelope

    def hello(self, *methods: str, **changed: Any) -> dict[str, Any]:
        """A ClientHello that offers `methods`, or all."""
        payload = {
            "acs_versions_supported": ["0.1.0"],
            "methods_implemented": list(methods or METHODS),
            "transports_supported": ["http"],
            "provenance_producer": "none",
            "profiles_supported": ["acs-core"],
        }
        return self.step("handshake/hello", payload | changed)

    def says(self, text: str, **provenance: str) -> dict[str, Any]:
        """The user's message."""
        part: dict[str, Any] = {"type": "text", "value": text}
        return self.step(
            "steps/userMessage", {"content": [part | ({"provenance": provenance} if provenance else {})]}
        )

    def calls(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A tool's call."""
        wrapped = {name: {"value": value} for name, value in arguments.items()}
        return self.step("steps/toolCallRequest", {"tool": {"name": tool}, "arguments": wrapped})

    def returns(self, call: dict[str, Any], value: Any, status: str = "success") -> dict[str, Any]:
        """What the tool answered."""
        tool = call["params"]["payload"]["tool"]
        payload = {"tool": tool, "exit_status": status, "outputs": [{"value": value}]}
        return self.step("steps/toolCallResult", payload | {"request_id_ref": call["params"]["request_id"]})


METHODS = [
    f"steps/{name}"
    for name in "sessionStart userMessage toolCallRequest toolCallResult agentResponse sessionEnd subagentStart subagentStop "
    "knowledgeRetrieval postCompact".split()
] + ["system/ping"]


def is_sealed(response: dict[str, Any], session_id: str, secret: bytes = SECRET) -> bool:
    """Whether a response bears the Guardian's signature."""
    place = "error" if "error" in response else "result"
    given = response[place].pop("signature", None)
    return given is not None and given["value"] == seal(response, session_id, secret)


def evaluation(tool: str = "pay", session: str | None = "s-1", **more: Any) -> dict[str, Any]:
    """An evaluation of AuthZEN: a call of a tool."""
    context = {"intent": "Pay invoice 17.", "agent": "payer", "arguments": {"amount": 40}}
    if session is not None:
        context["session_id"] = session
    return {
        "subject": {"type": "identity", "id": "ada@example.com"},
        "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": tool},
        "context": context | more,
    }
