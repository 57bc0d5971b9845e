"""MCP's proposed interceptors (SEP-2624, once SEP-1763): a validator that asks the judge, and one that only tells it.

Whoever invokes one of them shows a request before it is sent on, and a result when it comes back. Nothing tells which result is of which call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from stream.gate.mcp_requests import CALLS, MAX_LISTED, called, without_meta
from stream.gate.reading import bounded
from stream.gate.sessions import Gate, Ruling, Task, Tasks

EXTENSION = "io.modelcontextprotocol/interceptors"
STANDARD = "MCP interceptors (SEP-2624, an experiment, 191a736)"
LIST, INVOKE = "interceptors/list", "interceptor/invoke"
HOOKS: Mapping[str, tuple[str, ...]] = {"request": CALLS, "response": (*CALLS, "tools/list")}
TIMED_OUT, INVALID_PARAMS = -32_000, -32_602
MAX_SESSION, MAX_TEXT = 200, 256
AUDIT = "driftline-audit"
_TEXT = {"type": "string"}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"intent": _TEXT, "agent": _TEXT, "server": _TEXT},
    "additionalProperties": False,
}


class InvokeError(Exception):
    """An invocation that has no result; `code` and `data` are JSON-RPC's."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code, self.data = code, dict(data)


class Invocation(NamedTuple):
    """What an interceptor is asked."""

    name: str
    event: str
    phase: str
    payload: Any
    config: Mapping[str, Any]
    context: Mapping[str, Any]
    timeout_s: float | None = None


class Interceptors:
    """The two of them. Each has sessions of its own, so that a call that both see is judged once by each.

    Parameters
    ----------
    version : str
        Of the program.
    """

    def __init__(self, gate: Gate, tasks: Tasks, version: str) -> None:
        self._gate, self._tasks = gate, tasks
        common = {
            "version": version,
            "type": "validation",
            "hooks": [{"events": list(events), "phase": phase} for phase, events in HOOKS.items()],
            "configSchema": _SCHEMA,
        }
        # What enforces is the default: it has had two names, and takes none.
        self._all = {
            "driftline": common
            | {
                "name": "driftline",
                "failOpen": False,
                "description": "Asks the judge whether a call may run, and waits for its decision.",
            },
            AUDIT: common
            | {
                "name": AUDIT,
                "failOpen": False,
                "mode": "audit",
                "description": "The same, of calls that run whatever is decided.",
            },
        }

    def listed(self, event: str | None) -> dict[str, Any]:
        """Those that hook an event, or all."""
        hooked = event is None or any(event in events for events in HOOKS.values())
        return {"interceptors": list(self._all.values()) if hooked else []}

    async def invoke(self, tenant: str, asked: Invocation) -> dict[str, Any]:
        """What one says of a message.

        Raises
        ------
        InvokeError
            There is none of that name or hook, or no time was left.
        """
        about = {"interceptor": asked.name[:MAX_TEXT], "phase": asked.phase}
        if asked.name not in self._all:
            raise InvokeError(INVALID_PARAMS, "no such interceptor", about)
        if asked.event not in HOOKS.get(asked.phase, ()):
            raise InvokeError(INVALID_PARAMS, "it does not hook this event in this phase", about)
        if set(asked.config) - _SCHEMA["properties"].keys():
            raise InvokeError(
                INVALID_PARAMS, f"config has no members but {', '.join(_SCHEMA['properties'])}", about
            )
        try:
            async with asyncio.timeout(asked.timeout_s):
                ruling = await self._ruled(tenant, asked)
        except TimeoutError as error:
            raise InvokeError(TIMED_OUT, "Interceptor execution timeout", about) from error
        except (TypeError, ValueError) as error:
            ruling = Ruling("deny", "not_taken", f"the contract does not take this: {error}")
        return worded(ruling, asked)

    async def _ruled(self, tenant: str, asked: Invocation) -> Ruling:
        bounded(asked.payload)
        message = message_of(asked)
        task = self._task(tenant, asked)
        if isinstance(task, Ruling):
            return task
        if asked.phase == "response":
            return self._shown(task, asked, message)
        try:
            tool, arguments = called(asked.event, message)
        except ValueError as error:
            return Ruling("deny", "no_call", str(error))
        whatever = asked.name == AUDIT
        return await self._gate.heard(task, tool, arguments, secrets.token_hex(16), whatever=whatever)

    def _task(self, tenant: str, asked: Invocation) -> Task | Ruling:
        session_id, principal = asked.context.get("sessionId"), asked.context.get("principal") or {}
        user = principal.get("id") if isinstance(principal, Mapping) else None
        agent, intent = asked.config.get("agent"), asked.config.get("intent", "")
        if not isinstance(session_id, str) or not 0 < len(session_id) <= MAX_SESSION:
            said = f"context.sessionId names no session (a text of 1 to {MAX_SESSION} characters)"
            return Ruling("deny", "no_session", said)
        if not isinstance(intent, str) or not all(
            each is None or (isinstance(each, str) and len(each) <= MAX_TEXT) for each in (user, agent)
        ):
            return Ruling("deny", "no_text", "context.principal.id, config.agent and config.intent are texts")
        named = {"id": agent or None, "user": user or None}
        # The intent waits for a call: what is listed before one is declared with it.
        intent = intent.strip() if asked.phase == "request" else ""
        return self._tasks.of(tenant, f"{asked.name} {session_id}", user, named, intent, session_id)

    def _shown(self, task: Task, asked: Invocation, message: dict[str, Any]) -> Ruling:
        if asked.event == "tools/list":
            tools, server = message.get("tools"), asked.config.get("server")
            if isinstance(tools, list):
                task.offers(
                    {**each, "server": server} if isinstance(each, dict) else each
                    for each in tools[:MAX_LISTED]
                )
        else:
            failed = message.get("isError") is True or {"jsonrpc", "error"} <= message.keys()
            self._gate.returned_unnamed(task, without_meta(message), ok=not failed)
        return Ruling("allow", "told")


def message_of(asked: Invocation) -> dict[str, Any]:
    """The parameters or the result that a payload shows, alone or in its JSON-RPC message; `ValueError` where it could be read in two ways."""
    payload = asked.payload
    if not isinstance(payload, dict):
        raise ValueError("the payload is no object")
    inner = "params" if asked.phase == "request" else "result"
    if inner not in payload:
        return payload
    if set(payload) - {"jsonrpc", "id", "method", inner} or payload.get("method", asked.event) != asked.event:
        raise ValueError(f"the payload is neither {inner} alone nor a message of {asked.event}")
    found = payload[inner]
    if not isinstance(found, dict):
        raise ValueError(f"{inner} of the payload is no object")
    return found


def worded(ruling: Ruling, asked: Invocation) -> dict[str, Any]:
    """A ruling as a validator's result: an error blocks, a warning does not."""
    result: dict[str, Any] = {
        "interceptor": asked.name,
        "type": "validation",
        "phase": asked.phase,
        "valid": ruling.word == "allow",
        "info": {"driftline": ruling.facts()},
    }
    if ruling.word == "allow" and not ruling.why:
        return result
    severity = "warn" if ruling.word == "allow" else "error"
    said = {"message": ruling.why or "it was not decided", "severity": severity}
    return result | {"severity": severity, "messages": [said]}
