"""agentgateway's ExtMCP: the gateway asks before a request of MCP reaches its server, and shows what came back.

The wire names neither session, user nor call. The gateway's configuration maps them into its metadata; the name of a call is ours: it goes out
with the answer to a request, and the gateway shows it again with the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from driftline_client.contract import MAX_NAME

from stream.gate.extmcp_messages import VERSION, Code, passed, read, refused, strange, text
from stream.gate.mcp_requests import CALLS, MAX_LISTED, called, without_meta
from stream.gate.reading import strict_json
from stream.gate.sessions import Gate, Ruling, Task, Tasks

STANDARD = f"agentgateway ExtMCP ({VERSION})"
REQUEST, RESPONSE = "McpRequestResult", "McpResponseResult"
CALL = "driftline_call"
"""Under which the gateway keeps the name of a call; its configuration shows it as ``call_id: mcpGuardrails.driftline_call``."""
LATE = ("tasks/get", "tasks/result")
"""Methods whose results are a call's that was made earlier."""
MUXED = "_"
"""Stands between server and tool where a gateway lists the tools of several servers."""
MAX_METHOD, MAX_SERVICES, MAX_SESSION = 256, 256, 8_192
QUICK = 65_536
"""Bytes of parameters or of a result that are read at once."""
SMALL = 16_384
"""Bytes of a message in which fields of other releases are looked for: among millions of them the looking takes seconds."""
NO_SESSION = (
    "the gateway names no session of this request: map one into the processor's metadata, session_id: "
    "'request.headers[\"mcp-session-id\"]'"
)
NO_FORM = f"this is not the form of agentgateway {VERSION}, in which parameters are JSON"
_log = logging.getLogger("driftline.gate.extmcp")


class Unfit(Exception):
    """A request that cannot be judged; its text is for whoever reads the agent's error."""


