"""LangChain and LangGraph: an agent's calls are judged before they run, and a denied one comes back to the model as a tool's message.

    guard = DriftlineMiddleware(driftline, agent={"id": "payer"})
    agent = guard.watch(create_agent(model, tools, middleware=[guard]))
    agent.invoke({"messages": [{"role": "user", "content": "Pay invoice 17 of ACME."}]})

Runs of a thread are one session, each other run is one of its own. In a graph of your own the same goes into the node of tools:
``ToolNode(tools, wrap_tool_call=guard.wrap_tool_call, awrap_tool_call=guard.awrap_tool_call)``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from driftline_client.around import Untold, ajudged, ended_by, failed, judged
from driftline_client.client import Client
from driftline_client.outcome import Denied
from driftline_client.session import Call, Session

G = TypeVar("G", bound=Runnable[Any, Any])
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
"""Annotations of MCP, which its adapter for LangChain puts into a tool's metadata."""
_UNDER: ContextVar[Session | None] = ContextVar("driftline_langchain", default=None)
"""The session in whose call the code at hand runs: an agent that is run there works for it."""


def asked(given: Any) -> list[str]:
    """What the user says in a run's input: its human messages."""
    messages = given.get("messages") if isinstance(given, Mapping) else getattr(given, "messages", None)
    if messages is None:
        return []
    listed = [messages] if isinstance(messages, str | BaseMessage) else list(messages)
    return [str(each.text) for each in convert_to_messages(listed) if isinstance(each, HumanMessage)]


