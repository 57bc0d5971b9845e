"""What each step of the Agent Control Standard tells the judge, and what is answered to it.

The user's words are the intent and amend it; nothing else does. Calls are judged. What comes back is told as a stranger's text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream.gate.acs_envelope import INVALID_PARAMS, AcsError, Request
from stream.gate.sessions import Gate, Ruling, Task

PING, HELLO, MCP = "system/ping", "handshake/hello", "protocols/MCP/"
ALLOWED = Ruling("allow", "not_judged")
OF_THE_HOST = ("<task-notification>", "<teammate-message")
"""How prompts begin that Claude Code hands to its hooks in the user's place: what a sub-agent or another agent said."""
MAX_LISTED = 1_000
"""Parts of a message, outputs and arguments that a payload may have."""


@dataclass(slots=True, eq=False)
class Session:
    """One session of an observed agent.

    Attributes
    ----------
    tenant, id, agent_id : str
    key_id : str
        The name of the key that opened it.
    methods : frozenset or None
        What its handshake negotiated; None: it began without one, so everything.
    head : str or None
        Of its chain.
    seen : dict
        Request ids and nonces, and until when each could come again, in seconds since 1970.
    task : Task or None
        Where it is told to the judge; None while it did nothing that is judged.
    parent : Session or None
        The one that it works for.
    derived : str
        What a sub-agent was told to do by that one; empty where it was told nothing.
    is_closed : bool
        Whether its end came.
    hello : bytes
        The ClientHello in its canonical form; empty while none came.
    """

    tenant: str
    id: str
    agent_id: str
    key_id: str
    methods: frozenset[str] | None
    head: str | None = None
    seen: dict[str, float] = field(default_factory=dict)
    task: Task | None = None
    parent: Session | None = None
    derived: str = ""
    is_closed: bool = False
    hello: bytes = b""


Step = Callable[["Steps", Session, Request], Awaitable[Ruling]]


