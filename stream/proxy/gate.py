"""One connection as a session of Driftline: its tools, its calls before they run, and what came back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from driftline_client import Call, Client, Denied, DriftlineError, Session

from stream.proxy.catalogue import Catalogue, Change, in_parts
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
NOT_RUN = "not run"

_log = logging.getLogger("driftline.proxy")


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
        elif change.whole:
            self.begun()
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
        """The session, declared with what is known by now."""
        if self._session is None:
            said = self._intent.news()
            first, *more = in_parts(list(self.catalogue.tools.values()))
            self._session = self._client.session(
                said, agent=self._who.agent or None, tools=first, credentials=self._who.credentials or None
            )
            for part in more:
                self._session.offer(part)
            if said is None:
                self._say(
                    "nothing says what the user asked for: the session is undeclared, and judged without an intent "
                    "(--intent, --intent-file, DRIFTLINE_INTENT)"
                )
        elif (said := self._intent.news()) is not None:
            self._session.amend(said)
        return self._session

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
            await session.acheck(call)
        except BaseException as error:
            stopped = isinstance(error, DriftlineError)
            session.tell(call, f"{NOT_RUN}: {error}" if stopped else NOT_RUN, ok=False)
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
