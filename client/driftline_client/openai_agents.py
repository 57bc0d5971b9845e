"""OpenAI Agents SDK: an agent's calls are judged before they run, and a denied one comes back to the model as the tool's output.

    runner = DriftlineRunner(driftline, agent={"id": "payer"})
    result = await runner.run(agent, "Pay invoice 17 of ACME.")

`run`, `run_sync` and `run_streamed` take what those of ``agents.Runner`` take. An agent that is handed over to, and one that runs as a
tool of another, is a session of its own under that one's.

Within such a run, and nowhere else, what an agent offers (``Agent.get_all_tools``) is wrapped: so tools of MCP servers, of agents that are
handed over to and of agents as tools are held to the same, whichever way the SDK comes to them.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from agents import (
    Agent,
    AgentBase,
    AgentsException,
    CustomTool,
    FunctionTool,
    RunContextWrapper,
    Runner,
    RunResult,
    RunResultStreaming,
    RunState,
    Tool,
    default_tool_error_function,
)

from driftline_client.around import POSTURE, Untold, ajudged, ended_by, failed
from driftline_client.client import Client
from driftline_client.outcome import Denied, DriftlineError
from driftline_client.session import Session

_RUN: ContextVar[_Run | None] = ContextVar("driftline_openai_agents", default=None)
"""The run that the code at hand is of."""
_NO_CONTEXT: Any = None
_FAILED = default_tool_error_function(_NO_CONTEXT, Exception())
"""What the SDK answers in a tool's place that raised, whatever it raised."""


def asked(given: Any) -> list[str]:
    """What the user says in a run's input: the text, or the messages with the role of the user."""
    if isinstance(given, str):
        return [given]
    listed = given if isinstance(given, list) else []
    return [
        _text(each.get("content"))
        for each in listed
        if isinstance(each, Mapping) and each.get("role") == "user"
    ]


class DriftlineRunner:
    """Runs agents, told of and decided on. Any number of runs at once.

    Parameters
    ----------
    client : Client
        The process's client.
    untold : collection of str
        Tools that may run although nothing can be told of them before they do: those that run at OpenAI (``web_search``), and those for the
        computer, shells and patches. An agent with another such tool does not run.
    task
        As of `Client.session`: ``agent``, ``actions``, ``budget``, ``credentials``, ``on_silence`` and so on.
    """

    def __init__(self, client: Client, *, untold: Collection[str] = (), **task: Any) -> None:
        self._client, self._untold, self._task = client, untold, task

    async def run(
        self, agent: Agent[Any], input: Any, *, within: Session | None = None, **how: Any
    ) -> RunResult:
        """As ``Runner.run``, as a session.

        `within` is a session that you opened, told of the user's words and will end: for runs that go on with one another, and for those
        that are resumed from a ``RunState``.
        """
        with _at_work(self._begun(input, within)):
            return await Runner.run(agent, input, **how)

    def run_sync(
        self, agent: Agent[Any], input: Any, *, within: Session | None = None, **how: Any
    ) -> RunResult:
        """As ``Runner.run_sync``; see `run`."""
        with _at_work(self._begun(input, within)):
            return Runner.run_sync(agent, input, **how)

    def run_streamed(
        self, agent: Agent[Any], input: Any, *, within: Session | None = None, **how: Any
    ) -> RunResultStreaming:
        """As ``Runner.run_streamed``; see `run`. The session ends when the run does, read or not."""
        run = self._begun(input, within)
        under = _RUN.set(run)
        try:
            result = Runner.run_streamed(agent, input, **how)
        finally:
            _RUN.reset(under)
        if result.run_loop_task is None:
            raise RuntimeError("this version of openai-agents does not say when a streamed run is over")
        result.run_loop_task.add_done_callback(
            lambda task: run.end("cancelled" if task.cancelled() else ended_by(task.exception()))
        )
        return result

    def _begun(self, given: Any, within: Session | None) -> _Run:
        if isinstance(given, RunState) and within is None:
            raise ValueError(
                "a run that is resumed goes on in the session that it began in: pass it as within"
            )
        outer = _RUN.get()
        above = None if outer is None else outer.above
        turns = [each for each in asked(given) if each]
        return _Run(self._client, self._untold, self._task, turns, above=above, within=within)


