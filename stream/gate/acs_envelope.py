"""A request of the Agent Control Standard, read as strictly as its section 3 has it, and the errors of its section 17."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from driftline_client.contract import MAX_NAME

VERSION = "0.1.0"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
)
SESSION_REFUSED, UNSUPPORTED_VERSION, PROVENANCE_REQUIRED, NOT_NEGOTIATED = -32000, -32001, -32002, -32003
SIGNATURE_INVALID, REPLAY_DETECTED, OUT_OF_WINDOW, CHAIN_MISMATCH = -32004, -32005, -32006, -32007
MAX_ID = 256
"""Characters of a JSON-RPC id: it comes back in the answer."""
_METHOD = re.compile(
    r"(?:steps/|protocols/|agbom/|trace/|system/|handshake/|wrapped:)[\w./:-]{1,128}", re.ASCII
)
_VERSION = re.compile(r"(\d{1,6})\.\d{1,6}\.\d{1,6}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class AcsError(Exception):
    """A request that gets an error instead of a decision.

    Attributes
    ----------
    code : of JSON-RPC or of the standard's registry
    message : for people; quotes no value
    data : what a program may read
    """

    def __init__(self, code: int, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Request(NamedTuple):
    """A request whose envelope is in order; its signature is not looked at yet.

    Attributes
    ----------
    envelope : dict
        All of it, as it came.
    at_s : float
        When it says that it was made, in seconds since 1970.
    """

    envelope: dict[str, Any]
    method: str
    id: str | int
    request_id: str
    session_id: str
    agent_id: str
    at_s: float
    nonce: str | None
    metadata: Mapping[str, Any]
    payload: Mapping[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """Of the request, as they came."""
        found: dict[str, Any] = self.envelope["params"]
        return found

    @property
    def key_name(self) -> str:
        """The session's id as the request writes it, from which its key is derived."""
        return str(self.metadata["session_id"])

    @property
    def key_id(self) -> str:
        """The name that the request gives its key; "" without a signature."""
        found = self.params.get("signature")
        return str(found.get("key_id", ""))[:MAX_NAME] if isinstance(found, dict) else ""


def major(version: Any) -> str | None:
    """The major part of a version ``X.Y.Z``; None of anything else."""
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    return None if found is None else found[1]


def id_of(document: Any) -> str | int | None:
    """The id under which a request is answered, if it has one."""
    found = document.get("id") if isinstance(document, dict) else None
    if isinstance(found, str) and len(found) <= MAX_ID:
        return found
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**53 else None


def request_of(document: Any) -> Request:
    """A request from its JSON.

    Raises
    ------
    AcsError
        Something of its envelope is missing, unknown or of another shape.
    """
    if not isinstance(document, dict):
        raise _invalid("one JSON-RPC object is expected; batches are not taken")
    if document.get("jsonrpc") != "2.0" or set(document) != {"jsonrpc", "method", "id", "params"}:
        raise _invalid("an envelope has jsonrpc 2.0, method, id and params, and nothing else")
    method, params, rpc_id = document["method"], document["params"], id_of(document)
    if rpc_id is None:
        raise _invalid(f"id is a number or a text of at most {MAX_ID} characters")
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise _invalid("method is in none of the standard's namespaces")
    if not isinstance(params, dict):
        raise _invalid("params is an object")
    metadata, payload = params.get("metadata"), params.get("payload")
    if not isinstance(metadata, dict) or not isinstance(payload, dict):
        raise _invalid("params.metadata and params.payload are objects")
    if major(params.get("acs_version")) != major(VERSION):
        raise _invalid(f"params.acs_version is X.Y.Z with the major version of {VERSION}")
    agent_id, nonce = metadata.get("agent_id"), params.get("nonce")
    if not isinstance(agent_id, str) or not 0 < len(agent_id) <= MAX_NAME:
        raise _invalid(f"params.metadata.agent_id is a text of 1 to {MAX_NAME} characters")
    if nonce is not None and (not isinstance(nonce, str) or not 16 <= len(nonce) <= 256):
        raise _invalid("params.nonce is a text of 16 to 256 characters")
    return Request(
        document,
        method,
        rpc_id,
        _uuid("params.request_id", params.get("request_id")),
        _uuid("params.metadata.session_id", metadata.get("session_id")),
        agent_id,
        _moment(params.get("timestamp")),
        nonce,
        metadata,
        payload,
    )


def _invalid(message: str) -> AcsError:
    return AcsError(INVALID_REQUEST, f"invalid request: {message}")


def _uuid(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _invalid(f"{name} is a UUID")
    return str(UUID(value))


def _moment(value: Any) -> float:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _invalid("params.timestamp is a time as RFC 3339 has it") from None
    if found.tzinfo is None or "T" not in value:
        raise _invalid("params.timestamp is a time as RFC 3339 has it, with its offset")
    return found.timestamp()