class DriftlineMiddleware(AgentMiddleware[Any, Any, Any]):
    """One agent, told of and decided on. Safe for threads and for any number of runs at once.

    Put it last of an agent's middleware: what stands behind it could change a call that was decided on, or repeat it.

    Parameters
    ----------
    client : Client
        The process's client.
    asked : callable
        The user's words in a run's input. The first are the intent, later ones amend it.
    most_threads : int
        Threads (``thread_id``) whose sessions stay open between their runs; the one that was idle longest ends first.
    task
        As of `Client.session`: ``agent``, ``actions``, ``budget``, ``credentials``, ``on_silence`` and so on.
    """

    def __init__(
        self,
        client: Client,
        *,
        asked: Callable[[Any], Sequence[str]] = asked,
        most_threads: int = 1_000,
        **task: Any,
    ) -> None:
        super().__init__()
        self._client, self._asked, self._most_threads = client, asked, most_threads
        self._task = {**task, "agent": {"framework": "langchain", **(task.get("agent") or {})}}
        self._threads: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def watch(self, graph: G, tools: Iterable[BaseTool] | None = None) -> G:
        """The graph, whose runs are sessions from now on; `tools`: its catalogue, where it is not that of its nodes of tools."""
        listed = _tools(graph) if tools is None else tools
        catalogue = [_declared(each) for each in listed]
        watched: Any = graph.with_config(callbacks=[_Runs(self, catalogue)])
        return watched  # type: ignore[no-any-return]

    # ------------------------------------------------------------------ sessions

    def begin(self, given: Any, thread: str | None, catalogue: Sequence[Mapping[str, Any]]) -> Session:
        """The session of a run: that of its thread, or a new one."""
        turns = [each for each in self._asked(given) if each]
        with self._lock:
            session = None if thread is None else self._threads.get(thread)
            if session is None:
                first, turns = (turns[0], turns[1:]) if turns else ("", [])
                session = self._client.session(first, tools=catalogue, parent=_UNDER.get(), **self._task)
            for turn in turns:
                session.amend(turn)
            if thread is not None:
                self._threads[thread] = session
                self._threads.move_to_end(thread)
                if len(self._threads) > self._most_threads:
                    self._threads.popitem(last=False)[1].end("idle")
        return session

    def end(self, thread: str, reason: str = "done") -> None:
        """A thread's task is over, and with it what was issued for it."""
        with self._lock:
            session = self._threads.pop(thread, None)
        if session is not None:
            session.end(reason)

    def close(self, reason: str = "done") -> None:
        """End the sessions of all threads."""
        for thread in list(self._threads):
            self.end(thread, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("done" if kind is None else f"failed: {kind.__name__}")

    def _session(self, request: ToolCallRequest) -> Session:
        manager = request.runtime.config.get("callbacks")
        for handler in reversed(getattr(manager, "handlers", ())):
            if isinstance(handler, _Runs) and handler.guard is self:
                session = handler.of(getattr(manager, "parent_run_id", None))
                if session is not None:
                    return session
        raise RuntimeError(
            "no session for this call: run the graph that DriftlineMiddleware.watch(graph) returned"
        )

    # ------------------------------------------------------------------ calls

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Tell of a call, wait for the decision, run it, and tell what came back."""
        session = self._session(request)
        try:
            call = judged(session, request.tool_call["name"], request.tool_call["args"])
        except (Denied, Untold) as stopped:
            return _not_run(request, stopped)
        with _within(session, call):
            answer = handler(request)
        _returned(session, call, answer)
        return answer

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """As `wrap_tool_call`, for an event loop."""
        session = self._session(request)
        try:
            call = await ajudged(session, request.tool_call["name"], request.tool_call["args"])
        except (Denied, Untold) as stopped:
            return _not_run(request, stopped)
        with _within(session, call):
            answer = await handler(request)
        _returned(session, call, answer)
        return answer


class _Runs(BaseCallbackHandler):
    """Which session a run of a graph is of: the graph's own runs begin and end one, those within belong to it."""

    raise_error = True  # a task that cannot be declared does not run
    run_inline = True

    def __init__(self, guard: DriftlineMiddleware, catalogue: Sequence[Mapping[str, Any]]) -> None:
        self.guard, self._catalogue = guard, catalogue
        self._sessions: dict[UUID, Session] = {}  # by run, of the graph's own and of those within
        self._ends: dict[UUID, Session] = {}  # by the graph's own runs, those that end with them

    def of(self, run_id: UUID | None) -> Session | None:
        return None if run_id is None else self._sessions.get(run_id)

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None,
        metadata: Mapping[str, Any] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        session = self.of(parent_run_id)
        if session is None:
            # What runs within another agent's call ends with that call, though it is told the same thread.
            thread = None if _UNDER.get() is not None else (metadata or {}).get("thread_id")
            session = self.guard.begin(inputs, thread, self._catalogue)
            if thread is None:
                self._ends[run_id] = session
        self._sessions[run_id] = session

    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None, **_: Any
    ) -> None:
        session = self.of(parent_run_id)
        if session is not None:
            self._sessions[run_id] = session

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self._over(run_id, "done")

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._over(run_id, ended_by(error))

    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        self._sessions.pop(run_id, None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._sessions.pop(run_id, None)

    def _over(self, run_id: UUID, reason: str) -> None:
        self._sessions.pop(run_id, None)
        session = self._ends.pop(run_id, None)
        if session is not None:
            session.end(reason)


def _tools(graph: Any) -> list[BaseTool]:
    """What the nodes of tools of a graph and of its subgraphs hold."""
    graphs = [graph, *(each for _, each in graph.get_subgraphs(recurse=True))]
    held = (getattr(node, "bound", None) for each in graphs for node in each.nodes.values())
    return [tool for each in held if isinstance(each, ToolNode) for tool in each.tools_by_name.values()]


def _declared(tool: BaseTool) -> dict[str, Any]:
    function = convert_to_openai_tool(tool)["function"]
    hints = {name: value for name, value in (tool.metadata or {}).items() if name in _HINTS}
    return {
        "name": tool.name,
        "description": function.get("description"),
        "parameters": function.get("parameters"),
        "annotations": hints or None,
    }


def _not_run(request: ToolCallRequest, stopped: Exception) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(str(stopped), name=call["name"], tool_call_id=call["id"], status="error")


def _returned(session: Session, call: Call, answer: Any) -> None:
    """Tell what the model reads of an answer, and a command's effects on the graph where it reads nothing."""
    update = answer.update if isinstance(answer, Command) else None
    messages = update.get("messages", ()) if isinstance(update, Mapping) else ()
    answers = answer if isinstance(answer, list) else [answer]
    read = [each for each in (*answers, *messages) if isinstance(each, ToolMessage)]
    said = [each.content for each in read] or [answer]
    is_ok = all(each.status != "error" for each in read)
    session.tell(call, said[0] if len(said) == 1 else said, ok=is_ok)


@contextmanager
def _within(session: Session, call: Call) -> Iterator[None]:
    """What runs here works for `session`; what it raises is told of `call`."""
    under = _UNDER.set(session)
    try:
        yield
    except GraphBubbleUp:  # begins anew, as another call, when the run goes on
        session.tell(call, "not finished: the graph was interrupted", ok=False)
        raise
    except BaseException as error:
        failed(session, call, error)
        raise
    finally:
        _UNDER.reset(under)
