"""One connection as a session of Driftline: its tools, its calls before they run, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from driftline_client import Call, Client, Denied, DriftlineError, Session
from driftline_client.contract import in_parts

from stream.proxy.catalogue import Catalogue, Change
from stream.proxy.intents import Intent

BESIDE_TOOLS: Mapping[str, dict[str, Any]] = {
    "resources/read": {
        "name": "resources/read",
        "description": "Reads a resource of this server by its URI.",
        "annotations": {"readOnlyHint": True},
    },
    "prompts/get": {
        "name": "prompts/get",
        "description": "Reads a prompt of this server by its name.",
        "annotations": {"readOnlyHint": True},
    },
}
"""What is decided on beside tools, as it is offered to the judge once it is used."""
NOT_RUN = "the call was cancelled while it waited"
READY_S = 5.0
"""How long the first call of a connection waits until the bus has heard of its session."""
MAX_BEFORE = 256
"""Pages of tools that are kept until the first call."""


class Who(NamedTuple):
    """Whose sessions these are.

    Attributes
    ----------
    agent : as of `Client.session`
    server : what the server is called in the catalogue, where its host says so
    credentials : references, as of `Client.session`
    """

    agent: Mapping[str, str]
    server: str | None = None
    credentials: tuple[Mapping[str, Any], ...] = ()


class NotRun(Exception):
    """A call may not reach the server; its text is for the agent."""


class Gate:
    """What stands between a client and a server: tells of each call, and waits for the decision on it.

    Parameters
    ----------
    client : Client
        What silence means, and how long a call waits, is its to say.
    intent : Intent
        What the user asked for.
    say : callable
        Hears what whoever runs this should know.
    """

    def __init__(self, client: Client, who: Who, intent: Intent, say: Callable[[str], None]) -> None:
        self.catalogue = Catalogue(who.server)
        self._client, self._who, self._intent, self._say = client, who, intent, say
        self._session: Session | None = None
        self._before: list[Change] = []  # what was listed before the session begins
        self._stands: asyncio.Future[bool] | None = None
        self._beside: set[str] = set()
        self._over = False

    # ------------------------------------------------------------------ the tools

    def listed(self, cursor: Any, result: Mapping[str, Any]) -> Any:
        """Take a page of the server's tools, and tell of it; the cursor of the next page, None after the last."""
        before = self.catalogue.cut
        change = self.catalogue.page(cursor, result)
        if self.catalogue.cut > before:
            self._say(
                f"{self.catalogue.cut} tools of the server could not be told in full: too large, or without a name"
            )
        if self._session is not None:
            self._tell_of(self._session, change)
        elif len(self._before) < MAX_BEFORE:
            self._before.append(change)
        return change.next

    def changed(self) -> None:
        """The server says that its tools are others now: the next call waits until they are known."""
        self.catalogue.is_whole = False

    def _tell_of(self, session: Session, change: Change) -> None:
        if not change.tools and not change.left:
            return
        left = change.left
        for part in in_parts(change.tools):
            session.offer(part, left=left or None)
            left = []

    # ------------------------------------------------------------------ the session

    def begun(self) -> Session:
        """The session, from the first call on, and what the user said by now."""
        said = self._intent.news()
        if self._session is None:
            declared, later = _as_offered(self._before)
            self._before = []
            first, *more = in_parts(declared)
            self._session = self._client.session(
                said, agent=self._who.agent or None, tools=first, credentials=self._who.credentials or None
            )
            for change in [Change(part, [], False, None) for part in more] + later:
                self._tell_of(self._session, change)
            if said is None:
                self._say(
                    f"{self._intent.lacks}: the session is undeclared, and judged without an intent "
                    "(--intent, --intent-file, DRIFTLINE_INTENT)"
                )
        elif said is not None:
            self._session.amend(said)
        return self._session

    async def _on_the_bus(self) -> None:
        """Wait until the bus has heard of the session, not for long: the first call meets no silence because connections are made."""
        if self._stands is None:
            self._stands = asyncio.ensure_future(asyncio.to_thread(self._client.flush, READY_S))
        await asyncio.shield(self._stands)

    def heard(self, text: str) -> None:
        """The client's host says what the user asked for."""
        self._intent.say(text)

    # ------------------------------------------------------------------ calls

    async def passed(self, tool: Any, arguments: Any) -> Call:
        """Tell of a call and wait for what is decided; it may reach the server.

        Raises
        ------
        NotRun
            It may not; also where it cannot be told of.
        """
        session = self.begun()
        if isinstance(tool, str) and tool in BESIDE_TOOLS and tool not in self._beside:
            self._beside.add(tool)
            session.offer([BESIDE_TOOLS[tool]])
        try:
            call = session.call(tool, arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise NotRun(
                f"not run: it cannot be told to Driftline, so nothing could be decided ({error})."
            ) from error
        if call.decided is None:
            return call
        try:
            await self._on_the_bus()
            await session.acheck(call)
        except BaseException as error:
            stopped = isinstance(error, DriftlineError)
            session.not_run(call, str(error) if stopped else NOT_RUN)
            if isinstance(error, Denied):
                raise NotRun(str(error)) from error
            if stopped:
                raise NotRun(f"{call.tool} was not run: {error}. Ask the user, or try again.") from error
            raise
        return call

    def returned(self, call: Call, result: Any, *, ok: bool) -> None:
        """Tell what the server answered, or why nothing did."""
        assert self._session is not None
        self._session.tell(call, result, ok=ok)

    def end(self, reason: str) -> None:
        """The connection is over, and with it the session."""
        if self._session is not None and not self._over:
            self._over = True
            self._session.end(reason)


def _as_offered(changes: Sequence[Change]) -> tuple[list[dict[str, Any]], list[Change]]:
    """The tools as each was listed first, until a listing was whole; and what was listed otherwise since, which is evidence."""
    declared: dict[str, dict[str, Any]] = {}
    later = []
    whole = False
    for change in changes:
        others = [
            tool for tool in change.tools if whole or declared.setdefault(tool["name"], tool) is not tool
        ]
        later.append(Change(others, change.left if whole else [], change.whole, change.next))
        whole = whole or change.whole
    return list(declared.values()), later
