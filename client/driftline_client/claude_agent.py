"""Claude Agent SDK: an agent's calls are judged before they run, and a denied one comes back to Claude as the tool's error.

    with DriftlineHooks(driftline, agent={"id": "payer"}) as hooks:
        options = hooks.options(ClaudeAgentOptions(...))
        async for message in query(prompt=hooks.asked("Pay invoice 17 of ACME."), options=options):
            ...

The same for a ``ClaudeSDKClient``, in which each further ``query(hooks.asked(...))`` amends what was asked for.

What the user asks for is taken from `asked` alone. Claude Code's own hook for prompts (``UserPromptSubmit``) hears what the host never sent
too, the answers of sub-agents among it: text that anybody may have written.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from claude_agent_sdk import ClaudeAgentOptions, HookMatcher
from mcp import Client as McpClient

from driftline_client.around import POSTURE, Untold, ajudged
from driftline_client.client import Client
from driftline_client.outcome import Denied, DriftlineError
from driftline_client.session import Call, Session

_HANDS_OVER = ("Agent", "Task")
"""What Claude Code calls its tool that starts a sub-agent, now and in older versions."""
_ANY_AGENT = "general-purpose"


class _Handed(NamedTuple):
    """What a sub-agent was asked for, and by which session."""

    kind: str
    prompt: str
    above: Session


class DriftlineHooks:
    """One conversation with Claude, told of and decided on; a context manager, with or without ``async``.

    Parameters
    ----------
    client : Client
        The process's client.
    task
        As of `Client.session`: ``agent``, ``actions``, ``budget``, ``credentials``, ``on_silence`` and so on.

    Notes
    -----
    Where silence raises, the run stops and the end of ``with`` raises `Undecided` or `Lost`: a hook's own error would end nothing.
    """

    def __init__(self, client: Client, **task: Any) -> None:
        self._client = client
        self._task = {**task, "agent": {"framework": "claude-agent-sdk", **(task.get("agent") or {})}}
        self._session: Session | None = None
        self._servers: Mapping[str, Any] = {}
        self._catalogue: list[dict[str, Any]] | None = None
        self._listing = asyncio.Lock()
        self._known: dict[str, set[str]] = {}  # names of tools, by session
        self._calls: dict[str, tuple[Session, Call]] = {}  # that run, by tool_use_id
        self._asked_for: dict[
            str, _Handed
        ] = {}  # by tool_use_id, of sub-agents that are not known by their ids yet
        self._handed: dict[str, _Handed] = {}  # by agent_id
        self._children: dict[str, Session] = {}  # by agent_id
        self._undecided: DriftlineError | None = None

    def options(self, options: ClaudeAgentOptions | None = None) -> ClaudeAgentOptions:
        """`options` with these hooks behind its own."""
        given = options or ClaudeAgentOptions()
        servers: Any = given.mcp_servers if isinstance(given.mcp_servers, Mapping) else {}
        self._servers = {
            name: each["instance"]
            for name, each in servers.items()
            if isinstance(each, Mapping) and each.get("type") == "sdk"
        }
        # A hook that fails or is late blocks the call; a Claude Code that cannot promise that is refused by the SDK.
        ours = {
            "PreToolUse": HookMatcher(hooks=[self._before], on_failure="block"),
            "PostToolUse": HookMatcher(hooks=[self._after]),
            "PostToolUseFailure": HookMatcher(hooks=[self._failed]),
            "SubagentStop": HookMatcher(hooks=[self._stopped]),
        }
        hooks: dict[Any, list[HookMatcher]] = {name: list(each) for name, each in (given.hooks or {}).items()}
        for name, matcher in ours.items():
            hooks.setdefault(name, []).append(matcher)
        return dataclasses.replace(given, hooks=hooks)

    def asked(self, prompt: str) -> str:
        """Tell of what the user asks for, and return it: the first is the intent, later ones amend it."""
        if self._session is None:
            self._session = self._client.session(prompt, **self._task)
        else:
            self._session.amend(prompt)
        return prompt

    def close(self, reason: str = "done") -> None:
        """The conversation is over, and with it what was issued for it."""
        for session in (*self._children.values(), self._session):
            if session is not None:
                session.end(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit)
        self.close("cancelled" if cancelled else "done" if kind is None else f"failed: {kind.__name__}")
        if self._undecided is not None and kind is None:
            raise self._undecided

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # ------------------------------------------------------------------ hooks

    async def _before(self, given: Any, _: Any, __: Any) -> Any:
        name, arguments, use = given["tool_name"], given["tool_input"], given["tool_use_id"]
        session = self._of(given.get("agent_id"), given.get("agent_type") or "")
        if session is None:
            return _denied(
                f"{name} was not run: the host did not tell what the user asked for (DriftlineHooks.asked)."
            )
        await self._offer(session, name)
        try:
            call = await ajudged(session, name, arguments)
        except (Denied, Untold) as stopped:
            return _denied(str(stopped))
        except DriftlineError as undecided:
            self._undecided = undecided
            return {**_denied(str(undecided)), "continue_": False, "stopReason": str(undecided)}
        self._calls[use] = session, call
        if name in _HANDS_OVER:
            kind, prompt = arguments.get("subagent_type") or _ANY_AGENT, str(arguments.get("prompt") or "")
            self._asked_for[use] = _Handed(kind, prompt, session)
        return {}  # no opinion: the user's own permissions still hold

    async def _after(self, given: Any, _: Any, __: Any) -> Any:
        self._tell(given, given["tool_response"], ok=True)
        return {}

    async def _failed(self, given: Any, _: Any, __: Any) -> Any:
        self._tell(given, f"failed: {given['error']}", ok=False)
        return {}

    async def _stopped(self, given: Any, _: Any, __: Any) -> Any:
        session = self._children.pop(given["agent_id"], None)
        if session is not None:
            session.end("done")
        return {}

    def _tell(self, given: Any, answer: Any, *, ok: bool) -> None:
        handed = self._asked_for.pop(given["tool_use_id"], None)
        if handed is not None and isinstance(answer, Mapping) and isinstance(answer.get("agentId"), str):
            self._handed[answer["agentId"]] = handed
        session, call = self._calls.pop(given["tool_use_id"], (None, None))
        if session is not None and call is not None:
            session.tell(call, answer, ok=ok)

    # ------------------------------------------------------------------ sessions

    def _of(self, agent_id: str | None, kind: str) -> Session | None:
        """The session of whoever calls: Claude's own, or a sub-agent's, which begins with its first call."""
        if agent_id is None or self._session is None:
            return self._session
        if agent_id not in self._children:
            handed = self._handed.get(agent_id) or self._next(kind) or _Handed(kind, "", self._session)
            self._handed[agent_id] = handed
            task = {name: self._task[name] for name in POSTURE if name in self._task}
            task["agent"] = {"id": kind or "sub-agent", "framework": "claude-agent-sdk"}
            self._children[agent_id] = self._client.session(handed.prompt, parent=handed.above, **task)
        return self._children[agent_id]

    def _next(self, kind: str) -> _Handed | None:
        """What the sub-agent of this kind that was asked for first is to do: nothing says yet which one it is."""
        use = next((use for use, each in self._asked_for.items() if each.kind == kind), None)
        return None if use is None else self._asked_for.pop(use)

    async def _offer(self, session: Session, name: str) -> None:
        """Tell of the tools of the process's own servers before the first call, and of others as Claude Code comes to them."""
        async with self._listing:
            if self._catalogue is None:
                self._catalogue = [each for found in self._servers.items() for each in await _listed(*found)]
            known = self._known.get(session.id)
            if known is None:
                session.offer(self._catalogue)
                known = self._known[session.id] = {each["name"] for each in self._catalogue}
            if name not in known:  # Claude Code has no hook for a tool that it does not have
                session.offer([{"name": name}])
                known.add(name)


async def _listed(server: str, instance: Any) -> Iterable[dict[str, Any]]:
    """The tools of a server in this process, by the names under which Claude knows them."""
    async with McpClient(instance) as reader:
        found = (await reader.list_tools()).tools
    told = (each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in found)
    return [
        {
            "name": f"mcp__{server}__{each['name']}",
            "server": server,
            **{name: each[name] for name in ("description", "inputSchema", "annotations") if name in each},
        }
        for each in told
    ]


def _denied(why: str) -> dict[str, Any]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": why,
        }
    }
