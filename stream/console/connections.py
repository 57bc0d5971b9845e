"""A listener's connections: whoever opens them and does not ask keeps nobody out.

uvicorn waits for ever where nothing comes, or half a request, and such connections count among those that it takes: 256 of them,
from somebody without a token, would shut a listener.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 30.0
"""Seconds within which a request's head comes, and then its body."""


class Connection(H11Protocol):
    """uvicorn's, which ends where a request is not sent in time, and makes room for a new one where it only waits for one."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0
    has_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection; where there would be no room, the one that waits longest without ever having asked goes."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._expect()
        limit = self.config.limit_concurrency
        if limit is None:
            return
        # Those that were told to go are still counted until the loop comes round: many may come before it does.
        here = [one for one in self.connections if not one.transport.is_closing()]
        waiting = [one for one in here if isinstance(one, Connection) and one is not self and one.waits]
        waiting.sort(key=lambda one: (one.has_asked, one._since))
        for one in waiting[: max(0, len(here) - limit + 1)]:
            one.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what came; with a whole head the time for the body begins."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self.has_asked = True
            self._expect()

    def on_response_complete(self) -> None:
        """End a request; the time for the next one's head begins."""
        super().on_response_complete()
        self._expect()

    @property
    def waits(self) -> bool:
        """Whether no request is on its way or being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(REQUEST_S, self._end_if_late)

    def _end_if_late(self) -> None:
        if (self.waits or self.cycle.more_body) and not self.transport.is_closing():
            self.transport.abort()
