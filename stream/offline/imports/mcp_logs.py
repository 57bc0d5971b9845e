"""Logs of MCP messages: JSON-RPC 2.0, a message a line, bare, in an object with its time, or behind words as hosts log it.

Messages are those of the specification of 2025-06-18: ``initialize``, ``tools/list``, ``tools/call`` and their answers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from stream.events import member
from stream.offline.imports.reading import Head, document_in, texts_of
from stream.offline.imports.steps import (
    MISSHAPEN,
    Acting,
    Called,
    Moment,
    Notes,
    Offered,
    Prompt,
    Returned,
    Step,
    identifier,
    moment_of,
    text_of,
    tool_of,
)
from stream.offline.lines import Heard, unheard

_RPC = re.compile(r'\\*"jsonrpc\\*"\s*:\s*\\*"2\.0')
_TIMES = ("timestamp", "time", "ts", "@timestamp")
_IN_BRACKETS = re.compile(r"\[([^\]]+)\]")
_LEVELS = {"debug", "info", "notice", "warn", "warning", "error"}
_FIRST_WORD = re.compile(r"\S+")


def recognised(head: Head) -> bool:
    """Whether a file has such a message among its first lines."""
    return bool(_RPC.search(head.text))


def moments(path: Path, notes: Notes, intent: str = "", heard: Heard = unheard) -> Iterator[Moment]:
    """What happened, by the log at `path`; an ``initialize`` begins a session of its server, `intent` says what each is for."""
    sessions: dict[str, str] = {}
    asked: dict[str, dict[str, tuple[str, str]]] = {}  # requests that wait for an answer: method and call
    for number, line in texts_of(path, notes, heard):
        time, server, message = _message(line)
        if message is None:
            if _RPC.search(line):
                notes.refuse(f"{path}, line {number}", "no JSON-RPC message that can be read")
            else:
                notes.lose("lines that are no message")
            continue
        if message.get("method") == "initialize" or server not in sessions:
            # A log names no session: its name, and where the session begins in it, stand for one.
            named = f"{path.name}/{number}/{line}".encode("utf-8", "replace")
            sessions[server] = f"mcp-{hashlib.sha256(named).hexdigest()[:16]}"
            asked[server] = {}
            if intent:
                yield Moment(sessions[server], time, Prompt(intent))
        session = sessions[server]
        try:
            for step in _steps(message, asked[server], f"{session}:{number}", server, notes):
                yield Moment(session, time, step)
        except MISSHAPEN as error:
            notes.refuse(f"{path}, line {number}", f"a message of another shape ({type(error).__name__})")


def _message(line: str) -> tuple[datetime | None, str, dict[str, Any] | None]:
    """The message in a line, when it was sent, and to or from which server where a log of several says it."""
    document = document_in(line)
    if isinstance(document, dict):
        time = next((found for name in _TIMES if (found := moment_of(document.get(name)))), None)
        server = document.get("server")
        for each in (document, *document.values()):
            read = document_in(each) if isinstance(each, str) and each[:1] == "{" else each
            if isinstance(read, dict) and read.get("jsonrpc") == "2.0":
                return time, server if isinstance(server, str) else "", read
        return time, "", None
    start = line.find("{")
    if start < 0 or not _RPC.search(line):
        return None, "", None
    words = line[:start]
    first = _FIRST_WORD.search(words)
    server = next((each for each in _IN_BRACKETS.findall(words) if each.lower() not in _LEVELS), "")
    try:
        read, _ = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None, "", None
    is_one = isinstance(read, dict) and read.get("jsonrpc") == "2.0"
    return moment_of(first[0] if first else None), server, document_in(json.dumps(read)) if is_one else None


def _steps(
    message: dict[str, Any], asked: dict[str, tuple[str, str]], call: str, server: str, notes: Notes
) -> list[Step]:
    method, key = message.get("method"), json.dumps(message.get("id"))
    params = member(message, "params")
    if method == "initialize":
        asked[key] = method, ""
        name = member(params, "clientInfo").get("name")
        return [Acting({"id": str(name)})] if name else []
    if method in {"tools/call", "tools/list"}:
        asked[key] = str(method), call
        return (
            [Called(call, str(params["name"]), params.get("arguments") or {})]
            if method == "tools/call"
            else []
        )
    if method is not None:
        notes.lose("messages about anything but tools")
        return []
    of, of_call = asked.pop(key, ("", ""))
    result = member(message, "result")
    if of == "tools/list":
        tools = [tool_of(each, parameters="inputSchema") for each in result.get("tools") or ()]
        return [Offered([{**each, "server": identifier(server)} if server else each for each in tools])]
    if of != "tools/call":
        if not of:
            notes.lose("messages about anything but tools")
        return []
    if "error" in message:
        return [Returned(of_call, str(member(message, "error").get("message") or ""), True)]
    told = result.get("structuredContent") or text_of(result.get("content"), notes)
    return [Returned(of_call, told, result.get("isError") is True)]