class Processor:
    """A policy processor of the gateway.

    Parameters
    ----------
    body_bytes : int
        Of parameters that are judged, and of a result that is taken apart.
    """

    def __init__(self, gate: Gate, tasks: Tasks, body_bytes: int) -> None:
        self._gate, self._tasks, self._body_bytes = gate, tasks, body_bytes
        self._told: set[str] = set()

    async def request(self, tenant: str, raw: bytes) -> bytes:
        """The answer to an ``McpRequest``, before that reaches its server."""
        try:
            answer = await self._judged(tenant, self._read("McpRequest", raw))
        except Unfit as error:
            answer = refused(REQUEST, Code.INVALID, str(error))
        except (TypeError, ValueError) as error:
            answer = refused(REQUEST, Code.INVALID, f"the contract does not take this: {error}")
        except Exception as error:
            # A fault of ours is no decision, and at an error of the wire some gateways let the call run. Its text may quote the call.
            _log.error("a request that nobody foresaw (%s)", type(error).__name__)
            answer = refused(REQUEST, Code.UNKNOWN, "the gate failed; its operator sees why")
        return bytes(answer.SerializeToString())

    async def response(self, tenant: str, raw: bytes) -> bytes:
        """The answer to an ``McpResponse``. What it shows always goes on: the call has run."""
        try:
            await self._shown(tenant, self._read("McpResponse", raw))
        except (TypeError, ValueError) as error:
            self._say(f"a result cannot be told: {error}")
        except Exception as error:
            _log.error("a result that nobody foresaw (%s)", type(error).__name__)
        return bytes(passed(RESPONSE).SerializeToString())

    # ------------------------------------------------------------------ before a call

    async def _judged(self, tenant: str, message: Any) -> Any:
        if not 0 < len(message.method) <= MAX_METHOD:
            raise Unfit(f"the method is missing: {NO_FORM}")
        if message.method not in CALLS:
            return passed(REQUEST)
        asked, arguments = await self._called(message)
        # Headers carry ASCII alone, so what comes in one may be percent-encoded.
        intent = text(message, "intent") or unquote(text(message, "intent_encoded"), errors="strict")
        task = self._task(tenant, message, intent.strip())
        if task is None:
            raise Unfit(NO_SESSION)
        if isinstance(task, Ruling):
            return worded(task)
        tool, name = _as_listed(task, message, asked), secrets.token_hex(16)
        return worded(await self._gate.heard(task, tool, arguments, name), name)

    async def _called(self, message: Any) -> tuple[str, dict[str, Any]]:
        raw, method = message.mcp_request, message.method
        if len(raw) > self._body_bytes:
            raise Unfit(f"parameters take {self._body_bytes:,} bytes at most (limits.body_bytes)")
        try:
            params = await _json(raw)
        except ValueError as error:
            raise Unfit(f"{method} has no parameters that can be read: {error}; {NO_FORM}") from error
        if not isinstance(params, dict):
            raise Unfit(f"the parameters of {method} are no object")
        try:
            return called(method, params)
        except ValueError as error:
            raise Unfit(str(error)) from error

    def _task(self, tenant: str, message: Any, intent: str) -> Task | Ruling | None:
        """The session that a message is of; None where it names none, a denial where it may not go on."""
        session_id, user = text(message, "session_id", MAX_SESSION), text(message, "user", MAX_NAME)
        if not session_id:
            return None
        # Whoever has the id of a session of MCP may speak in it: the bus gets its digest.
        told = "extmcp-" + hashlib.sha256(session_id.encode()).hexdigest()[:32]
        agent = {"id": text(message, "agent", MAX_NAME) or None, "user": user or None}
        return self._tasks.of(tenant, session_id, user, agent, intent, told)

    # ------------------------------------------------------------------ what came back

    async def _shown(self, tenant: str, message: Any) -> None:
        method = message.method
        if method not in (*CALLS, *LATE, "tools/list"):
            return
        # The intent waits for a call: what is listed before one is declared with it.
        task = self._task(tenant, message, "")
        if not isinstance(task, Task):
            return self._say(
                f"results of no session are not told; {NO_SESSION}"
                if task is None
                else f"a result is not told: {task.why}"
            )
        raw = message.mcp_response
        try:
            answer = await _json(raw) if len(raw) <= self._body_bytes else None
        except ValueError:
            answer = None
        if method == "tools/list":
            return self._listed(task, message, answer)
        if not isinstance(answer, dict):  # whatever it is, the agent may read it
            answer = {"text": raw[: self._body_bytes].decode(errors="replace")}
        ok = answer.get("isError") is not True
        result = without_meta(answer)
        call_id = text(message, "call_id", MAX_NAME)
        if call_id or method in LATE:
            self._gate.returned(task, call_id if method in CALLS else secrets.token_hex(8), result, ok=ok)
        else:
            self._gate.returned_unnamed(task, result, ok=ok)

    def _listed(self, task: Task, message: Any, answer: Any) -> None:
        tools = answer.get("tools") if isinstance(answer, dict) else None
        if not isinstance(tools, list):
            return self._say("a list of tools cannot be read, and is not told")
        services = list(message.service_names[:MAX_SERVICES])
        task.offers(_of_servers(each, services) for each in tools[:MAX_LISTED])

    # ------------------------------------------------------------------ the log

    def _read(self, kind: str, raw: bytes) -> Any:
        message = read(kind, raw)
        if len(raw) <= SMALL and (fields := strange(message)):
            self._say(f"fields {fields} of {kind} are not those of {VERSION}, and are not read")
        return message

    def _say(self, what: str) -> None:
        """Once for each thing: a gateway says the same of each request."""
        if what not in self._told and len(self._told) < 64:
            self._told.add(what)
            _log.warning("%s", what)


async def _json(raw: bytes) -> Any:
    # What takes long to read keeps nobody else waiting.
    return strict_json(raw) if len(raw) <= QUICK else await asyncio.to_thread(strict_json, raw)


def _as_listed(task: Task, message: Any, tool: str) -> str:
    """A tool by the name under which it was listed: with its server before it, where the gateway stands before several."""
    if len(message.service_names) != 1:
        return tool
    server = message.service_names[0]
    before = f"{server}{MUXED}"
    if before + tool not in task.tools:
        return tool
    # A server that stands alone may name some tools after itself, and they are not its others.
    own = [name for name, each in task.tools.items() if each.get("server") == server]
    return before + tool if all(name.startswith(before) for name in own) else tool


def _of_servers(tool: Any, services: list[str]) -> Any:
    """A listed tool with its server, as far as that is certain."""
    name = tool.get("name") if isinstance(tool, Mapping) else None
    if not isinstance(name, str):
        return tool
    of = services if len(services) == 1 else [each for each in services if name.startswith(each + MUXED)]
    return {**tool, "server": of[0]} if len(of) == 1 else {**tool, "server": None}


def worded(ruling: Ruling, name: str = "") -> Any:
    """A ruling as this wire has it: the message goes on, or the agent gets an error that says why."""
    if ruling.word == "allow":
        return passed(REQUEST, {CALL: name})
    data = json.dumps({"driftline": ruling.facts()}).encode()
    code = Code.RESOURCE_EXHAUSTED if ruling.code in ("sessions_full", "too_many") else Code.PERMISSION_DENIED
    return refused(REQUEST, code, ruling.why or "it was not decided", data)
