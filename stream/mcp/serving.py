"""The MCP server itself: the tools on the official SDK, over standard input and output or over HTTP, beside the reader of the bus."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from models.contracts import Feedback
from stream.console.bus import Follower
from stream.console.guard import Access, ProgramGuard
from stream.console.index import Index, Row
from stream.console.serving import Listen, bound_to, served
from stream.mcp.answers import Refused, findings
from stream.mcp.quoting import rendered
from stream.mcp.tools import INSTRUCTIONS, WITH_KEY, WITHOUT_KEY, Desk, Tool
from stream.offline.verdicts import subject
from stream.settings import Settings
from stream.shell import case_feedback
from stream.shell.clients import told_to_stop

PATH = "/mcp"
MAX_BODY = 65_536
"""Bytes of a request."""
TOLD_S = 30.0
"""How long a verdict waits until a worker told of it."""

_log = logging.getLogger("driftline.mcp")


class FeedbackSigner:
    """Gives verdicts as ``driftline feedback`` does.

    Parameters
    ----------
    by : str
        Who says it, for the record.
    key : joserfc key
        Private, with a ``kid`` that workers trust.
    """

    def __init__(self, settings: Settings, by: str, key: Any) -> None:
        self._settings, self._by, self._key = settings, by, key

    async def give(self, index: Index, row: Row, verdict: str, reason: str) -> bool:
        """Whether a worker told of it in time.

        Raises
        ------
        Refused
            No alert tells of the case.
        BrokerError
            No broker confirmed the verdict.
        """
        found = subject(findings(index, row), row.case_id)
        if found is None:
            raise Refused("no alert tells of this case: there is nothing to say a verdict on")
        said = case_feedback.verdict_on(found, verdict, self._by, reason)
        await asyncio.to_thread(case_feedback.give, self._settings, said, self._key)
        _log.info("verdict %s given on case %s", verdict, row.case_id)
        return await self._told(index, row, said)

    async def _told(self, index: Index, row: Row, said: Feedback) -> bool:
        until = asyncio.get_running_loop().time() + TOLD_S
        while not any(
            case_feedback.is_finding_of(each, said, str(self._key.kid)) for each in findings(index, row)
        ):
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(0.5)
        return True


def server(desk: Desk) -> Server[Any]:
    """The tools of `desk` as the SDK serves them."""
    offered = [_offered(each) for each in desk.tools]

    async def listed(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=offered)

    async def called(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            answer = await desk.call(asked.name, asked.arguments)
        except Refused as refusal:
            return _failed(str(refusal))
        except Exception as error:
            _log.error("a tool failed: %s", error)
            return _failed("the tool failed; the server's log says how")
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=rendered(answer))],
            structured_content=answer.model_dump(mode="json", exclude_defaults=True),
        )

    changes = any(each.changes for each in desk.tools)
    return Server(
        "driftline",
        version=version("driftline"),
        title="Driftline: cases of agents that drifted",
        instructions=INSTRUCTIONS + (WITH_KEY if changes else WITHOUT_KEY),
        on_list_tools=listed,
        on_call_tool=called,
    )


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _offered(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=_terse(tool.arguments.model_json_schema()),
        output_schema=_terse(tool.answer.model_json_schema()),
        annotations=types.ToolAnnotations(
            read_only_hint=not tool.changes,
            destructive_hint=tool.changes,
            idempotent_hint=not tool.changes,
            open_world_hint=False,
        ),
    )


def _terse(schema: Any) -> Any:
    """A schema without the titles that only repeat names, and without what its classes say to readers of code."""
    if isinstance(schema, list):
        return [_terse(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = ("title", "description") if "properties" in schema else ("title",)
    return {
        # Below `properties` stand names of members, whatever they are.
        name: {member: _terse(each) for member, each in value.items()}
        if name == "properties"
        else _terse(value)
        for name, value in schema.items()
        if name not in dropped
    }


async def serve(
    settings: Settings,
    listen: Listen | None,
    signer: FeedbackSigner | None,
    *,
    since_ms: int | None,
    say: Callable[[str], None],
) -> None:
    """Read and serve until SIGTERM, SIGINT or, over standard input, its end.

    Parameters
    ----------
    listen : Listen or None
        None: over standard input and output.

    Raises
    ------
    ConfigError
        The address is taken.
    BrokerError
        The first connection to the broker fails.
    """
    stop = told_to_stop()
    index = Index(settings.input_topics, settings.base)
    reading = Follower(settings, index, since_ms, "driftline-mcp").run()
    made = server(Desk(index, signer))
    if listen is None:
        say("ready: MCP over standard input and output; its end, or Ctrl-C, ends it")
        return await _over_stdio(made, reading, stop)
    bound = bound_to(listen)
    port = bound.getsockname()[1]
    say(f"ready: MCP is at {listen.address(port)}{PATH}; Ctrl-C ends it")
    await served(over_http(made, listen.access(port)), listen, bound, reading, stop)


def over_http(made: Server[Any], access: Access) -> ProgramGuard:
    """The server as an application, for programs that `access` lets in; a request stands for itself, and leaves nothing behind."""
    app = made.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=MAX_BODY,
        transport_security=TransportSecuritySettings(allowed_hosts=sorted(access.hosts), allowed_origins=[]),
    )
    return ProgramGuard(app, access)


class _Lines:
    """Lines of a pipe, each of bounded length, whose reading can be given up: the SDK's own waits in a thread, which no signal ends."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:
            return "\n"  # too long: no message, and the client hears so
        if not line:
            raise StopAsyncIteration
        return line.decode(errors="replace")


@asynccontextmanager
async def _input() -> AsyncIterator[Any]:
    """Standard input for `stdio_server`; None, its own reading, where that never waits: of a file, or of nothing."""
    mode = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(0)):
        yield None
        return
    # A terminal is opened anew: what is set of it would hold for the shell, too.
    source = os.open(os.ttyname(0), os.O_RDONLY) if os.isatty(0) else os.dup(0)
    reader = asyncio.StreamReader(limit=MAX_BODY)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    try:
        yield _Lines(reader)
    finally:
        transport.close()


async def _over_stdio(made: Server[Any], reading: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    async def speaking() -> None:
        async with _input() as lines, stdio_server(stdin=lines) as (read, write):
            await made.run(read, write, made.create_initialization_options())

    tasks = [asyncio.create_task(each) for each in (reading, speaking())]
    told = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, told):
            task.cancel()
        await asyncio.gather(*tasks, told, return_exceptions=True)