class _Run:
    """One run: the sessions of its agents, by their names.

    Parameters
    ----------
    turns : list of str
        What it was asked for; the first is the intent.
    above : Session or None
        In whose call it runs.
    within : Session or None
        The session of its first agent, where that is open already.
    """

    def __init__(
        self, client: Client, untold: Collection[str], task: Mapping[str, Any], turns: list[str], *,
        above: Session | None = None, within: Session | None = None,
    ) -> None:  # fmt: skip
        self.above = above
        self._client, self._untold, self._turns, self._within = client, untold, turns, within
        self._task, self._posture = task, {name: task[name] for name in POSTURE if name in task}
        self._sessions: dict[str, Session] = {}
        self._known: dict[str, set[str]] = {}  # tools by agent
        # By tool and agent, with the tool itself: so its id stays its own.
        self._wrapped: dict[tuple[int, str], tuple[Tool, Tool]] = {}
        # Of the agent that was last at work: who comes next, it handed over to.
        self._at: Session | None = None

    def watched(self, agent: AgentBase[Any], tools: list[Tool]) -> list[Tool]:
        """What an agent offers, each held to decisions."""
        declared = [_declared(each) for each in tools]
        session = self._sessions.get(agent.name)
        if session is None:
            session = self._opened(agent.name, declared)
        elif more := [each for each in declared if each["name"] not in self._known[agent.name]]:
            session.offer(more)
        self._known.setdefault(agent.name, set()).update(each["name"] for each in declared)
        self._at = session
        return [self._held(each, session, agent.name) for each in tools]

    def _opened(self, name: str, declared: list[dict[str, Any]]) -> Session:
        if not self._sessions and self._within is not None:
            session = self._within
            session.offer(declared)
        else:
            mine = self._posture if self._sessions else self._task
            task = {**mine, "agent": {"id": name, "framework": "openai-agents", **(mine.get("agent") or {})}}
            parent = self._at or self.above
            first, later = (self._turns[0], self._turns[1:]) if self._turns else ("", [])
            session = self._client.session(first, parent=parent, tools=declared, **task)
            for turn in later:
                session.amend(turn)
        self._sessions[name] = session
        return session

    def _held(self, tool: Tool, session: Session, name: str) -> Tool:
        if not isinstance(tool, FunctionTool | CustomTool):
            if tool.name in self._untold:
                return tool
            raise TypeError(
                f"{tool.name}: nothing can be told of this tool before it runs; leave it out, or name it in untold"
            )
        if (id(tool), name) not in self._wrapped:
            held = copy.copy(tool)
            held.on_invoke_tool = self._around(tool, session)
            self._wrapped[id(tool), name] = tool, held
        return self._wrapped[id(tool), name][1]

    def _around(self, tool: FunctionTool | CustomTool, session: Session) -> Any:
        async def invoke(context: Any, given: str) -> Any:
            arguments = _arguments(given)
            try:
                call = await ajudged(session, tool.name, arguments)
            except (Denied, Untold) as stopped:
                return str(stopped)
            except DriftlineError as undecided:
                # One of the SDK's own errors ends a run as it is; all others arrive as a UserError.
                kinds = (AgentsException, type(undecided))
                raise type(type(undecided).__name__, kinds, {})(str(undecided)) from undecided
            within = _Run(self._client, self._untold, self._posture, [_handed(arguments)], above=session)
            try:
                with _at_work(within):
                    output = tool.on_invoke_tool(context, given)
                    output = await output if inspect.isawaitable(output) else output
            except BaseException as error:
                failed(session, call, error)
                raise
            is_failure = isinstance(output, str) and output == _FAILED
            session.tell(call, _plain(output), ok=not is_failure)
            return output

        return invoke

    def end(self, reason: str) -> None:
        """End the sessions that it began, those of sub-agents first."""
        for session in reversed(self._sessions.values()):
            if session is not self._within:
                session.end(reason)


@contextmanager
def _at_work(run: _Run) -> Iterator[None]:
    """What runs here is of `run`, which ends with it."""
    under = _RUN.set(run)
    try:
        yield
    except BaseException as error:
        run.end(ended_by(error))
        raise
    finally:
        _RUN.reset(under)
    run.end("done")


_listed = AgentBase.get_all_tools


async def _get_all_tools(self: AgentBase[Any], run_context: RunContextWrapper[Any]) -> list[Tool]:
    tools = await _listed(self, run_context)
    run = _RUN.get()
    return tools if run is None else run.watched(self, tools)


AgentBase.get_all_tools = _get_all_tools  # type: ignore[method-assign]


def _declared(tool: Tool) -> dict[str, Any]:
    hints = getattr(tool, "mcp_annotations", None)
    return {
        "name": tool.name,
        "description": getattr(tool, "description", None),
        "parameters": getattr(tool, "params_json_schema", None),
        "annotations": None if hints is None else hints.model_dump(by_alias=True, exclude_none=True),
    }


def _arguments(given: str) -> Any:
    """What the model wrote, as the tool will read it; text where it is no object."""
    try:
        read = json.loads(given or "{}")
    except (RecursionError, ValueError):
        return given
    return read if isinstance(read, dict) else given


def _handed(arguments: Any) -> str:
    """What an agent that runs as a tool is asked for."""
    given = arguments.get("input") if isinstance(arguments, dict) else arguments
    return given if isinstance(given, str) else json.dumps(arguments, ensure_ascii=False)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    return "\n".join(str(each["text"]) for each in parts if isinstance(each, Mapping) and "text" in each)


def _plain(output: Any) -> Any:
    if isinstance(output, list):
        return [_plain(each) for each in output]
    try:
        return output.model_dump()  # as the SDK's own outputs of tools can
    except Exception:  # what a tool did stands, whatever can be told of it
        return output
