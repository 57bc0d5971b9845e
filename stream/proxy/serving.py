"""The proxy at work: what all connections have in common, and the one over standard input and output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from driftline_client import Client

from stream.proxy.gate import Gate, Who
from stream.proxy.intents import Intent
from stream.proxy.links import Child, child, standard
from stream.proxy.relay import Link, Relay
from stream.shell.clients import told_to_stop


class Server(NamedTuple):
    """The server that is stood before: a command, or an address and the token that it asks for."""

    command: Sequence[str] = ()
    url: str = ""
    token: str = ""


class Asked(NamedTuple):
    """What is known of the user's words: as said, or where they will stand.

    Attributes
    ----------
    header : the header of a connection's first request in which the client's host says them, percent-encoded
    meta : the name in ``_meta`` of requests under which it does
    """

    text: str | None = None
    path: Path | None = None
    header: str | None = None
    meta: str | None = None


class Proxy(NamedTuple):
    """What all connections have in common."""

    client: Client
    who: Who
    server: Server
    asked: Asked
    say: Callable[[str], None]

    def reached(self) -> AbstractAsyncContextManager[Link]:
        """The server, started or connected to for one connection."""
        if self.server.command:
            return child(self.server.command, self.say)
        from stream.proxy.streams import at  # whoever starts a server need not load HTTP

        return at(self.server.url, self.server.token)

    async def connected(self, front: Link, back: Link, header: str = "") -> str:
        """Stand between a client and a server until one ends; which, in words."""
        said = unquote(header) if self.asked.text is None and self.asked.path is None else self.asked.text
        gate = Gate(self.client, self.who, Intent(said, self.asked.path), self.say)
        relay = Relay(front, back, gate, self.say, intent_meta=self.asked.meta)
        reason = "stopped"
        try:
            reason = await relay.run()
            return reason
        finally:
            gate.end(reason)
            if relay.not_passed:
                self.say(f"not passed on in all: {sum(relay.not_passed.values())} messages")


async def over_stdio(proxy: Proxy) -> int:
    """Serve the client at standard input and output, until one side ends or a signal comes; the exit code.

    Raises
    ------
    ConfigError
        The server cannot be started.
    """
    stop = asyncio.ensure_future(told_to_stop().wait())
    async with proxy.reached() as back, standard() as front:
        working = asyncio.ensure_future(proxy.connected(front, back))
        await asyncio.wait({stop, working}, return_when=asyncio.FIRST_COMPLETED)
        stopped = stop.done()
        for task in (stop, working):
            if not task.done():
                task.cancel()
        found = await asyncio.gather(working, return_exceptions=True)
    if stopped:
        return 0
    if isinstance(found[0], BaseException):
        raise found[0]
    proxy.say(str(found[0]))
    return back.code or 0 if isinstance(back, Child) else 0