class Steps:
    """All steps that are evaluated.

    Parameters
    ----------
    delegate : callable
        Opens the session of a sub-agent: tenant, its id, what it works for, what it was told; gives a ruling.
    """

    def __init__(self, gate: Gate, delegate: Callable[[Session, str, str], Ruling]) -> None:
        self.gate, self._delegate = gate, delegate

    def task(self, session: Session, request: Request) -> Task:
        """Where a session is told to the judge, from now on."""
        if session.task is None:
            user = request.metadata.get("user_context")
            named = user.get("user_id") if isinstance(user, dict) else None
            platform = request.metadata.get("platform")
            session.task = self.gate.begin(
                session.tenant,
                session.id,
                {
                    "id": session.agent_id,
                    "user": named if isinstance(named, str) and named else None,
                    "framework": platform[:256] if isinstance(platform, str) and platform else None,
                },
                session.derived,
                None if session.parent is None else session.parent.task,
            )
        return session.task

    async def session_start(self, session: Session, request: Request) -> Ruling:
        """The intent, where the host knows it already."""
        if text := declared(request.payload.get("intent")):
            if session.parent is not None or (session.task is not None and session.task.intent):
                return Ruling(
                    "allow", "intent_is_fixed", "the intent is known already; only the user amends it"
                )
            self.task(session, request).says(text)
        return ALLOWED

    async def user_message(self, session: Session, request: Request) -> Ruling:
        """The user's own words."""
        text = text_of(request.payload)
        if session.parent is not None:
            # To a sub-agent its parent speaks in the user's place.
            return Ruling(
                "allow", "not_the_users_words", "a sub-agent's messages are its parent's, not the user's"
            )
        if text.startswith(OF_THE_HOST):
            self.gate.returned(self.task(session, request), request.request_id, text, ok=True)
            return Ruling("allow", "not_the_users_words", "the host says this in the user's place")
        if text:
            self.task(session, request).says(text)
        return ALLOWED

    async def call(self, session: Session, request: Request) -> Ruling:
        """A tool's call, before it runs."""
        tool, arguments = tool_of(request.payload), request.payload.get("arguments")
        if not isinstance(arguments, dict):
            raise AcsError(INVALID_PARAMS, "payload.arguments is an object")
        if len(arguments) > MAX_LISTED:  # well formed, and some hosts let a call run at an error
            return Ruling(
                "deny", "not_taken", f"{tool} was not run: it has more than {MAX_LISTED:,} arguments"
            )
        plain = {}
        for name, wrapped in arguments.items():
            if not isinstance(wrapped, dict) or "value" not in wrapped:
                raise AcsError(INVALID_PARAMS, "each of payload.arguments is an object with value")
            plain[name] = wrapped["value"]
        return await self.gate.ask(self.task(session, request), tool, plain, request.request_id)

    async def result(self, session: Session, request: Request) -> Ruling:
        """What a tool answered."""
        outputs, status = request.payload.get("outputs"), request.payload.get("exit_status")
        if outputs is None or not isinstance(status, str):
            raise AcsError(INVALID_PARAMS, "payload has exit_status, a text, and outputs")
        parts = outputs if isinstance(outputs, list) else [outputs]
        values = [each["value"] if isinstance(each, dict) and "value" in each else each for each in parts]
        named = request.payload.get("request_id_ref")
        name = named.lower() if isinstance(named, str) and named else request.request_id
        answer = values[0] if len(values) == 1 else values
        if self.gate.returned(self.task(session, request), name, answer, ok=status == "success"):
            return ALLOWED
        return Ruling(
            "allow",
            "request_id_ref_unresolved",
            "no call that may run has this id; the result is told all the same",
        )

    async def retrieval(self, session: Session, request: Request) -> Ruling:
        """What was looked up and is about to enter the context: a call that reads, and its answer."""
        asked = {name: value for name, value in request.payload.items() if name in ("query", "keywords")}
        found = {name: value for name, value in request.payload.items() if name not in asked}
        task = self.task(session, request)
        ruling = await self.gate.ask(task, request.method.partition("/")[2], asked, request.request_id)
        if ruling.word == "allow":
            self.gate.returned(task, request.request_id, found, ok=True)
        return ruling

    async def store(self, session: Session, request: Request) -> Ruling:
        """What is about to be written into the agent's memory: a call that writes."""
        tool, payload = request.method.partition("/")[2], dict(request.payload)
        return await self.gate.ask(self.task(session, request), tool, payload, request.request_id)

    async def subagent_start(self, session: Session, request: Request) -> Ruling:
        """A sub-agent may do no more than whom it works for."""
        payload = request.payload
        child, parent = payload.get("subagent_session_id"), payload.get("parent_session_id")
        derivation = payload.get("intent_derivation")
        if not all(isinstance(each, str) and 0 < len(each) <= 64 for each in (child, parent, derivation)):
            raise AcsError(
                INVALID_PARAMS, "payload has subagent_session_id, parent_session_id and intent_derivation"
            )
        if derivation not in ("inherit_full", "inherit_subset", "derived_from_parent", "fresh"):
            raise AcsError(INVALID_PARAMS, "payload.intent_derivation is none that the standard has")
        if str(parent).lower() != session.id:
            return Ruling(
                "deny",
                "parent_session_mismatch",
                "the spawn names another session than the one that asks for it",
            )
        if derivation == "fresh":
            return Ruling(
                "deny",
                "fresh_intent",
                "a sub-agent's authority is its parent's; only the user gives any that is new",
            )
        self.task(session, request)
        return self._delegate(
            session, str(child).lower(), declared(payload.get("subagent_intent"), whoever=True)
        )

    async def mcp(self, session: Session, request: Request) -> Ruling:
        """A message of MCP, as it is: what is asked for is a call, what answers it its result, a list of tools the catalogue."""
        message, method = request.payload, request.method.removeprefix(MCP)
        asked = message.get("params", message)
        if not isinstance(asked, dict):
            raise AcsError(INVALID_PARAMS, "params of a message of MCP is an object")
        rpc_id = message.get("id")
        name = f"mcp {rpc_id}" if isinstance(rpc_id, str | int) else request.request_id
        # Whatever asks for something is asked of the judge, whatever else it says.
        if (
            "jsonrpc" in message
            and {"result", "error"} & set(message)
            and not {"method", "params"} & set(message)
        ):
            answer = message.get("result", message.get("error"))
            if method == "tools/list":
                return self._listed(self.task(session, request), answer)
            if self.gate.returned(self.task(session, request), name, answer, ok="error" not in message):
                return ALLOWED
            return Ruling(
                "allow",
                "mcp_id_unresolved",
                "no call that may run has this id; the answer is told all the same",
            )
        if method == "tools/list":
            return ALLOWED
        tool, arguments = method, {each: value for each, value in asked.items() if each != "_meta"}
        if method == "tools/call":
            if "tool" in asked:
                return await self.call(session, request)
            tool, arguments = tool_of({"tool": asked}), asked.get("arguments", {})
        if not isinstance(arguments, dict):
            raise AcsError(INVALID_PARAMS, "params.arguments is an object")
        return await self.gate.ask(self.task(session, request), tool, arguments, name)

    @staticmethod
    def _listed(task: Task, answer: Any) -> Ruling:
        tools = answer.get("tools") if isinstance(answer, dict) else None
        if not isinstance(tools, list) or len(tools) > MAX_LISTED:
            raise AcsError(INVALID_PARAMS, f"a list of tools has at most {MAX_LISTED}")
        task.offers(tools)
        return ALLOWED

    async def nothing(self, session: Session, request: Request) -> Ruling:
        """A step that says nothing of what is judged."""
        return ALLOWED


