"""An observed agent, a caller of AuthZEN and a gateway that speaks ExtMCP, for tests of the gate; nothing here shares code with it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from struct import pack
from typing import Any

import grpc

SECRET = b"an-agent-and-its-guardian-share-this-secret"
"""Of the tenant of tests."""
ENFORCES, WATCHES = "driftline", "driftline-audit"
SERVICE = "/agentgateway.dev.ext_mcp.ExtMcp"
MCP_SESSION = "an-id-of-a-session-that-whoever-has-it-may-use"


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


def field(number: int, *values: str | bytes | int) -> bytes:
    """A field of a message in protobuf's own bytes, once for each value."""
    found = b""
    for value in values:
        if isinstance(value, int):
            found += _varint(number << 3) + _varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            found += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return found


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def fields(raw: bytes) -> dict[int, Any]:
    """What a message in protobuf says, by the numbers of its fields; the last of each."""
    found: dict[int, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (raw[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if raw[at - 1] < 128:
                return value

    while at < len(raw):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found[number] = varint()
        else:
            assert kind == 2
            size = varint()
            found[number], at = raw[at : at + size], at + size
    return found


def struct(**texts: str | float) -> bytes:
    """A ``google.protobuf.Struct`` of texts, and of numbers that are whole bytes long."""
    return b"".join(
        field(1, field(1, name) + field(2, field(3, value) if isinstance(value, str) else _double(value)))
        for name, value in texts.items()
    )


def _double(value: float) -> bytes:
    return b"\x11" + pack("<d", value)


def mcp_message(method: str, body: Any, *services: str, **metadata: Any) -> bytes:
    """A request or a result as agentgateway v1.5.0 shows it; `body`: as JSON, or the bytes themselves."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return field(1, *services) + field(2, method) + field(3, struct(**metadata)) + field(4, raw)


class Answered:
    """What a processor of ExtMCP answered."""

    def __init__(self, raw: bytes) -> None:
        said = fields(raw)
        assert (1 in said) != (3 in said)
        error = fields(said.get(3, b""))
        self.passes, self.code = 1 in said, error.get(1, 0)
        self.reason = error.get(2, b"").decode()
        self.data = json.loads(error[3]) if 3 in error else None
        kept = fields(fields(said[5])[1]) if 5 in said else {}
        self.kept = (kept[1].decode(), fields(kept[2])[3].decode()) if kept else None


class Gateway:
    """What agentgateway does with a processor: one channel, and the answers."""

    def __init__(
        self, address: str, credentials: Any = None, token: str | None = None, *, alone: bool = False
    ) -> None:
        options = (("grpc.use_local_subchannel_pool", int(alone)),)
        self.channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )
        self._headers = None if token is None else [("authorization", f"Bearer {token}")]

    def ask(self, method: str, raw: bytes, timeout: float = 20, **more: Any) -> Answered:
        """The answer to the bytes of a message; `grpc.RpcError` where there is none."""
        return Answered(
            self.channel.unary_unary(f"{SERVICE}/{method}")(
                raw, timeout=timeout, metadata=self._headers, **more
            )
        )

    def calls(
        self, tool: Any, arguments: Any = None, server: str = "bank", timeout: float = 20, **metadata: Any
    ) -> Answered:
        """A call, before it reaches its server."""
        told = {
            "session_id": MCP_SESSION,
            "user": "ada",
            "agent": "payer",
            "intent": "Pay invoice 17.",
        } | metadata
        told = {name: value for name, value in told.items() if value is not None}
        params = {"name": tool, "arguments": {} if arguments is None else arguments}
        return self.ask("CheckRequest", mcp_message("tools/call", params, server, **told), timeout)

    def shows(self, method: str, result: Any, *servers: str, **metadata: Any) -> Answered:
        """What came back."""
        told = {"session_id": MCP_SESSION, "user": "ada"} | metadata
        return self.ask("CheckResponse", mcp_message(method, result, *(servers or ("bank",)), **told))
