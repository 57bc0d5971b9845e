"""JSON-RPC messages as lines of bytes: what may pass to a server, what is answered in its place, and what is told of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of a message."""
PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR, DENIED = -32700, -32600, -32603, -32010
"""Codes of errors: the first three are JSON-RPC's own, the last is of those that are free for programs."""
TOOL_CALL = "tools/call"
NAMES = {TOOL_CALL: "name", "resources/read": "uri", "prompts/get": "name"}
"""Methods that are calls to be decided on, and what of their parameters names their subject."""
_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset({"name", "uri", "arguments", "task", "_meta", "inputResponses", "requestState"})
_LINE_ENDS = {b"\r": b" ", b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029", b"\xc2\x85": rb"\u0085"}
"""What some readers take for the end of a line, and what says the same in JSON: the first can only stand between
values there, the others only in strings."""
_BINARY = frozenset({"data", "blob"})
VERSION = "io.modelcontextprotocol/protocolVersion"
ENVELOPE_META = (
    VERSION,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
)
"""What a request says of its client where the protocol has no handshake (2026-07-28)."""


class Unreadable(ValueError):
    """A client's message that not everybody reads the same way; `code` is JSON-RPC's."""

    def __init__(self, why: str, code: int = INVALID_REQUEST, request: Any = None) -> None:
        super().__init__(why)
        self.code, self.request = code, request


def from_client(line: bytes) -> tuple[bytes, dict[str, Any]]:
    """A client's message as it goes on, and as everybody reads it.

    What is judged must be what the server reads. So a message is refused that readers of JSON understand differently, and what some of
    them take for the end of a line goes in an equal spelling: else a call could stand inside another one's argument.

    Raises
    ------
    Unreadable
        It is no JSON, several messages in one, has a name twice, or one that only looks like a name of the protocol.

    >>> from_client(b'{"jsonrpc": "2.0",\\r"method": "ping", "id": 1}')[0]
    b'{"jsonrpc": "2.0", "method": "ping", "id": 1}'
    >>> from_client(b'{"method": "tools/call", "method": "ping"}')
    Traceback (most recent call last):
    ...
    stream.proxy.messages.Unreadable: a name stands twice in one object
    """
    try:
        message = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable("no JSON", PARSE_ERROR) from error
    if isinstance(message, list):
        raise Unreadable("several messages in one; send each by itself")
    if not isinstance(message, dict):
        raise Unreadable("no message of JSON-RPC")
    request, method = message.get("id"), message.get("method")
    _as_spelt(message, _ENVELOPE, request)
    if method is not None:
        if not isinstance(method, str):
            raise Unreadable("the method is no text", request=request)
        _as_spelt([method], NAMES, request)
        if method in NAMES:
            if isinstance(request, float | bool | dict | list):
                raise Unreadable("the id is neither text nor a whole number")
            if not isinstance(message.get("params"), dict):
                raise Unreadable("the parameters are no object", request=request)
            _as_spelt(message["params"], _PARAMS, request)
    for end, equal in _LINE_ENDS.items():
        if end in line:
            line = line.replace(end, equal)
    return line, message


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Unreadable("a name stands twice in one object")
    return made


def _no_number(_: str) -> Any:
    raise ValueError("no number of JSON")


def _as_spelt(names: Any, known: Any, request: Any) -> None:
    """Refuse names that a generous reader takes for a known one, as Go's did: ``Method``."""
    for name in names:
        if name not in known and name.strip().casefold() in {each.casefold() for each in known}:
            raise Unreadable("a name only looks like one of the protocol", request=request)


def from_server(line: bytes) -> list[dict[str, Any]] | None:
    """The messages in a server's line, which goes on as it is; None where there is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    members = document if isinstance(document, list) else [document]
    return members if members and all(isinstance(each, dict) for each in members) else None


_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)


def key_of(request: Any) -> str:
    """An id of JSON-RPC as a key. SDKs take ``"1"`` for an answer to ``1``, so here they are one.

    >>> key_of(1), key_of("1"), key_of(1.0), key_of("a")
    ('1', '1', '1', '"a"')
    """
    if isinstance(request, float) and request.is_integer():
        request = int(request)
    if isinstance(request, str) and _WHOLE.fullmatch(request):
        request = int(request)
    return json.dumps(request)


def written(document: Mapping[str, Any]) -> bytes:
    """A message of ours as a line."""
    return json.dumps(document, separators=(",", ":")).encode()


def failure(request: Any, code: int, text: str) -> bytes:
    """An error as the answer to a request, or to nothing that can be named (None)."""
    return written({"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": text}})


def denial(message: Mapping[str, Any], text: str) -> bytes:
    """The answer to a call that may not run: of a tool a result that its agent reads, of anything else an error."""
    if message["method"] != TOOL_CALL:
        return failure(message["id"], DENIED, text)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    if VERSION in meta_of(message):
        result["resultType"] = "complete"  # demanded since 2026-07-28
    return written({"jsonrpc": "2.0", "id": message["id"], "result": result})


def meta_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """``_meta`` of a request's parameters."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def called(message: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a call is told as: its tool and its arguments, of a resource and of a prompt the method and its parameters."""
    params = message["params"]
    if message["method"] == TOOL_CALL:
        given = params.get("arguments")
        return params.get("name"), {} if given is None else given
    return message["method"], {
        name: value for name, value in params.items() if name in ("uri", "name", "arguments")
    }


def told(answer: Mapping[str, Any]) -> tuple[Any, bool]:
    """What is told of an answer, and whether it went well; images and files by their sizes, so that no text stands behind them.

    >>> told({"result": {"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]}})
    ({'content': [{'type': 'image', 'data': '<4 characters>', 'mimeType': 'image/png'}]}, True)
    """
    if "result" not in answer:
        error = answer.get("error")
        return (error.get("message", "") if isinstance(error, dict) else ""), False
    result = answer["result"]
    if not isinstance(result, dict):
        return result, True
    shown = {
        name: [_without_binary(each) for each in value]
        if name in ("content", "contents", "messages") and isinstance(value, list)
        else value
        for name, value in result.items()
        if name != "_meta"
    }
    return shown, result.get("isError") is not True


def _without_binary(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {
        name: f"<{len(value)} characters>"
        if name in _BINARY and isinstance(value, str)
        else _without_binary(value)
        if name in ("resource", "content")
        else value
        for name, value in part.items()
    }