EVALUATED: Mapping[str, Step] = {
    "steps/sessionStart": Steps.session_start,
    "steps/agentTrigger": Steps.session_start,
    "steps/turnStart": Steps.nothing,
    "steps/userMessage": Steps.user_message,
    "steps/agentResponse": Steps.nothing,
    "steps/knowledgeRetrieval": Steps.retrieval,
    "steps/memoryContextRetrieval": Steps.retrieval,
    "steps/memoryStore": Steps.store,
    "steps/toolCallRequest": Steps.call,
    "steps/toolCallResult": Steps.result,
    "steps/preCompact": Steps.nothing,
    "steps/postCompact": Steps.nothing,
    "steps/subagentStart": Steps.subagent_start,
    "steps/subagentStop": Steps.nothing,
    "steps/turnEnd": Steps.nothing,
    "steps/sessionEnd": Steps.nothing,
    **{
        f"protocols/MCP/{each}": Steps.mcp
        for each in ("tools/call", "tools/list", "resources/read", "prompts/get")
    },
}
"""What is evaluated. `acs.Guardian` ends sessions itself."""
UNDENIABLE = frozenset({"steps/postCompact", "steps/subagentStop", "steps/turnEnd", "steps/sessionEnd"})
"""Steps that happened already: the standard takes no denial of them."""
DEFERRABLE = frozenset({"steps/toolCallRequest", "protocols/MCP/tools/call"})
"""Steps that may be put off."""


def tool_of(payload: Mapping[str, Any]) -> str:
    """The name of the tool that a payload is about."""
    tool = payload.get("tool")
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str) or not name:
        raise AcsError(INVALID_PARAMS, "payload.tool.name is a text")
    return name


def text_of(payload: Mapping[str, Any]) -> str:
    """The user's text in a message; parts that come from elsewhere by their own provenance are left out."""
    content = payload.get("content")
    if not isinstance(content, list) or len(content) > MAX_LISTED:
        raise AcsError(INVALID_PARAMS, f"payload.content is a list of at most {MAX_LISTED} parts")
    texts = []
    for part in content:
        if not isinstance(part, dict):
            raise AcsError(INVALID_PARAMS, "each of payload.content is an object")
        value, kind = part.get("value"), part.get("type", "text")
        if kind == "text" and isinstance(value, str) and _is_users(part.get("provenance")):
            texts.append(value)
    return "\n".join(texts).strip()


def declared(intent: Any, *, whoever: bool = False) -> str:
    """What an intent says, if it is the user's; `whoever`: whoever said it."""
    raw = intent.get("raw") if isinstance(intent, dict) else None
    if not isinstance(raw, str) or not (whoever or _is_users(intent.get("parser_provenance"))):
        return ""
    return raw.strip()


def _is_users(provenance: Any) -> bool:
    return provenance is None or (isinstance(provenance, dict) and provenance.get("origin") == "user_input")
